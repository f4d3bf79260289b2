"""Cut exam objects: framing, the truth in their frame, scores; a reader that knows the truth scores zero."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from gan2shape.bench.cuts import WHOLE, cut_object, framed_object, score_cuts, score_in, without_plane
from gan2shape.bench.exam import ExamObject
from gan2shape.bench.score import score_mask
from gan2shape.core.records import UsualFrame
from gan2shape.scene.cutting import KINDS
from gan2shape.scene.reframe import boxes

SIZE = 64
FRAME = UsualFrame((0.5, 0.75, 0.95), (0.5, 0.52), 0.05, (0.8, 0.8, 0.8), 0.05)


def item(seed: int = 5) -> ExamObject:
    """A tall bump on grey, red above and blue below; its depth is undefined beside it."""
    at = torch.arange(SIZE) + 0.5 - SIZE / 2
    reach = (at / 14).square() + (at[:, None] / 24).square()
    mask = (reach < 1).float()[None, None]
    depth = torch.where(mask > 0.5, 1 - 0.05 * (1 - reach).clamp_min(0).sqrt(), 0.0)
    image = torch.full((1, 3, SIZE, SIZE), 0.8)
    image[:, 0][mask[0] > 0.5] = 1.0
    image[:, 2] = torch.where(mask[:, 0] > 0.5, (at[:, None] > 0).float(), image[:, 2])
    zero = torch.zeros
    return ExamObject("head", seed, image, mask, depth, zero(1, 6), zero(1, 4), torch.full((3,), 0.9), 10.0)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_left_is_framed_as_photos_are_on_the_prior_s_background(kind: str) -> None:
    whole, cut = item(), cut_object(item(), kind, FRAME)
    x, y, side = (boxes(cut.mask)[0] / SIZE).tolist()
    assert side == pytest.approx(FRAME.size[1], abs=1.5 / SIZE)
    assert (x, y) == pytest.approx(FRAME.centre, abs=1.0 / SIZE)
    assert torch.allclose(cut.image[cut.mask.expand_as(cut.image) == 0], torch.tensor(0.8))
    assert cut.mask.sum() / (SIZE / cut.square[0, 2]) ** 2 < 0.95 * whole.mask.sum()
    assert torch.equal(cut.image, cut_object(item(), kind, FRAME).image)


def test_cuts_below_keep_what_is_above() -> None:
    above, below = (cut_object(item(), kind, FRAME).image for kind in ("bottom", "top"))
    assert (above[:, 2] < 0.5).float().mean() > 1.3 * (below[:, 2] < 0.5).float().mean()


def test_a_reader_that_knows_the_truth_scores_zero_cut_and_whole() -> None:
    """In every row but the plane's; and one that reads a whole object's depth in a cut image does not."""
    one = item()
    filled = torch.where(one.mask > 0.5, one.depth, one.depth[one.mask > 0.5].mean())

    def knowing(image: Tensor, mask: Tensor) -> Tensor:
        for kind in KINDS:
            cut = cut_object(one, kind, FRAME)
            if torch.equal(cut.image, image):
                return cut.depth
        return filled

    rows = score_cuts(one, KINDS, FRAME, knowing)
    for name, row in rows.items():
        is_flat = name.endswith("flat")
        assert (row["side"] > 0.3) if is_flat else (row["side"] < 2e-3), name
        assert (row["mad_deg"] > 10) if is_flat else (row["mad_deg"] < 0.2), name
    rows = score_cuts(one, ("bottom",), FRAME, lambda *_: filled)
    assert rows[WHOLE]["side"] < 2e-3
    assert rows["bottom, seen whole"]["side"] < 2e-3
    assert rows["bottom"]["side"] > 0.3


def test_an_object_of_another_exam_is_framed_and_keeps_its_relief() -> None:
    one, small = item(), framed_object(item(), replace(FRAME, size=(0.2, 0.375, 0.6)))
    assert (boxes(small.mask)[0, 2] / SIZE).item() == pytest.approx(0.375, abs=1.5 / SIZE)
    assert one.depth[one.mask > 0.5].min().item() == pytest.approx(0.95, abs=1e-3)
    assert small.depth.min().item() == pytest.approx(0.975, abs=1e-3)


def test_the_best_plane_and_nothing_else_is_taken_out() -> None:
    one = item()
    inside = score_mask(one.mask)
    ramp = torch.linspace(-1, 1, SIZE)
    truth = torch.where(one.mask > 0.5, one.depth, torch.tensor(1.0))
    tilted = truth * (0.01 * ramp - 0.02 * ramp[:, None] + 0.003).exp()
    scores = score_in(tilted, truth, inside, 10.0)
    assert scores["side"] > 0.5
    assert scores["side_plane"] < 1e-3
    assert scores["mad_deg"] > 8
    assert scores["mad_plane_deg"] < 0.1
    bent = truth * (0.01 * ramp.square()).exp()
    left = score_in(bent, truth, inside, 10.0)
    assert left["side_plane"] == pytest.approx(left["side"], rel=0.02)
    torch.testing.assert_close(without_plane(truth, truth, inside), truth)
