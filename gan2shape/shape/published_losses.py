"""The losses of the three steps as published (Pan et al. 2021, section 3.3), for `ablation.losses=published`.

One term is substituted: the paper's LPIPS (VGG16) needs weights that cannot be had offline, so `feature_distance` (the
discriminator's first blocks) takes its place with the published weight. Images are in [-1, 1]; masks say which pixels
count, and a batch is averaged over all its masked pixels together.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from gan2shape.core.config import StepConfig
from gan2shape.core.records import Render
from gan2shape.shape.losses import FeatureMaps, feature_distance


def masked_mean(values: Float[Tensor, "B C H W"], masks: Float[Tensor, "B 1 H W"]) -> Float[Tensor, ""]:
    """Mean of `values` over channels and masked pixels of the whole batch."""
    return (values.mean(1, keepdim=True) * masks).sum() / masks.sum().clamp_min(1.0)


def reconstruction_loss(
    images: Float[Tensor, "B 3 S S"],
    targets: Float[Tensor, "B 3 S S"],
    masks: Float[Tensor, "B 1 S S"],
    features: FeatureMaps | None,
    steps: StepConfig,
) -> Float[Tensor, ""]:
    """Steps 1 and 3: masked L1, and a perceptual distance of the images times their mask."""
    loss = steps.pixel_weight * masked_mean((images - targets).abs(), masks)
    if features is not None and steps.feature_weight > 0:
        loss = loss + steps.feature_weight * feature_distance(images * masks, targets * masks, features)
    return loss


def sample_loss(
    rendered: Render,
    images: Float[Tensor, "B 3 S S"],
    masks: Float[Tensor, "B 1 S S"],
    features: FeatureMaps | None,
    steps: StepConfig,
) -> Float[Tensor, ""]:
    """Step 3: the render against projected samples, where the surface is seen and the pseudo sample's mask is."""
    return reconstruction_loss(rendered.image, images, rendered.covered * masks, features, steps)


def discriminator_distance(
    images: Float[Tensor, "B 3 S S"],
    targets: Float[Tensor, "B 3 S S"],
    masks: Float[Tensor, "B 1 S S"],
    features: FeatureMaps,
) -> Float[Tensor, ""]:
    """Step 2: sum over discriminator blocks of the masked mean |f - f'|; the mask is averaged down to each map's
    resolution. Targets carry no gradient.
    """
    with torch.no_grad():
        target_maps = features(targets)
    total = images.new_zeros(())
    for ours, theirs in zip(features(images), target_maps, strict=True):
        total = total + masked_mean((ours - theirs).abs(), functional.adaptive_avg_pool2d(masks, ours.shape[-2:]))
    return total


def projection_loss(
    images: Float[Tensor, "B 3 S S"],
    offset: Float[Tensor, "B D"],
    pseudo: Render,
    features: FeatureMaps,
    steps: StepConfig,
) -> Float[Tensor, ""]:
    """Step 2: masked L1, discriminator features, and mean(offset^2) of the offsets of w themselves."""
    return (
        steps.pixel_weight * masked_mean((images - pseudo.image).abs(), pseudo.mask)
        + steps.projection_feature_weight * discriminator_distance(images, pseudo.image, pseudo.mask, features)
        + steps.latent_weight * offset.square().mean()
    )
