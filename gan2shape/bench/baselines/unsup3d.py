"""The objective of unsup3d (Wu, Rupprecht and Vedaldi, CVPR 2020, section 3).

An image is depth, albedo, light and view of a symmetric object. Both the object and its mirror image, seen in the same
view under the same light, have to explain it; for each pixel the network says how well either can. Discriminator
features stand in for VGG's; both terms are negative log likelihoods, of Laplace (pixels) and normal distributions
(features).
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from gan2shape.nn.depth_baselines import FEATURE_STRIDE, Unsup3d
from gan2shape.nn.feature_metric import FEATURE_FLOOR, FeatureMetric
from gan2shape.scene.light import normals_from_depth, shade
from gan2shape.scene.render import render

FLIP_WEIGHT = 0.5  # of the mirror image's terms (published)


def explained(
    network: Unsup3d, image: Float[Tensor, "B 3 S S"]
) -> tuple[Float[Tensor, "N 3 S S"], Float[Tensor, "N 1 S S"]]:
    """(renders, where something is seen in both) of the objects and then of their mirror images; N = 2 B."""
    both = [torch.cat([part, part.flip(-1)]) for part in (network.canonical_depth(image), network.albedo(image))]
    light, view = (part.repeat(2, 1) for part in (network.light(image), network.view(image)))
    seen = render(both[0], both[1], shade(normals_from_depth(both[0]), light), view)
    covered = seen.mask.detach()
    direct, mirrored = covered.chunk(2)
    return seen.image, (direct * mirrored).repeat(2, 1, 1, 1)


def laplace(
    error: Float[Tensor, "B C S S"], scale: Float[Tensor, "B 1 S S"], shown: Float[Tensor, "B 1 S S"]
) -> Float[Tensor, ""]:
    """Mean over what is shown of sqrt 2 |error| / scale + log scale (equation 3, without its constant)."""
    loss = (math.sqrt(2) * error.abs() / scale + scale.log()) * shown
    return loss.sum() / (shown.sum() * error.shape[1]).clamp_min(1)


def normal(
    error: Float[Tensor, "B C H W"], scale: Float[Tensor, "B 1 H W"], shown: Float[Tensor, "B 1 H W"]
) -> Float[Tensor, ""]:
    """Mean over what is shown of error^2 / (2 scale^2) + log scale (equation 7, without its constant)."""
    loss = (error.square() / (2 * scale.square()) + scale.log()) * shown
    return loss.sum() / (shown.sum() * error.shape[1]).clamp_min(1)


def feature_maps(metric: FeatureMetric, image: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B C H W"]:
    """The metric's first maps whose places are FEATURE_STRIDE pixels wide or wider."""
    for n in range(1, metric.n_blocks_at(image.shape[-1]) + 1):
        maps = metric.features(image, n)[-1]
        if maps.shape[-1] * FEATURE_STRIDE <= image.shape[-1]:
            break
    return maps


def unsup3d_terms(
    network: Unsup3d, image: Float[Tensor, "B 3 S S"], metric: FeatureMetric | None, feature_weight: float
) -> dict[str, Float[Tensor, ""]]:
    """Everything that is lowered, weighed; equation 5 with the perceptual term of section 3.4."""
    renders, shown = explained(network, image)
    pixel_scales, feature_scales = network.scales(image)
    weights = (1.0, FLIP_WEIGHT)
    sides = list(zip(renders.chunk(2), shown.chunk(2), weights, strict=True))
    terms = {
        "pixel": sum(
            weight * laplace(made - image, pixel_scales[:, i : i + 1], seen)
            for i, (made, seen, weight) in enumerate(sides)
        )
    }
    if metric is None or feature_weight == 0:
        return terms
    with torch.no_grad():
        wanted = feature_maps(metric, image)
        unit = wanted.abs().mean().clamp_min(FEATURE_FLOOR)
    size = wanted.shape[-2:]
    scales = F.interpolate(feature_scales, size, mode="bilinear", align_corners=False)
    terms["feature"] = feature_weight * sum(
        weight
        * normal((feature_maps(metric, made) - wanted) / unit, scales[:, i : i + 1], F.adaptive_avg_pool2d(seen, size))
        for i, (made, seen, weight) in enumerate(sides)
    )
    return terms
