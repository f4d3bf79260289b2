"""What an edit carries along from the input, and what the generator has to make up.

A generator as small as ours shows a similar object; the input's own pixels are better wherever an edit still shows
them. So effect-GAN is the input's surface, turned and relit (effect-3D), where that can be believed, and the
generator's image elsewhere: at flanks that the input hides, where the surface is stretched, behind outlines, and where
the two disagree. They disagree where turning the surface and turning the latent do not do the same: a height field may
turn wrongly. Detail that the generator has missed in the input already is no disagreement.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.core.records import Render
from gan2shape.edit.controls import Pose
from gan2shape.scene.render import visible_area, warp

FULL_DEG = 10.0  # of the angle between the view and the input's: from here on a pose is another view
LEAST_AREA = 0.5  # canonical pixels that a target pixel shows, below which the surface is stretched
BLUR_FRACTION = 1 / 32  # of the image's width: standard deviation over which the two are compared
DISAGREEMENT = 0.3  # between the two: chosen on validation objects (docs/trials.md)


def turned_part(poses: Sequence[Pose], like: Tensor) -> Float[Tensor, " N"]:
    """How much of another view a pose is: 0 in the input's, 1 from `FULL_DEG`."""
    angles = [math.hypot(pose.yaw_deg, pose.pitch_deg, pose.roll_deg) for pose in poses]
    return like.new_tensor([min(1.0, angle / FULL_DEG) for angle in angles])


def is_whole(rendered: Render) -> Float[Tensor, "N 1 S S"]:
    """1 where a render shows the surface as densely as the input does, less where it is stretched, 0 off it."""
    return rendered.covered * (visible_area(rendered.grid) / LEAST_AREA).clamp(0, 1)


def with_seen_surface(
    images: Float[Tensor, "N 3 S S"],
    masks: Float[Tensor, "N 1 S S"],
    shown: Render,
    missed: Float[Tensor, "1 3 S S"],
    disagreement: float = DISAGREEMENT,
) -> Float[Tensor, "N 3 S S"]:
    """Images of the generator with the input's surface where that is seen and believed.

    masks: of the object in them. shown: effect-3D. missed: input less the generator's image of it. disagreement:
    distance of two colours at which the surface has lost two thirds of its say.
    """
    believed = surface_share(images, masks, shown, missed, disagreement)
    return torch.lerp(images, shown.image, believed).clamp(-1, 1)


def surface_share(
    images: Float[Tensor, "N 3 S S"],
    masks: Float[Tensor, "N 1 S S"],
    shown: Render,
    missed: Float[Tensor, "1 3 S S"],
    disagreement: float = DISAGREEMENT,
) -> Float[Tensor, "N 1 S S"]:
    """How much of each pixel is the input's surface (or background), in [0, 1]."""
    surface = is_whole(shown) * torch.minimum(masks, shown.mask)
    background = 1 - torch.maximum(masks, shown.mask)
    apart = _blurred(shown.image - images - warp(missed, shown.grid))
    return (surface + background) * torch.exp(-apart.square().sum(1, keepdim=True) / disagreement**2)


def _blurred(images: Float[Tensor, "N 3 S S"]) -> Float[Tensor, "N 3 S S"]:
    from kornia.filters import gaussian_blur2d  # late: it takes a second

    sigma = images.shape[-1] * BLUR_FRACTION
    size = 2 * round(3 * sigma) + 1
    return gaussian_blur2d(images, (size, size), (sigma, sigma), border_type="replicate")


def with_detail(
    images: Float[Tensor, "N 3 S S"],
    masks: Float[Tensor, "N 1 S S"],
    rendered: Render,
    poses: Sequence[Pose],
    missed: Float[Tensor, "1 3 S S"],
) -> Float[Tensor, "N 3 S S"]:
    """Images of the generator with what its inversion `missed` in the input, where the surface has moved to."""
    kept = (1 - turned_part(poses, images))[:, None, None, None]
    if not bool((kept > 0).any()):
        return images
    moved = warp(missed, rendered.grid) * is_whole(rendered)
    both = torch.minimum(masks, rendered.mask)
    stays = (kept == 1).to(both)  # in the input's own view the background's detail stays too
    return (images + kept * moved * torch.maximum(both, stays)).clamp(-1, 1)
