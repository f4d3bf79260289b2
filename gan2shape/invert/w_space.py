"""W inversion: find w with G(w) close to an image (Karras et al. 2020, section 5, without noise optimisation).

A pack that carries an encoder starts from its guess. Otherwise many random starts are ranked in one batch, the best
few descend together, and half-way only the best one goes on.
Loss: L1 of pixels and of the discriminator's first blocks (no VGG exists offline). Images in [-1, 1]; masks in [0, 1].
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gan2shape.core.config import InvertConfig
from gan2shape.core.progress import Reporter, silent
from gan2shape.invert.loop import Plan, Stage, Step, optimise
from gan2shape.invert.schedules import cosine_fall
from gan2shape.prior.packs import Prior

FEATURE_BLOCKS = 3  # first discriminator blocks that serve as perceptual metric
TRUNCATION = 0.7  # psi of random starts, as samples are published
REMEDY = "try a lower invert.lr"


@dataclass(frozen=True)
class Inversion:
    """The latent of each image and what the generator makes of it."""

    latent: Float[Tensor, "B D"]
    image: Float[Tensor, "B 3 S S"]
    loss: Float[Tensor, " B"]


def image_loss(
    made: Float[Tensor, "B 3 S S"],
    targets: Float[Tensor, "B 3 S S"],
    target_features: list[Tensor],
    weight: Float[Tensor, "B 1 S S"],
    prior: Prior,
    config: InvertConfig,
) -> Float[Tensor, " B"]:
    """Each image's distance: weighted L1 of pixels plus L1 of discriminator features."""
    pixel = ((made - targets).abs().mean(1, keepdim=True) * weight).mean((1, 2, 3)) / weight.mean((1, 2, 3))
    feature = torch.zeros_like(pixel)
    for ours, theirs in zip(prior.discriminator.features(made, len(target_features)), target_features, strict=True):
        feature = feature + (ours - theirs).abs().mean((1, 2, 3)) / theirs.abs().mean().clamp_min(1e-6)
    return config.pixel_weight * pixel + config.feature_weight * feature / len(target_features)


def n_feature_blocks(prior: Prior) -> int:
    """How many of the discriminator's blocks serve: three, or as many as a small one has."""
    return min(FEATURE_BLOCKS, len(prior.discriminator.block_names))


def invert(
    images: Float[Tensor, "B 3 S S"],
    prior: Prior,
    config: InvertConfig,
    seed: int = 0,
    masks: Float[Tensor, "B 1 S S"] | None = None,
    report: Reporter = silent,
) -> Inversion:
    """Invert every image of a batch. Pixels outside `masks`, where given, count a tenth.

    Deterministic with `seed` on one machine. Cost: about 3 x n_steps / 2 x (n_tracks + 1) forward passes of G and D an
    image; one track where the pack has an encoder. Raises UserError where a loss is not finite.
    """
    rng = torch.Generator().manual_seed(seed)
    n_images = len(images)
    weight = torch.ones_like(images[:, :1]) if masks is None else 0.1 + 0.9 * masks
    with torch.no_grad():
        features = list(prior.discriminator.features(images, n_feature_blocks(prior)))
    starts = prior.guess_latent(images)
    if starts is None:
        starts = _rank_starts(images, features, weight, prior, config, rng)
    latents = _descend(starts, images, features, weight, prior, config, (0, config.n_steps // 2), report)
    keep = latents.view(n_images, -1, latents.shape[-1])
    with torch.no_grad():
        losses = _losses(latents, images, features, weight, prior, config).view(n_images, -1)
    best = keep[torch.arange(n_images), losses.argmin(1)]
    best = _descend(best, images, features, weight, prior, config, (config.n_steps // 2, config.n_steps), report)
    with torch.no_grad():
        made = prior.generator.synthesis(best)
        return Inversion(best, made, image_loss(made, images, features, weight, prior, config))


def _repeat(n_tracks: int, *tensors: Tensor) -> list[Tensor]:
    return [tensor.repeat_interleave(n_tracks, 0) for tensor in tensors]


def _losses(latents, images, features, weight, prior: Prior, config: InvertConfig) -> Tensor:
    images, weight, *features = _repeat(len(latents) // len(images), images, weight, *features)
    return image_loss(prior.generator.synthesis(latents), images, features, weight, prior, config)


def _rank_starts(images, features, weight, prior: Prior, config: InvertConfig, rng: torch.Generator) -> Tensor:
    """[B * n_tracks, D]: for each image the best of the mean latent and `n_starts` random ones, pulled to the mean."""
    z = torch.randn(config.n_starts, prior.generator.config.z_dim, generator=rng).to(images.device)
    with torch.no_grad():
        candidates = prior.w_mean + TRUNCATION * (prior.generator.mapping(z) - prior.w_mean)
        candidates = torch.cat([prior.w_mean[None], candidates])
        made = prior.generator.synthesis(candidates)
        losses = []
        for i in range(len(images)):
            n = len(made)
            one = [image[i : i + 1].expand(n, *image.shape[1:]) for image in (images, weight, *features)]
            losses.append(image_loss(made, one[0], one[2:], one[1], prior, config))
        best = torch.stack(losses).topk(config.n_tracks, largest=False).indices
    return candidates[best].flatten(0, 1)


def _descend(
    latents, images, features, weight, prior: Prior, config: InvertConfig, span: tuple[int, int], report: Reporter
) -> Tensor:
    """Steps span[0] to span[1] of the schedule: the rate is flat, then falls along a cosine over the second half."""
    free = nn.Parameter(latents.clone())
    images, weight, *features = _repeat(len(latents) // len(images), images, weight, *features)

    def loss_of(step: Step) -> Float[Tensor, " B"]:
        return image_loss(prior.generator.synthesis(free), images, features, weight, prior, config)

    stage = Stage("invert", config.n_steps, cosine_fall(config.lr, start=0.5))
    optimise([free], loss_of, Plan((stage,), betas=(0.9, 0.99), remedy=REMEDY), report=report, span=span)
    return free.detach()
