import math

import pytest
import torch

from gan2shape.scene import camera

torch.manual_seed(0)
VIEWS = torch.tensor(
    [
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        [0.3, -0.7, 0.2, 0.01, -0.02, 0.05],
        [-0.4, 1.1, -2.5, 0.0, 0.03, -0.1],
        [0.05, 0.5, 3.0, -0.1, 0.0, 0.0],
    ],
    dtype=torch.float64,
)


def matrix(axis: str, angle: float) -> torch.Tensor:
    """The matrices as the design page prints them."""
    c, s = math.cos(angle), math.sin(angle)
    rows = {
        "x": [[1, 0, 0], [0, c, -s], [0, s, c]],
        "y": [[c, 0, s], [0, 1, 0], [-s, 0, c]],
        "z": [[c, -s, 0], [s, c, 0], [0, 0, 1]],
    }[axis]
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize(("size", "fov_deg"), [(64, 10.0), (128, 10.0), (33, 40.0)])
def test_intrinsics_see_the_field_of_view_from_border_to_border(size, fov_deg):
    K = camera.intrinsics(size, fov_deg, dtype=torch.float64)
    half = math.tan(math.radians(fov_deg) / 2)
    corners = torch.tensor([[[-half, -half, 1.0], [half, half, 1.0], [0.0, 0.0, 2.0]]], dtype=torch.float64)
    expected = torch.tensor([[[0, 0, 1], [size, size, 1], [size / 2, size / 2, 2]]], dtype=torch.float64)
    torch.testing.assert_close(camera.project(corners, K), expected)


def test_pixel_centres_lie_at_half():
    points = camera.unproject(torch.full((1, 1, 4, 4), 3.0), camera.intrinsics(4, 10.0))
    pixels = camera.project(points.flatten(1, 2), camera.intrinsics(4, 10.0)).unflatten(1, (4, 4))
    torch.testing.assert_close(pixels[0, :, :, 0], torch.tensor([0.5, 1.5, 2.5, 3.5]).expand(4, 4))
    torch.testing.assert_close(pixels[0, :, :, 1], torch.tensor([0.5, 1.5, 2.5, 3.5])[:, None].expand(4, 4))
    torch.testing.assert_close(pixels[..., 2], torch.full((1, 4, 4), 3.0))


@pytest.mark.parametrize("fov_deg", [0.0, 180.0, -5.0])
def test_intrinsics_refuse_an_impossible_field_of_view(fov_deg):
    with pytest.raises(ValueError, match="fov_deg"):
        camera.intrinsics(8, fov_deg)


@pytest.mark.parametrize(("axis", "place"), [("x", 0), ("y", 1), ("z", 2)])
def test_each_angle_gives_its_printed_matrix(axis, place):
    angles = torch.zeros(3, dtype=torch.float64)
    angles[place] = 0.4
    torch.testing.assert_close(camera.rotation(angles), matrix(axis, 0.4))


def test_rotation_is_rz_ry_rx_and_proper():
    angles = VIEWS[:, :3]
    for angle, found in zip(angles.tolist(), camera.rotation(angles), strict=True):
        torch.testing.assert_close(found, matrix("z", angle[2]) @ matrix("y", angle[1]) @ matrix("x", angle[0]))
        torch.testing.assert_close(found @ found.T, torch.eye(3, dtype=torch.float64))
        assert torch.linalg.det(found) == pytest.approx(1)


# Golden sentences of the conventions, on points relative to the centre: right (1,0,0), top (0,-1,0), front (0,0,-1).
@pytest.mark.parametrize(
    ("angle", "point", "component", "sign"),
    [
        pytest.param(1, [1, 0, 0], 2, -1, id="positive yaw brings image right nearer"),
        pytest.param(1, [0, 0, -1], 0, -1, id="positive yaw rotates the front to image left"),
        pytest.param(0, [0, -1, 0], 2, -1, id="positive pitch brings the top nearer"),
        pytest.param(0, [0, 0, -1], 1, 1, id="positive pitch rotates the front down"),
        pytest.param(2, [0, -1, 0], 0, 1, id="positive roll rotates the top to image right (clockwise)"),
        pytest.param(2, [1, 0, 0], 1, 1, id="positive roll rotates image right down (clockwise)"),
    ],
)
def test_signs_of_the_angles(angle, point, component, sign):
    view = torch.zeros(1, 6)
    view[0, angle] = 0.2
    moved = camera.move(torch.tensor([[point]], dtype=torch.float32) + torch.tensor([0.0, 0, 1]), view)[0, 0]
    change = (moved - torch.tensor([0.0, 0, 1]))[component] - point[component]
    assert change * sign > 0.15


@pytest.mark.parametrize("component", [0, 1, 2])
def test_translation_moves_along_its_axis(component):
    view = torch.zeros(1, 6)
    view[0, 3 + component] = 0.25
    points = torch.rand(1, 5, 3)
    expected = points.clone()
    expected[..., component] += 0.25
    torch.testing.assert_close(camera.move(points, view), expected)


def test_rotation_is_about_one_unit_ahead():
    centre = torch.tensor([[[0.0, 0.0, 1.0]]], dtype=torch.float64)
    torch.testing.assert_close(camera.move(centre, VIEWS), centre + VIEWS[:, None, 3:])


def test_move_and_move_back_are_inverse():
    points = torch.rand(1, 20, 3, dtype=torch.float64)
    there = camera.move(points, VIEWS)
    torch.testing.assert_close(camera.move_back(there, VIEWS), points.expand_as(there))


def test_angles_survive_the_round_trip_through_a_matrix():
    torch.testing.assert_close(camera.rotation_to_angles(camera.rotation(VIEWS[:, :3])), VIEWS[:, :3])


def test_angles_have_finite_gradients_at_the_identity():
    matrix_ = torch.eye(3, dtype=torch.float64, requires_grad=True)
    camera.rotation_to_angles(matrix_).sum().backward()
    assert matrix_.grad.isfinite().all()


def test_composed_views_equal_moving_twice():
    points = torch.rand(4, 20, 3, dtype=torch.float64)
    second = VIEWS.flip(0)
    expected = camera.move(camera.move(points, VIEWS), second)
    torch.testing.assert_close(camera.move(points, camera.compose_views(VIEWS, second)), expected)


def test_inverse_view_is_move_back():
    points = torch.rand(4, 20, 3, dtype=torch.float64)
    torch.testing.assert_close(camera.move(points, camera.inverse_view(VIEWS)), camera.move_back(points, VIEWS))


def test_relative_view_leads_from_the_exam_camera_to_the_other():
    exam = VIEWS[1:2]
    points = torch.rand(1, 20, 3, dtype=torch.float64)
    canonical = camera.move(points, exam)  # what the exam camera sees becomes the canonical frame
    relative = camera.relative_view(VIEWS, exam)
    torch.testing.assert_close(camera.move(canonical, relative), camera.move(points, VIEWS))
    torch.testing.assert_close(relative[1], torch.zeros(6, dtype=torch.float64))
    rotated = camera.rotation(VIEWS[:, :3]) @ camera.rotation(exam[:, :3]).transpose(1, 2)
    torch.testing.assert_close(camera.rotation(relative[:, :3]), rotated)
