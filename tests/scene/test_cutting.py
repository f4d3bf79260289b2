"""What each cut takes away of a mask, and that nothing is added."""

import pytest
import torch

from gan2shape.scene.cutting import KINDS, LEAST, MOST, cut_masks

SIZE = 64


def rectangle() -> torch.Tensor:
    """20 columns, 40 rows."""
    mask = torch.zeros(1, 1, SIZE, SIZE)
    mask[..., 12:52, 22:42] = 1
    return mask


def cut(kind: str, *amounts: float) -> torch.Tensor:
    return cut_masks(rectangle(), [kind], torch.tensor([amounts]))


@pytest.mark.parametrize(("kind", "kept_end"), [("bottom", 12), ("top", 51)])
@pytest.mark.parametrize("amount", [0.0, 0.5, 1.0])
def test_a_part_of_the_height_goes_below_or_above(kind: str, kept_end: int, amount: float) -> None:
    share = LEAST + amount * (MOST - LEAST)
    found = cut(kind, amount, 0.0, 0.0)
    assert found.sum().item() / 20 == pytest.approx((1 - share) * 40, abs=0.6)
    assert (found[0, 0, kept_end, 22:42] == 1).all()


@pytest.mark.parametrize("amount", [0.0, 1.0])
@pytest.mark.parametrize("turn", [0.0, 0.3, 0.75])
def test_a_line_takes_its_part_of_the_pixels_on_its_own_side(amount: float, turn: float) -> None:
    share, found = LEAST + amount * (MOST - LEAST), cut("line", amount, 0.0, turn)
    assert found.sum().item() / 800 == pytest.approx(1 - share, abs=0.035)
    gone = rectangle() - found
    y, x = torch.meshgrid(torch.arange(SIZE) - 31.5, torch.arange(SIZE) - 31.5, indexing="ij")
    angle = torch.tensor(2 * torch.pi * turn)
    assert ((angle.cos() * x + angle.sin() * y) * gone[0, 0]).sum() > 0


def test_an_ellipse_and_a_box_have_their_axes() -> None:
    across, down = 20 * (1 - LEAST), 40 * (1 - MOST)
    assert cut("oval", 0.0, 1.0, 0.0).sum().item() == pytest.approx(torch.pi / 4 * across * down, rel=0.03)
    for place in (0.0, 0.4, 1.0):
        found = cut("box", 0.0, 1.0, place)
        assert found.sum().item() == pytest.approx(across * down, rel=0.05)
    assert cut("box", 0.0, 1.0, 0.0)[0, 0, 45, 24] == 1
    assert cut("box", 0.0, 1.0, 1.0)[0, 0, 18, 39] == 1


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_added_and_an_empty_mask_stays_one(kind: str) -> None:
    mask = torch.rand(1, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    found = cut_masks(mask, [kind], torch.tensor([[0.3, 0.6, 0.2]]))
    assert (found <= mask).all()
    assert (found < mask).any()
    assert (found >= 0).all()
    empty = torch.zeros_like(mask)
    assert torch.equal(cut_masks(empty, [kind], torch.zeros(1, 3)), empty)


def test_kinds_belong_to_their_rows() -> None:
    both = cut_masks(rectangle().expand(2, -1, -1, -1), ["bottom", "top"], torch.full((2, 3), 0.5))
    assert torch.equal(both[:1], cut("bottom", 0.5, 0.5, 0.5))
    assert torch.equal(both[1:], cut("top", 0.5, 0.5, 0.5))
    with pytest.raises(ValueError, match="unknown kind"):
        cut("hole", 0.0, 0.0, 0.0)
