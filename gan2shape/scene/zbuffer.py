"""The scatter z-buffer that every rasteriser of this package shares.

A triangle is bucketed by the number of pixels its bounding box spans (1, 2, 4, 8, ... in width and in height); every
triangle of a bucket tests the same block of pixel centres, and `scatter_reduce(amin)` keeps the nearest hit of each
pixel. Memory and time follow the area of the triangles' boxes, not pixels x faces.

Conventions: u to the right and v down in pixels, SHIFTED by half a pixel so that pixel centres are whole numbers; z > 0
in front of the camera. Vertices are flat arrays over the whole batch, one for each coordinate. A pixel is covered when
its centre lies in the triangle or on its border; both sides of a triangle are drawn. Edge functions are evaluated
relative to the pixel centre, so that the two triangles at a shared edge compute exactly opposite numbers: no cracks.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

NEAR = 1e-3  # scene units; a triangle with a vertex nearer than this (or behind the camera) is dropped, not clipped
MIN_DOUBLE_AREA = 1e-7  # square pixels; thinner triangles are invisible and would give unbounded gradients
MAX_CANDIDATES = 1 << 21  # pixel tests held in memory at once
MAX_PIXELS = 1 << 24  # of an image: pixel numbers are computed in float32
ID_BITS = 32
# The bits of a positive float are ordered as the number is, so a depth can stand in the high half of an integer key.
EMPTY = 0x7F800000 << ID_BITS  # infinitely far: the key of a pixel that nothing covers


@dataclass(frozen=True)
class Vertices:
    """Projected vertices of the whole batch, flat. One that cannot be drawn has u = NaN, which drops its triangles."""

    u: Float[Tensor, " N"]
    v: Float[Tensor, " N"]
    inv_z: Float[Tensor, " N"]


@dataclass(frozen=True)
class Boxes:
    """First and last pixel column and row of each triangle's box, cut to the image; empty if last < first, or NaN."""

    left: Float[Tensor, " T"]
    top: Float[Tensor, " T"]
    right: Float[Tensor, " T"]
    bottom: Float[Tensor, " T"]

    def take(self, index: Tensor) -> "Boxes":
        return Boxes(*(t.index_select(0, index) for t in (self.left, self.top, self.right, self.bottom)))


@dataclass(frozen=True)
class Triangles:
    """Triangles to draw: names to find them by, corners, the image each belongs to."""

    ids: Int[Tensor, " n"]  # what `winners` will report
    corners: tuple[Tensor, Tensor, Tensor]  # indices into the vertices
    image: Int[Tensor, " n"]

    def take(self, index: Tensor) -> "Triangles":
        corners = tuple(t.index_select(0, index) for t in self.corners)
        return Triangles(self.ids.index_select(0, index), corners, self.image.index_select(0, index))


def vertices_to_draw(u: Tensor, v: Tensor, z: Tensor) -> Vertices:
    """Flat vertices from coordinates in pixels (centres at i + 0.5) and camera depth, any shape; no gradient."""
    u, v, z = (t.detach().reshape(-1) for t in (u, v, z))
    good = (z > NEAR) & z.isfinite()
    return Vertices((u - 0.5).masked_fill_(~good, torch.nan), v - 0.5, z.reciprocal())


def empty_keys(batch: int, height: int, width: int, device: torch.device) -> Int[Tensor, " P"]:
    """A cleared z-buffer of batch x height x width pixels."""
    if height * width > MAX_PIXELS:
        raise ValueError(f"an image may have {MAX_PIXELS} pixels, not {height} x {width}")
    return torch.full((batch * height * width,), EMPTY, dtype=torch.int64, device=device)


def boxes(low_u: Tensor, high_u: Tensor, low_v: Tensor, high_v: Tensor, height: int, width: int) -> Boxes:
    """Pixel boxes from the extreme coordinates of triangles."""
    return Boxes(
        left=low_u.ceil().clamp_(min=0),
        top=low_v.ceil().clamp_(min=0),
        right=high_u.floor().clamp_(max=width - 1),
        bottom=high_v.floor().clamp_(max=height - 1),
    )


def buckets(box: Boxes) -> list[tuple[Tensor, int, int]]:
    """(indices of triangles, block height, block width) that together hold every triangle with a non-empty box.

    Nearly all triangles of a depth grid fit 1 or 2 pixels, found in one sweep each; the rest is sorted by both sides,
    so that the long thin triangles of a silhouette test strips, not squares. On CUDA the host waits four times.
    """
    width, height = box.right - box.left, box.bottom - box.top  # one less than the pixels spanned
    longer, shorter = torch.maximum(width, height), torch.minimum(width, height)
    one = ((longer == 0) & (shorter == 0)).nonzero().squeeze(1)
    two = ((longer == 1) & (shorter >= 0)).nonzero().squeeze(1)
    rest = ((longer > 1) & (shorter >= 0)).nonzero().squeeze(1)
    found = [(one, 1, 1), (two, 2, 2)]
    if len(rest):
        # frexp(w - 1) has the exponent of the smallest power of two >= w.
        level = (torch.frexp(t.index_select(0, rest)).exponent.long() for t in (height, width))
        code = sum(t * factor for t, factor in zip(level, (32, 1), strict=True))
        rest = rest.index_select(0, code.argsort())
        first = 0
        for value, count in enumerate(torch.bincount(code).tolist()):
            if count:
                found.append((rest[first : first + count], 1 << value // 32, 1 << value % 32))
                first += count
    return found


def draw_block(
    keys: Int[Tensor, " P"], triangles: Triangles, box: Boxes, vertices: Vertices, block: tuple[int, int], size: tuple
) -> None:
    """Test a block of pixels (height, width) at the corner of each triangle's box and fold the hits into `keys`.

    `size` is the image (height, width). Works in place and in parts of at most MAX_CANDIDATES tests.
    """
    at_once = max(1, MAX_CANDIDATES // (block[0] * block[1]))
    n = len(triangles.ids)
    for start in range(0, n, at_once):
        part = slice(start, start + at_once)
        corners = tuple(t[part] for t in triangles.corners)
        some = Triangles(triangles.ids[part], corners, triangles.image[part])
        cut = Boxes(box.left[part], box.top[part], box.right[part], box.bottom[part])
        key, pixel = _test_block(some, cut, vertices, block, size)
        keys.scatter_reduce_(0, pixel.view(-1), key.view(-1), "amin")


def _test_block(some: Triangles, box: Boxes, vertices: Vertices, block: tuple, size: tuple) -> tuple[Tensor, Tensor]:
    """Key and pixel number of every test, [n, block height, block width]; a miss has a key that never wins."""
    u, v, inv_z = (
        [values.index_select(0, corner)[:, None, None] for corner in some.corners]
        for values in (vertices.u, vertices.v, vertices.inv_z)
    )
    rows, columns = (torch.arange(side, device=u[0].device, dtype=u[0].dtype) for side in block)
    # A pixel beyond the box is replaced by the box's last: it is tested twice, truthfully, and needs no mask.
    x = torch.minimum(box.left[:, None, None] + columns, box.right[:, None, None])
    y = torch.minimum(box.top[:, None, None] + rows[:, None], box.bottom[:, None, None])
    e0, e1, e2 = edge_functions([t - x for t in u], [t - y for t in v])
    inside = torch.minimum(torch.minimum(e0, e1), e2) >= 0
    inside |= torch.maximum(torch.maximum(e0, e1), e2) <= 0
    area = e0 + e1 + e2
    inside &= area.abs() > MIN_DOUBLE_AREA
    depth = area / (e0 * inv_z[0] + e1 * inv_z[1] + e2 * inv_z[2])
    depth = torch.where(inside, depth, torch.inf).float()
    key = depth.view(torch.int32).long().bitwise_left_shift_(ID_BITS).bitwise_or_(some.ids[:, None, None])
    height, width = size
    pixel = torch.add(x, y, alpha=width).long().add_((some.image * (height * width))[:, None, None])
    return key, pixel


def edge_functions(u: list[Tensor], v: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Signed double areas opposite to corners 0, 1, 2 from their coordinates relative to the pixel centre.

    Two products and their difference, never fused: fused rounding would break the symmetry that prevents cracks.
    """
    return u[1] * v[2] - v[1] * u[2], u[2] * v[0] - v[2] * u[0], u[0] * v[1] - v[0] * u[1]


def winners(keys: Int[Tensor, " P"]) -> tuple[Tensor, Tensor]:
    """(covered, id) of every pixel; the id is 0 where nothing covers it."""
    covered = keys < EMPTY
    return covered, (keys & ((1 << ID_BITS) - 1)) * covered


def interpolate_at_pixels(
    u: list[Float[Tensor, "B H W"]], v: list[Tensor], z: list[Tensor], covered: Tensor
) -> tuple[list[Float[Tensor, "B H W"]], Float[Tensor, "B H W"]]:
    """Weights in 3D and depth at each pixel centre of the triangle whose corners are given there; differentiable.

    u, v in pixels (centres at i + 0.5). 1/z and weight/z are linear on the screen, so weight_i is (e_i / z_i) over
    sum(e_j / z_j) with the edge functions e. Values where `covered` is False are arbitrary but finite.
    """
    height, width = covered.shape[1:]
    x = torch.arange(width, device=u[0].device, dtype=u[0].dtype) + 0.5
    y = (torch.arange(height, device=u[0].device, dtype=u[0].dtype) + 0.5)[:, None]
    edges = edge_functions([t - x for t in u], [t - y for t in v])
    weights = [e / t for e, t in zip(edges, z, strict=True)]
    # An uncovered pixel carries some arbitrary triangle, perhaps without area: a constant keeps the division finite.
    total = torch.where(covered, weights[0] + weights[1] + weights[2], 1.0)
    return [w / total for w in weights], (edges[0] + edges[1] + edges[2]) / total
