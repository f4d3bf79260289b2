"""Losses of the three steps: pure functions, one number each."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.nn.feature_metric import relative_distance

FeatureMaps = Callable[[Tensor], Sequence[Tensor]]  # image [B,3,S,S] -> feature maps, shallow to deep


def masked_l1(
    images: Float[Tensor, "B 3 S S"],
    targets: Float[Tensor, "B 3 S S"],
    masks: Float[Tensor, "B 1 S S"],
    weights: Float[Tensor, " B"] | None = None,
) -> Float[Tensor, ""]:
    """Mean |difference| over the soft masks; `weights` (mean 1) says how much each image counts."""
    error = (images - targets).abs().mean(1, keepdim=True) * masks
    per_image = error.sum((1, 2, 3)) / masks.sum((1, 2, 3)).clamp_min(1.0)
    return per_image.mean() if weights is None else (per_image * weights).mean()


def feature_distance(
    images: Float[Tensor, "B 3 S S"], targets: Float[Tensor, "B 3 S S"], features: FeatureMaps
) -> Float[Tensor, ""]:
    """Relative distance of the discriminator's blocks (`gan.perceptual`); the targets' side carries no gradient.

    GAN2Shape section 3.3 uses the discriminator as perceptual metric in step 2; here also in place of LPIPS, which
    cannot be had offline.
    """
    with torch.no_grad():
        wanted = features(targets)
    return relative_distance(features(images), wanted)


def smoothness(depth: Float[Tensor, "B 1 S S"], half_range: float) -> Float[Tensor, ""]:
    """Mean |second difference| of the depth in units of its half-range, all four directions (published S2, as a
    mean).
    """
    d = depth / half_range
    xx = (d[..., :, 2:] - 2 * d[..., :, 1:-1] + d[..., :, :-2]).abs().mean()
    yy = (d[..., 2:, :] - 2 * d[..., 1:-1, :] + d[..., :-2, :]).abs().mean()
    xy = (d[..., 1:, 1:] - d[..., 1:, :-1] - d[..., :-1, 1:] + d[..., :-1, :-1]).abs().mean()
    return xx + yy + 2 * xy
