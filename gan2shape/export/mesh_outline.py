"""From a height field and an object mask to a surface with a smooth outline.

The surface is the grid of the height field, refined, and cut where the refined mask passes `LEVEL` (marching
triangles). The outline so lies on the mask's own and is no staircase:

* The mask is smoothed a little first. Its holes that are smaller than `MAX_HOLE` of it are filled.
* Depth is trusted where the mask is, but for pixels within `RIM_PX` of its rim that fall off by more than `MAX_FALL_PX`
  from a neighbour: there the height field is on its way to what lies behind. From the trusted pixels it is continued
  outwards with their own slope, which is bounded.

Points are in the camera frame: x right, y down, z forward.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gan2shape.core.images import resized
from gan2shape.scene.camera import focal_px
from gan2shape.scene.height_field import grid_faces
from gan2shape.scene.mesh_pieces import piece_of_faces

LEVEL = 0.45  # of the smoothed mask, where the outline runs: corners that smoothing takes are given back
MAX_FALL_PX = 6.0  # of depth a pixel, in widths of a pixel: 81 degrees
MAX_SLOPE_PX = 5.0  # of the continued depth: 79 degrees
SLOPE_KEPT = 0.8  # of the slope with each further pixel
RIM_PX = 3
MARGIN_PX = 4  # by which depth is continued beyond the mask: what cubic interpolation reaches
MAX_HOLE = 0.02
SNAP = 0.05  # least part of an edge between the outline and a vertex of the grid: no needles


@dataclass(frozen=True)
class ObjectSurface:
    """Triangles in the camera frame; counter-clockwise seen from the camera."""

    points: Float[np.ndarray, "V 3"]
    faces: Int[np.ndarray, "F 3"]


def cut_out_surface(
    depth: Float[Tensor, "1 1 S S"], mask: Float[Tensor, "1 1 S S"], fov_deg: float, upsample: int
) -> ObjectSurface:
    """The object's surface, before anything else is removed.

    Args:
        depth: canonical depth at the pixel centres. mask: the object in the canonical image, in [0, 1].
        upsample: grid points in a row for each pixel.
    """
    size = depth.shape[-1]
    mask = without_small_holes(mask)
    # A ring of pixels around the image: an object that reaches the border ends exactly there.
    padded = F.pad(depth, (1, 1, 1, 1), mode="replicate")
    level = F.pad(smoothed(mask), (1, 1, 1, 1)) - LEVEL
    footprint = 1 / focal_px(size, fov_deg)
    z = continued(padded, trusted(padded, F.pad(mask, (1, 1, 1, 1)) > 0.5, footprint), footprint)
    z, level = (resized(values, upsample * (size + 2), "bicubic")[0, 0] for values in (z, level))
    at = (torch.arange(len(z)) + 0.5) / upsample - 1 - size / 2
    points = torch.stack([z * at * footprint, z * at[:, None] * footprint, z], -1).flatten(0, 1)
    return clipped(points.numpy(), grid_faces(len(z)).numpy(), level.flatten().numpy())


def smoothed(mask: Float[Tensor, "1 1 S S"]) -> Float[Tensor, "1 1 S S"]:
    """The mask after a binomial filter."""
    taps = torch.tensor([0.25, 0.5, 0.25])
    padded = F.pad(mask, (1, 1, 1, 1), mode="replicate")
    return F.conv2d(padded, (taps[:, None] * taps)[None, None])


def without_small_holes(mask: Float[Tensor, "1 1 S S"]) -> Float[Tensor, "1 1 S S"]:
    """The mask with its holes below `MAX_HOLE` of its area set to 1."""
    outside = (mask[0, 0] <= 0.5).numpy()
    height, width = outside.shape
    number = np.arange(outside.size).reshape(outside.shape)
    pairs = [np.stack([number, number], -1)]  # each pixel by itself, and with its neighbours to the right and below
    pairs += [np.stack([number[:, :-1], number[:, 1:]], -1), np.stack([number[:-1], number[1:]], -1)]
    links = np.concatenate([pair.reshape(-1, 2) for pair in pairs])
    links = links[outside.reshape(-1)[links].all(1)]
    piece = np.zeros(outside.size, dtype=np.int64)
    piece[links[:, 0]] = piece_of_faces(links[:, [0, 1, 1]], outside.size)
    area = np.bincount(piece[outside.reshape(-1)], minlength=outside.size)
    rim = np.zeros(outside.shape, dtype=bool)
    rim[[0, -1]] = rim[:, [0, -1]] = True
    area[piece[(rim & outside).reshape(-1)]] = outside.size  # open to the border: no hole
    is_hole = outside & (area[piece] <= MAX_HOLE * (~outside).sum()).reshape(height, width)
    return torch.where(torch.from_numpy(is_hole), 1.0, mask)


def trusted(
    depth: Float[Tensor, "1 1 N N"], inside: Bool[Tensor, "1 1 N N"], footprint: float
) -> Bool[Tensor, "1 1 N N"]:
    """The pixels of the object whose depth is its own; all of them where that would leave none.

    footprint: width of a pixel at distance 1.
    """
    nearest = -F.max_pool2d(torch.where(inside, -depth, -torch.inf), 3, 1, 1)
    width = 2 * RIM_PX + 1
    near_rim = F.max_pool2d((~inside).float(), width, 1, RIM_PX) > 0
    falls = near_rim & (depth - nearest > MAX_FALL_PX * footprint)
    kept = inside & ~falls
    return kept if bool(kept.any()) else inside


def continued(
    depth: Float[Tensor, "1 1 N N"], known: Bool[Tensor, "1 1 N N"], footprint: float
) -> Float[Tensor, "1 1 N N"]:
    """Depth where it is known; up to `MARGIN_PX` away from there, the mean of what its neighbours predict by their
    slopes.
    """
    limit = MAX_SLOPE_PX * footprint
    slopes = [_slope(depth, known, axis).clamp(-limit, limit) for axis in (-1, -2)]
    values = torch.cat([depth, *slopes], 1)
    weight = known.float()
    offsets = torch.tensor([1.0, 0.0, -1.0])  # from a neighbour at tap -1, 0, 1 to the pixel
    across, ones = offsets.expand(3, 3), torch.ones(3, 3)
    kernels = torch.stack([ones, across, across.T])[:, None]
    for _ in range(MARGIN_PX):
        count = F.conv2d(weight, ones[None, None], padding=1)
        moments = F.conv2d((values * weight).transpose(0, 1), kernels, padding=1)  # [value, kernel]
        predicted = moments[0, 0] + moments[1, 1] + moments[2, 2]
        mean = torch.stack([predicted, SLOPE_KEPT * moments[1, 0], SLOPE_KEPT * moments[2, 0]]) / count[0].clamp_min(1)
        is_new = (weight == 0) & (count > 0)
        values = torch.where(is_new, mean[None], values)
        weight = (count > 0).float()
    return values[:, :1]


def _slope(depth: Tensor, known: Tensor, axis: int) -> Tensor:
    """Mean of the differences to the known neighbours on either side along an axis; 0 where there is none."""
    n_steps = known.shape[axis] - 1
    both = (known.narrow(axis, 1, n_steps) & known.narrow(axis, 0, n_steps)).float()
    ends = ((1, 0), (0, 1)) if axis == -1 else ((0, 0, 1, 0), (0, 0, 0, 1))
    total = sum(F.pad(depth.diff(dim=axis) * both, end) for end in ends)
    return total / sum(F.pad(both, end) for end in ends).clamp_min(1)


def clipped(points: np.ndarray, faces: np.ndarray, level: np.ndarray) -> ObjectSurface:
    """The part of a mesh [V, 3], [F, 3] where the vertices' level is above 0, cut linearly along edges."""
    inside = level > 0
    n_inside = np.add.reduce(inside[faces.T], dtype=np.int8)
    one, two = (_rotated(faces[n_inside == n], inside, keep) for n, keep in ((1, True), (2, False)))
    # Triangles with one corner inside keep that corner; those with two keep a quadrilateral.
    edges = np.concatenate([one[:, [0, 1]], one[:, [0, 2]], two[:, [0, 1]], two[:, [0, 2]]])
    edges = np.sort(edges, 1).astype(np.int64)
    _, first_use, cut = np.unique(edges[:, 0] * len(points) + edges[:, 1], return_index=True, return_inverse=True)
    edges = edges[first_use]
    first, second = level[edges[:, 0]], level[edges[:, 1]]
    part = (first / (first - second)).clip(SNAP, 1 - SNAP)[:, None]
    new = points[edges[:, 0]] * (1 - part) + points[edges[:, 1]] * part
    cut = cut.reshape(-1) + len(points)
    ab, ac, da, ea = np.split(cut, np.cumsum([len(one), len(one), len(two)]))
    kept = np.concatenate([
        faces[n_inside == 3],
        np.stack([one[:, 0], ab, ac], 1),
        np.stack([da, two[:, 1], two[:, 2]], 1),
        np.stack([da, two[:, 2], ea], 1),
    ])  # fmt: skip
    return compacted(np.concatenate([points, new.astype(points.dtype)]), kept)


def _rotated(faces: np.ndarray, inside: np.ndarray, keep: bool) -> np.ndarray:
    """The triangles, begun at the one corner that is inside (`keep`) or outside."""
    start = (inside[faces] == keep).argmax(1)
    return np.take_along_axis(faces, (start[:, None] + np.arange(3)) % 3, 1)


def compacted(points: np.ndarray, faces: np.ndarray) -> ObjectSurface:
    """The triangles with the vertices that they use."""
    used = np.zeros(len(points), bool)
    used[faces.reshape(-1)] = True
    number = np.cumsum(used, dtype=np.int32) - 1
    return ObjectSurface(points[used], number[faces])
