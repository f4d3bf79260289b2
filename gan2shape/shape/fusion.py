"""Multi-view fusion: depth maps of an object in other views, brought back to the input's view and averaged.

A depth network shrinks what it is unsure of: a car seen from the front comes out too short. Rotated by the generator to
a three-quarter view, the same car is measured well. So the object is rendered at a few yaws to the left and right,
projected onto the generator, measured there, and each depth map is brought back. The mean is better than any of them,
since errors of view changes to the left and to the right are opposite.

Depth maps carry no mean distance: each one is moved to the mean distance of the initial one.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from gan2shape.core.config import RenderConfig
from gan2shape.prior.masked_generator import MaskedGenerator
from gan2shape.scene.camera import intrinsics, move, move_back, project, unproject, yaw_views
from gan2shape.scene.render import render
from gan2shape.shape.state import Target

N_ROUNDS = 4  # of looking up where another view sees a point, which depends on the depth that is sought
DAMPING = 0.7  # part of the way that each of them goes: whole steps swing where a slope nears a right angle


@torch.no_grad()
def fused_depth(
    depth: Float[Tensor, "1 1 S S"],
    measure: Callable[[Tensor], Tensor],
    target: Target,
    generator: MaskedGenerator,
    yaws_deg: tuple[float, ...],
    camera: RenderConfig,
) -> Float[Tensor, "1 1 S S"]:
    """Mean of `depth` and of what `measure` (images to depth maps) gives for projections of it at `yaws_deg`, brought
    back.

    Colours stay as they are in the input while it rotates: the light rotates with the object. A projection is what the
    pack's encoder sees, without its residual in the input: form is measured here, and likeness does not matter
    (docs/trials.md).
    """
    views = yaw_views(yaws_deg, depth)
    lit = torch.ones_like(depth).expand(len(views), -1, -1, -1)
    fov_deg = camera.fov_deg
    rendered = render(depth, target.surface, lit, views, fov_deg, target.canvas, backend=camera.backend)
    projected, _ = generator(generator.prior.guess_latent(rendered.image))
    back = to_canonical(measure(projected), views, depth, target.canvas.mask, fov_deg)
    return torch.cat([depth, back]).mean(0, keepdim=True)


def to_canonical(
    seen: Float[Tensor, "N 1 S S"],
    views: Float[Tensor, "N 6"],
    initial: Float[Tensor, "1 1 S S"],
    mask: Float[Tensor, "1 1 S S"],
    fov_deg: float,
) -> Float[Tensor, "N 1 S S"]:
    """Depth maps of other views as maps of the canonical view, each at `initial`'s mean distance inside `mask`.

    Where a canonical pixel's point is seen in such a map depends on its depth, which is sought: a fixed-point iteration
    from `initial`. Points that are hidden in the other view take the depth of what hides them; a mean over yaws to the
    left and right keeps that small.
    """
    size = initial.shape[-1]
    camera = intrinsics(size, fov_deg).to(initial)
    weight = mask / mask.sum().clamp_min(1.0)
    depth = initial.expand(len(views), -1, -1, -1)
    for _ in range(N_ROUNDS):
        points = move(unproject(depth, camera).flatten(1, 2), views)
        places = project(points, camera)[..., :2] / size * 2 - 1
        places = places.unflatten(1, (size, size))
        there = functional.grid_sample(seen, places, padding_mode="border", align_corners=False).flatten(1)
        gap = there - points[..., 2]
        z = points[..., 2] + gap - (gap * weight.flatten()).sum(1, keepdim=True)
        estimate = move_back(points * (z / points[..., 2])[..., None], views)[..., 2].reshape_as(depth)
        depth = depth + DAMPING * (estimate - depth)
        depth = depth - (weight * (depth - initial)).sum((1, 2, 3), keepdim=True)
    return depth
