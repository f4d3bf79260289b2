"""Meshes from elsewhere: placed in the object frame, seen from the sides that exist, textures repeated, truth whole."""

import numpy as np
import pytest
import torch

from gan2shape.core.errors import UserError
from gan2shape.core.records import LooseMesh, MeshPart
from gan2shape.synth.dataset import generate_from_meshes, mesh_item
from gan2shape.synth.loose import object_of, open_pieces
from gan2shape.synth.registry import get_category
from gan2shape.synth.render import render_object, turntable_view

LIGHT = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
FRONT = torch.zeros(1, 6)
CUBE_FACES = np.array(
    [[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1], [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4],
     [1, 5, 7], [1, 7, 3]]
)  # fmt: skip
CUBE = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)  # outwards


def box(size=(2.0, 1.0, 1.0), at=(5.0, 0.0, 0.0), **changes) -> MeshPart:
    points = CUBE * np.array(size) + np.array(at)
    return MeshPart(**({"vertices": points, "faces": CUBE_FACES, "rgb": np.full((12, 3, 3), 0.5)} | changes))


def sheet(texture=None, uv_scale=1.0, flipped=False, z=0.0, **changes) -> MeshPart:
    """An upright unit square that faces +Z."""
    points = np.array([[0, 0, z], [1, 0, z], [1, 1, z], [0, 1, z]], float)
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    uv = (points[:, :2] * [1, -1] + [0, 1])[faces] * uv_scale
    if flipped:
        faces, uv = faces[:, ::-1], uv[:, ::-1]
    arrays = {"vertices": points, "faces": faces, "rgb": np.ones((2, 3, 3)), "texture": texture, "corner_uv": uv}
    return MeshPart(**(arrays | changes))


def test_a_box_is_centred_and_its_longest_side_is_as_asked():
    mesh = object_of(LooseMesh("box", (box(),)), 0.12)
    np.testing.assert_allclose(np.ptp(mesh.vertices, axis=0), [0.12, 0.06, 0.06], rtol=1e-5)
    np.testing.assert_allclose(mesh.vertices.max(0) + mesh.vertices.min(0), 0, atol=1e-7)
    a, b, c = (mesh.vertices[mesh.faces[:, k]] for k in range(3))
    outwards = np.cross(b - a, c - a)
    assert ((outwards * (a + b + c)).sum(1) > 0).all()
    np.testing.assert_allclose(
        mesh.corner_normals[:, 0], outwards / np.linalg.norm(outwards, axis=1)[:, None], atol=1e-5
    )
    assert not mesh.both_sided.any()


def test_up_is_up_and_the_front_is_seen_first():
    red, blue = (np.broadcast_to(np.array(rgb), (12, 3, 3)) for rgb in ([1.0, 0, 0], [0, 0, 1.0]))
    parts = box((1, 1, 1), (0, 1, 0), rgb=red), box((1, 1, 1), (0, 0, 1.0), rgb=blue)
    truth = render_object(object_of(LooseMesh("two", parts), 0.12), FRONT, LIGHT, 64)
    rows = {
        name: (truth.image[0, k] > truth.image[0, 2 - k]).nonzero()[:, 0].float().mean()
        for k, name in ((0, "red"), (2, "blue"))
    }
    assert rows["red"] < 32 < rows["blue"]
    depth = truth.depth[0, 0]
    assert depth[48, 32] < depth[16, 32]  # blue stands towards +Z, the front


def test_textures_repeat_and_keep_their_orientation():
    texture = np.zeros((8, 8, 3), np.uint8)
    texture[:4, :, 0] = 255  # the upper half is red
    mesh = object_of(LooseMesh("sheet", (sheet(texture, uv_scale=2.0),)), 0.12)
    truth = render_object(mesh, FRONT, LIGHT, 96)
    column = truth.image[0, 0, :, 48][truth.hit[0, 0, :, 48]] > 0
    changes = (column[1:] != column[:-1]).sum()
    assert column[0]
    assert not column[-1]
    assert changes == 3  # red, black, red, black


def test_open_surfaces_are_seen_from_behind_and_opposite_twins_from_their_own_side():
    assert open_pieces(CUBE_FACES).sum() == 0
    assert open_pieces(CUBE_FACES[1:]).all()
    behind = turntable_view(np.pi, 0.0)[None]
    alone = object_of(LooseMesh("sheet", (sheet(),)), 0.12)
    assert render_object(alone, behind, LIGHT).hit.sum() > 500
    one, other = (np.full((4, 4, 3), value, np.uint8) for value in (255, 0))
    pair = object_of(LooseMesh("pair", (sheet(one), sheet(other, flipped=True))), 0.12)
    for view, value in ((FRONT, 1.0), (behind, -1.0)):
        truth = render_object(pair, view, LIGHT)
        assert (truth.albedo[truth.hit.expand_as(truth.albedo)] == value).all()
        assert (truth.normals[0, 2] < -0.9).all()


def test_holes_are_cut_and_a_factor_tints_the_texture():
    texture = np.full((4, 4, 4), 255, np.uint8)
    texture[:, :2, 3] = 0
    part = sheet(texture, rgb=np.broadcast_to([0.5, 1.0, 1.0], (2, 3, 3)))
    truth = render_object(object_of(LooseMesh("half", (part,)), 0.12), FRONT, LIGHT)
    assert not truth.hit[0, 0, 32, :31].any()
    assert truth.hit[0, 0, 32, 34:50].all()
    np.testing.assert_allclose(truth.albedo[0, :, 32, 40], [0, 1, 1], atol=0.01)


@pytest.mark.parametrize("rendering", ["plain", "natural"])
def test_a_set_of_meshes_has_the_same_files_and_truth(tmp_path, rendering):
    meshes = [LooseMesh("long", (box(),)), LooseMesh("tall", (box((1, 2, 1)),))]
    out = generate_from_meshes(meshes, "car", 3, 7, tmp_path, 32, rendering)
    with np.load(out / "truth.npz", allow_pickle=False) as arrays:
        assert arrays["style"].tolist() == ["long", "tall", "long"]
        assert arrays["seed"].tolist() == [7, 8, 9]
        assert arrays["hit"].any((1, 2, 3)).all()
        assert (np.abs(arrays["depth"][arrays["hit"]] - 1) < 0.1).all()
    assert len(list((out / "images").glob("*.png"))) == 3
    spec = get_category("car")
    item = mesh_item(spec, object_of(meshes[1], spec.longest_side), 8)
    with np.load(out / "truth.npz", allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["view"][1], item.view)
    with pytest.raises(UserError, match="nothing to render"):
        generate_from_meshes(meshes, "car", 0, 0, tmp_path)
