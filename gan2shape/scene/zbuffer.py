"""The scatter z-buffer that every rasteriser of this package shares.

A triangle is bucketed by the number of pixels its bounding box spans (1, 2, 4, 8, ... up to the image side); every
triangle of a bucket tests the same K x K block of pixel centres, and `scatter_reduce(amin)` keeps the nearest hit of
each pixel. Memory and time follow the area of the triangles' boxes, not pixels x faces.

Conventions: pixel centres at i + 0.5, u to the right and v down in pixels, z > 0 in front of the camera. A pixel is
covered when its centre lies in the triangle or on its border. Edge functions are evaluated relative to the pixel
centre, which makes the two triangles at a shared edge compute exactly opposite numbers: meshes have no cracks. Both
sides of a triangle are drawn.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

NO_HIT = torch.iinfo(torch.int64).max  # key of a pixel that no triangle covers
NEAR = 1e-3  # scene units; a triangle with a vertex nearer than this (or behind the camera) is dropped, not clipped
MIN_DOUBLE_AREA = 1e-7  # square pixels; thinner triangles are invisible and would give unbounded gradients
MAX_CANDIDATES = 1 << 20  # tests held in memory at once
FACE_BITS = 32


def edge_functions(u: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Signed double areas opposite to corners 0, 1, 2, from corner coordinates RELATIVE to the pixel centre (last dim)."""
    u0, u1, u2 = u.unbind(-1)
    v0, v1, v2 = v.unbind(-1)
    return u1 * v2 - v1 * u2, u2 * v0 - v2 * u0, u0 * v1 - v0 * u1


@torch.no_grad()
def zbuffer(
    u: Float[Tensor, "B F 3"], v: Float[Tensor, "B F 3"], z: Float[Tensor, "B F 3"], height: int, width: int
) -> Int[Tensor, "B H W"]:
    """Index of the nearest triangle at each pixel centre, -1 where there is none.

    Args: corner coordinates in pixels (u, v) and camera depth z. Ties in depth go to the lower index. No gradient.
    On CUDA the host waits once per bucket (the number of triangles in it).
    """
    batch, n_faces = u.shape[:2]
    keys = torch.full((batch * height * width,), NO_HIT, dtype=torch.int64, device=u.device)
    if n_faces == 0:
        return keys.view(batch, height, width).fill_(-1)
    u, v, z = (t.reshape(batch * n_faces, 3) for t in (u, v, z))
    left = (u.amin(-1) - 0.5).ceil().clamp_(min=0)
    top = (v.amin(-1) - 0.5).ceil().clamp_(min=0)
    right = (u.amax(-1) - 0.5).floor().clamp_(max=width - 1)
    bottom = (v.amax(-1) - 0.5).floor().clamp_(max=height - 1)
    area = (u[:, 1] - u[:, 0]) * (v[:, 2] - v[:, 0]) - (v[:, 1] - v[:, 0]) * (u[:, 2] - u[:, 0])
    drawn = (right >= left) & (bottom >= top) & (z.amin(-1) > NEAR) & (area.abs() > MIN_DOUBLE_AREA)
    extent = torch.where(drawn, torch.maximum(right - left, bottom - top) + 1, 0.0)

    smaller, side = 0, 1
    while smaller < max(height, width):
        chosen = ((extent > smaller) & (extent <= side)).nonzero().squeeze(1)
        for part in chosen.split(max(1, MAX_CANDIDATES // side**2)):
            if len(part):
                corners = (u[part], v[part], z[part])
                _scatter_block(keys, part, corners, left[part], top[part], side, n_faces, height, width)
        smaller, side = side, side * 2

    face = keys & ((1 << FACE_BITS) - 1)
    return torch.where(keys == NO_HIT, -1, face).view(batch, height, width)


def _scatter_block(keys, part, corners, left, top, side, n_faces, height, width) -> None:
    """Test the side x side pixels at (left, top) of each triangle and fold the hits into `keys` (in place)."""
    u, v, z = corners
    offset = torch.arange(side, device=u.device, dtype=u.dtype)
    x = (left[:, None, None] + offset[None, None, :]).expand(-1, side, -1)  # [n, side, side]
    y = (top[:, None, None] + offset[None, :, None]).expand(-1, -1, side)
    e0, e1, e2 = edge_functions(u[:, None, None] - (x[..., None] + 0.5), v[:, None, None] - (y[..., None] + 0.5))
    lowest = torch.minimum(torch.minimum(e0, e1), e2)
    highest = torch.maximum(torch.maximum(e0, e1), e2)
    inside = ((lowest >= 0) | (highest <= 0)) & (x < width) & (y < height)
    inv_z = 1 / z[:, None, None]
    total = e0 + e1 + e2
    depth = total / (e0 * inv_z[..., 0] + e1 * inv_z[..., 1] + e2 * inv_z[..., 2])
    inside &= (depth > 0) & depth.isfinite()

    hit = inside.nonzero(as_tuple=True)
    image, face = part[hit[0]] // n_faces, part[hit[0]] % n_faces
    pixel = (image * height + y[hit].long()) * width + x[hit].long()
    # The bits of a positive float are ordered as the number is, so depth can stand in the high half of an integer key.
    bits = depth[hit].float().view(torch.int32).long()
    keys.scatter_reduce_(0, pixel, (bits << FACE_BITS) | face, "amin")
