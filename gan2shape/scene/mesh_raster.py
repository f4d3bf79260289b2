"""Rasterise any triangle mesh: which face, where in it, and how deep, for every pixel.

Conventions: see `zbuffer`. Vertices come projected: (u, v) in pixels with centres at i + 0.5, z the camera depth.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gan2shape.scene.zbuffer import edge_functions, zbuffer


@dataclass(frozen=True)
class Fragments:
    """The visible surface point of each pixel. Pixels that nothing covers: face -1, bary 0, depth 0."""

    face: Int[Tensor, "B H W"]  # index into `faces`, -1 where there is none
    bary: Float[Tensor, "B H W 3"]  # weights of the three corners in 3D (perspective-correct), sum 1
    depth: Float[Tensor, "B H W"]  # z of the surface point in the camera


def rasterize(
    vertices_px: Float[Tensor, "B V 3"], faces: Int[Tensor, "F 3"], height: int, width: int
) -> Fragments:
    """Draw `faces` (shared by the batch) and keep the nearest at each pixel centre.

    Args:
        vertices_px: (u, v, z) of each vertex, pixels and scene units (`camera.project` makes them).
        faces: corner indices; both sides of a face are drawn. Faces with a corner behind the near plane are dropped.
    Differentiable in `vertices_px`: the winning face is a constant, its weights and depth are functions of its corners.
    """
    flat = vertices_px.detach()[:, faces]  # [B, F, 3 corners, 3]
    face = zbuffer(flat[..., 0], flat[..., 1], flat[..., 2], height, width)
    covered = face >= 0
    batch, n_vertices = vertices_px.shape[:2]
    first = torch.arange(batch, device=face.device).view(batch, 1, 1, 1) * n_vertices
    if faces.shape[0] == 0:
        nothing = vertices_px.new_zeros(batch, height, width)
        return Fragments(face, nothing[..., None].expand(-1, -1, -1, 3), nothing)
    corner = faces[face.clamp(min=0)] + first  # [B, H, W, 3]
    points = vertices_px.reshape(-1, 3)[corner]  # [B, H, W, 3 corners, 3]
    bary, depth = interpolate_at_pixels(points[..., 0], points[..., 1], points[..., 2], covered)
    return Fragments(face, bary, depth)


def interpolate_at_pixels(
    u: Float[Tensor, "B H W 3"], v: Float[Tensor, "B H W 3"], z: Float[Tensor, "B H W 3"], covered: Tensor
) -> tuple[Float[Tensor, "B H W 3"], Float[Tensor, "B H W"]]:
    """Perspective-correct weights and depth at each pixel centre of the triangle given there; zero where not `covered`.

    1/z and weight/z are linear on the screen, so weight_i = (e_i / z_i) / sum(e_j / z_j) with the edge functions e.
    """
    height, width = covered.shape[1:]
    x = torch.arange(width, device=u.device, dtype=u.dtype) + 0.5
    y = torch.arange(height, device=u.device, dtype=u.dtype) + 0.5
    edges = torch.stack(edge_functions(u - x[:, None], v - y[:, None, None]), -1)
    # An uncovered pixel carries some arbitrary triangle: constants keep its division, and its gradient, finite.
    edges = torch.where(covered[..., None], edges, 1.0)
    z = torch.where(covered[..., None], z, 1.0)
    weights = edges / z
    total = weights.sum(-1, keepdim=True)
    bary = weights / total
    depth = edges.sum(-1) / total.squeeze(-1)
    zero = torch.zeros((), dtype=u.dtype, device=u.device)
    return torch.where(covered[..., None], bary, zero), torch.where(covered, depth, zero)


def interpolate(attributes: Float[Tensor, "B V C"], faces: Int[Tensor, "F 3"], fragments: Fragments) -> Tensor:
    """Vertex attributes at each pixel, [B, C, H, W]; 0 where nothing is drawn. Differentiable in both arguments."""
    batch, n_vertices, channels = attributes.shape
    first = torch.arange(batch, device=attributes.device).view(batch, 1, 1, 1) * n_vertices
    corner = faces[fragments.face.clamp(min=0)] + first
    values = attributes.reshape(-1, channels)[corner]  # [B, H, W, 3, C]
    return (values * fragments.bary[..., None]).sum(-2).permute(0, 3, 1, 2)
