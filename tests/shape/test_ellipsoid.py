"""The initial ellipsoid against its closed form."""

import math

import pytest
import torch

from gan2shape.core.config import InitialShapeConfig
from gan2shape.core.errors import UserError
from gan2shape.scene.camera import (
    intrinsics,
    move,
    project,
    unproject,
)
from gan2shape.shape.ellipsoid import ellipsoid_depth, flat_depth, mask_box_px


def box_mask(left: int, top: int, right: int, bottom: int, size: int = 64) -> torch.Tensor:
    mask = torch.zeros(1, 1, size, size)
    mask[..., top:bottom, left:right] = 1
    return mask


def test_box_of_a_mask():
    assert mask_box_px(box_mask(10, 20, 31, 50)) == (10, 20, 31, 50)


def test_empty_mask_is_refused_in_one_sentence():
    with pytest.raises(UserError, match="mask is empty"):
        mask_box_px(torch.zeros(1, 1, 8, 8))


@pytest.mark.parametrize("depth_scale", [0.3, 1.0])
@pytest.mark.parametrize("box", [(10, 20, 31, 51), (1, 1, 64, 64)])
def test_cap_is_nearest_in_the_middle_of_its_own_box_and_far_outside(depth_scale, box):
    config = InitialShapeConfig(depth_scale=depth_scale)
    depth = ellipsoid_depth(box_mask(*box), config, 10.0)
    row, column = divmod(int(depth.argmin()), 64)
    assert abs(column + 0.5 - (box[0] + box[2]) / 2) <= 0.5
    assert abs(row + 0.5 - (box[1] + box[3]) / 2) <= 0.5
    assert depth.min().item() == pytest.approx(config.far - depth_scale * (config.far - config.near), abs=2e-4)
    assert depth.max().item() == pytest.approx(config.far, abs=1e-6)


def test_published_cap_is_a_sphere_of_radius_point_four():
    """On the cap, (radius - height)^2 + r^2 = radius^2 with r the distance from the axis in units of the published
    chord.
    """
    config = InitialShapeConfig(depth_scale=1.0)
    depth = ellipsoid_depth(box_mask(0, 0, 64, 64), config, 10.0)[0, 0]
    tau = math.sqrt(config.radius**2 - (config.radius - (config.far - config.near)) ** 2)
    assert tau == pytest.approx(0.2755, abs=1e-4)  # the published figure
    at = (torch.arange(64) + 0.5 - 32) / 32
    distance = (at[None, :] ** 2 + at[:, None] ** 2).sqrt()
    inside = distance < 0.99
    z_centre = config.near + config.radius
    radius = ((depth - z_centre).square() + (distance * tau).square()).sqrt()
    torch.testing.assert_close(radius[inside], torch.full_like(radius[inside], config.radius))


def test_positive_slant_brings_the_image_right_side_nearer_as_a_positive_yaw_does():
    mask = box_mask(12, 20, 52, 44)
    config = InitialShapeConfig(depth_scale=0.3)
    straight, slanted = (ellipsoid_depth(mask, config, 10.0, slant) for slant in (0.0, 20.0))
    assert slanted[0, 0, 32, 45] < straight[0, 0, 32, 45]
    assert slanted[0, 0, 32, 18] > straight[0, 0, 32, 18]
    K = intrinsics(64, 10.0)
    points = unproject(flat_depth(mask), K).view(1, -1, 3)
    turned = move(points, torch.tensor([[0.0, math.radians(20.0), 0.0, 0.0, 0.0, 0.0]]))
    right = project(points, K)[0, :, 0] > 40
    assert (turned[0, right, 2] < 1).all()
