"""Height field to textured mesh, and GLB files.

Conventions
-----------
* Meshes are in the glTF frame: +Y up, +Z towards the viewer. Its origin is the object's centre of rotation, (0, 0, 1)
  in the camera frame. `gltf_axes` is the one place that converts.
* uv has its origin at the image's lower left (u right, v up), as trimesh wants it; the GLB stores glTF's upper left.
* The cut rule (which triangles belong to the object): all three corners lie in the mask after it has lost `erode_px`
  pixels at its rim, and the triangle's normal is at most `max_angle_deg` from the viewing ray (steeper ones are
  curtains between the object and what is behind it). Then pieces smaller than `min_piece` of the largest one go.
* The outline of the cut is a staircase of pixels; its vertices are averaged along it (`RIM_PASSES` times) and the
  texture coordinates follow, so that the rim is smooth. The inside is untouched.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gan2shape.core.errors import UserError
from gan2shape.core.files import write_bytes_atomic
from gan2shape.core.images import resized
from gan2shape.scene.camera import (
    CENTRE_Z,
    DEFAULT_FOV_DEG,
    intrinsics,
    move,
    project,
    unproject,
)
from gan2shape.scene.height_field import grid_faces
from gan2shape.scene.mesh_normals import summed_normals
from gan2shape.scene.mesh_pieces import piece_of_faces
from gan2shape.scene.render import warp

ERODE_PX = 0.75  # rim that mixes object and background in the photo
MAX_ANGLE_DEG = 82.0  # from the viewing ray: 7 px of depth per px of image
MIN_PIECE = 0.05  # of the largest piece's triangles
RIM_PASSES = 8  # averages along the outline
FILL_STEPS = 4  # pixels by which depth is carried on beyond the mask before it is refined
UNLIT = "KHR_materials_unlit"


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
    erode_px: float = ERODE_PX,
    max_angle_deg: float = MAX_ANGLE_DEG,
    min_piece: float = MIN_PIECE,
    rim_passes: int = RIM_PASSES,
) -> Mesh:
    """The object's surface as a mesh, cut by the rule above; uv points into the canonical image.

    Args:
        depth: canonical depth at the pixel centres.
        mask: the object in the canonical image, in [0, 1]; above .5 is inside.
        upsample: refine the grid this many times, depth by cubic interpolation.
    Raises UserError where nothing is left.
    """
    depth, mask = depth.detach().float().cpu(), mask.detach().float().cpu()
    inside = signed_rim_px(mask)
    if upsample > 1:
        size = depth.shape[-1] * upsample
        depth = resized(carried_on(depth, mask), size, "bicubic")
        inside = resized(inside, size)
    size = depth.shape[-1]
    K = intrinsics(size, fov_deg)
    points = unproject(depth, K).flatten(1, 2)
    faces = grid_faces(size)
    faces = faces[(inside.flatten() >= erode_px)[faces].all(1)]
    faces = faces[_angle_to_ray_deg(points[0], faces) <= max_angle_deg]
    faces = large_pieces(faces.numpy(), size * size, min_piece)
    if not len(faces):
        raise UserError("the object mask leaves no surface to export: give a mask that covers the object.")
    used, faces = np.unique(faces, return_inverse=True)
    faces = faces.reshape(-1, 3).astype(np.int32)
    points = torch.from_numpy(smooth_rim(points[0].numpy()[used], faces, rim_passes))
    return Mesh(gltf_axes(points).numpy(), faces, image_uv(points[None], fov_deg))


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


def signed_rim_px(mask: Float[Tensor, "1 1 S S"], reach_px: int = 3) -> Float[Tensor, "1 1 S S"]:
    """Rough distance to the rim in pixels, positive inside, 0 on the .5 level, within +-reach_px.

    Each erosion by a pixel (3 x 3, alternating with a plus so that corners stay round) adds one; the mask's own grey
    levels give the fraction.
    """
    level = mask * 2 - 1  # 0 on the rim, about 1 half a pixel inside
    inner = outer = (mask > 0.5).float()
    distance = level.clamp(-0.5, 0.5)
    for step in range(reach_px):
        round_off = F.max_pool2d if step % 2 == 0 else _plus_max
        inner = -round_off(-inner, 3, 1, 1)
        outer = round_off(outer, 3, 1, 1)
        distance = distance + inner - (1 - outer)
    return distance


def _plus_max(x: Tensor, *_: int) -> Tensor:
    """Maximum over the pixel and its four neighbours."""
    return torch.maximum(F.max_pool2d(x, (3, 1), 1, (1, 0)), F.max_pool2d(x, (1, 3), 1, (0, 1)))


def carried_on(depth: Float[Tensor, "1 1 S S"], mask: Float[Tensor, "1 1 S S"]) -> Float[Tensor, "1 1 S S"]:
    """Depth continued a few pixels beyond the mask by averages of the known neighbours.

    Interpolating across the outline would otherwise mix in the background.
    """
    known = (mask > 0.5).float()
    filled = depth
    for _ in range(FILL_STEPS):
        weight = F.avg_pool2d(known, 3, 1, 1)
        mean = F.avg_pool2d(filled * known, 3, 1, 1) / weight.clamp(min=1e-6)
        filled = torch.where((known == 0) & (weight > 0), mean, filled)
        known = (weight > 0).float()
    return filled


def _angle_to_ray_deg(points: Float[Tensor, "V 3"], faces: Tensor) -> Float[Tensor, " F"]:
    """Angle between each triangle's normal and the ray from it to the camera at the origin, degrees."""
    a, b, c = points[faces].double().unbind(1)
    normal = F.normalize(torch.linalg.cross(b - a, c - a), dim=1, eps=1e-30)
    to_camera = -F.normalize(a + b + c, dim=1)
    return torch.rad2deg((normal * to_camera).sum(1).clamp(-1, 1).acos()).float()


def large_pieces(faces: np.ndarray, n_vertices: int, min_piece: float) -> np.ndarray:
    """Faces of the connected pieces that have at least `min_piece` times the triangles of the largest one."""
    if not len(faces):
        return faces
    piece = piece_of_faces(faces, n_vertices)
    sizes = np.bincount(piece, minlength=n_vertices)
    return faces[sizes[piece] >= max(min_piece * sizes.max(), 1)]


def smooth_rim(points: np.ndarray, faces: np.ndarray, n_passes: int) -> np.ndarray:
    """Move the vertices of open edges [V, 3] half way to the mean of their neighbours along the outline, n times."""
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    edges, uses = np.unique(edges, axis=0, return_counts=True)
    left, right = edges[uses == 1].T
    degree = np.bincount(np.concatenate([left, right]), minlength=len(points))[:, None]
    smoothed = points.astype(np.float64)
    for _ in range(n_passes):
        total = np.zeros_like(smoothed)
        np.add.at(total, left, smoothed[right])
        np.add.at(total, right, smoothed[left])
        smoothed = np.where(degree > 0, (smoothed + total / np.maximum(degree, 1)) / 2, smoothed)
    return smoothed.astype(np.float32)


def vertex_normals(mesh: Mesh) -> np.ndarray:
    """Area-weighted unit normals [V, 3]."""
    normals = summed_normals(mesh.vertices.astype(np.float64), mesh.faces)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)


def glb_bytes(mesh: Mesh, texture: np.ndarray, *, unlit: bool, fov_deg: float = DEFAULT_FOV_DEG) -> bytes:
    """A GLB with one textured, double-sided mesh and the camera that took the picture.

    texture: uint8 [H, W, 3]. unlit: KHR_materials_unlit (a photo has its light in it); else metallic 0, roughness 1.
    """
    import trimesh
    from PIL import Image

    if texture.dtype != np.uint8 or texture.ndim != 3 or texture.shape[2] != 3:
        raise ValueError(f"texture must be uint8 [H, W, 3], not {texture.dtype} {texture.shape}")
    material = trimesh.visual.material.PBRMaterial(
        name="photo" if unlit else "albedo",
        baseColorTexture=Image.fromarray(texture),
        baseColorFactor=[255, 255, 255, 255],
        metallicFactor=0.0,
        roughnessFactor=1.0,
        doubleSided=True,
    )
    solid = trimesh.Trimesh(
        vertices=mesh.vertices,
        faces=mesh.faces,
        vertex_normals=vertex_normals(mesh),
        visual=trimesh.visual.TextureVisuals(uv=mesh.uv, material=material),
        process=False,
    )

    def finish(tree: dict) -> None:
        tree["asset"]["generator"] = "gan2shape"
        if unlit:
            tree["extensionsUsed"] = sorted({*tree.get("extensionsUsed", []), UNLIT})
            for entry in tree["materials"]:
                entry.setdefault("extensions", {})[UNLIT] = {}
        # The photo's own camera: glTF cameras look along -Z, and ours stands at (0, 0, 1) of the glTF frame.
        perspective = {"aspectRatio": 1.0, "yfov": math.radians(fov_deg), "znear": 0.1}
        tree["cameras"] = [{"name": "photo", "type": "perspective", "perspective": perspective}]
        tree["nodes"].append({"name": "photo camera", "camera": 0, "translation": [0.0, 0.0, CENTRE_Z]})
        tree["scenes"][0]["nodes"].append(len(tree["nodes"]) - 1)

    scene = trimesh.Scene()
    scene.add_geometry(solid, geom_name="object", node_name="object")
    return scene.export(file_type="glb", include_normals=True, tree_postprocessor=finish)


def write_glb(path: Path, mesh: Mesh, texture: np.ndarray, *, unlit: bool, fov_deg: float = DEFAULT_FOV_DEG) -> Path:
    """`glb_bytes` at `path`, atomically."""
    return write_bytes_atomic(Path(path), glb_bytes(mesh, texture, unlit=unlit, fov_deg=fov_deg))
