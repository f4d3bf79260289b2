"""Clean-up, Poisson reconstruction and decimation of meshes by Open3D (extra `open3d`), as the configuration asks.

In this order: duplicate, degenerate and non-manifold parts go and holes are closed; the closed surface is reconstructed
anew (screened Poisson, Kazhdan and Hoppe 2013); triangles are merged (quadric error, Garland and Heckbert 1997).
Texture coordinates follow from where a vertex is seen, so that they fit whatever is done to the surface.
"""

from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
import torch

from gan2shape.core.config import MeshConfig
from gan2shape.core.errors import UserError
from gan2shape.export.mesh import Mesh, gltf_axes, image_uv

if TYPE_CHECKING:
    import open3d

N_POISSON_POINTS = 100_000  # samples of the closed surface
BOUNDARY_WEIGHT = 10.0  # of the outline in the quadric error: it stays where it is


def require_open3d(config: MeshConfig) -> None:
    """Raises UserError where the configuration needs Open3D and it is not installed."""
    if config.needs_open3d and find_spec("open3d") is None:
        raise UserError(
            "mesh.cleanup, mesh.poisson_depth and mesh.max_faces need Open3D: "
            'run `pip install "gan2shape[open3d]"`, or leave them away.'
        )


def remeshed(mesh: Mesh, config: MeshConfig, fov_deg: float) -> Mesh:
    """The mesh after what the configuration asks for; uv point into the canonical image. Raises UserError as
    `require_open3d` does.
    """
    require_open3d(config)
    import open3d as o3d

    solid = o3d.geometry.TriangleMesh(
        o3d.utility.Vector3dVector(mesh.vertices.astype(np.float64)), o3d.utility.Vector3iVector(mesh.faces)
    )
    if config.cleanup:
        solid = _cleaned(solid)
    if config.poisson_depth:
        solid = _poisson(solid, config.poisson_depth)
    if config.max_faces and len(solid.triangles) > config.max_faces:
        solid = solid.simplify_quadric_decimation(config.max_faces, boundary_weight=BOUNDARY_WEIGHT)
        solid.remove_unreferenced_vertices()
    vertices = np.asarray(solid.vertices).astype(np.float32)
    points = gltf_axes(torch.from_numpy(vertices))[None]  # the conversion is its own inverse
    return Mesh(vertices, np.asarray(solid.triangles).astype(np.int32), image_uv(points, fov_deg))


def _cleaned(solid: "open3d.geometry.TriangleMesh") -> "open3d.geometry.TriangleMesh":
    import open3d as o3d

    solid.remove_duplicated_vertices()
    solid.remove_duplicated_triangles()
    solid.remove_degenerate_triangles()
    solid.remove_non_manifold_edges()
    solid.remove_unreferenced_vertices()
    is_closed = len(solid.get_non_manifold_edges(allow_boundary_edges=False)) == 0
    if is_closed:
        return solid
    # All holes but the outline itself, which is the longest: those up to half its size.
    whole = float(np.linalg.norm(solid.get_max_bound() - solid.get_min_bound()))
    tensors = o3d.t.geometry.TriangleMesh.from_legacy(solid)
    return tensors.fill_holes(hole_size=whole / 4).to_legacy()


def _poisson(solid: "open3d.geometry.TriangleMesh", depth: int) -> "open3d.geometry.TriangleMesh":
    import open3d as o3d
    import trimesh

    # Open3D would sample by random numbers that belong to the whole process.
    surface = trimesh.Trimesh(np.asarray(solid.vertices), np.asarray(solid.triangles), process=False)
    points, faces = trimesh.sample.sample_surface(surface, N_POISSON_POINTS, seed=0)
    cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(points))
    cloud.normals = o3d.utility.Vector3dVector(surface.face_normals[faces])
    found, _ = o3d.geometry.TriangleMesh.create_from_point_cloud_poisson(cloud, depth=depth, n_threads=1)
    return found
