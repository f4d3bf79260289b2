"""The object as the viewer shows it: vertices for a depth scale, a texture for a kind of surface and a light.

Everything follows from the maps of the run by the project's own functions; the page only draws. Vertices keep their
place in the canonical image, so that every map is fetched at the same coordinates whatever the depth scale.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.core.images import resized, to_uint8
from gan2shape.core.records import Scene
from gan2shape.edit.effects import Editable
from gan2shape.export.mesh import Mesh, height_field_mesh
from gan2shape.export.mesh_files import glb_bytes
from gan2shape.export.photo import bled
from gan2shape.export.pictures import confidence_colours
from gan2shape.scene.camera import CENTRE_Z, rotation
from gan2shape.scene.light import apply_light, normals_from_depth, shade

CLAY = 0.72  # grey of clay, in [0, 1]
TEXTURE_PX = 256  # width of the texture
GLTF_AXES = np.diag([1.0, -1.0, -1.0])  # from the camera's axes to glTF's, and back
PAGE_FROM_GLTF = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
KINDS = ("photo", "clay", "albedo", "normals")
CONFIDENCE = "confidence"  # a further kind, for runs that have it


@dataclass(frozen=True)
class ViewedSurface:
    """One object."""

    mesh: Mesh  # at depth scale 1, glTF frame; uv into the canonical image
    scene: Scene
    fov_deg: float
    mask: Float[Tensor, "1 1 S S"]  # the object, in [0, 1]
    confidence: Float[Tensor, "1 1 S S"] | None = None  # in [0, 1]

    @property
    def kinds(self) -> tuple[str, ...]:
        """What it can be shown as."""
        return KINDS if self.confidence is None else (*KINDS, CONFIDENCE)

    def vertices(self, depth_scale: float = 1.0) -> Float[np.ndarray, "V 3"]:
        """Vertices with depth scaled about the centre of rotation, each along its own ray."""
        x, y, up = self.mesh.vertices.T
        z = CENTRE_Z - up
        scaled = CENTRE_Z + depth_scale * (z - CENTRE_Z)
        return np.stack([x / z * scaled, y / z * scaled, CENTRE_Z - scaled], 1).astype(np.float32)

    def glb(self, kind: str, light: Float[Tensor, "1 4"], depth_scale: float = 1.0) -> bytes:
        """The surface with `picture` on an unlit material."""
        shown = resized(self.picture(kind, light, depth_scale), TEXTURE_PX, "bicubic")
        texture = bled(to_uint8(shown[0], 0.0), self.mask)  # the rim has some of the background in it
        return glb_bytes(replace(self.mesh, vertices=self.vertices(depth_scale)), texture, unlit=True)

    def picture(self, kind: str, light: Float[Tensor, "1 4"], depth_scale: float = 1.0) -> Float[Tensor, "1 3 S S"]:
        """The canonical image on the surface, in [0, 1]. Light shows on photo and clay."""
        normals = normals_from_depth(scaled_depth(self.scene.depth, depth_scale), self.fov_deg)
        if kind == "albedo":
            return self.scene.albedo / 2 + 0.5
        if kind == "normals":
            return normals * normals.new_tensor([0.5, -0.5, -0.5])[:, None, None] + 0.5
        if kind == CONFIDENCE and self.confidence is not None:
            return confidence_colours(self.confidence.to(normals))
        base = torch.full_like(self.scene.albedo, 2 * CLAY - 1) if kind == "clay" else self.scene.albedo
        return apply_light(base, shade(normals, light)) / 2 + 0.5


def surface_of(subject: Editable, confidence: Float[Tensor, "1 1 S S"] | None = None) -> ViewedSurface:
    """The surface of a reconstruction. Raises UserError where its mask leaves none."""
    scene, fov_deg = subject.scene, subject.config.render.fov_deg
    mesh = height_field_mesh(scene.depth, subject.canvas.mask, fov_deg)
    return ViewedSurface(mesh, scene, fov_deg, subject.canvas.mask, confidence)


def scaled_depth(depth: Float[Tensor, "B 1 S S"], depth_scale: float) -> Float[Tensor, "B 1 S S"]:
    """Depth scaled about the centre of rotation."""
    return CENTRE_Z + depth_scale * (depth - CENTRE_Z)


def with_depth_scale(scene: Scene, depth_scale: float) -> Scene:
    """The scene at another depth scale."""
    return replace(scene, depth=scaled_depth(scene.depth, depth_scale))


def rotation_in_page(view: Float[Tensor, "1 6"]) -> Float[np.ndarray, "3 3"]:
    """The view's rotation of vertices in the glTF frame, into the page's: x right, y away from the viewer, z up."""
    turned = GLTF_AXES @ rotation(view[:, :3])[0].cpu().double().numpy() @ GLTF_AXES
    return PAGE_FROM_GLTF @ turned


def quaternion(matrix: Float[np.ndarray, "3 3"]) -> tuple[float, float, float, float]:
    """(w, x, y, z) of a rotation by less than half a turn."""
    w = np.sqrt(max(0.0, 1 + np.trace(matrix))) / 2
    x, y, z = matrix[2, 1] - matrix[1, 2], matrix[0, 2] - matrix[2, 0], matrix[1, 0] - matrix[0, 1]
    return float(w), float(x / (4 * w)), float(y / (4 * w)), float(z / (4 * w))
