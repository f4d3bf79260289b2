"""Closed meshes: every edge has two triangles, the front stays as it is, and the back is where it is said to be."""

import math

import numpy as np
import pytest
import torch
import trimesh

from gan2shape.export.mesh import Mesh, gltf_axes, height_field_mesh
from gan2shape.export.mesh_back import closed, farthest, open_edges, rim_plane, with_simple_outline
from gan2shape.export.mesh_outline import ObjectSurface
from gan2shape.scene.camera import focal_px, intrinsics, project, rotation, unproject
from scripts.check_meshes import cast, grown
from tests.export.objects import FOV_DEG, ellipsoid
from tests.export.test_mesh_outline import CAMERA, SIZE, beetle

BACKS = ("cap", "mirror", "symmetric")


def solid_of(mesh: Mesh) -> trimesh.Trimesh:
    """As trimesh sees it, vertices untouched."""
    return trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)


def turned_ellipsoid(yaw_deg: float, axes=(0.03, 0.025, 0.07), size: int = SIZE):
    """Depth and mask [1,1,S,S] of an ellipsoid about (0, 0, 1) with these half axes, turned, and its points' frame."""
    R = rotation(torch.tensor([[0.0, math.radians(yaw_deg), 0.0]]))[0].double().numpy()
    A = R @ np.diag(1 / np.square(axes)) @ R.T
    rays = unproject(torch.ones(1, 1, size, size), intrinsics(size, FOV_DEG))[0].double().numpy()
    centre = np.array([0, 0, 1.0])
    a = np.einsum("hwi,ij,hwj->hw", rays, A, rays)
    b = np.einsum("hwi,ij,j->hw", rays, A, centre)
    root = np.square(b) - a * (centre @ A @ centre - 1)
    hit = root > 0
    depth = np.where(hit, (b - np.sqrt(root.clip(0))) / a, 1.08)
    return (torch.from_numpy(values).float()[None, None] for values in (depth, hit.astype(float)))


@pytest.mark.parametrize("back", BACKS)
@pytest.mark.parametrize("name", ["egg", "beetle", "slanted"])
def test_closed_meshes_are_watertight_and_wound_outwards(back: str, name: str) -> None:
    depth, mask = {"egg": ellipsoid, "beetle": beetle, "slanted": ellipsoid}[name]()
    if name == "slanted":
        depth = depth + 0.04 * torch.linspace(-1, 1, SIZE)
    view = torch.tensor([[0.0, 0.6, 0, 0, 0, 0]])
    solid = solid_of(height_field_mesh(depth, mask, FOV_DEG, upsample=2, back=back, object_view=view))
    assert solid.is_watertight
    assert solid.is_winding_consistent
    assert solid.volume > 0
    assert name == "beetle" or solid.euler_number == 2  # its wheels stand before the body: a slit is cut


@pytest.mark.parametrize("back", BACKS)
def test_the_camera_sees_what_it_saw(back: str) -> None:
    depth, mask = beetle()
    plain = solid_of(height_field_mesh(depth, mask, FOV_DEG, upsample=2))
    whole = solid_of(height_field_mesh(depth, mask, FOV_DEG, upsample=2, back=back))
    before, after = cast(plain, CAMERA, SIZE), cast(whole, CAMERA, SIZE)
    both = (before.face >= 0) & (after.face >= 0)
    assert ((before.face >= 0) == (after.face >= 0)).mean() > 0.999
    np.testing.assert_allclose(after.point[both], before.point[both], atol=1e-6)
    ray = whole.vertices - CAMERA["position"]
    pixel = np.floor(ray[:, :2] / -ray[:, 2:] * [1, -1] * focal_px(SIZE, FOV_DEG) + SIZE / 2).astype(int)
    assert grown(mask[0, 0].numpy() > 0.5)[pixel[:, 1], pixel[:, 0]].all()


def test_a_cap_is_flat_at_the_depth_of_the_rim() -> None:
    """Of a box that stands before a plane: its rim is at .98."""
    mask = torch.zeros(1, 1, SIZE, SIZE)
    mask[..., 16:48, 16:48] = 1
    mesh = height_field_mesh(torch.full_like(mask, 0.98), mask, FOV_DEG, back="cap")
    np.testing.assert_allclose(1 - mesh.vertices[:, 2], 0.98, atol=2e-4)
    depth, mask = ellipsoid()
    for slope in (0.0, 0.03):
        mesh = height_field_mesh(depth + slope * torch.linspace(-1, 1, SIZE), mask, FOV_DEG, upsample=2, back="cap")
        behind = mesh.vertices[len(mesh.vertices) // 2 :].astype(np.float64)
        centred = behind - behind.mean(0)
        assert np.linalg.svd(centred, compute_uv=False)[-1] / math.sqrt(len(behind)) < 1e-6  # a plane
        assert (mesh.vertices[: len(behind), 2] > behind[:, 2]).all()
        if slope == 0:
            assert np.ptp(behind[:, 2]) < 2e-4
            front = mesh.vertices[: len(behind)]
            assert abs(behind[0, 2] - front[:, 2].min()) < 2e-4


def test_a_mirrored_ball_is_a_ball() -> None:
    depth, mask = turned_ellipsoid(0.0, (0.05, 0.05, 0.05), 128)
    solid = solid_of(height_field_mesh(depth, mask, FOV_DEG, back="mirror"))
    assert solid.volume == pytest.approx(4 / 3 * math.pi * 0.05**3, rel=0.05)
    np.testing.assert_allclose(np.linalg.norm(solid.vertices, axis=1), 0.05, rtol=0.1)


def test_a_symmetric_back_shows_the_side_that_was_hidden() -> None:
    """An ellipsoid whose length runs away from the camera at 40 degrees: nearer to the truth than mirror and cap."""
    axes = (0.03, 0.025, 0.07)
    view = torch.tensor([[0.0, math.radians(40), 0, 0, 0, 0]])
    depth, mask = turned_ellipsoid(40.0, axes)
    to_object = rotation(view[:, :3])[0].double().numpy().T
    errors, cases = {}, [(back, back, view) for back in BACKS] + [("wrong yaw", "symmetric", view / 2)]
    for name, back, known in cases:
        mesh = height_field_mesh(depth, mask, FOV_DEG, upsample=2, back=back, object_view=known)
        points = gltf_axes(torch.from_numpy(mesh.vertices)).double().numpy() - [0, 0, 1]
        behind = points[len(points) // 2 :]
        radius = np.linalg.norm(behind @ to_object.T / axes, axis=1)
        errors[name] = float(np.abs(radius - 1).mean())
    assert errors["symmetric"] < 0.015
    assert errors["symmetric"] < 0.5 * min(errors["mirror"], errors["wrong yaw"])
    assert errors["mirror"] < errors["cap"]


def test_the_farthest_surface_is_found_in_perspective() -> None:
    """Two slanted triangles behind each other."""
    corners = torch.tensor([[[-0.05, -0.05, 0.9], [0.06, -0.05, 1.0], [0.0, 0.06, 1.1],
                             [-0.06, -0.05, 1.2], [0.06, -0.06, 1.3], [0.0, 0.06, 1.25]]])  # fmt: skip
    faces = torch.tensor([[0, 1, 2], [3, 4, 5]])
    found = farthest(project(corners, intrinsics(128, FOV_DEG)), faces).double().numpy()
    p, q, r = corners[0, 3:].double().numpy()
    normal = np.cross(q - p, r - p)
    rays = unproject(torch.ones(1, 1, 128, 128), intrinsics(128, FOV_DEG))[0].double().numpy()
    expected = (normal @ p) / (rays @ normal)
    seen = found > 1.15
    assert seen.sum() > 500
    np.testing.assert_allclose(found[seen], expected[seen], rtol=1e-4)


def test_a_vertex_where_two_parts_touch_is_doubled() -> None:
    """Two triangles that share a corner alone: closed as they are, four walls would meet in one edge."""
    points = np.array([[0, 0, 1], [-0.01, 0.01, 1], [-0.01, -0.01, 1], [0.01, -0.01, 1], [0.01, 0.01, 1]])
    surface = ObjectSurface(points, np.array([[0, 1, 2], [0, 3, 4]]))
    simple = with_simple_outline(surface)
    assert len(simple.points) == 6
    assert len(open_edges(simple.faces)) == 6
    solid = closed(surface, "cap", torch.zeros(1, 6), FOV_DEG)
    assert trimesh.Trimesh(solid.points, solid.faces, process=False).is_watertight
    fan = ObjectSurface(points, np.array([[0, 1, 2], [0, 2, 3], [0, 3, 4]]))
    assert len(with_simple_outline(fan).points) == 5


def test_the_rim_plane_follows_the_rim_and_lies_behind_all() -> None:
    depth, mask = ellipsoid()
    mesh = height_field_mesh(depth + 0.03 * torch.linspace(-1, 1, SIZE), mask, FOV_DEG)
    points = gltf_axes(torch.from_numpy(mesh.vertices)).numpy()
    plane = rim_plane(ObjectSurface(points, mesh.faces))
    half = math.tan(math.radians(FOV_DEG) / 2)
    assert plane.slope_x == pytest.approx(0.03 / half, rel=0.1)
    assert abs(plane.slope_y) < 0.02
    x, y, z = points.astype(np.float64).T
    assert (plane.depth(x / z, y / z) > z).all()
