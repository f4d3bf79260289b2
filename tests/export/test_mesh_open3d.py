"""Clean-up, Poisson reconstruction and decimation by Open3D, where it is installed."""

import numpy as np
import pytest
import torch
import trimesh

from gan2shape.core.compose import compose
from gan2shape.core.config import MeshConfig, ShapeConfig
from gan2shape.core.errors import UserError
from gan2shape.export import mesh_open3d
from gan2shape.export.bundle import meshes
from gan2shape.export.mesh import Mesh, height_field_mesh
from gan2shape.export.mesh_open3d import remeshed, require_open3d
from gan2shape.measure.surfaces import compare_surfaces
from tests.export.objects import FOV_DEG, bundle, ellipsoid

HAS_OPEN3D = pytest.mark.skipif(mesh_open3d.find_spec("open3d") is None, reason="needs the extra open3d")


def egg(back: str = "open") -> Mesh:
    depth, mask = ellipsoid()
    return height_field_mesh(depth, mask, FOV_DEG, upsample=2, back=back)


def distance(mesh: Mesh, other: Mesh) -> float:
    """Chamfer-L1 in scene units; the egg is .12 tall."""
    return compare_surfaces(mesh.vertices, mesh.faces, other.vertices, other.faces, n_samples=3000).chamfer_l1


@HAS_OPEN3D
@pytest.mark.parametrize("back", ["open", "mirror"])
def test_decimation_keeps_the_form_with_a_tenth_of_the_triangles(back: str) -> None:
    whole = egg(back)
    few = remeshed(whole, MeshConfig(back=back, max_faces=1000), FOV_DEG)
    assert 500 < len(few.faces) <= 1000 < len(whole.faces) / 5
    assert distance(few, whole) < distance(whole, whole) + 8e-4  # half a pixel
    assert np.abs(few.vertices[:, :2].max(0) - whole.vertices[:, :2].max(0)).max() < 5e-4  # the outline stays
    assert few.uv.shape == (len(few.vertices), 2)
    if back != "open":
        solid = trimesh.Trimesh(few.vertices, few.faces, process=False)
        assert solid.is_watertight
        assert solid.is_winding_consistent


@HAS_OPEN3D
def test_poisson_reconstructs_a_closed_mesh() -> None:
    whole = egg("mirror")
    made = remeshed(whole, MeshConfig(back="mirror", poisson_depth=6), FOV_DEG)
    solid = trimesh.Trimesh(made.vertices, made.faces, process=False)
    assert solid.is_watertight
    assert solid.volume == pytest.approx(trimesh.Trimesh(whole.vertices, whole.faces, process=False).volume, rel=0.03)
    assert distance(made, whole) < distance(whole, whole) + 8e-4
    again = remeshed(whole, MeshConfig(back="mirror", poisson_depth=6), FOV_DEG)
    assert np.array_equal(again.vertices, made.vertices)


@HAS_OPEN3D
def test_clean_up_fills_holes_and_drops_duplicates() -> None:
    whole = egg()
    middle = np.linalg.norm(whole.vertices[whole.faces].mean(1)[:, :2], axis=1)
    torn = Mesh(whole.vertices, np.concatenate([whole.faces[middle > 0.004], whole.faces[-50:]]), whole.uv)
    mended = remeshed(torn, MeshConfig(cleanup=True), FOV_DEG)
    solid = trimesh.Trimesh(mended.vertices, mended.faces, process=False)
    assert len(solid.outline().entities) == 1  # its outline, and no hole
    across = solid.area
    assert across == pytest.approx(trimesh.Trimesh(whole.vertices, whole.faces, process=False).area, rel=0.01)
    assert len(np.unique(np.sort(mended.faces, 1), axis=0)) == len(mended.faces)


@HAS_OPEN3D
def test_both_meshes_of_a_run_share_what_was_made() -> None:
    torch.manual_seed(0)
    photo, albedo = meshes(bundle(mesh=MeshConfig(back="cap", max_faces=2000)))
    assert np.array_equal(photo.faces, albedo.faces)
    assert len(photo.faces) <= 2000
    assert not np.array_equal(photo.uv, albedo.uv)  # the photo is seen in a view of its own


def test_without_open3d_it_is_a_sentence(monkeypatch) -> None:
    monkeypatch.setattr(mesh_open3d, "find_spec", lambda name: None)
    require_open3d(MeshConfig(back="mirror"))
    with pytest.raises(UserError, match=r"gan2shape\[open3d\]"):
        require_open3d(MeshConfig(max_faces=1000))
    with pytest.raises(UserError, match="Open3D"):
        remeshed(egg(), MeshConfig(cleanup=True), FOV_DEG)


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("mesh.back=lid", "mesh.back=lid is unknown: open, cap, mirror, symmetric"),
        ("mesh.subdivide=9", "between 0 and 3"),
        ("mesh.formats=[fbx]", "unknown: obj, ply, stl"),
        ("mesh.poisson_depth=8", "needs a closed mesh"),
        ("mesh.max_faces=3", "below 20"),
    ],
)
def test_settings_that_make_no_sense_are_named(override: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        compose(ShapeConfig, "car", "draft", [override])
