"""Pixels of a render that are compared: only what the input shows of the object."""

import math

import torch

from gan2shape.core.config import StepConfig
from gan2shape.core.records import Render
from gan2shape.scene.canvas import Canvas
from gan2shape.scene.render import render, visible_area
from gan2shape.shape.losses import visible_difference

SIZE = 64
STEPS = StepConfig()


def rotated_block(yaw_deg: float) -> Render:
    """A white square before a black plane, rotated: one of its flanks opens and is stretched to the plane."""
    depth = torch.full((1, 1, SIZE, SIZE), 1.06)
    mask = torch.zeros(1, 1, SIZE, SIZE)
    depth[..., 20:44, 20:44] = 1.0
    mask[..., 20:44, 20:44] = 1.0
    view = torch.zeros(1, 6)
    view[:, 1] = math.radians(yaw_deg)
    white, black = torch.ones(1, 3, SIZE, SIZE), -torch.ones(1, 3, SIZE, SIZE)
    return render(depth, white, torch.ones(1, 1, SIZE, SIZE), view, 10.0, Canvas(mask, black))


def test_an_exact_render_differs_by_nothing() -> None:
    rendered = rotated_block(20.0)
    assert visible_difference(rendered, rendered.image, rendered.mask, STEPS).item() == 0.0


def test_a_flank_that_the_input_does_not_show_is_not_compared() -> None:
    rendered = rotated_block(20.0)
    stretched = (visible_area(rendered.grid) <= STEPS.min_visible_area) & (rendered.mask > 0)
    assert stretched.sum() > 24  # the opened flank, all along
    other = torch.where(stretched, 0.3, rendered.image)
    grown = torch.maximum(rendered.mask, (rendered.mask == 0).float())  # more of an object than was rendered
    assert visible_difference(rendered, other, torch.where(stretched, 1.0, rendered.mask), STEPS).item() == 0.0
    assert visible_difference(rendered, rendered.image, grown, STEPS).item() == 0.0


def test_pixels_that_are_shown_and_outlines_that_spill_over_count() -> None:
    rendered = rotated_block(20.0)
    darker = rendered.image - 0.1 * (rendered.mask > 0.99)
    assert 0.05 < visible_difference(rendered, darker, rendered.mask, STEPS).item() < 0.11
    narrower = rendered.mask * (torch.arange(SIZE) < SIZE // 2)
    assert visible_difference(rendered, rendered.image, narrower, STEPS).item() > 0.05
