"""Volumes of occupancy as meshes: the surface where occupancy is one half, by marching cubes (Lewiner et al. 2003) of
scikit-image, which the extra `voxels` brings. Meshes are closed, in the glTF frame and in scene units.
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from gan2shape.core.errors import UserError
from gan2shape.core.files import write_bytes_atomic
from gan2shape.export.mesh import gltf_axes
from gan2shape.scene.camera import CENTRE_Z
from gan2shape.scene.volumes import FILLED, SIDE

GREY = (176, 176, 176, 255)


def require_marching_cubes() -> None:
    """Raises UserError where scikit-image is missing."""
    if find_spec("skimage") is None:
        raise UserError('Meshes of voxels need scikit-image: run `pip install "gan2shape[voxels]"`.')


def surface_of(
    volume: Float[Tensor, "S S S"], centre_z: float = CENTRE_Z
) -> tuple[Float[np.ndarray, "V 3"], Int[np.ndarray, "F 3"]]:
    """Vertices in the glTF frame, and faces counter-clockwise from outside; the volume's centre is at `centre_z` from
    the camera.

    Raises UserError where nothing is filled, and as `require_marching_cubes` does.
    """
    require_marching_cubes()
    from skimage.measure import marching_cubes

    padded = np.pad(volume.detach().float().cpu().numpy(), 1)
    if padded.max() <= FILLED:
        raise UserError("The volume is empty, so that there is no surface: train longer, or choose another seed.")
    points, faces, _, _ = marching_cubes(padded, FILLED)
    own = (points[:, ::-1] - 0.5) * (SIDE / volume.shape[-1]) - SIDE / 2  # axes (z, y, x), less the padding
    camera = torch.from_numpy(own + np.array([0.0, 0.0, centre_z]))
    return gltf_axes(camera).numpy(), faces.astype(np.int64)


def write_voxel_mesh(path: Path, volume: Float[Tensor, "S S S"], centre_z: float = CENTRE_Z) -> Path:
    """The surface as GLB, whole or not at all. Returns the path."""
    import trimesh

    points, faces = surface_of(volume, centre_z)
    solid = trimesh.Trimesh(points, faces, process=False, face_colors=np.array(GREY, np.uint8))
    return write_bytes_atomic(path, solid.export(file_type="glb"))
