"""Depth maps of rotated objects, brought back: a known surface."""

import math

import pytest
import torch

from gan2shape.scene.camera import yaw_views
from gan2shape.scene.render import render_depth
from gan2shape.shape.fusion import to_canonical

SIZE, FOV_DEG = 64, 10.0


def bump(height: float, tilt: float = 0.0) -> torch.Tensor:
    """A smooth hill in front of a plane, tilted sideways; depth about 1."""
    at = (torch.arange(SIZE) + 0.5) / SIZE * 2 - 1
    distance = at[None, :] ** 2 + at[:, None] ** 2
    return (1.02 - height * torch.exp(-3 * distance) + tilt * at[None, :])[None, None]


def middle(radius: float = 0.5) -> torch.Tensor:
    at = (torch.arange(SIZE) + 0.5) / SIZE * 2 - 1
    return ((at[None, :] ** 2 + at[:, None] ** 2) < radius**2)[None, None]


def spread(error: torch.Tensor) -> float:
    """Root mean square inside the hill, without the mean."""
    inside = error[middle().expand_as(error)]
    return float((inside - inside.mean()).square().mean().sqrt())


@pytest.mark.parametrize("yaw_deg", [-25.0, -10.0, 10.0, 25.0])
def test_a_rotated_surface_comes_back_as_it_was(yaw_deg: float) -> None:
    truth, mask = bump(0.03, tilt=0.01), middle(0.9).float()
    initial = bump(0.015)
    initial = (
        initial + ((truth - initial) * mask).sum() / mask.sum()
    )  # the distance is a gauge, and the initial one is kept
    views = yaw_views((yaw_deg,), truth)
    seen = render_depth(truth, views, FOV_DEG)[0]
    back = to_canonical(seen, views, initial, mask, FOV_DEG)
    assert spread(initial - truth) > 3e-3
    assert spread(back - truth) < 4e-4
    assert float(((back - initial) * mask).sum() / mask.sum()) == pytest.approx(0.0, abs=2e-6)


def test_without_a_yaw_a_map_comes_back_at_the_initial_distance() -> None:
    seen, initial = bump(0.03), bump(0.01)
    mask = middle().float()
    back = to_canonical(seen, yaw_views((0.0,), initial), initial, mask, FOV_DEG)
    assert spread(back - seen) < 5e-5
    assert float(((back - initial) * mask).sum().abs()) < 1e-3


def test_responses_below_1_to_the_left_and_right_cancel() -> None:
    truth = bump(0.03)
    target, response = yaw_views((-20.0, 20.0), truth), yaw_views((-16.0, 16.0), truth)
    seen = render_depth(truth, response, FOV_DEG)[0]
    back = to_canonical(seen, target, truth, middle(0.9).float(), FOV_DEG)
    tilt = math.radians(4) * math.tan(math.radians(FOV_DEG / 2))  # of a plane that is off by four degrees
    assert spread(back[:1] - truth) > 0.2 * tilt
    assert spread(back.mean(0, keepdim=True) - truth) < 0.25 * spread(back[:1] - truth)
