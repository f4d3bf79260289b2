"""Voxels of meshes with known insides."""

import numpy as np
import pytest
import torch

from gan2shape.scene.volumes import SIDE
from gan2shape.synth.dataset import sample_item
from gan2shape.synth.objects import ObjectMesh
from gan2shape.synth.registry import get_category
from gan2shape.synth.voxels import voxel_set, voxelised

trimesh = pytest.importorskip("trimesh")


def as_object(*solids: "trimesh.Trimesh") -> ObjectMesh:
    solid = trimesh.util.concatenate(solids)
    n = len(solid.faces)
    return ObjectMesh(
        solid.vertices.astype(np.float32), np.asarray(solid.faces), np.zeros((n, 3), np.float32),
        np.zeros((n, 3, 3), np.float32),
    )  # fmt: skip


def test_a_box_fills_exactly_its_voxels() -> None:
    """4 x 6 x 8 voxels of a grid of 16, moved by one voxel along each axis."""
    h = SIDE / 16
    box = trimesh.creation.box(extents=(4 * h, 6 * h, 8 * h))
    box.apply_translation((h, 2 * h, -h))
    found = voxelised(as_object(box), 16)
    expected = np.zeros((16, 16, 16), bool)
    expected[3:11, 7:13, 7:11] = True  # axes (z, y, x)
    np.testing.assert_array_equal(found, expected)


def test_overlapping_parts_are_one_and_hollow_parts_are_not() -> None:
    h = SIDE / 16
    first, second = trimesh.creation.box(extents=(4 * h,) * 3), trimesh.creation.box(extents=(4 * h,) * 3)
    second.apply_translation((2 * h, 0, 0))
    assert voxelised(as_object(first, second), 16).sum() == 4 * 4 * 6
    inner = trimesh.creation.box(extents=(2 * h,) * 3)
    assert voxelised(as_object(first, inner), 16).sum() == 4**3  # a part inside a part
    inner.invert()
    assert voxelised(as_object(first, inner), 16).sum() == 4**3 - 2**3  # a hole


@pytest.mark.parametrize("category", ["car", "head"])
def test_points_inside_a_real_object_are_filled(category: str) -> None:
    """Against trimesh's own test by ray casting, at voxel centres that are not near the surface."""
    pytest.importorskip("embreex", reason="the ray caster is not installed")
    mesh = sample_item(get_category(category), 100_002).mesh
    found = voxelised(mesh, 16)
    solid = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    line = (np.arange(16) + 0.5) * (SIDE / 16) - SIDE / 2
    z, y, x = np.meshgrid(line, line, line, indexing="ij")
    points = np.stack([x, y, z], -1).reshape(-1, 3)
    inside = np.zeros(len(points), bool)
    for part in solid.split(only_watertight=False):
        inside |= part.contains(points)
    assert 0 < found.sum() < found.size
    assert (found.reshape(-1) != inside).mean() < 0.002


def test_a_set_holds_noughts_and_ones() -> None:
    volumes = voxel_set("car", [100_000, 100_001], 16)
    assert volumes.shape == (2, 16, 16, 16)
    assert set(torch.unique(volumes).tolist()) == {0.0, 1.0}
    assert not torch.equal(volumes[0], volumes[1])
