"""The random numbers and images of one step of a generator's training: a function of the seed and the step's number."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from gan2shape.core.devices import upload
from gan2shape.train.config import TrainConfig
from gan2shape.train.dataset import ShardedImages
from gan2shape.train.ranks import Ranks


@dataclass(frozen=True)
class StepSamples:
    """All random numbers of one step; a function of (seed, step) alone."""

    real: Float[Tensor, "B 3 S S"]
    z: Float[Tensor, "B Z"]
    z_mix: Float[Tensor, "B Z"]
    cutoff: Tensor  # [B, 1, 1] first W+ row taken from z_mix
    instance_noise: Float[Tensor, "B 3 S S"]  # instance noise of the fakes; that of `real` is already in it
    clean: Float[Tensor, "B 3 S S"]  # the real batch without noise, which the reproductions are measured against
    posterior_noise: Float[Tensor, "B Z"]  # of the encoder's latents
    share: Float[Tensor, " B"]  # of the real image in what the slope penalty looks at
    labels: Int[Tensor, " B"] | None = None  # classes of the real images, where they are learnt
    made_labels: Int[Tensor, " B"] | None = None  # of what is made: first of the reproductions, then random ones


def sample_step(
    config: TrainConfig, images: ShardedImages, step: int, n_layers: int, device: torch.device
) -> StepSamples:
    """Sample the real batch, the latents and the mixing points of a step."""
    rng = np.random.default_rng([config.seed, step])
    z = torch.from_numpy(rng.standard_normal((2, config.batch, config.generator.z_dim), dtype=np.float32))
    z = upload(z, device)
    mixed = rng.random(config.batch) < config.mixing_probability
    cutoff = np.where(mixed, rng.integers(1, n_layers, size=config.batch), n_layers)
    indices = rng.integers(0, len(images), size=config.batch)
    real = images.images_at(indices, rng, config.flips)
    noise = torch.Generator().manual_seed(int(rng.integers(2**62)))
    noises = instance_noise_sd(config, step * config.batch) * torch.randn(2, *real.shape, generator=noise)
    posterior_noise = torch.randn(config.batch, config.generator.z_dim, generator=noise)
    share = torch.rand(config.batch, generator=noise)
    noisy, instance_noise, clean = (
        upload(x, device).contiguous(memory_format=torch.channels_last) for x in (real + noises[0], noises[1], real)
    )
    cutoff = upload(torch.from_numpy(cutoff), device)[:, None, None]
    own = (upload(x, device) for x in (posterior_noise, share))
    samples = StepSamples(noisy, z[0], z[1], cutoff, instance_noise, clean, *own)
    if not images.classes:
        return samples
    labels, made = images.fetch_labels(indices), rng.integers(0, len(images.classes), size=config.batch)
    n = n_reproduced(config)
    made[:n] = labels[:n]
    both = (upload(torch.from_numpy(x), device) for x in (labels, made))
    return replace(samples, **dict(zip(("labels", "made_labels"), both, strict=True)))


def rank_samples(
    config: TrainConfig, images: ShardedImages, step: int, n_layers: int, device: torch.device, ranks: Ranks
) -> StepSamples:
    """`sample_step`, this rank's rows of it."""
    samples = sample_step(config, images, step, n_layers, device)
    return ranks.share(samples, config.batch, config.discriminator.stddev_group)


def n_reproduced(config: TrainConfig) -> int:
    """Images of a batch that the encoder reproduces."""
    return round(config.autoencoding_share * config.batch)


def instance_noise_sd(config: TrainConfig, n_images: int) -> float:
    """Standard deviation of the instance noise after `n_images`: linear from its start to its final value."""
    left = max(0.0, 1.0 - n_images / max(1.0, config.instance_noise_fade_kimg * 1000.0))
    return config.instance_noise + left * (config.instance_noise_start - config.instance_noise)
