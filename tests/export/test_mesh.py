"""Meshes: closed-form geometry, what is cut, texture coordinates, and GLB files read back by trimesh."""

import io
import json
import math
import struct

import numpy as np
import pytest
import torch
import trimesh

from gan2shape.core.errors import UserError
from gan2shape.core.images import to_uint8
from gan2shape.export.mesh import (
    Mesh,
    canonical_mask,
    gltf_axes,
    height_field_mesh,
    large_pieces,
    seen_in,
    smooth_rim,
    vertex_normals,
)
from gan2shape.export.mesh_files import glb_bytes, write_glb
from tests.export.objects import FOV_DEG, VIEW, ellipsoid, paint

RAW = {"rim_passes": 0, "max_angle_deg": 90.0, "min_piece": 0.0}  # nothing altered but the mask's cut


def glb_json(data: bytes) -> dict:
    """The JSON chunk of a GLB."""
    (length,) = struct.unpack_from("<I", data, 12)
    return json.loads(data[20 : 20 + length])


def reload(data: bytes) -> trimesh.Trimesh:
    scene = trimesh.load(io.BytesIO(data), file_type="glb")
    return next(iter(scene.geometry.values()))


def test_gltf_axes_make_down_up_and_forward_into_back() -> None:
    camera = torch.tensor([[1.0, 2.0, 0.75], [0.0, 0.0, 1.0]])
    assert torch.equal(gltf_axes(camera), torch.tensor([[1.0, -2.0, 0.25], [0.0, 0.0, 0.0]]))


def pixels(mesh: Mesh, size: int) -> np.ndarray:
    """Where vertices are seen, [V, 2]: column and row, pixel centres at whole numbers."""
    focal = size / 2 / math.tan(math.radians(FOV_DEG) / 2)
    x, y, z = mesh.vertices.astype(np.float64).T
    return np.stack([x, -y], 1) / (1 - z[:, None]) * focal + size / 2 - 0.5


def rim_of(mesh: Mesh) -> np.ndarray:
    """Which vertices lie on the outline, boolean [V]."""
    edges = np.sort(np.concatenate([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]]), axis=1)
    unique, uses = np.unique(edges, axis=0, return_counts=True)
    rim = np.zeros(len(mesh.vertices), bool)
    rim[unique[uses == 1].ravel()] = True
    return rim


def test_vertices_inside_lie_on_the_rays_of_their_pixels_at_their_depth() -> None:
    depth, mask = ellipsoid(32)
    mesh = height_field_mesh(depth, mask, FOV_DEG, **RAW)
    at = pixels(mesh, 32)
    inner = ~rim_of(mesh) & (radius_of(at, 32) < 0.9)  # beside the outline depth may be continued from here
    assert inner.sum() > 0.75 * float(mask.sum())
    np.testing.assert_allclose(at[inner], at[inner].round(), atol=1e-3)
    column, row = at[inner].round().astype(int).T
    np.testing.assert_allclose(1 - mesh.vertices[inner, 2], depth[0, 0].numpy()[row, column], atol=1e-6)


def radius_of(at: np.ndarray, size: int) -> np.ndarray:
    """Of pixels on the ellipse of `ellipsoid`, 1 at its outline."""
    unit = (at + 0.5) / size * 2 - 1
    return np.hypot(unit[:, 0] / (0.7 * 0.75), unit[:, 1] / 0.7)


def test_refined_mesh_stays_on_the_smooth_surface_inside() -> None:
    depth, mask = ellipsoid(64)
    fine = height_field_mesh(depth, mask, FOV_DEG, upsample=2)
    x, y, z = fine.vertices.T
    half = math.tan(math.radians(FOV_DEG) / 2)
    u, v = x / (1 - z) / half, -y / (1 - z) / half
    r2 = (u / (0.7 * 0.75)) ** 2 + (v / 0.7) ** 2
    inside = r2 < 0.6
    assert inside.sum() > 1000
    analytic = 1.02 - 0.06 * np.sqrt(1 - r2[inside])
    np.testing.assert_allclose(1 - z[inside], analytic, atol=3e-4)  # of a height of .06


def test_object_stands_upright_and_faces_the_viewer() -> None:
    depth, mask = ellipsoid(48)
    mesh = height_field_mesh(depth, mask, FOV_DEG)
    extent = np.ptp(mesh.vertices, axis=0)
    assert extent[1] > 1.2 * extent[0]  # it is taller than wide
    assert (vertex_normals(mesh)[:, 2] > 0).all()
    nearest = mesh.vertices[mesh.vertices[:, 2].argmax()]
    assert np.abs(nearest[:2]).max() < 0.01 < nearest[2]  # the tip of the cap, towards +Z
    above = mesh.vertices[:, 1] > 0.03
    assert (mesh.uv[above, 1] > 0.5).all()  # the top of the mesh shows the top of the image


def test_background_and_curtains_are_cut() -> None:
    depth, mask = ellipsoid(64)
    mesh = height_field_mesh(depth, torch.ones_like(mask), FOV_DEG, rim_passes=0)
    plane = np.isclose(1 - mesh.vertices[:, 2], 1.04, atol=1e-6)[mesh.faces]
    assert plane.all(1).any()
    assert (~plane).all(1).any()
    assert not (plane.any(1) & ~plane.all(1)).any()  # nothing joins the object to the plane
    object_only = height_field_mesh(depth, mask, FOV_DEG)
    assert (1 - object_only.vertices[:, 2]).max() < 1.03


def test_steep_triangles_go_and_flat_ones_stay() -> None:
    """A ramp of known slope: its normal makes atan(slope per footprint) with the central ray."""
    size, ones = 32, torch.ones(1, 1, 32, 32)
    footprint = 2 * math.tan(math.radians(FOV_DEG) / 2) / size
    ramp = (torch.arange(size) - size / 2).expand(1, 1, size, size)
    slope = math.tan(math.radians(70))
    depth = 1 + ramp * footprint * slope * 0.2
    middle = torch.zeros_like(ones)
    middle[..., 12:20, 12:20] = 1
    angle = math.degrees(math.atan(slope * 0.2))
    kept = height_field_mesh(depth, middle, FOV_DEG, **{**RAW, "max_angle_deg": angle + 4})
    assert (~rim_of(kept)).sum() == 8 * 8  # the pixels' centres
    with pytest.raises(UserError, match="no surface"):
        height_field_mesh(depth, middle, FOV_DEG, **{**RAW, "max_angle_deg": angle - 4})


def test_empty_mask_is_a_sentence() -> None:
    depth, mask = ellipsoid(32)
    with pytest.raises(UserError, match="mask"):
        height_field_mesh(depth, mask * 0, FOV_DEG)


def test_small_pieces_go_and_similar_ones_stay() -> None:
    big, small = np.array([[0, 1, 2], [1, 3, 2], [2, 3, 4], [3, 5, 4]]), np.array([[10, 11, 12]])
    assert len(large_pieces(np.concatenate([big, small]), 13, 0.5)) == 4
    assert len(large_pieces(np.concatenate([big, small]), 13, 0.2)) == 5
    assert len(large_pieces(np.zeros((0, 3), int), 13, 0.2)) == 0


def test_long_chains_are_one_piece() -> None:
    start = np.random.default_rng(0).permutation(500)
    chain = np.stack([start[:-2], start[1:-1], start[2:]], 1)
    assert len(large_pieces(chain, 500, 0.9)) == 498


def test_rim_is_smoothed_and_the_inside_is_not() -> None:
    depth, mask = ellipsoid(48)
    raw = height_field_mesh(depth, mask, FOV_DEG, rim_passes=0)
    smooth = height_field_mesh(depth, mask, FOV_DEG)
    assert np.array_equal(raw.faces, smooth.faces)
    moved = np.abs(raw.vertices - smooth.vertices).max(1) > 1e-7
    rim = rim_of(raw)
    assert moved[rim].any()
    assert not moved[~rim].any()


def test_smoothing_a_circle_of_points_keeps_it_centred() -> None:
    angle = np.linspace(0, 2 * np.pi, 13)[:-1]
    points = np.concatenate([[[0, 0, 0]], np.stack([np.cos(angle), np.sin(angle), 0 * angle], 1)]).astype(np.float32)
    faces = np.array([[0, 1 + i, 1 + (i + 1) % 12] for i in range(12)])
    smoothed = smooth_rim(points, faces, 1)
    shrink = (1 + math.cos(math.pi / 6)) / 2  # mean of a point and of the chord of its neighbours
    np.testing.assert_allclose(np.linalg.norm(smoothed[1:], axis=1), shrink, rtol=1e-5)
    assert np.array_equal(smoothed[0], points[0])


@pytest.mark.parametrize("unlit", [True, False])
def test_glb_reloads_with_the_same_geometry_and_the_right_material(unlit: bool, tmp_path) -> None:
    depth, mask = ellipsoid(32)
    mesh = height_field_mesh(depth, mask, FOV_DEG)
    texture = to_uint8(paint(32)[0])
    path = write_glb(tmp_path / "mesh.glb", mesh, texture, unlit=unlit, fov_deg=FOV_DEG)
    assert [p.name for p in tmp_path.iterdir()] == ["mesh.glb"]
    loaded = reload(path.read_bytes())
    np.testing.assert_allclose(loaded.vertices, mesh.vertices, atol=1e-7)
    assert np.array_equal(loaded.faces, mesh.faces)
    np.testing.assert_allclose(loaded.visual.uv, mesh.uv, atol=1e-6)
    assert np.array_equal(np.asarray(loaded.visual.material.baseColorTexture.convert("RGB")), texture)

    tree = glb_json(path.read_bytes())
    (material,) = tree["materials"]
    assert ("KHR_materials_unlit" in material.get("extensions", {})) is unlit
    assert ("KHR_materials_unlit" in tree.get("extensionsUsed", [])) is unlit
    assert material["pbrMetallicRoughness"]["metallicFactor"] == 0.0
    assert material["pbrMetallicRoughness"]["roughnessFactor"] == 1.0
    assert material["doubleSided"] is True
    (camera,) = tree["cameras"]
    assert camera["perspective"]["yfov"] == pytest.approx(math.radians(FOV_DEG))
    assert any(node.get("camera") == 0 and node["translation"] == [0.0, 0.0, 1.0] for node in tree["nodes"])


def test_texture_at_a_vertex_is_the_pixel_of_the_image() -> None:
    """With uv read back from the file: column u S, row (1 - v) S of the image."""
    depth, mask = ellipsoid(64)
    texture = to_uint8(paint(64)[0])
    loaded = reload(glb_bytes(height_field_mesh(depth, mask, FOV_DEG, **RAW), texture, unlit=True))
    column = np.floor(loaded.visual.uv[:, 0] * 64).astype(int)
    row = np.floor((1 - loaded.visual.uv[:, 1]) * 64).astype(int)
    focal = 32 / math.tan(math.radians(FOV_DEG) / 2)
    x, y, z = loaded.vertices.T
    assert np.array_equal(column, np.floor(x / (1 - z) * focal + 32).astype(int))
    assert np.array_equal(row, np.floor(-y / (1 - z) * focal + 32).astype(int))
    seen = np.asarray(loaded.visual.material.baseColorTexture.convert("RGB"))[row, column]
    assert np.corrcoef(seen[:, 0], loaded.vertices[:, 0])[0, 1] > 0.99  # red grows to the right
    assert np.corrcoef(seen[:, 1], loaded.vertices[:, 1])[0, 1] < -0.99  # green grows downwards


def test_glb_file_stores_uv_with_the_origin_at_the_upper_left() -> None:
    """Read from the raw buffer, since trimesh flips v on the way in and out."""
    mesh = Mesh(
        np.array([[0, 1, 0], [0, 0, 0], [1, 0, 0]], np.float32),
        np.array([[0, 1, 2]], np.int32),
        np.array([[0.25, 1.0], [0.25, 0.0], [0.75, 0.0]], np.float32),
    )
    data = glb_bytes(mesh, np.zeros((4, 4, 3), np.uint8), unlit=True)
    tree = glb_json(data)
    (length,) = struct.unpack_from("<I", data, 12)
    body = data[20 + length + 8 :]
    accessor = tree["accessors"][tree["meshes"][0]["primitives"][0]["attributes"]["TEXCOORD_0"]]
    view = tree["bufferViews"][accessor["bufferView"]]
    offset = view.get("byteOffset", 0) + accessor.get("byteOffset", 0)
    uv = np.frombuffer(body, "<f4", 6, offset).reshape(3, 2)
    np.testing.assert_allclose(uv, [[0.25, 0.0], [0.25, 1.0], [0.75, 1.0]], atol=1e-6)


def test_photo_coordinates_follow_the_view() -> None:
    """A shift of the object by one footprint moves the texture coordinates by about one pixel."""
    depth, mask = ellipsoid(32)
    footprint = 2 * math.tan(math.radians(FOV_DEG) / 2) / 32
    shifted = torch.tensor([[0.0, 0, 0, footprint, 2 * footprint, 0]])
    still = height_field_mesh(depth, mask, FOV_DEG)
    moved = seen_in(still, shifted, FOV_DEG)
    assert np.array_equal(still.vertices, moved.vertices)
    np.testing.assert_allclose((moved.uv - still.uv)[:, 0] * 32, 1, atol=0.1)
    np.testing.assert_allclose((moved.uv - still.uv)[:, 1] * 32, -2, atol=0.2)


def test_canonical_mask_is_the_photo_mask_at_identity_and_moves_against_the_view() -> None:
    depth, mask = ellipsoid(64)
    still = torch.zeros(1, 6)
    assert torch.allclose(canonical_mask(mask, depth, still, FOV_DEG), mask, atol=1e-3)
    footprint = 2 * math.tan(math.radians(FOV_DEG) / 2) / 64
    shifted = torch.tensor([[0.0, 0, 0, 3 * footprint, 0, 0]])
    back = canonical_mask(mask.roll(3, -1), depth, shifted, FOV_DEG)
    assert float((back - mask).abs().mean()) < 0.01
    assert canonical_mask(mask, depth, torch.tensor([VIEW]), FOV_DEG).shape == mask.shape


def test_wrong_texture_is_refused() -> None:
    depth, mask = ellipsoid(16)
    with pytest.raises((ValueError, TypeError), match=r"[uU][iI]nt8"):
        glb_bytes(height_field_mesh(depth, mask), np.zeros((4, 4, 3)), unlit=True)
