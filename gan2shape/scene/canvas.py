"""The input taken apart into object and background, so that a rotated outline has no halo.

Masks are coverages: image = mask x colour + (1 - mask) x background (Porter and Duff 1984, `over`).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

RIM_COVERAGE = 0.5  # coverage of a neighbour from which a pixel is taken to hold some of the object
MIN_COVERAGE = 0.25  # least coverage that a mixed colour is divided by


@dataclass(frozen=True)
class Canvas:
    """What stays the same while the scene is learnt: where the object is in the input, and what lies behind it."""

    mask: Float[Tensor, "#B 1 S S"]  # canonical object mask, in [0, 1]
    background: Float[Tensor, "#B 3 S S"]  # image without the object, in [-1, 1]


def widen_mask(mask: Float[Tensor, "B 1 S S"]) -> Float[Tensor, "B 1 S S"]:
    """The mask with its anti-aliased rim made solid and a pixel beyond half covered: nothing of the object outside."""
    grown = functional.max_pool2d(mask, 3, stride=1, padding=1)
    return (grown / RIM_COVERAGE).clamp(max=1.0)


def fill_background(
    image: Float[Tensor, "1 3 S S"], mask: Float[Tensor, "1 1 S S"], sigma_fraction: float = 0.25
) -> Float[Tensor, "1 3 S S"]:
    """The image with its object replaced by a wide Gaussian average of what surrounds it (normalised convolution).

    The object's rim is replaced too: it would stay behind as a ghost of the outline when the object rotates.
    """
    size = image.shape[-1]
    centres = torch.arange(size, device=image.device, dtype=image.dtype)
    kernel = torch.exp(-0.5 * ((centres[:, None] - centres[None, :]) / (sigma_fraction * size)).square())
    cover = widen_mask(mask)
    keep = (1.0 - cover).clamp_min(1e-4)
    blurred = kernel @ (image * keep) @ kernel
    average = blurred / (kernel @ keep @ kernel)
    return image * (1 - cover) + average * cover


def unmix_background(
    image: Float[Tensor, "B 3 S S"], mask: Float[Tensor, "B 1 S S"], background: Float[Tensor, "B 3 S S"]
) -> Float[Tensor, "B 3 S S"]:
    """The object's own colour. Where the mask is thin, noise would be blown up: there the colour moves only part of
    the way.
    """
    return ((image - (1 - mask) * background) / mask.clamp_min(MIN_COVERAGE)).clamp(-1, 1)


def over_background(
    background: Float[Tensor, "#B 3 S S"], images: Float[Tensor, "B 3 S S"], masks: Float[Tensor, "B 1 S S"]
) -> Float[Tensor, "B 3 S S"]:
    """The objects of `images` over one background. With it behind both compared images, silhouettes that differ cost
    their contrast, and nothing else outside the object does.
    """
    cover = widen_mask(masks)
    return cover * images + (1 - cover) * background
