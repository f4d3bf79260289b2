"""Render a height field with its texture in any view, differentiably.

Method (Pan et al. 2021 §3.1, after Wu et al. 2020): the canonical depth is a grid mesh; its DEPTH is rasterised in the
target view; each target pixel's surface point is moved back and projected into the canonical image, where `grid_sample`
fetches the colour that was shaded there. Colour gradients never go through the rasteriser.

Why the grid comes from the target depth and not from interpolated canonical coordinates: both are the same function of
depth and view (the point lies on the same triangle), so they have the same gradients; this way needs one interpolated
number a pixel, and rounding errors run along the viewing ray, so that the identity view is exact.

`render` is the one renderer: the method, the tests and the benchmark call it. Conventions: `camera` and `light`; grids
are in [-1, 1] with `align_corners=False`. The mesh: `height_field`.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gan2shape.core.config import DEFAULT_BACKEND
from gan2shape.core.records import Render, Scene
from gan2shape.scene import pytorch3d_raster
from gan2shape.scene.camera import DEFAULT_FOV_DEG, focal_px, move_depth, pixel_slopes, rigid, rigid_back
from gan2shape.scene.canvas import Canvas
from gan2shape.scene.height_field import border_slopes, pad_depth, rasterize_grid
from gan2shape.scene.light import apply_light, normals_from_depth, shade

DEFAULT_DEPTH_RANGE = (0.9, 1.1)  # canonical depth lives in 1 +- 0.1


def render_depth(
    depth: Float[Tensor, "#B 1 S S"],
    view: Float[Tensor, "#B 6"],
    fov_deg: float = DEFAULT_FOV_DEG,
    out_size: int | None = None,
    *,
    far: float = DEFAULT_DEPTH_RANGE[1],
    backend: str = DEFAULT_BACKEND,
) -> tuple[Float[Tensor, "#B 1 H H"], Float[Tensor, "#B 1 H H"], Float[Tensor, "#B H H 2"]]:
    """Depth, mask and sampling grid of a height field in `view`.

    Args:
        depth: canonical depth; a single depth, or a single view, is shared by all.
        out_size: resolution of the target image (same field of view); default S.
        far: target depth of pixels that the surface does not cover.
        backend: the rasteriser, torch or pytorch3d (of which UserErrors come where it cannot be imported).
    Returns: z in the target camera, coverage in {0, 1}, and the canonical coordinates of each pixel's surface point.
    Depth and grid are differentiable in `depth` and `view`; the mask has no gradient.
    """
    size = depth.shape[-1]
    out_size = out_size or size
    slope = border_slopes(size, fov_deg, depth)
    x, y, z = move_depth(pad_depth(depth), slope, slope, *rigid(view))
    focal, centre = focal_px(out_size, fov_deg), out_size / 2
    rasterize = rasterize_grid if backend == DEFAULT_BACKEND else pytorch3d_raster.rasterize_grid
    found, covered = rasterize(x / z * focal + centre, y / z * focal + centre, z, out_size, out_size)
    target = torch.where(covered, found, far)[:, None]
    return target, covered[:, None].to(depth.dtype), sampling_grid(target, view, fov_deg)


def sampling_grid(
    target: Float[Tensor, "#B 1 H H"], view: Float[Tensor, "#B 6"], fov_deg: float = DEFAULT_FOV_DEG
) -> Float[Tensor, "#B H H 2"]:
    """Canonical image coordinates in [-1, 1] of the points that a depth map in `view` shows; differentiable in both."""
    size = target.shape[-1]
    slope = pixel_slopes(size, fov_deg, target)
    x, y, z = move_depth(target[:, 0], slope, slope, *rigid_back(view))
    # The pixel's own place plus its displacement: the identity view displaces by exactly zero, whatever the rounding.
    own = (torch.arange(size, device=target.device, dtype=target.dtype) + 0.5) * (2 / size) - 1
    unit = z * math.tan(math.radians(fov_deg) / 2)
    return torch.stack([own + (x - slope * z) / unit, own[:, None] + (y - slope[:, None] * z) / unit], -1)


def visible_area(grid: Float[Tensor, "B H W 2"]) -> Float[Tensor, "B 1 H W"]:
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


def render(
    depth: Float[Tensor, "#B 1 S S"],
    albedo: Float[Tensor, "#B 3 S S"],
    shading: Float[Tensor, "#B 1 S S"],
    views: Float[Tensor, "#B 6"],
    fov_deg: float = DEFAULT_FOV_DEG,
    canvas: Canvas | None = None,
    *,
    far: float = DEFAULT_DEPTH_RANGE[1],
    linear: bool = False,
    backend: str = DEFAULT_BACKEND,
) -> Render:
    """One scene, or B, shaded in the canonical frame and seen in B views.

    canvas: where the object is and what lies behind it; without, all of the height field is object, and uncovered
    pixels repeat its border. far: depth of uncovered pixels. linear: shade in linear light.
    backend: as of `render_depth`.
    """
    texture = apply_light(albedo, shading, linear=linear)
    target_depth, covered, grid = render_depth(depth, views, fov_deg, far=far, backend=backend)
    if canvas is None:
        return Render(warp(texture, grid), covered, target_depth, covered, grid)
    # Colour times coverage is fetched, so that no pixel of the background behind the outline comes along.
    layers = torch.cat([canvas.mask * texture, canvas.mask.expand(len(texture), -1, -1, -1)], 1)
    seen = covered * warp(layers, grid)
    mask = seen[:, 3:]
    image = seen[:, :3] + (1 - mask) * canvas.background
    return Render(image.clamp(-1, 1), mask, target_depth, covered, grid)


def render_scene(
    scene: Scene,
    views: Float[Tensor, "#B 6"],
    lights: Float[Tensor, "#B 4"],
    fov_deg: float = DEFAULT_FOV_DEG,
    canvas: Canvas | None = None,
    **options,
) -> Render:
    """`render` of a scene's depth and albedo under B lights of the canonical frame: shaded texture does not depend on
    the view.
    """
    shading = shade(normals_from_depth(scene.depth, fov_deg), lights)
    return render(scene.depth, scene.albedo, shading, views, fov_deg, canvas, **options)


def render_input_view(
    albedo: Float[Tensor, "#B 3 S S"], shading: Float[Tensor, "#B 1 S S"], canvas: Canvas
) -> Float[Tensor, "B 3 S S"]:
    """The scene in the input's own view, under one light or B. The canonical frame is that view: nothing is warped."""
    texture = apply_light(albedo, shading)
    return (canvas.mask * texture + (1 - canvas.mask) * canvas.background).clamp(-1, 1)


def warp(image: Float[Tensor, "#B C S S"], grid: Float[Tensor, "#B H W 2"]) -> Float[Tensor, "#B C H W"]:
    """Fetch `image` at `grid` (inverse warp): bilinear, border colours repeated outside. One of either is shared."""
    batch = max(len(image), len(grid))
    image, grid = image.expand(batch, -1, -1, -1), grid.expand(batch, -1, -1, -1)
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)
