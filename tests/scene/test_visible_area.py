"""How much of the canonical map a rotated pixel shows."""

import math

import pytest
import torch

from gan2shape.scene.render import render_depth, visible_area

SIZE, FOV_DEG = 64, 10.0


def yawed(yaw_deg: float) -> torch.Tensor:
    view = torch.zeros(1, 6)
    view[:, 1] = math.radians(yaw_deg)
    return view


def block(depth: float) -> torch.Tensor:
    """A square at distance 1 before a plane at `depth`."""
    map_ = torch.full((1, 1, SIZE, SIZE), depth)
    map_[..., 20:44, 20:44] = 1.0
    return map_


def test_the_canonical_view_shows_each_pixel_once() -> None:
    area = visible_area(render_depth(block(1.05), yawed(0.0), FOV_DEG)[2])
    assert torch.allclose(area, torch.ones_like(area), atol=1e-4)


@pytest.mark.parametrize("yaw_deg", [-30.0, 15.0, 40.0])
def test_a_rotated_plane_shows_one_over_the_cosine(yaw_deg: float) -> None:
    grid = render_depth(torch.ones(1, 1, SIZE, SIZE), yawed(yaw_deg), FOV_DEG)[2]
    middle = visible_area(grid)[..., 24:40, 24:40]
    assert middle.mean().item() == pytest.approx(1 / math.cos(math.radians(yaw_deg)), rel=0.01)


def test_what_the_canonical_view_hides_is_stretched() -> None:
    grid = render_depth(block(1.06), yawed(25.0), FOV_DEG)[2]
    area, across = visible_area(grid)[0, 0, 32], grid[0, 32, :, 0]
    edge = (20 / SIZE * 2 - 1, 44 / SIZE * 2 - 1)  # the square's borders, one of which opens
    pixel = 2 / SIZE
    opened = [(across > border - pixel) & (across < border + pixel) for border in edge]
    inside = (across > edge[0] + 3 * pixel) & (across < edge[1] - 3 * pixel)
    assert min(area[zone].min().item() for zone in opened if zone.any()) < 0.3
    assert area[inside].min().item() > 0.9


def test_a_roll_keeps_areas() -> None:
    """Rows and columns of the grid are both rotated then, so that every product of the cross product counts."""
    view = torch.zeros(1, 6)
    view[:, 2] = math.radians(30.0)
    area = visible_area(render_depth(torch.ones(1, 1, SIZE, SIZE), view, FOV_DEG)[2])[..., 20:44, 20:44]
    assert torch.allclose(area, torch.ones_like(area), atol=1e-3)
