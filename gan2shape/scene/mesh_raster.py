"""Rasterise any triangle mesh: which face, where in it, and how deep, for every pixel.

Conventions: vertices come projected, (u, v) in pixels with centres at i + 0.5 and z the camera depth. Both sides of a
face count; a face with a corner at or behind the camera, or not finite, is dropped. Method: see `zbuffer`.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gan2shape.scene.zbuffer import (
    Vertices,
    boxes,
    empty_keys,
    interpolate_at_pixels,
    projected_vertices,
    rasterize_boxes,
    winners,
)


@dataclass(frozen=True)
class Fragments:
    """The visible surface point of each pixel. Pixels that nothing covers: face -1, bary 0, depth 0."""

    face: Int[Tensor, "B H W"]  # index into `faces`, -1 where there is none
    bary: Float[Tensor, "B H W 3"]  # weights of the three corners in 3D (perspective-correct), sum 1
    depth: Float[Tensor, "B H W"]  # z of the surface point in the camera


def rasterize(vertices_px: Float[Tensor, "B V 3"], faces: Int[Tensor, "F 3"], height: int, width: int) -> Fragments:
    """Rasterise `faces` (shared by the batch): the nearest at each pixel centre; ties go to the lower face number.

    Args:
        vertices_px: (u, v, z) of each vertex, pixels and scene units (`camera.project` makes them).
        faces: corner indices.
    Differentiable in `vertices_px`: the winning face is a constant, its weights and depth are functions of its corners.
    """
    batch, n_vertices = vertices_px.shape[:2]
    if len(faces) == 0:
        nothing = vertices_px.new_zeros(batch, height, width)
        return Fragments(nothing.long() - 1, nothing[..., None].expand(-1, -1, -1, 3), nothing)
    face = _nearest_face(projected_vertices(*vertices_px.unbind(-1)), faces, batch, height, width)
    covered = face >= 0
    # Corners that are not finite belong to no visible face, but 0 * NaN would spoil the gradient of the others.
    points = torch.where(vertices_px.isfinite(), vertices_px, 1.0).reshape(-1, 3)
    flat = _corners(faces, face.clamp(min=0), n_vertices)
    u, v, z = ([values.index_select(0, t.reshape(-1)).view(face.shape) for t in flat] for values in points.unbind(1))
    weights, depth = interpolate_at_pixels(u, v, z, covered)
    shown = covered[..., None]
    return Fragments(face, torch.where(shown, torch.stack(weights, -1), 0.0), torch.where(covered, depth, 0.0))


@torch.no_grad()
def _nearest_face(vertices: Vertices, faces: Tensor, batch: int, height: int, width: int) -> Int[Tensor, "B H W"]:
    """The z-buffer over all faces of all images; -1 where there is no face."""
    n_faces, n_vertices = len(faces), len(vertices.u) // batch
    every = torch.arange(n_faces, device=faces.device).expand(batch, -1)
    corners = tuple(t.reshape(-1) for t in _corners(faces, every, n_vertices))
    u, v = ([values.index_select(0, t) for t in corners] for values in (vertices.u, vertices.v))
    low, high = ([fold(fold(t[0], t[1]), t[2]) for t in (u, v)] for fold in (torch.minimum, torch.maximum))
    keys = empty_keys(batch, height, width, faces.device)

    def look_up(chosen: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor, Tensor]]:
        image = torch.div(chosen, n_faces, rounding_mode="floor")
        return chosen - image * n_faces, image, tuple(t.index_select(0, chosen) for t in corners)

    rasterize_boxes(keys, boxes(low[0], high[0], low[1], high[1], height, width), look_up, vertices, (height, width))
    covered, face = winners(keys)
    return torch.where(covered, face, -1).view(batch, height, width)


def _corners(faces: Tensor, face: Int[Tensor, "  B *rest"], n_vertices: int) -> tuple[Tensor, Tensor, Tensor]:
    """Indices into the batch's flat vertices of the corners of `face`."""
    first = torch.arange(len(face), device=faces.device).view(-1, *[1] * (face.ndim - 1)) * n_vertices
    return tuple(corner[face] + first for corner in faces.unbind(1))


def interpolate(attributes: Float[Tensor, "B V C"], faces: Int[Tensor, "F 3"], fragments: Fragments) -> Tensor:
    """Vertex attributes at each pixel, [B, C, H, W]; 0 where there is no face. Differentiable in both arguments."""
    values = attributes.reshape(-1, attributes.shape[-1])
    corners = _corners(faces, fragments.face.clamp(min=0), attributes.shape[1])
    parts = (values[corner] * fragments.bary[..., i, None] for i, corner in enumerate(corners))
    return sum(parts).permute(0, 3, 1, 2)
