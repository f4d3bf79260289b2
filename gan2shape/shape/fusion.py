"""What the category's networks see of an object from other sides, brought back to its own view and averaged.

A depth network shrinks what it is unsure of: a car seen from the front comes out too short. Turned by the generator to
a three-quarter view, the same car is measured well. So the object is drawn under a few turns to both sides, projected
onto the generator, measured there, and each depth map is turned back; the mean of all is better than any of them, since
what a turn falls short of to the left it falls short of to the right.

Depth maps carry no mean distance: each one is moved to where the others are.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from gan2shape.core.config import ShapeConfig
from gan2shape.prior.masked_generator import MaskedGenerator
from gan2shape.scene.camera import (
    intrinsics,
    move,
    move_back,
    project,
    unproject,
)
from gan2shape.scene.pseudo import draw
from gan2shape.shape.stages import Target

N_FOLLOWED = 4  # rounds of looking where in a turned map a point is seen, which the depth that is looked for decides
DAMPING = 0.7  # part of the way that each of them goes: whole steps swing where a slope nears a right angle


@torch.no_grad()
def seen_from_around(
    depth: Float[Tensor, "1 1 S S"],
    measure: Callable[[Tensor], Tensor],
    target: Target,
    generator: MaskedGenerator,
    config: ShapeConfig,
) -> Float[Tensor, "1 1 S S"]:
    """Mean of `depth` and what `measure` (images to depth maps) says of projections of it under
    `prior_shape.turns_deg`, turned back.

    Colours stay as they are in the input while it turns: the lamp turns with the object. A projection is what the
    pack's encoder sees, and nothing of what it misses in the input: form is measured here, and likeness does not
    matter (first 24 validation cars: SIDE .76, .78 with `steps.residual_kept` of it, .85 with all).
    """
    views = turns(config.prior_shape.turns_deg, depth)
    lit = torch.ones_like(depth).expand(len(views), -1, -1, -1)
    drawn = draw(depth, target.surface, lit, target.canvas, views, config.render)
    projected, _ = generator(generator.prior.guess_latent(drawn.image))
    back = turned_back(measure(projected), views, depth, target.canvas.mask, config.render.fov_deg)
    return torch.cat([depth, back]).mean(0, keepdim=True)


def turns(yaws_deg: tuple[float, ...], like: Tensor) -> Float[Tensor, "N 6"]:
    """Views that only turn."""
    views = like.new_zeros(len(yaws_deg), 6)
    views[:, 1] = like.new_tensor([math.radians(yaw_deg) for yaw_deg in yaws_deg])
    return views


def turned_back(
    seen: Float[Tensor, "N 1 S S"],
    views: Float[Tensor, "N 6"],
    start: Float[Tensor, "1 1 S S"],
    mask: Float[Tensor, "1 1 S S"],
    fov_deg: float,
) -> Float[Tensor, "N 1 S S"]:
    """Depth maps of turned objects as maps of the canonical view, each at `start`'s mean distance inside `mask`.

    Where a canonical pixel's point is seen in a turned map depends on its depth, which is what is looked for: the
    search begins at `start` and follows what it finds. Points that are hidden in the turned view take the depth of what
    hides them; a mean over turns to both sides keeps that small.
    """
    size = start.shape[-1]
    camera = intrinsics(size, fov_deg).to(start)
    weight = mask / mask.sum().clamp_min(1.0)
    depth = start.expand(len(views), -1, -1, -1)
    for _ in range(N_FOLLOWED):
        points = move(unproject(depth, camera).flatten(1, 2), views)
        places = project(points, camera)[..., :2] / size * 2 - 1
        places = places.unflatten(1, (size, size))
        there = functional.grid_sample(seen, places, padding_mode="border", align_corners=False).flatten(1)
        gap = there - points[..., 2]
        z = points[..., 2] + gap - (gap * weight.flatten()).sum(1, keepdim=True)
        found = move_back(points * (z / points[..., 2])[..., None], views)[..., 2].reshape_as(depth)
        depth = depth + DAMPING * (found - depth)
        depth = depth - (weight * (depth - start)).sum((1, 2, 3), keepdim=True)
    return depth
