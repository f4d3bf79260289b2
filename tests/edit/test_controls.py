"""What a user asks for: signs, totals, frames, layers."""

import math

import pytest
import torch

from gan2shape.core.errors import UserError
from gan2shape.edit.controls import CIRCLE_SLOPE, Pose, layers_of, light_from, poses_of
from gan2shape.scene.camera import rotation
from gan2shape.scene.light import rotate_light

OWN = torch.tensor([[0.4, 0.6, 0.2, -0.3]])


def test_named_lights_lie_where_they_say() -> None:
    assert light_from("left")[0] < 0 < light_from("right")[0]
    assert light_from("above")[1] < 0 < light_from("below")[1]
    assert light_from("-0.6,-.4") == (-0.6, -0.4)
    for text in ("behind", "1", "1,2,3", "a,b", "nan,0"):
        with pytest.raises(UserError, match="is no light"):
            light_from(text)


def test_what_is_not_asked_for_is_the_inputs_own() -> None:
    assert Pose().is_input
    assert torch.equal(Pose(yaw_deg=20).light(OWN), OWN)
    given = Pose(direction=(-1.0, 0.0), diffuse=0.9).light(OWN)
    assert torch.allclose(given, torch.tensor([[0.4, 0.9, -1.0, 0.0]]))
    view = Pose(yaw_deg=90 / 2, pitch_deg=30, roll_deg=-15).view(OWN)
    assert torch.allclose(view, torch.tensor([[math.pi / 6, math.pi / 4, -math.pi / 12, 0, 0, 0]]))


def test_angles_add_up_and_lights_are_replaced() -> None:
    first = Pose(yaw_deg=20, direction=(-1.0, 0.0), ambient=0.2)
    both = first.added(Pose(yaw_deg=-30, pitch_deg=5, direction=(0.5, 0.5)))
    assert both == Pose(yaw_deg=-10, pitch_deg=5, direction=(0.5, 0.5), ambient=0.2)
    assert first.added(Pose(yaw_deg=-20)).yaw_deg == 0


def test_a_camera_light_is_the_same_light_in_the_canonical_frame() -> None:
    pose = Pose(yaw_deg=25, pitch_deg=-10, direction=(0.3, -0.2)).with_camera_light()
    view = pose.view(torch.zeros(1, dtype=torch.float64))
    light = torch.tensor([[0.0, 1.0, *pose.direction]], dtype=torch.float64)
    seen = rotate_light(light, rotation(view[:, :3]))
    assert seen[0, 2:].tolist() == pytest.approx([0.3, -0.2])
    with pytest.raises(UserError, match="behind the object"):
        Pose(yaw_deg=60, direction=(3.0, 0.0)).with_camera_light()


@pytest.mark.parametrize(
    "values", [{"yaw_deg": 81}, {"pitch_deg": math.nan}, {"direction": (11.0, 0.0)}, {"ambient": -0.1}], ids=str
)
def test_poses_that_nothing_can_show_are_refused(values: dict) -> None:
    with pytest.raises(UserError):
        Pose(**values)


def test_an_animation_goes_there_and_back() -> None:
    poses = poses_of("yaw=-40:40", Pose(pitch_deg=5, direction=(0.1, 0.2)), 24)
    yaws = [pose.yaw_deg for pose in poses]
    assert (yaws[0], yaws[12]) == pytest.approx((-40, 40))
    assert yaws[1:12] == pytest.approx(yaws[:12:-1])  # the way back is the way there
    assert {(pose.pitch_deg, pose.direction) for pose in poses} == {(5, (0.1, 0.2))}


def test_a_light_goes_once_around_from_above_by_the_right() -> None:
    poses = poses_of("light=circle", Pose(yaw_deg=10), 4)
    expected = [(0, -1), (1, 0), (0, 1), (-1, 0)]
    for pose, (lx, ly) in zip(poses, expected, strict=True):
        assert pose.direction == pytest.approx((CIRCLE_SLOPE * lx, CIRCLE_SLOPE * ly), abs=1e-9)
        assert pose.yaw_deg == 10
    for text in ("yaw", "yaw=1", "zoom=1:2", "light=square", "yaw=a:b", "yaw=0:1:2"):
        with pytest.raises(UserError, match="is no animation"):
            poses_of(text, Pose(), 4)


def test_layers() -> None:
    assert layers_of(None, 4) == (0, 1, 2, 3)
    assert layers_of("2", 4) == (2,)
    assert layers_of("0,2-3,2", 4) == (0, 2, 3)
    for text in ("4", "2-9", "a", "-1", "3-1", ""):
        with pytest.raises(UserError):
            layers_of(text, 4)
