"""Surfaces of volumes: closed, outward, where and as large as the volume says."""

from pathlib import Path

import numpy as np
import pytest
import torch

from gan2shape.core.errors import UserError
from gan2shape.export.voxel_meshes import surface_of, write_voxel_mesh
from gan2shape.scene.volumes import SIDE, grid_points

trimesh = pytest.importorskip("trimesh")
pytest.importorskip("skimage", reason="extra `voxels` is not installed")


def test_a_ball_s_surface_lies_where_the_ball_is(tmp_path: Path) -> None:
    """A ball at the right, above, in front of the centre: in the glTF frame +x, +y, +z."""
    centre, radius = torch.tensor([0.02, -0.03, -0.01]), 0.03  # camera axes: y down, z forward
    apart = (grid_points(32, torch.zeros(1)) - centre).norm(dim=-1)
    volume = torch.sigmoid((radius - apart) * 400)
    solid = trimesh.Trimesh(*surface_of(volume), process=False)
    assert solid.is_watertight
    assert solid.volume == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.03)  # positive: faces point outwards
    np.testing.assert_allclose(solid.center_mass, [0.02, 0.03, 0.01], atol=5e-4)
    loaded = trimesh.load(write_voxel_mesh(tmp_path / "ball.glb", volume), force="mesh")
    np.testing.assert_allclose(loaded.bounds, solid.bounds, atol=1e-6)


def test_a_full_cube_is_closed() -> None:
    solid = trimesh.Trimesh(*surface_of(torch.ones(8, 8, 8)))
    assert solid.is_watertight
    assert float(np.abs(solid.bounds).max()) <= SIDE / 2 + 1e-6


def test_an_empty_volume_has_no_surface() -> None:
    with pytest.raises(UserError, match="empty"):
        surface_of(torch.zeros(8, 8, 8))
