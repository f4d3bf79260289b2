"""What the viewer draws, against the renderer and the edits: geometry, light, the picture."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gan2shape.core.errors import UserError
from gan2shape.core.images import resized, to_uint8
from gan2shape.edit.controls import Pose
from gan2shape.edit.effects import effect_of, render_poses
from gan2shape.scene.camera import intrinsics, move, project
from gan2shape.viewer.gallery import gallery_of, thumbnails
from gan2shape.viewer.live import PICTURE_PX, WAYS, Controls, Scaled, angles_of, direction_from, divided, live_picture
from gan2shape.viewer.live import with_light_of as with_light
from gan2shape.viewer.surface import CONFIDENCE, ViewedSurface, quaternion, rotation_in_page, surface_of
from tests.edit.egg import Egg, make_egg
from tests.export.objects import FOV_DEG
from tests.shape.tiny import SIZE


@pytest.fixture(scope="module")
def egg() -> Egg:
    return make_egg()


@pytest.fixture(scope="module")
def surface(egg) -> ViewedSurface:
    return surface_of(egg)


def camera_points(vertices: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(vertices * [1, -1, -1] + [0, 0, 1]).float()


def pixels_of(points: torch.Tensor) -> np.ndarray:
    return project(points[None], intrinsics(SIZE, FOV_DEG))[0, :, :2].numpy()


def test_a_depth_scale_moves_vertices_along_their_rays(surface) -> None:
    assert surface.vertices(1.0) == pytest.approx(surface.mesh.vertices, abs=1e-6)
    flat = surface.vertices(0.0)
    assert flat[:, 2] == pytest.approx(np.zeros(len(flat)), abs=1e-6)
    own, double = (camera_points(surface.vertices(scale)) for scale in (1.0, 2.0))
    assert pixels_of(double) == pytest.approx(pixels_of(own), abs=1e-3)
    assert (double[:, 2] - 1).numpy() == pytest.approx(2 * (own[:, 2] - 1).numpy(), abs=1e-6)


def test_the_page_turns_the_object_as_the_renderer_does(surface) -> None:
    view = Pose(yaw_deg=25, pitch_deg=-10).view(torch.zeros(1))
    turned = surface.mesh.vertices @ rotation_in_page(view).T
    # The page's camera stands at (0, -1, 0) and looks along +y, with z up.
    seen = torch.from_numpy(np.stack([turned[:, 0], -turned[:, 2], 1 + turned[:, 1]], 1)).float()
    expected = move(camera_points(surface.mesh.vertices)[None], view)[0]
    assert seen.numpy() == pytest.approx(expected.numpy(), abs=1e-5)


def test_quaternions_turn_as_their_matrices() -> None:
    matrix = rotation_in_page(Pose(yaw_deg=40, pitch_deg=20, roll_deg=-15).view(torch.zeros(1)))
    w, x, y, z = quaternion(matrix)
    axis, point = np.array([x, y, z]), np.array([0.3, -0.2, 0.5])
    turned = point + 2 * np.cross(axis, np.cross(axis, point) + w * point)
    assert turned == pytest.approx(matrix @ point)


def test_light_shows_on_photo_and_clay_alone(egg, surface) -> None:
    own, other = egg.scene.light, torch.tensor([[0.5, 0.6, -1.0, 0.0]])
    for kind, changes in (("photo", True), ("clay", True), ("albedo", False), ("normals", False)):
        same = torch.equal(surface.picture(kind, own), surface.picture(kind, other))
        assert same != changes, kind
    shown = surface.picture("photo", own)
    rendered = render_poses(egg, [Pose()])
    inside = egg.canvas.mask.expand(1, 3, SIZE, SIZE) > 0.999
    assert torch.allclose(shown[inside], rendered.image[inside] / 2 + 0.5, atol=1e-5)
    flat = surface.picture("normals", own, depth_scale=0.0)
    assert torch.allclose(flat, torch.tensor([0.5, 0.5, 1.0])[None, :, None, None].expand_as(flat), atol=1e-5)


def test_confidence_is_a_kind_where_a_run_has_it(egg, surface) -> None:
    assert CONFIDENCE not in surface.kinds
    known = surface_of(egg, torch.linspace(0, 1, SIZE).expand(1, 1, SIZE, SIZE))
    assert CONFIDENCE in known.kinds
    red, _, blue = known.picture(CONFIDENCE, egg.scene.light)[0, :, 0]
    assert float(red[0]) > float(red[-1])
    assert float(blue[0]) < float(blue[-1])
    assert known.glb(CONFIDENCE, egg.scene.light)[:4] == b"glTF"


def test_light_angles_and_directions_are_inverse() -> None:
    for azimuth_deg, elevation_deg in ((0.0, 0.0), (30.0, 20.0), (-50.0, -40.0)):
        lx, ly = direction_from(azimuth_deg, elevation_deg)
        assert angles_of(torch.tensor([[0.5, 0.5, lx, ly]])) == pytest.approx((azimuth_deg, elevation_deg), abs=1e-4)
    assert direction_from(45.0, 0.0) == pytest.approx((1.0, 0.0))
    assert direction_from(0.0, 45.0) == pytest.approx((0.0, -1.0))  # above


def test_the_live_picture_is_the_edit(egg) -> None:
    controls = replace(with_light(Controls(), egg.scene.light), yaw_deg=20.0, before_part=0.0)
    effect = effect_of(egg, controls.pose, n_refine=0)
    for way, images in ((WAYS[0], effect.images), (WAYS[1], effect.rendered.image)):
        expected = to_uint8(resized(images, PICTURE_PX, "bicubic"))[0]
        assert np.array_equal(live_picture(egg, replace(controls, way=way)), expected)
    before = to_uint8(resized(egg.observation.image, PICTURE_PX, "bicubic"))[0]
    assert np.array_equal(live_picture(egg, replace(controls, before_part=1.0)), before)
    flat = live_picture(egg, replace(controls, way=WAYS[1], depth_scale=0.0))
    assert not np.array_equal(flat, live_picture(egg, replace(controls, way=WAYS[1])))
    assert Scaled(egg, 2.0).generator is egg.generator


def test_before_is_on_the_left() -> None:
    before, after = np.zeros((4, 10, 3), np.uint8), np.full((4, 10, 3), 200, np.uint8)
    shown = divided(before, after, 0.3)
    assert shown[0, :, 0].tolist() == [0, 0, 0, 255, *[200] * 6]
    assert np.array_equal(divided(before, after, 0.0), after)
    assert np.array_equal(divided(before, after, 1.0), before)


def test_a_gallery_holds_the_runs_inside_its_folder(tmp_path) -> None:
    for name in ("home/b", "home/a", "home/deep/c", "elsewhere/d", "home/empty"):
        (tmp_path / name).mkdir(parents=True)
        if not name.endswith("empty"):
            (tmp_path / name / "request.json").write_text("{}")
            (tmp_path / name / "scene.npz").write_bytes(b"")
    (tmp_path / "home" / "link").symlink_to(tmp_path / "elsewhere" / "d", target_is_directory=True)
    found = gallery_of(tmp_path / "home")
    assert list(found.runs) == ["a", "b", "deep/c"]
    assert thumbnails(found).shape[2] == 3
    assert list(gallery_of(tmp_path / "home" / "a").runs) == ["a"]
    with pytest.raises(UserError, match="holds no finished run"):
        gallery_of(tmp_path / "home" / "empty")


def test_the_gallery_of_an_edit_says_what_to_name(tmp_path) -> None:
    (tmp_path / "edit.json").write_text("{}")
    with pytest.raises(UserError, match="is an edit"):
        gallery_of(tmp_path)
