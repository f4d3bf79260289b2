"""Every term of the three steps' objectives: pure functions, one number each."""

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gan2shape.core.config import ShapeConfig, StepConfig, ViewPriorConfig
from gan2shape.core.devices import upload
from gan2shape.core.records import Render
from gan2shape.nn.feature_metric import relative_distance
from gan2shape.scene.render import visible_area
from gan2shape.shape.sampling import truncated_sd

FeatureMaps = Callable[[Tensor], Sequence[Tensor]]  # image [B,3,S,S] -> feature maps, shallow to deep
BASE_RESOLUTION = 64  # that `steps.smooth_weight` is of
MIN_SPREAD = 1e-12  # of squared angles, where views do not spread at all
PULL_UNIT_RAD = 0.1745  # angles count in units of 10 degrees, so that pulls on views and lights have comparable sizes


def masked_l1(
    images: Float[Tensor, "B 3 S S"], targets: Float[Tensor, "B 3 S S"], masks: Float[Tensor, "B 1 S S"]
) -> Float[Tensor, ""]:
    """Mean over images of the mean |difference| over each one's soft mask."""
    error = (images - targets).abs().mean(1, keepdim=True) * masks
    return (error.sum((1, 2, 3)) / masks.sum((1, 2, 3)).clamp_min(1.0)).mean()


def feature_distance(
    images: Float[Tensor, "B 3 S S"], targets: Float[Tensor, "B 3 S S"], features: FeatureMaps
) -> Float[Tensor, ""]:
    """Relative distance of the discriminator's blocks (`nn.feature_metric`); targets carry no gradient.

    GAN2Shape section 3.3 uses the discriminator as perceptual metric in step 2; here also in place of LPIPS, which
    cannot be had offline.
    """
    with torch.no_grad():
        target_maps = features(targets)
    return relative_distance(features(images), target_maps)


def smoothness(values: Float[Tensor, "B 1 S S"], unit: float) -> Float[Tensor, ""]:
    """Sum over the four directions of the mean |second difference| of a map in units of `unit` (published S2)."""
    d = values / unit
    xx = (d[..., :, 2:] - 2 * d[..., :, 1:-1] + d[..., :, :-2]).abs().mean()
    yy = (d[..., 2:, :] - 2 * d[..., 1:-1, :] + d[..., :-2, :]).abs().mean()
    xy = (d[..., 1:, 1:] - d[..., 1:, :-1] - d[..., :-1, 1:] + d[..., :-1, :-1]).abs().mean()
    return xx + yy + 2 * xy


def resolution_factor(config: ShapeConfig) -> float:
    """What weights of `smoothness` are multiplied by: second differences fall with the square of the pixel's size.

    The published losses have no such factor.
    """
    if config.ablation.losses == "published":
        return 1.0
    return (config.render.resolution / BASE_RESOLUTION) ** 2


def visible_difference(
    rendered: Render, images: Float[Tensor, "B 3 S S"], masks: Float[Tensor, "B 1 S S"], steps: StepConfig
) -> Float[Tensor, ""]:
    """Pixels where the render shows what the input shows of the object, and where its mask spills over the sample's.

    A height field has no flanks: rotated, it stretches from its outline to the background plane over what the input
    does not show. A projection's pixels there say nothing about the shape. Compared all the same, they pull outlines in
    until the stretch is gone.
    """
    shows = rendered.mask.detach() * compared_pixels(rendered, steps)
    loss = steps.pixel_weight * masked_l1(rendered.image, images, shows)
    if steps.mask_weight > 0:
        spilt = (rendered.mask - masks).clamp_min(0) * (shows > 0)
        loss = loss + steps.mask_weight * spilt.sum() / shows.sum().clamp_min(1.0)
    return loss


def compared_pixels(rendered: Render, steps: StepConfig) -> Bool[Tensor, "B 1 S S"]:
    """Pixels that show at least `min_visible_area` canonical pixels; all of them where that is 0."""
    if steps.min_visible_area == 0:
        return torch.ones_like(rendered.mask, dtype=torch.bool)
    return visible_area(rendered.grid) > steps.min_visible_area


def projection_loss(
    images: Float[Tensor, "B 3 S S"],
    offset: Float[Tensor, "B *L D"],
    pseudo: Render,
    features: FeatureMaps,
    steps: StepConfig,
) -> Float[Tensor, ""]:
    """Pixels inside the pseudo sample's mask, discriminator features of the whole, and |offset|^2 (GAN2Shape equation
    4).
    """
    error = (images - pseudo.image).abs().mean(1, keepdim=True)
    pixel = (error * pseudo.mask).sum() / pseudo.mask.sum().clamp_min(1.0)
    return (
        steps.pixel_weight * pixel
        + steps.projection_feature_weight * feature_distance(images, pseudo.image, features)
        + steps.latent_weight * offset.square().mean()
    )


def view_spread_loss(views: Float[Tensor, "B 6"], prior: ViewPriorConfig) -> Float[Tensor, ""]:
    """How far the spread of estimated yaws and pitches is from that of the target ones: squared relative error of
    their rms.

    Depth scale and yaw are one gauge at a narrow field of view: a deeper shape whose yaw is smaller looks the same. The
    spread of the views is known, because we sampled them, even where no single one is; it fixes the gauge.
    """
    sd_deg = upload(torch.tensor([prior.pitch_sd_deg, prior.yaw_sd_deg], dtype=views.dtype), views.device)
    target = truncated_sd(prior.limit_sd) * sd_deg * (math.pi / 180)
    estimated = views[:, :2].square().mean(0).clamp_min(MIN_SPREAD).sqrt()  # sqrt has no gradient at 0
    return (estimated / target.clamp_min(1e-3) - 1.0).square().sum()


def view_error(estimated: Float[Tensor, "B 6"], target: Float[Tensor, "B 6"]) -> Float[Tensor, "B 3"]:
    """Difference of the three angles in units of 10 degrees."""
    return (estimated[:, :3] - target[:, :3]) / PULL_UNIT_RAD
