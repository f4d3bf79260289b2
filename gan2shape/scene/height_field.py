"""The depth map as a mesh: its grid of triangles, and a rasteriser that knows the grid.

Mesh vertices are the pixel centres plus a ring on the image border (half a pixel out, depth repeated), so that the
identity view covers every pixel: (S + 2)^2 vertices, row-major. Each cell of four vertices a b / c d (a top left, b
below it, c right of it) holds the triangles (a, b, c) and (d, c, b), whose normals face the camera. Corners follow from
a cell's number by arithmetic, and whole-batch arrays are swept as shifted slices: no face list, no gathering.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from gan2shape.scene.camera import focal_px
from gan2shape.scene.zbuffer import (
    Boxes,
    boxes,
    empty_keys,
    interpolate_at_pixels,
    projected_vertices,
    rasterize_boxes,
    winners,
)


def grid_faces(size: int, device: torch.device | str | None = None) -> Int[Tensor, "F 3"]:
    """The 2 (size - 1)^2 triangles of a size x size vertex grid (row-major); their normals face the camera."""
    index = torch.arange(size * size, device=device).view(size, size)
    a, b, c, d = index[:-1, :-1], index[1:, :-1], index[:-1, 1:], index[1:, 1:]
    return torch.stack([torch.stack([a, b, c], -1), torch.stack([d, c, b], -1)], 2).reshape(-1, 3)


def border_slopes(size: int, fov_deg: float, like: Tensor) -> Float[Tensor, " V"]:
    """Ray slopes x/z of the columns (and y/z of the rows) of the vertex grid of a size x size depth map."""
    at = torch.arange(-1, size + 1, device=like.device, dtype=like.dtype).add_(0.5).clamp_(0, size)
    return (at - size / 2) / focal_px(size, fov_deg)


def pad_depth(depth: Float[Tensor, "B 1 S S"]) -> Float[Tensor, "B V V"]:
    """Depth of the vertex grid: the map with its border repeated once."""
    return F.pad(depth, (1, 1, 1, 1), mode="replicate")[:, 0]


def border_grid(depth: Float[Tensor, "B 1 S S"], fov_deg: float) -> Float[Tensor, "B V 3"]:
    """Mesh vertices of a depth map in the canonical frame, (S + 2)^2 points, row-major (faces: `grid_faces(S + 2)`)."""
    slope = border_slopes(depth.shape[-1], fov_deg, depth)
    z = pad_depth(depth)
    return torch.stack([z * slope, z * slope[:, None], z], -1).flatten(1, 2)


def rasterize_grid(
    u: Float[Tensor, "B V V"], v: Float[Tensor, "B V V"], z: Float[Tensor, "B V V"], height: int, width: int
) -> tuple[Float[Tensor, "B H W"], Tensor]:
    """(depth, covered) of a vertex grid given in pixels and camera depth; depth is arbitrary where not covered.

    The same answer as `mesh_raster.rasterize` with `grid_faces`, several times faster. Differentiable in u, v and z
    through the winning triangle.
    """
    batch, side = z.shape[:2]
    keys = _fill_keys(u, v, z, height, width)
    covered, winner = winners(keys)
    covered, winner = covered.view(batch, height, width), winner.int()
    corners = _corners(winner >> 1, winner & 1, side)
    finite = z.isfinite()
    u, v, z = (torch.where(finite, t, 1.0).reshape(-1) for t in (u, v, z))
    u, v, z = ([t.index_select(0, corner).view(covered.shape) for corner in corners] for t in (u, v, z))
    return interpolate_at_pixels(u, v, z, covered)[1], covered


def _corners(cell: Tensor, second: Tensor | int, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Vertex numbers of triangle (a, b, c), or (d, c, b) where `second`, of cells numbered like their vertex a."""
    return cell + second * (side + 1), cell + side + second * (1 - side), cell + 1 + second * (side - 1)


@torch.no_grad()
def _fill_keys(u: Tensor, v: Tensor, z: Tensor, height: int, width: int) -> Int[Tensor, " P"]:
    """The z-buffer over both triangles of every cell; a triangle's id is 2 * (its cell) + (0 or 1)."""
    batch, side = z.shape[:2]
    if 2 * batch * side * side >= 1 << 31:
        raise ValueError(
            f"{batch} grids of {side} x {side} vertices are too many to rasterise at once; split the batch"
        )
    vertices = projected_vertices(u, v, z)
    keys = empty_keys(batch, height, width, z.device)
    for second, box in enumerate(_cell_boxes(vertices.u, vertices.v, side, height, width)):

        def look_up(cell: Tensor, second: int = second) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor, Tensor]]:
            image = torch.div(cell, side * side, rounding_mode="floor")
            return cell * 2 + second, image, _corners(cell, second, side)

        rasterize_boxes(keys, box, look_up, vertices, (height, width))
    return keys


def _cell_boxes(u: Tensor, v: Tensor, side: int, height: int, width: int) -> list[Boxes]:
    """Boxes of the first and of the second triangle of every cell of the batch.

    Cells are numbered like their vertex a. Those of the last column and row of each grid do not exist: they are
    computed from wrapped neighbours, because whole slices are fast, and emptied.
    """
    extremes = []
    for t in (u, v):
        a, b, c, d = t[: -side - 1], t[side:-1], t[1:-side], t[side + 1 :]
        for fold in (torch.minimum, torch.maximum):
            diagonal = fold(b, c)
            extremes.append((fold(a, diagonal), fold(d, diagonal)))
    low_u, high_u, low_v, high_v = extremes
    found = []
    for second in (0, 1):
        right = F.pad(high_u[second], (0, side + 1), value=-1.0).view(-1, side, side)
        right[:, -1] = right[:, :, -1] = -1.0
        right = right.view(-1)[: -side - 1]
        found.append(boxes(low_u[second], right, low_v[second], high_v[second], height, width))
    return found
