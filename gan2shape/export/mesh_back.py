"""What closes the surface of a height field behind, so that it can be printed and filled.

Every vertex of the front gets a partner on its own viewing ray, further away; partners are joined as the front is, and
walls join both at the outline. From the camera nothing changes, and every edge has two triangles. How far away:

* cap: on the rim plane, the least-squares plane through the outline, moved back until all of the front lies before it;
* mirror: as far behind the rim plane as the front is before it, along the ray;
* symmetric: on the front reflected about the object's plane of symmetry, where that is seen behind the front (it shows
  the side that the camera does not see); elsewhere as mirror, with a smooth transition.

Assumed for symmetric: the plane is x = 0 of the object's own frame, whose origin is (0, 0, 1), moved by the given view:
the object stands in the middle of the picture and about distance 1, as training images have it, and the view is right.
Points are in the camera frame.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from gan2shape.export.mesh_outline import ObjectSurface, compacted
from gan2shape.export.photo import carried_on
from gan2shape.scene.camera import CENTRE_Z, intrinsics, pixel_slopes, project, rotation
from gan2shape.scene.mesh_pieces import piece_of_faces
from gan2shape.scene.mesh_raster import rasterize

MIN_GAP = 5e-5  # scene units between front and back: a fiftieth of a pixel at resolution 64
MAX_TILT_DEG = 70.0  # of the rim plane against the image
GRID = 128  # pixels of the depth maps in which the reflected surface is looked up
MIN_BEHIND_PX = 2.0  # by which it has to lie behind the front to count
REACH_PX = 16  # over which the reflected surface passes into the mirrored one


@dataclass(frozen=True)
class RimPlane:
    """z = offset + x slope_x + y slope_y."""

    offset: float
    slope_x: float
    slope_y: float

    def depth(self, ray_x: np.ndarray, ray_y: np.ndarray) -> np.ndarray:
        """z where the ray (ray_x, ray_y, 1) meets the plane."""
        return self.offset / (1 - self.slope_x * ray_x - self.slope_y * ray_y)


def closed(surface: ObjectSurface, back: str, view: Float[Tensor, "1 6"], fov_deg: float) -> ObjectSurface:
    """The surface with its back: "cap", "mirror" or "symmetric".

    view: of the object's own frame, for symmetric.
    """
    surface = with_simple_outline(surface)
    plane = rim_plane(surface)
    x, y, z = surface.points.astype(np.float64).T
    behind = plane.depth(x / z, y / z)
    if back != "cap":
        behind = 2 * behind - z
    if back == "symmetric":
        behind = behind + beyond_mirror(surface, plane, view, fov_deg)
    return joined(surface, np.maximum(behind, z + MIN_GAP))


def open_edges(faces: Int[np.ndarray, "F 3"]) -> Int[np.ndarray, "E 2"]:
    """The directed edges of triangles that have no second triangle."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).astype(np.int64)
    key = edges.min(1) * (edges.max(initial=0) + 1) + edges.max(1)  # one number sorts faster than two
    _, first, uses = np.unique(key, return_index=True, return_counts=True)
    return edges[first[uses == 1]]


def with_simple_outline(surface: ObjectSurface) -> ObjectSurface:
    """The same triangles; a vertex at which two parts merely touch is doubled, so that its outline passes it once."""
    faces, n_faces = surface.faces.astype(np.int64), len(surface.faces)
    corner = np.arange(3 * n_faces).reshape(n_faces, 3)
    # Both ends of every triangle's edges as vertices and as corners; corners that share an edge belong together.
    sides = [np.stack([faces[:, i], faces[:, i - 2], corner[:, i], corner[:, i - 2]], 1) for i in range(3)]
    edges = np.concatenate(sides)
    is_down = edges[:, 0] > edges[:, 1]
    edges[is_down] = edges[is_down][:, [1, 0, 3, 2]]
    edges = edges[np.lexsort((edges[:, 1], edges[:, 0]))]
    is_shared = (edges[1:, :2] == edges[:-1, :2]).all(1)
    one, other = edges[:-1][is_shared], edges[1:][is_shared]
    itself = np.stack([corner.ravel(), corner.ravel()], 1)
    links = np.concatenate([itself, *(np.stack([one[:, i], other[:, i]], 1) for i in (2, 3))])
    fan = piece_of_faces(links[:, [0, 1, 1]], 3 * n_faces)[: 3 * n_faces]
    return compacted(surface.points[faces.ravel()], fan.reshape(n_faces, 3))


def rim_plane(surface: ObjectSurface) -> RimPlane:
    """The least-squares plane through the outline, moved back behind every vertex."""
    points = surface.points.astype(np.float64)
    rim = points[np.unique(open_edges(surface.faces))]
    centred = rim - rim.mean(0)
    slope = np.linalg.lstsq(centred[:, :2], centred[:, 2], rcond=None)[0]
    steepness = np.linalg.norm(slope) / math.tan(math.radians(MAX_TILT_DEG))
    slope = slope / max(steepness, 1.0)
    offset = (points[:, 2] - points[:, :2] @ slope).max()
    return RimPlane(float(offset + MIN_GAP), float(slope[0]), float(slope[1]))


def joined(surface: ObjectSurface, behind: Float[np.ndarray, " V"]) -> ObjectSurface:
    """Front, back and walls; `behind` is the depth of each vertex's partner."""
    points, faces, n = surface.points, surface.faces, len(surface.points)
    back = points.astype(np.float64) * (behind / points[:, 2])[:, None]
    start, end = open_edges(faces).T
    walls = [np.stack([end, start, start + n], 1), np.stack([end, start + n, end + n], 1)]
    whole = np.concatenate([faces, faces[:, ::-1] + n, *walls])
    return ObjectSurface(np.concatenate([points, back.astype(points.dtype)]), whole.astype(np.int32))


def reflected(surface: ObjectSurface, view: Float[Tensor, "1 6"]) -> Float[np.ndarray, "V 3"]:
    """Vertices on the other side of the object's plane of symmetry."""
    view = view.detach().double().cpu()
    normal = rotation(view[:, :3])[0, :, 0].numpy()
    centre = view[0, 3:].numpy() + np.array([0.0, 0.0, CENTRE_Z])
    points = surface.points.astype(np.float64)
    return points - 2 * ((points - centre) @ normal)[:, None] * normal


def beyond_mirror(
    surface: ObjectSurface, plane: RimPlane, view: Float[Tensor, "1 6"], fov_deg: float
) -> Float[np.ndarray, " V"]:
    """What the reflected surface adds to the depth of the mirrored one, at each vertex; 0 far from where it counts."""
    faces, K = torch.from_numpy(surface.faces.astype(np.int64)), intrinsics(GRID, fov_deg)
    both = (surface.points, reflected(surface, view))
    front_px, back_px = (project(torch.from_numpy(points.astype(np.float32))[None], K) for points in both)
    front, far = rasterize(front_px, faces, GRID, GRID), farthest(back_px, faces)
    slope = pixel_slopes(GRID, fov_deg, front_px).numpy()
    mirrored = 2 * torch.from_numpy(plane.depth(slope, slope[:, None])).float() - front.depth[0]
    least = front.depth[0] + MIN_BEHIND_PX / float(K[0, 0])
    known = ((front.face[0] >= 0) & (far > least)).float()[None, None]
    if not bool(known.any()):
        return np.zeros(len(surface.points))
    near = (2 * F.avg_pool2d(known, 2 * REACH_PX + 1, 1, REACH_PX)).clamp_max(1.0)
    added = carried_on((far - mirrored)[None, None] * known, known) * torch.maximum(known, near)
    place = (front_px[..., :2] / GRID * 2 - 1)[None]
    return F.grid_sample(added, place, padding_mode="border", align_corners=False)[0, 0, 0].double().numpy()


def farthest(vertices_px: Float[Tensor, "1 V 3"], faces: Int[Tensor, "F 3"]) -> Float[Tensor, "_h _w"]:
    """Depth of the last surface on each pixel's ray; 0 where there is none.

    A z-buffer keeps the least depth w. With 1 / w = a - 1 / z, which is linear on the screen as 1 / z is, the least w
    belongs to the greatest z.
    """
    a = 2 / float(vertices_px[..., 2].min())
    turned = torch.cat([vertices_px[..., :2], 1 / (a - 1 / vertices_px[..., 2:])], -1)
    found = rasterize(turned, faces, GRID, GRID)
    return torch.where(found.face >= 0, 1 / (a - 1 / found.depth.clamp_min(1e-6)), 0.0)[0]
