"""Nearest face of each pixel, by spans: the fast path for many small front-facing triangles on a CPU.

The shared z-buffer tests every pixel of a square block around each triangle. Here a triangle is cut into rows and each
row into the exact span of pixel centres between its edges, so only covered pixels are touched. A pixel belongs to a
triangle when its centre lies inside or within EDGE_TOLERANCE_PX of its border, so meshes have no cracks. No gradient.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

EDGE_TOLERANCE_PX = 1e-4  # larger than the rounding of coordinates up to a few thousand pixels in double precision
MIN_DOUBLE_AREA = 1e-9  # square pixels; thinner triangles cover no centre
FACE_BITS = 32


@torch.no_grad()
def nearest_face(
    corners_px: Float[Tensor, "N 3 3"],
    item: Int[Tensor, " N"],
    n_items: int,
    height: int,
    width: int,
    shows: Callable[[Tensor, Tensor], Bool[Tensor, " M"]] | None = None,
) -> Int[Tensor, "B H W"]:
    """Index of the nearest triangle at each pixel centre of `n_items` images, -1 where there is none.

    Args: (u, v, z) of each corner in pixels and camera depth (z > 0); `item` is the image each triangle belongs to;
    `shows` says of M fragments (their triangle, and their pixel's flat position in its image) which of them exist: the
    alpha test, which comes before the depth test.
    """
    rows = corners_px[..., 1].double()
    top = (rows.amin(1) - 0.5 - EDGE_TOLERANCE_PX).ceil().clamp(min=0)
    bottom = (rows.amax(1) - 0.5 + EDGE_TOLERANCE_PX).floor().clamp(max=height - 1)
    crossing = (bottom >= top).nonzero().squeeze(1)  # of a fine mesh, many lie between two rows of centres
    top, bottom = top[crossing], bottom[crossing]
    corners = corners_px[crossing].double()
    u, v, inverse_z = corners[..., 0], corners[..., 1], 1 / corners[..., 2]
    # Edge i, opposite corner i, is a u + b v + c; it is the corner's weight times the double area.
    u1, u2, v1, v2 = u.roll(-1, 1), u.roll(-2, 1), v.roll(-1, 1), v.roll(-2, 1)
    a, b, c = v1 - v2, u2 - u1, u1 * v2 - u2 * v1
    area = c.sum(1)
    visible = area.abs() > MIN_DOUBLE_AREA
    scale = torch.where(visible, 1 / area, torch.zeros_like(area))[:, None]
    plane = [(k * scale * inverse_z).sum(1) for k in (a, b, c)]  # 1/z on the screen
    flip = area.sign()[:, None]
    a, b, c = a * flip, b * flip, c * flip + EDGE_TOLERANCE_PX * torch.hypot(a, b)

    n_rows = torch.where(visible, bottom - top + 1, 0).long()
    face, step = _expand(n_rows)
    y = top[face] + step + 0.5
    # a x + b y + c >= 0 bounds x from below where a > 0 and from above where a < 0
    slope, rest = a[face], b[face] * y[:, None] + c[face]
    bound = -rest / slope
    infinity = torch.full_like(bound, torch.inf)
    low = torch.where(slope > 0, bound, -infinity).amax(1)
    high = torch.where(slope < 0, bound, infinity).amin(1)
    level_outside = ((slope == 0) & (rest < 0)).any(1)
    left = (low - 0.5).ceil().clamp(min=0, max=width)
    right = (high - 0.5).floor().clamp(max=width - 1, min=-1)
    n_columns = torch.where(level_outside, 0, (right - left + 1).clamp(min=0)).long()
    row, step = _expand(n_columns)
    face, x, y = face[row], left[row] + step, y[row]
    if shows is not None:
        kept = shows(crossing[face], (y - 0.5).long() * width + x.long()).nonzero().squeeze(1)
        face, x, y = face[kept], x[kept], y[kept]

    nearness = (plane[0][face] * (x + 0.5) + plane[1][face] * y + plane[2][face]).float()
    face = crossing[face]
    # Positive floats sort as their bit patterns do. Ties go to the lower face.
    key = (nearness.view(torch.int32).long() << FACE_BITS) | (((1 << FACE_BITS) - 1) - face)
    pixel = (item[face] * height + (y - 0.5).long()) * width + x.long()
    keys = torch.zeros(n_items * height * width, dtype=torch.int64)
    keys.scatter_reduce_(0, pixel, key, "amax")
    nearest = ((1 << FACE_BITS) - 1) - (keys & ((1 << FACE_BITS) - 1))
    return torch.where(keys > 0, nearest, -1).view(n_items, height, width)


def _expand(count: Int[Tensor, " N"]) -> tuple[Tensor, Tensor]:
    """For N runs of the given lengths: the run of each element and its position in that run."""
    run = torch.repeat_interleave(torch.arange(len(count)), count)
    start = count.cumsum(0) - count
    return run, torch.arange(len(run)) - start[run]
