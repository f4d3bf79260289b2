"""Textured meshes: lookup by uv, holes cut before the depth test, faces seen from both sides."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gan2shape.synth.objects import ObjectMesh
from gan2shape.synth.render import render_colour, render_object
from gan2shape.synth.texture import TextureStack

FLAT_LIGHT = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
FRONT = torch.zeros(1, 6)
HALF = 0.05  # scene units, half a square's side


def square(z: float, texture: np.ndarray | None, flipped: bool = False) -> ObjectMesh:
    """A square about the optical axis at depth 1 + z, with one whole texture on it (u right, v down)."""
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float32)
    faces = np.array([[0, 2, 1], [0, 3, 2]])  # counter-clockwise as the camera sees them: towards -z
    if flipped:
        faces = faces[:, ::-1].copy()
    uv = (corners / 2 + 0.5)[faces]
    normal = np.array([0, 0, 1.0 if flipped else -1.0], np.float32)
    return ObjectMesh(
        vertices=np.column_stack([corners * HALF, np.full(4, z, np.float32)]).astype(np.float32),
        faces=faces,
        face_albedo=np.full((2, 3), 0.25, np.float32),
        corner_normals=np.broadcast_to(normal, (2, 3, 3)).copy(),
        textures=() if texture is None else (texture,),
        face_texture=None if texture is None else np.zeros(2, np.int64),
        corner_uv=None if texture is None else uv.astype(np.float32),
    )


def both(front: ObjectMesh, back: ObjectMesh) -> ObjectMesh:
    """Two textured squares as one mesh."""
    return ObjectMesh(
        vertices=np.concatenate([front.vertices, back.vertices]),
        faces=np.concatenate([front.faces, back.faces + 4]),
        face_albedo=np.concatenate([front.face_albedo, back.face_albedo]),
        corner_normals=np.concatenate([front.corner_normals, back.corner_normals]),
        textures=front.textures,
        face_texture=np.array([0, 0, -1, -1]),
        corner_uv=np.concatenate([front.corner_uv, np.zeros((2, 3, 2), np.float32)]),
    )


def test_lookup_is_linear_between_texel_centres_and_level_beyond_them():
    ramp = np.zeros((4, 8, 3), np.uint8)
    ramp[..., 0] = (np.arange(8) * 30)[None]
    ramp[..., 1] = (np.arange(4) * 60)[:, None]
    size = 240
    truth = render_object(square(0.0, ramp), FRONT, FLAT_LIGHT, size)
    hit = truth.hit[0, 0]
    row, column = hit.nonzero().T
    per_px = 2 * np.tan(np.deg2rad(5)) / size
    u, v = (((place + 0.5 - size / 2) * per_px / HALF / 2 + 0.5) for place in (column, row))
    red = ((u * 8 - 0.5).clamp(0, 7) * 30) / 255
    green = ((v * 4 - 0.5).clamp(0, 3) * 60) / 255
    seen = (truth.albedo[0].permute(1, 2, 0)[hit] + 1) / 2
    torch.testing.assert_close(seen[:, 0], red.float(), atol=2e-4, rtol=0)
    torch.testing.assert_close(seen[:, 1], green.float(), atol=2e-4, rtol=0)
    assert seen[:, 0].max() > 0.8


def test_texture_lookup_is_perspective_correct():
    """A square rotated by 60 degrees: colour is linear in the square's own coordinate, found from the depth."""
    ramp = np.broadcast_to(np.linspace(0, 250, 64, dtype=np.uint8)[None, :, None], (2, 64, 3)).copy()
    view = torch.tensor([[0.0, np.pi / 3, 0.0, 0.0, 0.0, 0.0]])
    truth = render_object(square(0.0, ramp), view, FLAT_LIGHT, 128)
    hit = truth.hit[0, 0]
    along = -(truth.depth[0, 0][hit] - 1) / np.sin(np.pi / 3)  # z of a point at x is 1 - x sin(yaw)
    value = (truth.albedo[0, 0][hit] + 1) / 2 * 255
    u = along / HALF / 2 + 0.5
    inside = (u > 0.02) & (u < 0.98)
    expected = ((u * 64 - 0.5) / 63 * 250)[inside]
    assert (value[inside] - expected).abs().max() < 2.5


@pytest.mark.parametrize("alpha", [126, 129])
def test_what_is_below_half_does_not_exist_before_the_depth_test(alpha):
    """Through the left half of the front square the back one is seen, unless its alpha reaches a half."""
    texture = np.full((8, 8, 4), 200, np.uint8)
    texture[:, :4, 3], texture[:, 4:, 3] = alpha, 255
    truth = render_object(both(square(-0.02, texture), square(0.02, None)), FRONT, FLAT_LIGHT, 64)
    middle = truth.depth[0, 0, 32]
    left, right = middle[20], middle[44]
    assert right.item() == pytest.approx(0.98, abs=1e-5)
    assert left.item() == pytest.approx(1.02 if alpha < 128 else 0.98, abs=1e-5)
    assert truth.mask[0, 0, 32, 20] == 1
    shown = (truth.albedo[0, 0, 32] + 1) / 2
    assert shown[20].item() == pytest.approx(0.25 if alpha < 128 else 200 / 255, abs=1e-3)


def test_triangles_that_are_not_to_be_tested_ignore_alpha():
    texture = np.full((8, 8, 4), 100, np.uint8)
    mesh = both(square(-0.02, texture), square(0.02, None))
    whole = replace(mesh, cut_out=np.zeros(4, bool))
    assert render_object(mesh, FRONT, FLAT_LIGHT, 32).depth[0, 0, 16, 16] > 1
    assert render_object(whole, FRONT, FLAT_LIGHT, 32).depth[0, 0, 16, 16] < 1


def test_a_pane_shows_its_other_side_only_where_it_is_both_sided():
    texture = np.full((2, 2, 3), 255, np.uint8)
    pane = square(0.0, texture, flipped=True)
    assert render_object(pane, FRONT, FLAT_LIGHT, 32).mask.max() == 0
    truth = render_object(replace(pane, both_sided=np.ones(2, bool)), FRONT, FLAT_LIGHT, 32)
    assert truth.mask.max() == 1
    assert (truth.normals[:, 2][truth.hit[:, 0]] < -0.99).all()


def test_textured_and_plain_objects_share_a_batch():
    red = np.zeros((3, 5, 3), np.uint8)
    red[..., 0] = 255
    meshes = [square(0.0, None), square(0.0, red), square(0.0, red[:, :, ::-1].copy())]
    images = render_colour(meshes, FRONT.expand(3, 6), FLAT_LIGHT.expand(3, 4), torch.zeros(3, 3), 16)
    np.testing.assert_array_equal(images[:, 8, 8], [[64, 64, 64], [255, 0, 0], [0, 0, 255]])


def test_a_mesh_that_is_seen_often_keeps_its_textures_once():
    picture = np.random.default_rng(0).integers(0, 255, (16, 16, 3), dtype=np.uint8)
    other = picture[::-1].copy()
    meshes = [square(0.0, picture), square(0.0, other), square(0.0, picture)]
    stack = TextureStack.of(meshes, [torch.arange(2)] * 3)
    assert len(stack.texels) == 2 * 16 * 16
    assert stack.texture.tolist() == [0, 0, 1, 1, 0, 0]
    light, background = FLAT_LIGHT.expand(3, 4), torch.zeros(3, 3)
    first, second, third = render_colour(meshes, FRONT.expand(3, 6), light, background, 32)
    np.testing.assert_array_equal(first, third)
    alone = render_colour([meshes[1]], FRONT, FLAT_LIGHT, background[:1], 32)[0]
    np.testing.assert_array_equal(second, alone)
    assert (first != second).any()
