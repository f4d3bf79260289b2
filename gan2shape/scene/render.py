"""Draw a height field with its texture in any view, differentiably.

Method (Pan et al. 2021 §3.1, after Wu et al. 2020): the canonical depth is a grid mesh; its DEPTH is rasterised in the
target view; each target pixel's surface point is moved back and projected into the canonical image, where `grid_sample`
fetches the colour that was shaded there. Colour gradients never go through the rasteriser.

Why the grid comes from the target depth and not from interpolated canonical coordinates: both are the same function of
depth and view (the point lies on the same triangle), so they have the same gradients; this way needs one interpolated
number a pixel, and rounding errors run along the viewing ray, so that the identity view is exact.

Conventions: `camera` and `light`; grids are in [-1, 1] with `align_corners=False`. The mesh: `height_field`.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gan2shape.core.records import Render, Scene
from gan2shape.scene.camera import (
    DEFAULT_FOV_DEG,
    focal_px,
    move_depth,
    pixel_slopes,
    rigid,
    rigid_back,
)
from gan2shape.scene.height_field import (
    border_slopes,
    grid_faces,
    pad_depth,
    rasterize_grid,
)
from gan2shape.scene.light import apply_light, normals_from_depth, shade

__all__ = ["grid_faces", "render_depth", "render_scene", "sampling_grid", "warp", "warp_mask"]

DEFAULT_DEPTH_RANGE = (0.9, 1.1)  # canonical depth lives in 1 +- 0.1


def render_depth(
    depth: Float[Tensor, "#B 1 S S"],
    view: Float[Tensor, "#B 6"],
    fov_deg: float = DEFAULT_FOV_DEG,
    out_size: int | None = None,
    *,
    far: float = DEFAULT_DEPTH_RANGE[1],
) -> tuple[Float[Tensor, "#B 1 H H"], Float[Tensor, "#B 1 H H"], Float[Tensor, "#B H H 2"]]:
    """Depth, mask and sampling grid of a height field in `view`.

    Args:
        depth: canonical depth; a single depth, or a single view, is shared by all.
        out_size: side of the target image (same field of view); default S.
        far: target depth of pixels that the surface does not cover.
    Returns: z in the target camera, coverage in {0, 1}, and the canonical coordinates of each pixel's surface point.
    Depth and grid are differentiable in `depth` and `view`; the mask has no gradient.
    """
    size = depth.shape[-1]
    out_size = out_size or size
    slope = border_slopes(size, fov_deg, depth)
    x, y, z = move_depth(pad_depth(depth), slope, slope, *rigid(view))
    focal, centre = focal_px(out_size, fov_deg), out_size / 2
    found, covered = rasterize_grid(x / z * focal + centre, y / z * focal + centre, z, out_size, out_size)
    target = torch.where(covered, found, far)[:, None]
    return target, covered[:, None].to(depth.dtype), sampling_grid(target, view, fov_deg)


def sampling_grid(
    target: Float[Tensor, "#B 1 H H"], view: Float[Tensor, "#B 6"], fov_deg: float = DEFAULT_FOV_DEG
) -> Float[Tensor, "#B H H 2"]:
    """Canonical image coordinates in [-1, 1] of the points that a depth map in `view` shows; differentiable in both."""
    side = target.shape[-1]
    slope = pixel_slopes(side, fov_deg, target)
    x, y, z = move_depth(target[:, 0], slope, slope, *rigid_back(view))
    # The pixel's own place plus its displacement: the identity view displaces by exactly zero, whatever the rounding.
    own = (torch.arange(side, device=target.device, dtype=target.dtype) + 0.5) * (2 / side) - 1
    unit = z * math.tan(math.radians(fov_deg) / 2)
    return torch.stack([own + (x - slope * z) / unit, own[:, None] + (y - slope[:, None] * z) / unit], -1)


def shown_area(grid: Float[Tensor, "B H W 2"]) -> Float[Tensor, "B 1 H W"]:
    """Canonical pixels that each target pixel shows: the least over its four pairs of neighbours, from `sampling_grid`.

    1 in the canonical view; more where the surface is foreshortened; far less than 1 where it is stretched over what
    the canonical view does not show, from an outline to what lies behind it. No gradient.
    """
    place = grid.detach() * (grid.shape[1] / 2)
    across, down = place[:, :, 1:] - place[:, :, :-1], place[:, 1:] - place[:, :-1]
    sides = (torch.cat([across, across[:, :, -1:]], 2), torch.cat([across[:, :, :1], across], 2))
    ends = (torch.cat([down, down[:, -1:]], 1), torch.cat([down[:, :1], down], 1))
    areas = [a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0] for a in sides for b in ends]
    return torch.stack(areas).amin(0)[:, None]


def render_scene(
    scene: Scene,
    fov_deg: float = DEFAULT_FOV_DEG,
    *,
    depth_range: tuple[float, float] = DEFAULT_DEPTH_RANGE,
    linear: bool = False,
) -> Render:
    """Draw B views of a scene. Shading uses canonical normals and light, so shaded texture does not depend on the view.

    `depth_range[1]` is the depth of uncovered pixels; their colour is the canonical image where that far plane would be
    seen. A scene whose depth is one map expanded to B (stride 0) computes its normals once.
    """
    depth = scene.depth[:1] if len(scene.depth) > 1 and scene.depth.stride(0) == 0 else scene.depth
    shading = shade(normals_from_depth(depth, fov_deg), scene.light)
    image = apply_light(scene.albedo, shading, linear=linear)
    target, mask, grid = render_depth(depth, scene.view, fov_deg, far=depth_range[1])
    return Render(image=warp(image, grid), depth=target, mask=mask, grid=grid)


def warp(image: Float[Tensor, "#B C S S"], grid: Float[Tensor, "#B H W 2"]) -> Float[Tensor, "#B C H W"]:
    """Fetch `image` at `grid` (inverse warp): bilinear, border colours repeated outside. One of either is shared."""
    batch = max(len(image), len(grid))
    image, grid = image.expand(batch, -1, -1, -1), grid.expand(batch, -1, -1, -1)
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)


def warp_mask(
    mask: Float[Tensor, "#B 1 S S"], grid: Float[Tensor, "#B H W 2"], covered: Float[Tensor, "#B 1 H W"]
) -> Float[Tensor, "#B 1 H W"]:
    """Forward warp of a canonical mask: where the masked part of the surface is seen in the target view.

    `grid` and `covered` come from `render_depth`, which has already decided what hides what; the mask is 0 off the
    surface.
    """
    return warp(mask, grid) * covered
