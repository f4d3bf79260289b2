"""Training the networks that restore without a prior, as published and small: SRGAN, and patch + global inpainting.

    srgan        SRResNet to the least squared error, saved; then features and a discriminator (Ledig et al. 2017)
    inpaintgan   absolute error in the hole, a discriminator of patches and one of whole pictures (Demir and Unal 2018)

Features of a pack's discriminator stand in for VGG. Random numbers of a step come from its number, so that a training
goes on where it was stopped.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from gan2shape.build.damages import require_task
from gan2shape.core.config import Finite, need, need_training
from gan2shape.core.devices import choose_dtype, upload
from gan2shape.core.errors import UserError
from gan2shape.core.progress import Reporter, silent
from gan2shape.core.seeding import seeded
from gan2shape.degrade.degradations import box_mask
from gan2shape.invert.method import MethodConfig
from gan2shape.invert.schedules import linear_fall
from gan2shape.nn.discriminator import DiscriminatorConfig
from gan2shape.nn.feature_metric import relative_distance
from gan2shape.nn.picture_networks import HEADS, PatchGlobalDiscriminator, PictureConfig, build_picture_network
from gan2shape.restoration.picture_restorers import TASK, save_picture_network
from gan2shape.restoration.tasks import degradations, parse_damage
from gan2shape.train.image_source import ImageSource
from gan2shape.train.objectives import (
    discriminator_loss,
    generator_loss,
    gradient_penalty,
    set_requires_grad,
)
from gan2shape.train.session import TrainingSession, run_session, step_rng

R1_INTERVAL = 16  # steps between two gradient penalties of the discriminator
HOLE_SHARES = (0.25, 0.5)  # of the side: random holes
CENTRED_EVERY = 2  # one hole of so many is the square in the middle that `restore` fills unless it is given another
N_FEATURE_BLOCKS = 3


@dataclass(frozen=True)
class ClassicPlan(Finite):
    """How one is trained. Weights of terms in images of [-1, 1]."""

    task: str = "superres:4"  # or inpaint
    n_error_steps: int = 1000  # first, of the squared error alone
    n_adversarial_steps: int = 500  # then, of the weighed terms
    batch: int = 16
    n_images: int = 4000
    flips: bool = True  # pictures are mirrored at random
    lr: float = 1e-3  # of Adam; falls in a line over the second half
    adversarial_lr: float = 2e-4  # of the network in the second part; falls too
    critic_lr: float = 1e-3
    pixel_weight: float = 1.0  # mean absolute difference (of inpaint: in the hole)
    feature_weight: float = 1.0  # relative difference of discriminator features
    global_weight: float = 0.01  # of the head that sees the picture
    patch_weight: float = 0.01  # of the head that sees patches
    heads: str = "global"
    r1_gamma: float = 0.15
    width: int = 48
    n_blocks: int = 8
    seed: int = 0

    def check(self) -> None:
        need_training(self)
        need(min(self.n_error_steps, self.n_adversarial_steps) >= 0, "numbers of steps are never negative")
        need(self.n_error_steps + self.n_adversarial_steps > 0, "a training needs a step")
        need(self.width > 1 and self.n_blocks > 0, "width begins at 2 and n_blocks at 1")
        need(self.heads in HEADS, f"heads={self.heads} is unknown: {', '.join(HEADS)}")

    def seconds(self, kind: str, size: int) -> float:
        """Expected time of one core, for pictures of `size` pixels."""
        each = SECONDS_AN_IMAGE[kind]
        a_batch = (self.n_error_steps * each[0] + self.n_adversarial_steps * each[1])
        return a_batch * self.batch * (size / 64) ** 2


KINDS: Mapping[str, ClassicPlan] = {
    "srgan": ClassicPlan(),
    "inpaintgan": ClassicPlan(
        task="inpaint", n_error_steps=0, n_adversarial_steps=500, lr=1e-3, adversarial_lr=1e-3, pixel_weight=0.995,
        feature_weight=0.0, global_weight=0.0025, patch_weight=0.0025, heads="both", width=64,
    ),
}  # fmt: skip
FIRST_PART = {"srgan": "srresnet"}  # the network of the first part alone, where it has a name of its own
NETWORKS = {"srgan": "srresnet", "inpaintgan": "inpainter"}  # kind of nn.picture_networks
SECONDS_AN_IMAGE = {"srgan": (0.02, 0.04), "inpaintgan": (0.01, 0.03)}  # of one core (bf16), at 64 x 64, in each part


@dataclass(frozen=True)
class Damaged:
    """What a network sees of clean pictures."""

    given: Float[Tensor, "B 3 h w"]
    kept: Float[Tensor, "B 1 S S"] | None = None  # 1 where a picture is known, where it has a hole

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The network's arguments."""
        return (self.given,) if self.kept is None else (self.given, self.kept)


def train_classic(
    kind: str,
    source: ImageSource,
    plan: ClassicPlan,
    out: Path,
    metric: nn.Module | None = None,
    *,
    device: torch.device | str = "cpu",
    precision: str = "auto",
    resume: bool = True,
    report: Reporter = silent,
) -> dict[str, Path]:
    """Train a network of KINDS, or go on with it; returns {name: file in `out`}.

    metric: whose `features` are compared, as a discriminator's; needed where `feature_weight` is not 0.
    Raises UserError as `run_session` and `require_fitting_task` do.
    """
    require_fitting_task(kind, plan.task, source.images.resolution)
    device, size = torch.device(device), source.images.resolution
    dtype = choose_dtype(precision, device)
    config = PictureConfig(NETWORKS[kind], size, plan.width, plan.n_blocks, parse_damage(plan.task).factor)
    network = build_picture_network(config, plan.seed).to(device, memory_format=torch.channels_last).train()
    critic = new_critic(size, plan).to(device, memory_format=torch.channels_last)
    optimizers = {
        "network": torch.optim.Adam(network.parameters(), lr=plan.lr, betas=(0.9, 0.999)),
        "critic": torch.optim.Adam(critic.parameters(), lr=plan.critic_lr, betas=(0.0, 0.99)),
    }
    rate, files = linear_fall(1.0, start=0.5), {}
    card = {"kind": kind, "plan": asdict(plan), "images": source.made_of}

    def save(name: str) -> None:
        files[name] = save_picture_network(out / f"{name}.safetensors", network, card | {"network": name})

    def step(index: int) -> dict[str, Tensor]:
        rng = step_rng(plan.seed, index)
        clean = source.sample(rng, plan.batch, plan.flips)
        damaged = damage(clean, plan.task, rng)
        clean, *inputs = (upload(x, device) for x in (clean, *damaged.inputs))
        kept = None if damaged.kept is None else inputs[1]
        is_first = index < plan.n_error_steps
        if index == plan.n_error_steps and index > 0 and kind in FIRST_PART:
            save(FIRST_PART[kind])
        done, n = (index, plan.n_error_steps) if is_first else (index - plan.n_error_steps, plan.n_adversarial_steps)
        for group in optimizers["network"].param_groups:
            group["lr"] = (plan.lr if is_first else plan.adversarial_lr) * rate(done, n)
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            made = network(*inputs).float()
            if is_first:
                terms = {"squared": (made - clean).square().mean()}
            else:
                terms = adversarial_terms(made, clean, kept, critic, metric, plan)
        descend(sum(terms.values()), optimizers["network"])
        found = {name: term.detach() for name, term in terms.items()}
        if not is_first:
            gamma = plan.r1_gamma * R1_INTERVAL * (done % R1_INTERVAL == 0)
            found["critic"] = critic_step(critic, optimizers["critic"], clean, made, plan, gamma)
        return found

    n_steps = plan.n_error_steps + plan.n_adversarial_steps
    session = TrainingSession(kind, n_steps, plan.batch, card, plan.seconds(kind, size) / n_steps)
    seconds = run_session(
        session, {"network": network, "critic": critic}, optimizers, step, out, resume=resume, report=report
    )
    card = card | {"seconds": round(seconds, 1)}
    save(kind if plan.n_adversarial_steps else FIRST_PART.get(kind, kind))
    return files


def require_fitting_task(kind: str, task: str, size: int) -> None:
    """Raises UserError for a task that networks of a kind cannot do, or that does not fit pictures of `size` pixels."""
    require_task(task, size)
    wanted, own = parse_damage(task).task, TASK[NETWORKS[kind]]
    if wanted != own:
        raise UserError(f"{kind} learns {own}, not {wanted}: leave --task away, or name another --kind.")


def new_critic(size: int, plan: ClassicPlan) -> PatchGlobalDiscriminator:
    """An untrained discriminator for pictures of `size` pixels, as wide as the packs' own at 64."""
    widths = DiscriminatorConfig().channels
    n_levels = (size // 2).bit_length() - 2
    config = DiscriminatorConfig(resolution=size, channels=(widths[:1] * n_levels + widths)[-n_levels:])
    with seeded(plan.seed):
        return PatchGlobalDiscriminator(config, plan.heads)


def damage(clean: Float[Tensor, "B 3 S S"], task: str, rng: np.random.Generator) -> Damaged:
    """The pictures as the network gets them: smaller, or with a hole."""
    known = parse_damage(task)
    if not known.kind.has_hole:
        return Damaged(degradations(known, MethodConfig(), clean.shape[-1])[0].observe(clean))
    kept = torch.cat([random_hole(clean.shape[-1], rng) for _ in clean])
    return Damaged(clean * kept, kept)


def random_hole(size: int, rng: np.random.Generator) -> Float[Tensor, "1 1 S S"]:
    """0 in a square: every second time the one in the middle, else any."""
    if rng.integers(CENTRED_EVERY) == 0:
        return box_mask(size)
    side = max(1, round(size * rng.uniform(*HOLE_SHARES)))
    top, left = rng.integers(0, size - side + 1, size=2)
    kept = torch.ones(1, 1, size, size)
    kept[..., top : top + side, left : left + side] = 0.0
    return kept


def adversarial_terms(
    made: Float[Tensor, "B 3 S S"],
    clean: Float[Tensor, "B 3 S S"],
    kept: Float[Tensor, "B 1 S S"] | None,
    critic: PatchGlobalDiscriminator,
    metric: nn.Module | None,
    plan: ClassicPlan,
) -> dict[str, Tensor]:
    """What the network lowers in the second part, weighed."""
    lost = torch.ones_like(made[:, :1]) if kept is None else 1.0 - kept
    terms = {"pixel": plan.pixel_weight * ((made - clean).abs() * lost).sum() / (made.shape[1] * lost.sum())}
    if plan.feature_weight > 0 and metric is not None:
        n_blocks = min(N_FEATURE_BLOCKS, len(metric.block_names))
        with torch.no_grad():
            wanted = metric.features(clean, n_blocks)
        terms["feature"] = plan.feature_weight * relative_distance(metric.features(made, n_blocks), wanted)
    set_requires_grad(critic, False)
    for head, logits in critic(made).items():
        terms[head] = weight_of(head, plan) * generator_loss(logits.float())
    set_requires_grad(critic, True)
    return terms


def weight_of(head: str, plan: ClassicPlan) -> float:
    """How much a head of the discriminator counts for the network."""
    return plan.global_weight if head == "global" else plan.patch_weight


def critic_step(
    critic: PatchGlobalDiscriminator,
    optimizer: torch.optim.Optimizer,
    real: Float[Tensor, "B 3 S S"],
    made: Float[Tensor, "B 3 S S"],
    plan: ClassicPlan,
    gamma: float,
) -> Float[Tensor, ""]:
    """One update of the discriminator: logistic loss of each head, R1 of their sum where `gamma` is not 0."""
    on_real, on_made = critic(real), critic(made.detach())
    loss = sum(discriminator_loss(on_real[head], on_made[head]) for head in on_real)
    if gamma > 0:
        penalty = gradient_penalty(_MeanLogits(critic), real)
        descend(loss + 0.5 * gamma * penalty, optimizer)
    else:
        descend(loss, optimizer)
    return loss.detach()


class _MeanLogits(nn.Module):
    """The sum over heads of a discriminator's mean logits, one number an image."""

    def __init__(self, critic: PatchGlobalDiscriminator) -> None:
        super().__init__()
        self.critic = critic

    def forward(self, image: Float[Tensor, "B 3 S S"]) -> Float[Tensor, " B"]:
        return sum(logits.flatten(1).mean(1) for logits in self.critic(image).values())


def descend(loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """One update."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
