"""Depth maps of turned objects, brought back: truths of a known surface."""

import math

import pytest
import torch

from gan2shape.scene.camera import yaw_views
from gan2shape.scene.render import render_depth
from gan2shape.shape.fusion import to_canonical

SIZE, FOV_DEG = 64, 10.0


def bump(height: float, lean: float = 0.0) -> torch.Tensor:
    """A smooth hill in front of a sheet, leaning sideways; depth about 1."""
    side = (torch.arange(SIZE) + 0.5) / SIZE * 2 - 1
    distance = side[None, :] ** 2 + side[:, None] ** 2
    return (1.02 - height * torch.exp(-3 * distance) + lean * side[None, :])[None, None]


def middle(radius: float = 0.5) -> torch.Tensor:
    side = (torch.arange(SIZE) + 0.5) / SIZE * 2 - 1
    return ((side[None, :] ** 2 + side[:, None] ** 2) < radius**2)[None, None]


def spread(error: torch.Tensor) -> float:
    """Root mean square inside the hill, without the mean."""
    inside = error[middle().expand_as(error)]
    return float((inside - inside.mean()).square().mean().sqrt())


@pytest.mark.parametrize("yaw_deg", [-25.0, -10.0, 10.0, 25.0])
def test_a_turned_surface_comes_back_as_it_was(yaw_deg: float) -> None:
    truth, mask = bump(0.03, lean=0.01), middle(0.9).float()
    start = bump(0.015)
    start = start + ((truth - start) * mask).sum() / mask.sum()  # the distance is a gauge, and the start's is kept
    views = yaw_views((yaw_deg,), truth)
    seen = render_depth(truth, views, FOV_DEG)[0]
    back = to_canonical(seen, views, start, mask, FOV_DEG)
    assert spread(start - truth) > 3e-3
    assert spread(back - truth) < 4e-4
    assert float(((back - start) * mask).sum() / mask.sum()) == pytest.approx(0.0, abs=2e-6)


def test_no_turn_brings_back_what_is_seen_at_the_starts_distance() -> None:
    seen, start = bump(0.03), bump(0.01)
    mask = middle().float()
    back = to_canonical(seen, yaw_views((0.0,), start), start, mask, FOV_DEG)
    assert spread(back - seen) < 5e-5
    assert float(((back - start) * mask).sum().abs()) < 1e-3


def test_turns_that_fall_short_to_both_sides_cancel() -> None:
    truth = bump(0.03)
    asked, followed = yaw_views((-20.0, 20.0), truth), yaw_views((-16.0, 16.0), truth)
    seen = render_depth(truth, followed, FOV_DEG)[0]
    back = to_canonical(seen, asked, truth, middle(0.9).float(), FOV_DEG)
    tilt = math.radians(4) * math.tan(math.radians(FOV_DEG / 2))  # of a plane that is off by four degrees
    assert spread(back[:1] - truth) > 0.2 * tilt
    assert spread(back.mean(0, keepdim=True) - truth) < 0.25 * spread(back[:1] - truth)
