"""What a drawing is compared in: only what the input shows of the object."""

import math

import torch

from gan2shape.core.config import StepConfig
from gan2shape.core.records import Render
from gan2shape.scene.canvas import Canvas
from gan2shape.scene.render import render, visible_area
from gan2shape.shape.losses import visible_difference

SIZE = 64
STEPS = StepConfig()


def turned_block(yaw_deg: float) -> Render:
    """A white square before a black sheet, turned: one of its sides opens and is stretched to the sheet."""
    depth = torch.full((1, 1, SIZE, SIZE), 1.06)
    mask = torch.zeros(1, 1, SIZE, SIZE)
    depth[..., 20:44, 20:44] = 1.0
    mask[..., 20:44, 20:44] = 1.0
    view = torch.zeros(1, 6)
    view[:, 1] = math.radians(yaw_deg)
    white, black = torch.ones(1, 3, SIZE, SIZE), -torch.ones(1, 3, SIZE, SIZE)
    return render(depth, white, torch.ones(1, 1, SIZE, SIZE), view, 10.0, Canvas(mask, black))


def test_what_is_drawn_exactly_differs_by_nothing() -> None:
    drawn = turned_block(20.0)
    assert visible_difference(drawn, drawn.image, drawn.mask, STEPS).item() == 0.0


def test_a_side_that_the_input_does_not_show_is_no_evidence() -> None:
    drawn = turned_block(20.0)
    stretched = (visible_area(drawn.grid) <= STEPS.min_visible_area) & (drawn.mask > 0)
    assert stretched.sum() > 24  # the opened side, all along
    other = torch.where(stretched, 0.3, drawn.image)
    grown = torch.maximum(drawn.mask, (drawn.mask == 0).float())  # more of an object than was ever drawn
    assert visible_difference(drawn, other, torch.where(stretched, 1.0, drawn.mask), STEPS).item() == 0.0
    assert visible_difference(drawn, drawn.image, grown, STEPS).item() == 0.0


def test_pixels_that_are_shown_and_outlines_that_spill_over_count() -> None:
    drawn = turned_block(20.0)
    darker = drawn.image - 0.1 * (drawn.mask > 0.99)
    assert 0.05 < visible_difference(drawn, darker, drawn.mask, STEPS).item() < 0.11
    narrower = drawn.mask * (torch.arange(SIZE) < SIZE // 2)
    assert visible_difference(drawn, drawn.image, narrower, STEPS).item() > 0.05
