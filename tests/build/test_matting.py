"""Parts of mixed pixels: of composites whose parts are known."""

import pytest
import torch

from gan2shape.build.matting import matted

SIZE = 32


def disc(radius: float, softness: float = 0.7) -> torch.Tensor:
    """A disc with a soft rim, [1, 1, 32, 32]."""
    at = torch.arange(SIZE) - SIZE / 2 + 0.5
    distance = (at**2 + at[:, None] ** 2).sqrt()
    return ((radius - distance) / (2 * softness) + 0.5).clamp(0, 1)[None, None]


def composed(part: torch.Tensor, colours: torch.Tensor) -> torch.Tensor:
    """`part` of the first colour over the second."""
    first, second = colours[:, :, None, None]
    return part * first + (1 - part) * second


@pytest.mark.parametrize("grown", [-1, 0, 1])
def test_parts_are_found_under_masks_that_are_off_by_a_pixel(grown):
    true = disc(9)
    image = composed(true, torch.tensor([[0.5, -0.2, 0.1], [0.9, 0.9, 0.8]]))
    found, says = matted((disc(9 + grown) > 0.5).float(), image, 3, 3, 7)
    torch.testing.assert_close(found, true, atol=0.03, rtol=0)
    assert says[(true > 0) & (true < 1)].min() > 0.9


def test_a_rim_of_background_is_taken_away_on_a_slope_of_colours():
    true = disc(9, 0.5)
    slope = torch.linspace(-0.2, 0.2, SIZE).expand(1, 3, SIZE, SIZE)
    image = composed(true, torch.tensor([[-0.6, -0.5, -0.5], [0.6, 0.6, 0.6]])) + slope
    wide = (disc(10.5) > 0.5).float()
    found, _ = matted(wide, image, 2, 1, 3)
    before, after = ((mask > 0.5) ^ (true > 0.5) for mask in (wide, found))
    assert after.sum() < 0.1 * before.sum()


def test_alike_colours_say_nothing():
    image = composed(disc(9), torch.tensor([[0.30, 0.30, 0.3], [0.31, 0.3, 0.3]]))
    mask = (disc(9) > 0.5).float()
    found, says = matted(mask, image, 2, 1, 3)
    rim = (says < 1)[0, 0]
    assert says[0, 0][rim].max() < 0.01
    assert rim.any()
    assert torch.equal(found[0, 0][~rim], mask[0, 0][~rim])


def test_pixels_far_from_both_sides_say_nothing():
    mask = torch.zeros(1, 1, SIZE, SIZE)
    mask[..., 14:17, :] = 1  # too narrow for pixels well inside
    _, says = matted(mask, composed(mask, torch.tensor([[1.0, 1, 1], [-1, -1, -1]])), 2, 1, 3)
    assert says[..., 14:17, :].abs().max() == 0
    assert says[..., :8, :].min() == 1
