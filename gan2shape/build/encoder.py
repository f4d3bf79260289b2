"""Teaching an image encoder to a generator that came without one, from nothing but its own samples.

The encoder gives z; the generator's own mapping makes w of it, so that whatever it reads stays a latent that the
generator knows (`nn.image_encoder`). It learns in two stages:

    latents   the w of samples that were made once and lie on disk: no pass of the generator
    images    w, and beside it what the generator makes of it, in pixels and features: dear, but what counts

It has seen samples and no photograph. What it makes of real images is measured where there are some.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gan2shape.core.config import Finite, need
from gan2shape.core.devices import upload
from gan2shape.core.files import write_atomic, write_state_atomic
from gan2shape.core.images import to_uint8
from gan2shape.core.progress import Reporter, silent
from gan2shape.core.seeding import seeded
from gan2shape.invert.loop import Plan, Stage, Step, optimise
from gan2shape.invert.schedules import linear_fall
from gan2shape.measure.metrics import psnr_db
from gan2shape.nn.discriminator import Discriminator
from gan2shape.nn.feature_metric import relative_distance
from gan2shape.nn.image_encoder import ImageEncoder, ImageEncoderConfig, take_trunk
from gan2shape.nn.layers import n_parameters
from gan2shape.nn.small_networks import small_discriminator
from gan2shape.prior.masked_generator import MaskedGenerator
from gan2shape.prior.packs import Prior, freeze
from gan2shape.train.dataset import SHARD_PATTERN, ShardedImages
from gan2shape.train.state import read_checkpoint

SHARD = 250  # samples in a file
AT_ONCE = 10  # samples that are made at once
HELD_OUT_SEED = 700_000  # of the samples that measure the encoder
N_HELD_OUT = 64
MOST_TRUNK_WEIGHTS = 4_000_000  # a discriminator with more is no beginning for a small encoder
LEAST_SD = 1e-3  # of a component of w
SMALL_ERROR = 0.1  # images in [-1, 1]: below it the pixel loss is quadratic
DECAY_FROM = 2 / 3  # of the steps, after which the learning rate falls


@dataclass(frozen=True)
class ImageEncoderPlan(Finite):
    """How much is learnt, and what counts."""

    n_samples: int = 15_000  # that are made once
    n_steps: int = 3000  # on latents
    batch: int = 16
    n_image_steps: int = 1500  # with images
    image_batch: int = 16
    lr: float = 2e-3  # Adam
    latent_weight: float = 0.3  # in the second stage: of the squared error of w, in units of its variance
    pixel_weight: float = 10.0  # of the smooth L1 of images in [-1, 1]
    feature_weight: float = 1.0  # of the relative difference in discriminator features
    n_feature_blocks: int = 3
    noise: float = 0.05  # sd of the noise on the images that the encoder sees
    keep_every: int = 250  # steps between states on disk
    seed: int = 0

    def check(self) -> None:
        counts = (self.n_samples, self.batch, self.image_batch, self.keep_every, self.n_feature_blocks)
        need(min(counts) > 0, "sizes in encoder have to be above 0")
        need(min(self.n_steps, self.n_image_steps) >= 0, "numbers of steps in encoder are never negative")
        need(self.lr > 0, f"encoder.lr={self.lr} has to be above 0")


def z_of_shard(number: int, seed: int, z_dim: int) -> Float[Tensor, "N Z"]:
    """The random latents of a shard of samples."""
    return torch.randn(SHARD, z_dim, generator=torch.Generator().manual_seed(1_000_003 * seed + number))


@torch.no_grad()
def samples_on_disk(
    generator: MaskedGenerator, folder: Path, plan: ImageEncoderPlan, report: Reporter = silent
) -> tuple[ShardedImages, Float[Tensor, "N Z"]]:
    """Samples of the whole distribution (not truncated) in whole shards, and their latents. Shards that are there stay:
    they belong to one generator.
    """
    network, device = generator.prior.generator, generator.prior.w_mean.device
    n_shards = -(-plan.n_samples // SHARD)
    z = torch.cat([z_of_shard(number, plan.seed, network.config.z_dim) for number in range(n_shards)])
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(n_shards):
        path = folder / SHARD_PATTERN.replace("*", f"{number:05d}")
        if not path.exists():
            made = []
            for few in z[number * SHARD :][:SHARD].split(AT_ONCE):
                made.append(to_uint8(network.synthesis(network.mapping(few.to(device)))))
                report("samples", number * SHARD + AT_ONCE * len(made), n_shards * SHARD)
            write_atomic(path, _npy(np.concatenate(made)))
    return ShardedImages(folder, generator.resolution), z


def _npy(images: np.ndarray) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with path.open("wb") as stream:  # a path would get ".npy" appended
            np.save(stream, images, allow_pickle=False)

    return write


def new_encoder(prior: Prior, resolution: int, seed: int = 0) -> ImageEncoder:
    """A fresh encoder, as large as those of bundled packs. Its trunk begins as the generator's discriminator, where
    that is small and works at this resolution.
    """
    critic = getattr(prior.discriminator, "discriminator", prior.discriminator)
    z_dim = prior.generator.config.z_dim
    fits = isinstance(critic, Discriminator) and critic.config.resolution == resolution
    with seeded(seed):
        if fits and n_parameters(critic) <= MOST_TRUNK_WEIGHTS:
            encoder = ImageEncoder(ImageEncoderConfig(replace(critic.config, n_classes=0), z_dim))
            take_trunk(encoder, critic)
            return encoder
        return ImageEncoder(ImageEncoderConfig(small_discriminator(resolution), z_dim))


def train_encoder_on_samples(
    generator: MaskedGenerator,
    images: ShardedImages,
    z: Float[Tensor, "N Z"],
    plan: ImageEncoderPlan,
    state_path: Path,
    report: Reporter = silent,
) -> ImageEncoder:
    """Both stages, going on from `state_path` where that exists. Deterministic on one machine."""
    prior = generator.prior
    device, sd = prior.w_mean.device, prior.w_std.clamp_min(LEAST_SD)
    encoder = new_encoder(prior, generator.resolution, plan.seed).to(device, memory_format=torch.channels_last)
    saved = read_checkpoint(state_path, device) if state_path.is_file() else {"step": 0}
    if saved["step"] > 0:
        encoder.load_state_dict(saved["encoder"])

    def loss_of(step: Step) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        done = step.index + step.stage * plan.n_steps
        rng = np.random.default_rng([plan.seed, done])
        rows = rng.integers(0, len(z), plan.batch if step.stage == 0 else plan.image_batch)
        clean = upload(images.images_at(rows, rng, False), device)
        grain = torch.from_numpy(rng.standard_normal(tuple(clean.shape), np.float32))
        wanted = prior.generator.mapping(upload(z[rows], device))
        latents = prior.generator.mapping(encoder(clean + plan.noise * upload(grain, device))[0])
        error = ((latents - wanted) / sd).square().mean()
        if step.stage == 0:
            return error, {"latents": error}
        return image_loss(generator, latents, clean, plan) + plan.latent_weight * error, {"latents": error}

    def keep(step: Step, loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
        done = step.index + 1 + step.stage * plan.n_steps
        if done % plan.keep_every == 0:
            state = {"encoder": encoder.state_dict(), "optimizer": optimizer.state_dict(), "step": done}
            write_state_atomic(state_path, state)

    n_steps = plan.n_steps + plan.n_image_steps
    stages = tuple(
        Stage(f"encoder, {name}", n, linear_fall(plan.lr, DECAY_FROM))
        for name, n in (("latents", plan.n_steps), ("images", plan.n_image_steps))
    )
    optimise(
        encoder.parameters(),
        loss_of,
        Plan(stages, betas=(0.9, 0.99), remedy="try a lower encoder.lr"),
        report=report,
        after_step=keep,
        span=(saved["step"], n_steps),
        optimizer_state=saved.get("optimizer"),
    )
    return freeze(encoder)


def image_loss(
    generator: MaskedGenerator, latents: Float[Tensor, "B D"], clean: Float[Tensor, "B 3 S S"], plan: ImageEncoderPlan
) -> Float[Tensor, ""]:
    """How far what the generator makes of latents is from the images."""
    prior = generator.prior
    made = prior.generator.synthesis(latents)
    loss = plan.pixel_weight * F.smooth_l1_loss(made, clean, beta=SMALL_ERROR)
    if prior.discriminator is None:
        return loss
    n = min(plan.n_feature_blocks, len(prior.discriminator.block_names))
    with torch.no_grad():
        wanted = prior.discriminator.features(clean, n)
    return loss + plan.feature_weight * relative_distance(prior.discriminator.features(made, n), wanted)


@torch.no_grad()
def measure_encoder(generator: MaskedGenerator) -> dict[str, float]:
    """How well the encoder's guess gives back samples that it has not learnt from: PSNR in dB, on the object's mask."""
    prior = generator.prior
    rng = torch.Generator().manual_seed(HELD_OUT_SEED)
    z = torch.randn(N_HELD_OUT, prior.generator.config.z_dim, generator=rng).to(prior.w_mean.device)
    scores = []
    for few in z.split(AT_ONCE):
        images, masks = generator(prior.generator.mapping(few))
        found, _ = generator(prior.guess_latent(images))
        inside = masks > 0.5
        seen = inside.flatten(1).any(1)
        if seen.any():
            scores.append(psnr_db(found[seen].cpu(), images[seen].cpu(), inside[seen].cpu()))
    psnr = torch.cat(scores).mean().item() if scores else float("nan")
    return {"samples_psnr_db_object_mask": psnr, "n": N_HELD_OUT}
