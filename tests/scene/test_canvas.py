"""Masks, backgrounds and colours: what is mixed can be unmixed, and renders lie over their background."""

import pytest
import torch

from gan2shape.scene.canvas import Canvas, fill_background, over_background, unmix_background, widen_mask
from gan2shape.scene.render import render, render_input_view

SIZE = 16
IDENTITY = torch.zeros(1, 6)


def soft_square() -> torch.Tensor:
    """1 inside, a rim of .4, 0 outside: [1, 1, S, S]."""
    mask = torch.zeros(1, 1, SIZE, SIZE)
    mask[..., 4:12, 4:12] = 0.4
    mask[..., 5:11, 5:11] = 1.0
    return mask


def test_a_widened_mask_is_solid_one_pixel_beyond_the_object_and_keeps_thin_rims_in_proportion() -> None:
    wide = widen_mask(soft_square())[0, 0]
    assert (wide[4:12, 4:12] == 1).all()  # the object and a pixel around it
    torch.testing.assert_close(wide[3, 3:13], torch.full((10,), 0.8))  # .4 of a neighbour over a half
    assert (wide[2] == 0).all()


def test_a_plain_background_fills_the_object_and_its_rim() -> None:
    mask, wall = soft_square(), torch.tensor([-0.5, 0.1, 0.7])[None, :, None, None]
    image = mask * 0.9 + (1 - mask) * wall
    wall = wall.expand(1, 3, SIZE, SIZE)
    torch.testing.assert_close(fill_background(image, mask), wall, atol=0.02, rtol=0)


def test_unmixing_undoes_mixing_where_a_quarter_is_covered_and_goes_part_of_the_way_below() -> None:
    mask = torch.tensor([1.0, 0.5, 0.25, 0.1])[None, None, None].expand(1, 1, 4, 4)
    colour, wall = torch.full((1, 3, 4, 4), 0.4), torch.full((1, 3, 4, 4), -0.2)
    found = unmix_background(mask * colour + (1 - mask) * wall, mask, wall)
    torch.testing.assert_close(found[..., :3], colour[..., :3])
    torch.testing.assert_close(found[..., 3], torch.full((1, 3, 4), 0.1 * 0.4 / 0.25))


def test_one_background_lies_behind_all_objects() -> None:
    mask, wall = soft_square(), torch.full((1, 3, SIZE, SIZE), -0.3)
    shown = over_background(wall, torch.full((2, 3, SIZE, SIZE), 0.8), mask.expand(2, -1, -1, -1))
    cover = widen_mask(mask)
    torch.testing.assert_close(shown, (0.8 * cover - 0.3 * (1 - cover)).expand(2, 3, -1, -1))


@pytest.mark.parametrize("shading", [1.0, 0.5])
def test_a_render_mixes_shaded_colour_and_background_by_coverage(shading: float) -> None:
    mask = soft_square()
    canvas = Canvas(mask, torch.full((1, 3, SIZE, SIZE), -0.4))
    albedo, light = torch.full((1, 3, SIZE, SIZE), 0.6), torch.full((1, 1, SIZE, SIZE), shading)
    lit = 1.6 * shading - 1  # on values in [0, 1], as stored
    wanted = (mask * lit - 0.4 * (1 - mask)).expand(-1, 3, -1, -1)
    made = render(torch.ones(1, 1, SIZE, SIZE), albedo, light, IDENTITY, canvas=canvas)
    torch.testing.assert_close(made.image, wanted, atol=1e-5, rtol=0)
    torch.testing.assert_close(made.mask, mask, atol=1e-5, rtol=0)
    torch.testing.assert_close(render_input_view(albedo, light, canvas), wanted, atol=1e-6, rtol=0)
