"""Training encoders: pictures -> rows of W+, through a frozen generator. Each published system is an `EncoderPlan`.

    psp        rows from three octaves, pixels and features (Richardson et al. 2021)
    e4e        one w, then offsets set free row by row, kept small, and rows judged by a latent discriminator (Tov et
               al. 2021)
    restyle    the same losses at every pass over picture and present reconstruction (Alaluf et al. 2021)
    idinvert   reconstructions judged by the generator's own discriminator, which goes on learning (Zhu et al. 2020)

Pixels and discriminator features are weighed as in the optimisers that encoders are compared with
(configs/restore/w.yaml); no VGG, LPIPS or face network exists here. Pictures are renders, or the generator's own.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from gan2shape.build.damages import damaged
from gan2shape.build.judges import judge_step, judged
from gan2shape.core.config import Finite, need, need_training
from gan2shape.core.devices import choose_dtype, upload
from gan2shape.core.errors import UserError
from gan2shape.core.progress import Reporter, silent
from gan2shape.core.seeding import seeded
from gan2shape.invert.schedules import linear_fall
from gan2shape.invert.start import naive
from gan2shape.invert.terms import w_scale
from gan2shape.nn.discriminator import Discriminator
from gan2shape.nn.feature_metric import relative_distance
from gan2shape.nn.image_encoder import ENCODER_NAME
from gan2shape.nn.latent_encoder import HEADS, LatentCritic, LatentEncoderConfig, take_trunk_weights, trunk_of
from gan2shape.prior.encoders import PAIRS_KEY, LatentEncoder, save_encoder
from gan2shape.prior.identity import generator_hash
from gan2shape.prior.packs import Prior
from gan2shape.synth.pairs import PAIRS
from gan2shape.train.image_source import ImageSource, PairSource
from gan2shape.train.session import TrainingSession, run_session, step_rng

R1_INTERVAL = 16  # steps between two gradient penalties of the players that judge
SECONDS_AN_IMAGE = 0.02  # of one core, a pass of a picture of 64 x 64
JUDGED = 1.5  # times as long where pictures are judged too
Embedding = Callable[[Tensor], Tensor]  # pictures -> vectors of unit length that say which object it is


@dataclass(frozen=True)
class EncoderPlan(Finite):
    """How an encoder is trained. Weights of terms in images of [-1, 1]; distances of w in units of its scale."""

    head: str = "fpn"  # nn.latent_encoder.HEADS
    # What pictures go through before the encoder sees them (restoration.tasks), or kind of its pairs (synth.pairs)
    task: str = "reconstruct"
    n_steps: int = 1500
    batch: int = 16
    n_images: int = 8000  # rendered ones
    own_share: float = 0.0  # of the batch: the generator's own samples; all of it where there are no others
    flips: bool = True  # pictures are mirrored at random
    lr: float = 2e-3  # of Adam; falls in a line over the second half
    n_passes: int = 1  # over each batch, each with its own gradient (ReStyle)
    pixel_weight: float = 2.0  # mean absolute difference
    feature_weight: float = 1.0  # relative difference of discriminator features
    identity_weight: float = 0.0  # 1 - cosine of the attribute network's embeddings
    delta_weight: float = 0.0  # mean length of the rows' offsets from the first one (e4e)
    free_from: float = 0.0  # fraction of training until which all rows are the first one (e4e)
    free_until: float = 0.0  # fraction at which all have offsets of their own; one more at a time between the two
    latent_weight: float = 0.0  # of the latent discriminator (e4e)
    latent_lr: float = 2e-4  # of its Adam
    adversarial_weight: float = 0.0  # of the picture's discriminator (IDInvert)
    critic_lr: float = 2e-4  # of its Adam
    r1_gamma: float = 0.15  # of both
    seed: int = 0

    def check(self) -> None:
        need_training(self)
        need(self.n_passes > 0, f"n_passes={self.n_passes} has to be 1 at least")
        need(self.head in HEADS, f"head={self.head} is unknown: {', '.join(HEADS)}")
        need(0 <= self.own_share <= 1, f"own_share={self.own_share} has to lie between 0 and 1")
        need(0 <= self.free_from <= self.free_until <= 1, "free_from and free_until are fractions in this order")

    def seconds(self, size: int) -> float:
        """Expected time of one core, for pictures of `size` pixels."""
        each = SECONDS_AN_IMAGE * self.n_passes * (JUDGED if self.adversarial_weight > 0 else 1.0)
        return self.n_steps * self.batch * each * (size / 64) ** 2


KINDS: Mapping[str, EncoderPlan] = {
    "psp": EncoderPlan(n_steps=3000),
    "e4e": EncoderPlan(n_steps=3000, head="delta", delta_weight=0.2, free_from=0.1, free_until=0.5, latent_weight=0.05),
    "restyle": EncoderPlan(head="residual", n_passes=3, n_steps=700),
    "idinvert": EncoderPlan(head="flat+", adversarial_weight=0.05),
}


def new_encoder(prior: Prior, plan: EncoderPlan) -> LatentEncoder:
    """An untrained encoder that begins as the pack's own one, or with its discriminator's trunk at the mean of w."""
    trunk = prior.encoder.config.trunk if prior.encoder is not None else trunk_of(prior.resolution)
    if plan.head == "residual":
        trunk = replace(trunk, image_channels=2 * trunk.image_channels)
    generator, own = prior.generator, prior.generator.config
    origin = own if prior.encoder is not None and plan.head != "residual" else None
    config = LatentEncoderConfig(
        trunk, generator.n_layers, own.w_dim, plan.head, origin=origin, generator=generator_hash(generator)
    )
    with seeded(plan.seed):
        encoder = LatentEncoder(config)
    known = prior.networks.get(ENCODER_NAME) or (
        prior.discriminator.state_dict() if isinstance(prior.discriminator, Discriminator) else {}
    )
    take_trunk_weights(encoder.pyramid, known)
    encoder.w_mean.copy_(prior.w_mean)
    if encoder.z is not None:
        encoder.z.take_z(known)
        encoder.mapping.load_state_dict(generator.mapping.state_dict())
    return encoder.to(prior.w_mean.device, memory_format=torch.channels_last)


@dataclass
class Players:
    """What learns: the encoder, and what judges it. The one mutable record of a training."""

    encoder: LatentEncoder
    critic: Discriminator | None  # of pictures
    latent_critic: LatentCritic | None  # of single rows
    optimizers: dict[str, torch.optim.Optimizer]

    @property
    def networks(self) -> dict[str, nn.Module]:
        """Those that there are, by name."""
        found = {"encoder": self.encoder, "critic": self.critic, "latent_critic": self.latent_critic}
        return {name: network for name, network in found.items() if network is not None}


def new_players(prior: Prior, plan: EncoderPlan) -> Players:
    """Encoder, and the judges that the plan asks for. Raises UserError where the prior has no discriminator to begin
    with.
    """
    critic = latent_critic = None
    if plan.adversarial_weight > 0:
        if not isinstance(prior.discriminator, Discriminator):
            raise UserError("The generator comes without a discriminator, which adversarial_weight needs: set it to 0.")
        critic = copy.deepcopy(prior.discriminator).requires_grad_(True)
    if plan.latent_weight > 0:
        with seeded(plan.seed):
            latent_critic = LatentCritic(prior.generator.config.w_dim).to(prior.w_mean.device)
    players = Players(new_encoder(prior, plan), critic, latent_critic, {})
    rates = {"encoder": plan.lr, "critic": plan.critic_lr, "latent_critic": plan.latent_lr}
    for name, network in players.networks.items():
        betas = (0.9, 0.99) if name == "encoder" else (0.0, 0.99)
        players.optimizers[name] = torch.optim.Adam(network.parameters(), lr=rates[name], betas=betas)
    return players


def n_free_rows(plan: EncoderPlan, n_rows: int, index: int) -> int:
    """How many rows have offsets of their own at a step (e4e: one more every so often)."""
    begin, end = plan.free_from * plan.n_steps, plan.free_until * plan.n_steps
    if index >= end:
        return n_rows - 1
    return 0 if index < begin else 1 + int((index - begin) / (end - begin) * (n_rows - 1))


@torch.no_grad()
def pictures_of(
    prior: Prior, source: ImageSource | None, plan: EncoderPlan, rng: np.random.Generator
) -> Float[Tensor, "B 3 S S"]:
    """The batch of a step: rendered pictures, then the generator's own."""
    n_own = plan.batch if source is None else round(plan.own_share * plan.batch)
    parts = []
    if n_own < plan.batch:
        parts.append(upload(source.sample(rng, plan.batch - n_own, plan.flips), prior.w_mean.device))
    if n_own > 0:
        z = torch.from_numpy(rng.standard_normal((n_own, prior.generator.config.z_dim), np.float32))
        w = prior.generator.mapping(upload(z, prior.w_mean.device))
        parts.append(prior.generator.synthesis(w).clamp(-1, 1))
    return torch.cat(parts)


def likeness(
    made: Float[Tensor, "B 3 S S"],
    images: Float[Tensor, "B 3 S S"],
    prior: Prior,
    plan: EncoderPlan,
    embedding: Embedding | None,
) -> dict[str, Tensor]:
    """Weighed terms that compare pictures."""
    metric = prior.discriminator
    terms = {"pixel": plan.pixel_weight * (made - images).abs().mean()}
    if plan.feature_weight > 0:
        n_blocks = min(3, len(metric.block_names))
        with torch.no_grad():
            wanted = metric.features(images, n_blocks)
        terms["feature"] = plan.feature_weight * relative_distance(metric.features(made, n_blocks), wanted)
    if embedding is not None:
        with torch.no_grad():
            own = embedding(images)
        terms["identity"] = plan.identity_weight * (1.0 - (embedding(made) * own).sum(1)).mean()
    return terms


def encoder_terms(
    players: Players,
    images: Float[Tensor, "B 3 S S"],
    rows: Float[Tensor, "B L D"],
    made: Float[Tensor, "B 3 S S"],
    prior: Prior,
    plan: EncoderPlan,
    embedding: Embedding | None,
) -> dict[str, Tensor]:
    """Everything that the encoder lowers, weighed."""
    terms, scale = likeness(made, images, prior, plan, embedding), w_scale(prior)
    if plan.delta_weight > 0:
        offset = (rows - rows[:, :1])[:, 1:] / scale
        terms["delta"] = plan.delta_weight * (offset.square().mean(2) + 1e-12).sqrt().mean()
    if players.latent_critic is not None:
        terms["latent"] = plan.latent_weight * judged(players.latent_critic, whitened(rows.flatten(0, 1), prior))
    if players.critic is not None:
        terms["adversarial"] = plan.adversarial_weight * judged(players.critic, made)
    return terms


def encoder_passes(
    players: Players,
    given: Float[Tensor, "B 3 S S"],
    images: Float[Tensor, "B 3 S S"],
    index: int,
    prior: Prior,
    plan: EncoderPlan,
    embedding: Embedding | None,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Update the encoder, which sees `given` of `images`, once for each pass over the batch; rows and pictures of the
    last one, detached, and terms.
    """
    encoder, optimizer, synthesis = players.encoder, players.optimizers["encoder"], prior.generator.synthesis
    rows = encoder.w_mean.expand(len(images), prior.generator.n_layers, -1)
    is_looped, n_free = plan.head == "residual", n_free_rows(plan, prior.generator.n_layers, index)
    with torch.no_grad():
        made = synthesis(rows[:1]).expand(len(images), -1, -1, -1) if is_looped else images
    for _ in range(plan.n_passes):
        with torch.autocast(images.device.type, dtype, enabled=dtype != torch.float32):
            seen = torch.cat([given, made], 1) if is_looped else given
            found = encoder(seen, rows if is_looped else None, n_free)
            pictures = synthesis(found)
            terms = encoder_terms(players, images, found, pictures, prior, plan, embedding)
        optimizer.zero_grad(set_to_none=True)
        sum(terms.values()).backward()
        optimizer.step()
        rows, made = found.detach(), pictures.detach()
    return rows, made, {name: term.detach() for name, term in terms.items()}


def judge_updates(
    players: Players,
    images: Float[Tensor, "B 3 S S"],
    rows: Float[Tensor, "B L D"],
    made: Float[Tensor, "B 3 S S"],
    index: int,
    rng: np.random.Generator,
    prior: Prior,
    plan: EncoderPlan,
) -> dict[str, Tensor]:
    """Update what judges; the latent discriminator sees one row of each picture beside as many of the mapping's."""
    found, gamma = {}, plan.r1_gamma * R1_INTERVAL * (index % R1_INTERVAL == 0)
    if players.critic is not None:
        found["critic"] = judge_step(players.critic, players.optimizers["critic"], images, made, gamma)
    if players.latent_critic is not None:
        z = torch.from_numpy(rng.standard_normal((len(images), prior.generator.config.z_dim), np.float32))
        chosen = torch.from_numpy(rng.integers(0, rows.shape[1], size=len(images))).to(rows.device)
        with torch.no_grad():
            real, fake = prior.generator.mapping(upload(z, rows.device)), rows[torch.arange(len(rows)), chosen]
        real, fake = (whitened(w, prior) for w in (real, fake))
        optimizer = players.optimizers["latent_critic"]
        found["latent_critic"] = judge_step(players.latent_critic, optimizer, real, fake, gamma)
    return found


def whitened(w: Float[Tensor, "B D"], prior: Prior) -> Float[Tensor, "B D 1 1"]:
    """What the latent discriminator sees of a w."""
    return ((w - prior.w_mean) / w_scale(prior))[:, :, None, None]


def batch_of(
    prior: Prior, source: ImageSource | PairSource | None, plan: EncoderPlan, rng: np.random.Generator
) -> tuple[Float[Tensor, "B 3 S S"], Float[Tensor, "B 3 S S"]]:
    """(what the encoder sees in a step, what it has to draw)."""
    if isinstance(source, PairSource):
        given, images = (upload(part, prior.w_mean.device) for part in source.sample(rng, plan.batch))
    else:
        given = images = pictures_of(prior, source, plan, rng)
        if plan.task != EncoderPlan.task:
            seen = damaged(images.cpu(), plan.task, torch.Generator().manual_seed(int(rng.integers(2**62))))
            given = upload(naive(seen, prior.resolution), prior.w_mean.device)
    return tuple(part.contiguous(memory_format=torch.channels_last) for part in (given, images))


def train_encoder(
    kind: str,
    prior: Prior,
    source: ImageSource | PairSource | None,
    plan: EncoderPlan,
    out: Path,
    *,
    embedding: Embedding | None = None,
    precision: str = "auto",
    resume: bool = True,
    report: Reporter = silent,
) -> Path:
    """Train an encoder for this prior's generator, or go on with it; returns the file `KIND.safetensors` in `out`.

    source: rendered pictures, or pairs of them for a task of pairs; without it the generator's own samples. embedding:
    tells objects apart, for the identity term. Raises UserError as `run_session` and `new_players` do.
    """
    if (plan.task in PAIRS) != isinstance(source, PairSource):
        raise UserError(f"task={plan.task} does not go with such images: {' and '.join(PAIRS)} alone learn from pairs.")
    players, device = new_players(prior, plan), prior.w_mean.device
    dtype, rate = choose_dtype(precision, device), linear_fall(plan.lr, start=0.5)
    embedding = embedding if plan.identity_weight > 0 else None

    def step(index: int) -> dict[str, Tensor]:
        rng = step_rng(plan.seed, index)
        given, images = batch_of(prior, source, plan, rng)
        players.optimizers["encoder"].param_groups[0]["lr"] = rate(index, plan.n_steps)
        rows, made, terms = encoder_passes(players, given, images, index, prior, plan, embedding, dtype)
        return terms | judge_updates(players, images, rows, made, index, rng, prior, plan)

    card = {
        "kind": kind,
        "generator": players.encoder.config.generator,
        PAIRS_KEY: plan.task if plan.task in PAIRS else "",
        "plan": asdict(plan),
        "images": "the generator's own samples" if source is None else source.made_of,
    }
    each = plan.seconds(prior.resolution) / plan.n_steps
    session = TrainingSession(kind, plan.n_steps, plan.batch, card, each)
    seconds = run_session(session, players.networks, players.optimizers, step, out, resume=resume, report=report)
    return save_encoder(out / f"{kind}.safetensors", players.encoder, {**card, "seconds": round(seconds, 1)})
