"""The scatter z-buffer that every rasteriser of this package shares.

Each triangle tests the pixel centres in its own bounding box, all triangles at once, and `scatter_reduce(amin)` keeps
the nearest hit of each pixel. Work and memory follow the area of the boxes, not pixels x faces. Two buckets: triangles
that span one pixel (most of a depth grid's) need no list of tests; the others are expanded into one flat list.

Conventions: u to the right and v down in pixels, SHIFTED by half a pixel so that pixel centres are whole numbers; z > 0
in front of the camera. Vertices are flat arrays over the whole batch, one for each coordinate. A pixel is covered when
its centre lies in the triangle or on its border; both faces of a triangle count. Edge functions are evaluated
relative to the pixel centre, so that the two triangles at a shared edge compute exactly opposite numbers: no cracks.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

NEAR = 1e-3  # scene units; a triangle with a vertex nearer than this (or behind the camera) is dropped, not clipped
MIN_DOUBLE_AREA = 1e-7  # square pixels; thinner triangles are invisible and would give unbounded gradients
MAX_TESTS = 1 << 21  # tests held in memory at once (about 100 bytes each)
MAX_PIXELS = 1 << 23  # of an image: places in a box are counted in float32
ID_BITS = 32
# The bits of a positive float are ordered as the number is, so a depth can stand in the high half of an integer key.
EMPTY = 0x7F800000 << ID_BITS  # infinitely far: the key of a pixel that nothing covers


@dataclass(frozen=True)
class Vertices:
    """Projected vertices of the whole batch, flat. One that must not be used has u = NaN, which drops its triangles."""

    u: Float[Tensor, " N"]
    v: Float[Tensor, " N"]
    inv_z: Float[Tensor, " N"]


@dataclass(frozen=True)
class Boxes:
    """First and last pixel column and row of each triangle, cut to the image; empty if last < first, or NaN."""

    left: Float[Tensor, " T"]
    top: Float[Tensor, " T"]
    right: Float[Tensor, " T"]
    bottom: Float[Tensor, " T"]


@dataclass(frozen=True)
class Tests:
    """Pairs of a triangle and a pixel centre."""

    triangle: Int[Tensor, " n"]  # int32
    x: Float[Tensor, " n"]  # pixel column
    y: Float[Tensor, " n"]  # pixel row


# From triangle numbers (int32, into the boxes) to the ids that `winners` will report, images, and three vertex numbers.
Lookup = Callable[[Tensor], tuple[Tensor, Tensor, tuple[Tensor, Tensor, Tensor]]]


def projected_vertices(u: Tensor, v: Tensor, z: Tensor) -> Vertices:
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


def rasterize_boxes(
    keys: Int[Tensor, " P"], box: Boxes, look_up: Lookup, vertices: Vertices, size: tuple[int, int]
) -> None:
    """Test every triangle against the pixels of its box and fold the hits into `keys`, in place.

    `size` is the image's (height, width). On CUDA the host waits once, for the number of tests; more often only where
    that is above MAX_TESTS.
    """
    height, width = size
    for tests in _tests(box):
        ids, image, corners = look_up(tests.triangle)
        depth = _hit_depth(tests, corners, vertices)
        # Two 32-bit halves make the 64-bit key (little-endian): the low one is the id, the high one the depth.
        key = torch.stack([ids.int(), depth.float().view(torch.int32)], -1).view(torch.int64).squeeze(-1)
        pixel = torch.add(tests.x, tests.y, alpha=width).long().add_(image * (height * width))
        keys.scatter_reduce_(0, pixel, key, "amin")


def _tests(box: Boxes) -> Iterator[Tests]:
    """All tests of non-empty boxes: triangles of one pixel, then the pixels of larger boxes, MAX_TESTS at a time."""
    columns, rows = box.right - box.left, box.bottom - box.top  # one less than the pixels spanned
    if columns.device.type != "cpu":  # buckets would make the host wait for each one's length
        seen = (columns >= 0) & (rows >= 0)
        all_columns, all_rows = (torch.where(seen, t + 1, 0.0) for t in (columns, rows))
        n_tests = int((all_columns * all_rows).sum(dtype=torch.int64))
        if n_tests <= MAX_TESTS:
            every = torch.arange(len(columns), device=columns.device, dtype=torch.int32)
            yield _expand(every, box, all_columns, all_rows, n_tests)
            return
    longer, shorter = torch.maximum(columns, rows), torch.minimum(columns, rows)
    single = ((longer == 0) & (shorter == 0)).nonzero().squeeze(1).int()
    for part in single.split(MAX_TESTS):
        yield Tests(part, box.left.index_select(0, part), box.top.index_select(0, part))

    large = ((longer > 0) & (shorter >= 0)).nonzero().squeeze(1).int()
    columns, rows = columns.index_select(0, large) + 1, rows.index_select(0, large) + 1
    ends = (columns * rows).long().cumsum(0)
    n_tests = int(ends[-1]) if len(large) else 0
    if n_tests <= MAX_TESTS:
        if n_tests:
            yield _expand(large, box, columns, rows, n_tests)
        return
    marks = torch.arange(1, 1 + max(0, n_tests - 1) // MAX_TESTS, device=ends.device) * MAX_TESTS
    cuts = torch.searchsorted(ends, marks).tolist()
    for first, last in zip([0, *cuts], [*cuts, len(large)], strict=True):
        if last > first:
            part = slice(first, last)
            yield _expand(large[part], box, columns[part], rows[part])


def _expand(triangle: Tensor, box: Boxes, columns: Tensor, rows: Tensor, n_tests: int | None = None) -> Tests:
    """One test for each pixel of each triangle's box. Where their number is known, CUDA's host need not wait for it."""
    count = (columns * rows).int()
    owner = torch.repeat_interleave(count, output_size=n_tests)
    first = count.cumsum(0, dtype=torch.int32) - count
    place = torch.arange(len(owner), device=owner.device, dtype=torch.int32) - first.index_select(0, owner)
    columns = columns.index_select(0, owner)
    row = torch.floor((place + 0.5) / columns)
    triangle = triangle.index_select(0, owner)
    x = box.left.index_select(0, triangle) + (place - row * columns)
    return Tests(triangle, x, box.top.index_select(0, triangle) + row)


def _hit_depth(tests: Tests, corners: tuple[Tensor, Tensor, Tensor], vertices: Vertices) -> Float[Tensor, " n"]:
    """Depth of each tested triangle at its pixel centre; infinite for a miss."""
    u = [vertices.u.index_select(0, corner).sub_(tests.x) for corner in corners]
    v = [vertices.v.index_select(0, corner).sub_(tests.y) for corner in corners]
    e0, e1, e2 = edge_functions(u, v)
    inside = torch.minimum(torch.minimum(e0, e1), e2) >= 0
    inside |= torch.maximum(torch.maximum(e0, e1), e2) <= 0
    area = e0 + e1 + e2
    inside &= area.abs() > MIN_DOUBLE_AREA
    inv_z = [vertices.inv_z.index_select(0, corner) for corner in corners]
    depth = area / (e0 * inv_z[0] + e1 * inv_z[1] + e2 * inv_z[2])
    return torch.where(inside, depth, torch.inf)


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
