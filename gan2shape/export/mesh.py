"""Height field to textured mesh (files: `mesh_files`).

Conventions
-----------
* Meshes are in the glTF frame: +Y up, +Z towards the viewer. Its origin is the object's centre of rotation, (0, 0, 1)
  in the camera frame. `gltf_axes` is the one place that converts.
* Scale: the camera stands at distance 1 from the origin; the image is 2 tan(fov / 2) wide there, .175 at 10 degrees.
* uv has its origin at the image's lower left (u right, v up), as trimesh wants it; the GLB stores glTF's upper left.
* The cut rule (what belongs to the object): the surface is cut along the mask's outline (`mesh_outline`), and its
  triangles' normals are at most `max_angle_deg` from the viewing ray (steeper ones are curtains between the object and
  what is behind it). Then pieces smaller than `min_piece` of the largest one go.
* Vertices of the outline are averaged along it (`RIM_PASSES` times) and the texture coordinates follow. The inside is
  untouched.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.core.errors import UserError
from gan2shape.export.mesh_back import closed, open_edges
from gan2shape.export.mesh_outline import ObjectSurface, compacted, cut_out_surface
from gan2shape.scene.camera import (
    CENTRE_Z,
    DEFAULT_FOV_DEG,
    intrinsics,
    move,
    project,
    unproject,
)
from gan2shape.scene.mesh_normals import summed_normals
from gan2shape.scene.mesh_pieces import piece_of_faces
from gan2shape.scene.render import warp

MAX_ANGLE_DEG = 82.0  # from the viewing ray: 7 px of depth per px of image
MIN_PIECE = 0.01  # of the largest piece's triangles
RIM_PASSES = 8  # averages along the outline
MAX_REPAIRS = 10  # rounds of taking back what folds triangles at the outline


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh with texture coordinates."""

    vertices: np.ndarray  # [V, 3] float32, glTF frame
    faces: np.ndarray  # [F, 3] int32, counter-clockwise seen from outside
    uv: np.ndarray  # [V, 2] float32, origin at the lower left


def gltf_axes(points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """Camera frame (x right, y down, z forward) to glTF: (x, -y, 1 - z)."""
    x, y, z = points.unbind(-1)
    return torch.stack([x, -y, CENTRE_Z - z], -1)


def height_field_mesh(
    depth: Float[Tensor, "1 1 S S"],
    mask: Float[Tensor, "1 1 S S"],
    fov_deg: float = DEFAULT_FOV_DEG,
    *,
    upsample: int = 1,
    max_angle_deg: float = MAX_ANGLE_DEG,
    min_piece: float = MIN_PIECE,
    rim_passes: int = RIM_PASSES,
    back: str = "open",
    object_view: Float[Tensor, "1 6"] | None = None,
) -> Mesh:
    """The object's surface as a mesh, cut by the rule above; uv points into the canonical image.

    Args:
        depth: canonical depth at the pixel centres.
        mask: the object in the canonical image, in [0, 1]; above .5 is inside.
        upsample: refine the grid this many times, depth by cubic interpolation.
        back: "open", or what closes the surface behind (`mesh_back`): "cap", "mirror", "symmetric".
        object_view: of the object's own frame, for "symmetric"; zero unless given.
    Raises UserError where nothing is left.
    """
    depth, mask = depth.detach().float().cpu(), mask.detach().float().cpu()
    surface = cut_out_surface(depth, mask, fov_deg, upsample)
    faces = surface.faces[angle_to_ray_deg(surface) <= max_angle_deg]
    faces = large_pieces(faces, len(surface.points), min_piece)
    if not len(faces):
        raise UserError("the object mask leaves no surface to export: give a mask that covers the object.")
    surface = compacted(surface.points, faces)
    surface = with_smooth_rim(surface, rim_passes, max_angle_deg)
    if back != "open":
        surface = closed(surface, back, torch.zeros(1, 6) if object_view is None else object_view, fov_deg)
    points = torch.from_numpy(surface.points)
    return Mesh(gltf_axes(points).numpy(), surface.faces, image_uv(points[None], fov_deg))


def with_smooth_rim(surface: ObjectSurface, n_passes: int, max_angle_deg: float) -> ObjectSurface:
    """`smooth_rim` of the surface; vertices that would make a triangle steeper than `max_angle_deg` stay."""
    moved = ObjectSurface(smooth_rim(surface.points, surface.faces, n_passes), surface.faces)
    for _ in range(MAX_REPAIRS):
        steep = moved.faces[angle_to_ray_deg(moved) > max_angle_deg]
        if not len(steep):
            return moved
        points = moved.points.copy()
        points[steep] = surface.points[steep]
        moved = ObjectSurface(points, moved.faces)
    return surface


def seen_in(mesh: Mesh, view: Float[Tensor, "1 6"], fov_deg: float) -> Mesh:
    """The same surface with uv into the picture that was taken in `view`."""
    points = gltf_axes(torch.from_numpy(mesh.vertices))[None]  # the conversion is its own inverse
    return replace(mesh, uv=image_uv(move(points, view.detach().float().cpu()), fov_deg))


def image_uv(points: Float[Tensor, "1 V 3"], fov_deg: float) -> np.ndarray:
    """Where camera points [V, 3] appear in the image: [V, 2] in [0, 1], origin at the lower left."""
    uv = project(points, intrinsics(1, fov_deg))[0, :, :2]
    return torch.stack([uv[:, 0], 1 - uv[:, 1]], 1).clamp(0, 1).numpy()


def canonical_mask(
    mask: Float[Tensor, "1 1 S S"], depth: Float[Tensor, "1 1 S S"], view: Float[Tensor, "1 6"], fov_deg: float
) -> Float[Tensor, "1 1 S S"]:
    """The photo's mask fetched for each canonical pixel, whose surface point `view` moves into the photo."""
    size = depth.shape[-1]
    K = intrinsics(size, fov_deg, device=depth.device, dtype=depth.dtype)
    pixel = project(move(unproject(depth, K).flatten(1, 2), view), K)[..., :2]
    return warp(mask, (pixel * (2 / size) - 1).unflatten(1, (size, size)))


def angle_to_ray_deg(surface: ObjectSurface) -> Float[np.ndarray, " F"]:
    """Angle between each triangle's normal and the ray from it to the camera at the origin, degrees."""
    # One row for each coordinate: reductions over a last axis of three are slow.
    a, b, c = surface.points.astype(np.float64).T[:, surface.faces.T].swapaxes(0, 1)
    (ux, uy, uz), (vx, vy, vz) = b - a, c - a
    normal, to_camera = np.stack([uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx]), -(a + b + c)
    lengths = np.sqrt((normal * normal).sum(0) * (to_camera * to_camera).sum(0))
    return np.degrees(np.arccos(((normal * to_camera).sum(0) / np.maximum(lengths, 1e-30)).clip(-1, 1)))


def large_pieces(faces: np.ndarray, n_vertices: int, min_piece: float) -> np.ndarray:
    """Faces of the connected pieces that have at least `min_piece` times the triangles of the largest one."""
    if not len(faces):
        return faces
    piece = piece_of_faces(faces, n_vertices)
    sizes = np.bincount(piece, minlength=n_vertices)
    return faces[sizes[piece] >= max(min_piece * sizes.max(), 1)]


def smooth_rim(points: np.ndarray, faces: np.ndarray, n_passes: int) -> np.ndarray:
    """Move the vertices of open edges [V, 3] half way to the mean of their neighbours along the outline, n times."""
    rim, places = np.unique(open_edges(faces), return_inverse=True)
    left, right = places.reshape(-1, 2).T
    here, there = np.concatenate([left, right]), np.concatenate([right, left])
    degree = np.bincount(here)[:, None]
    moved = points[rim].astype(np.float64)
    for _ in range(n_passes):
        total = np.stack([np.bincount(here, moved[there, axis]) for axis in range(3)], 1)
        moved = (moved + total / degree) / 2
    smoothed = points.astype(np.float64)
    smoothed[rim] = moved
    return smoothed.astype(np.float32)


def vertex_normals(mesh: Mesh) -> np.ndarray:
    """Area-weighted unit normals [V, 3]."""
    normals = summed_normals(mesh.vertices.astype(np.float64), mesh.faces)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)
