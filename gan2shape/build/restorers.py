"""Training restorers: damaged renders -> clean ones, with the prior's frozen generator inside, or with none.

Each published system is a `RestorerPlan`; they share damages, losses and the discriminator that judges, so that what
differs is where the prior enters. Discriminator features stand in for VGG; there is no face network and no landmarks.
"""

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gan2shape.build.damages import damaged, require_task
from gan2shape.build.judges import judge_step, judged
from gan2shape.core.config import Finite, need, need_training
from gan2shape.core.devices import choose_dtype, upload
from gan2shape.core.errors import UserError
from gan2shape.core.images import resized
from gan2shape.core.progress import Reporter, silent
from gan2shape.invert.schedules import linear_fall
from gan2shape.invert.start import naive
from gan2shape.nn.discriminator import FINAL_RESOLUTION, Discriminator, DiscriminatorConfig
from gan2shape.nn.feature_metric import relative_distance
from gan2shape.nn.image_encoder import ENCODER_NAME
from gan2shape.nn.latent_encoder import take_trunk_weights, trunk_of
from gan2shape.nn.layers import n_parameters
from gan2shape.nn.restorers import RESTORERS, RestorerConfig, build_restorer, width_for
from gan2shape.prior.identity import generator_hash
from gan2shape.prior.packs import Prior
from gan2shape.restoration.blind import BLIND
from gan2shape.restoration.feedforward import save_restorer
from gan2shape.restoration.tasks import parse_damage
from gan2shape.train.image_source import ImageSource
from gan2shape.train.session import TrainingSession, run_session, step_rng

R1_INTERVAL = 16  # steps between two gradient penalties of the discriminator
PYRAMID_UNTIL = 0.5  # of all steps: side pictures teach the U-Net until then (GFPGAN drops them early)
LIKE = tuple(kind for kind in RESTORERS if kind != "unet")
SECONDS_AN_IMAGE = 0.05  # of one core, a picture of 64 x 64


@dataclass(frozen=True)
class RestorerPlan(Finite):
    """How a restorer is trained. Weights of terms in images of [-1, 1]."""

    task: str = BLIND  # or one of restoration.tasks with its number
    n_steps: int = 1500
    batch: int = 8
    n_images: int = 8000  # rendered ones
    flips: bool = True  # pictures are mirrored at random
    lr: float = 2e-3  # of Adam; falls in a line over the second half
    generator_share: float = 0.0  # of that rate, for a generator that learns too (GPEN)
    pixel_weight: float = 2.0  # mean absolute difference
    feature_weight: float = 0.5  # relative difference of discriminator features
    pyramid_weight: float = 0.0  # of the side pictures' mean absolute difference (GFPGAN)
    adversarial_weight: float = 0.01
    critic_lr: float = 2e-4  # of the discriminator's Adam
    r1_gamma: float = 0.15
    like: str = "gpen"  # whose number of parameters the U-Net without a prior has
    seed: int = 0

    def check(self) -> None:
        need_training(self)
        need(self.like in LIKE, f"like={self.like} is unknown: {', '.join(LIKE)}")

    def seconds(self, size: int) -> float:
        """Expected time of one core, for pictures of `size` pixels."""
        return self.n_steps * self.batch * SECONDS_AN_IMAGE * (size / 64) ** 2


KINDS: Mapping[str, RestorerPlan] = {
    "glean": RestorerPlan(task="superres:4", n_steps=3000),
    "gfpgan": RestorerPlan(pyramid_weight=1.0),
    "gpen": RestorerPlan(generator_share=0.05, n_steps=2500),
    "unet": RestorerPlan(lr=8e-3),
}


def restorer_config(kind: str, prior: Prior, plan: RestorerPlan) -> RestorerConfig:
    """The restorer of a kind for a prior. Raises UserError for a generator that is used below its own resolution, and
    for a task that a kind cannot do.
    """
    own = prior.generator.config
    if prior.resolution != own.resolution:
        raise UserError(
            f"The generator makes {own.resolution} x {own.resolution} pixels and is used at {prior.resolution}: "
            "restorers work at a generator's own resolution alone."
        )
    require_task(plan.task, own.resolution)
    factor = 1 if plan.task == BLIND else parse_damage(plan.task).factor
    trunk = prior.encoder.config.trunk if prior.encoder is not None else trunk_of(own.resolution)
    if kind == "glean":
        if factor == 1:
            raise UserError(f"GLEAN enlarges pictures: give --task superres:4 or superres:8, not {plan.task}.")
        size = own.resolution // factor
        if size < FINAL_RESOLUTION:
            raise UserError(f"{plan.task} leaves GLEAN {size} x {size} pixels, which are too few: ask for less.")
        trunk = DiscriminatorConfig(resolution=size, channels=own.channels[: size.bit_length() - 2], unshuffle=False)
    config = RestorerConfig(
        kind,
        trunk,
        own,
        factor if kind == "glean" else 1,
        task=plan.task,
        generator_hash=generator_hash(prior.generator),
    )
    if kind != "unet":
        return config
    with torch.device("meta"):
        wanted = n_parameters(build_restorer(restorer_config(plan.like, prior, plan)))
    return replace(config, width=width_for(config, wanted), generator_hash="")


def new_restorer(kind: str, prior: Prior, plan: RestorerPlan) -> nn.Module:
    """An untrained restorer whose pyramid, and whose own generator, begin as the prior's."""
    config = restorer_config(kind, prior, plan)
    network = build_restorer(config, plan.seed)
    known = prior.networks.get(ENCODER_NAME, {})
    for part in (network, getattr(network, "descent", None)):
        if part is not None and hasattr(part, "pyramid"):
            take_trunk_weights(part.pyramid, known)
    if hasattr(network, "w_mean"):
        network.w_mean.copy_(prior.w_mean)
    if hasattr(network, "generator"):
        network.generator.load_state_dict(prior.generator.state_dict())
        network.z.take_z(known)
    return network.to(prior.w_mean.device, memory_format=torch.channels_last)


def restorer_terms(
    made: Float[Tensor, "B 3 S S"],
    sides: list[Tensor],
    clean: Float[Tensor, "B 3 S S"],
    prior: Prior,
    critic: Discriminator | None,
    plan: RestorerPlan,
) -> dict[str, Tensor]:
    """Everything that a restorer lowers, weighed. Side pictures are compared with area averages of the clean ones."""
    terms = {"pixel": plan.pixel_weight * (made - clean).abs().mean()}
    if plan.feature_weight > 0:
        metric = prior.discriminator
        n_blocks = min(3, len(metric.block_names))
        with torch.no_grad():
            wanted = metric.features(clean, n_blocks)
        terms["feature"] = plan.feature_weight * relative_distance(metric.features(made, n_blocks), wanted)
    if sides and plan.pyramid_weight > 0:
        apart = [(side - resized(clean, side.shape[-1])).abs().mean() for side in sides]
        terms["pyramid"] = plan.pyramid_weight * sum(apart)
    if critic is not None:
        terms["adversarial"] = plan.adversarial_weight * judged(critic, made)
    return terms


def optimizers_of(network: nn.Module, critic: nn.Module | None, plan: RestorerPlan) -> dict[str, torch.optim.Optimizer]:
    """Adam for the restorer, with a smaller rate for a generator of its own, and for what judges."""
    inside = {id(p) for p in network.generator.parameters()} if hasattr(network, "generator") else set()
    groups = [{"params": [p for p in network.parameters() if id(p) not in inside], "share": 1.0}]
    if inside:
        groups.append({"params": list(network.generator.parameters()), "share": plan.generator_share})
    found = {"restorer": torch.optim.Adam(groups, lr=plan.lr, betas=(0.9, 0.99))}
    if critic is not None:
        found["critic"] = torch.optim.Adam(critic.parameters(), lr=plan.critic_lr, betas=(0.0, 0.99))
    return found


def train_restorer(
    kind: str,
    prior: Prior,
    source: ImageSource,
    plan: RestorerPlan,
    out: Path,
    *,
    precision: str = "auto",
    resume: bool = True,
    report: Reporter = silent,
) -> Path:
    """Train a restorer for this prior, or go on with it; returns the file `KIND.safetensors` in `out`.

    Raises UserError as `run_session` and `restorer_config` do, and where there is no discriminator to begin with.
    """
    network, device = new_restorer(kind, prior, plan), prior.w_mean.device
    critic = new_critic(prior, plan)
    optimizers, dtype = optimizers_of(network, critic, plan), choose_dtype(precision, device)
    rate = linear_fall(1.0, start=0.5)

    def step(index: int) -> dict[str, Tensor]:
        rng = step_rng(plan.seed, index)
        clean = source.sample(rng, plan.batch, plan.flips)
        given = damaged(clean, plan.task, torch.Generator().manual_seed(int(rng.integers(2**62))))
        given = naive(given, prior.resolution // network.config.factor)
        clean, given = (upload(x, device).contiguous(memory_format=torch.channels_last) for x in (clean, given))
        for group in optimizers["restorer"].param_groups:
            group["lr"] = plan.lr * group["share"] * rate(index, plan.n_steps)
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            made, sides = network(given, prior.generator)
            sides = sides if index < PYRAMID_UNTIL * plan.n_steps else []
            terms = restorer_terms(made, sides, clean, prior, critic, plan)
        optimizers["restorer"].zero_grad(set_to_none=True)
        sum(terms.values()).backward()
        optimizers["restorer"].step()
        found = {name: term.detach() for name, term in terms.items()}
        if critic is not None:
            gamma = plan.r1_gamma * R1_INTERVAL * (index % R1_INTERVAL == 0)
            found["critic"] = judge_step(critic, optimizers["critic"], clean, made, gamma)
        return found

    config = network.config
    card = {"kind": kind, "generator": config.generator_hash, "plan": asdict(plan), "images": source.made_of}
    each = plan.seconds(prior.resolution) / plan.n_steps
    networks = {"restorer": network} | ({"critic": critic} if critic is not None else {})
    session = TrainingSession(kind, plan.n_steps, plan.batch, card, each)
    seconds = run_session(session, networks, optimizers, step, out, resume=resume, report=report)
    return save_restorer(out / f"{kind}.safetensors", network, {**card, "seconds": round(seconds, 1)})


def new_critic(prior: Prior, plan: RestorerPlan) -> Discriminator | None:
    """The prior's discriminator, to go on learning; None where the plan asks for none. Raises UserError where there is
    none to begin with.
    """
    if plan.adversarial_weight == 0:
        return None
    if not isinstance(prior.discriminator, Discriminator):
        raise UserError("The generator comes without a discriminator, which adversarial_weight needs: set it to 0.")
    return copy.deepcopy(prior.discriminator).requires_grad_(True)
