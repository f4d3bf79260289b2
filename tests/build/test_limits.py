"""Limits of verdicts: chosen on one half of known and unknown images, rated on the other."""

import pytest
import torch

from gan2shape.build.kinds import of_other_subjects, photographs
from gan2shape.build.limits import choose_limits, half, limits_from, rates_of, unit_of
from gan2shape.prior.open import open_prior
from gan2shape.shape.verdict import FALLING, excess


def figures(n: int, shift: float, seed: int) -> dict[str, torch.Tensor]:
    """Normal figures, `shift` deviations towards strange: one that grows and one that falls."""
    rng = torch.Generator().manual_seed(seed)
    grows, falls = torch.randn(2, n, generator=rng)
    return {"round_trip": 5 + 0.1 * (grows + shift), "guess_psnr_db": 20 - 2 * (falls + shift)}


def test_limits_keep_what_is_known_and_refuse_what_is_strange() -> None:
    limits = limits_from([figures(500, 0.0, 0), figures(500, 0.0, 1)], [figures(500, 8.0, 2)])
    for name, (edge, end) in limits.items():
        assert (edge > end) == (name in FALLING), name
    known, strange = (rates_of(figures(2000, shift, 3), limits) for shift in (0.0, 8.0))
    assert known["outside"] < 0.005
    assert 0.005 < known["edge"] < 0.04  # 1.5 % were asked for
    assert strange["outside"] > 0.99
    assert known["n"] == 2000
    assert sum(known[level] for level in ("inside", "edge", "outside")) == pytest.approx(1.0)
    between = rates_of({"round_trip": torch.tensor([5 + 0.1 * 3.0])}, limits)
    assert between["edge"] == 1.0


def test_a_figure_that_only_known_images_have_is_limited_too() -> None:
    masks = 0.95 + 0.01 * torch.randn(500, generator=torch.Generator().manual_seed(0))
    limits = limits_from([figures(500, 0.0, 0) | {"mask_iou": masks}], [figures(500, 8.0, 2)])
    edge, end = limits["mask_iou"]
    assert 0.9 < edge < 0.94
    assert end < edge
    assert excess(0.5, limits["mask_iou"]) > 1


def test_where_known_and_unknown_overlap_the_edge_is_narrow_and_false_alarms_stay_few() -> None:
    limits = limits_from([figures(1000, 0.0, 0)], [figures(1000, 0.5, 1)])
    rates = rates_of(figures(2000, 0.0, 3), limits)
    assert rates["outside"] < 0.05
    middle, _ = unit_of(figures(1000, 0.0, 0)["round_trip"], "round_trip")
    edge, end = limits["round_trip"]
    assert (end - middle) / (edge - middle) == pytest.approx(1.05, abs=0.01)


def test_figures_that_are_all_alike_still_have_a_unit() -> None:
    assert unit_of(torch.full((9,), 3.0), "round_trip")[1] > 0
    assert unit_of(torch.full((9,), 3.0), "guess_psnr_db")[1] < 0


def test_halves_are_disjoint_and_whole() -> None:
    values = {"round_trip": torch.arange(7.0)}
    parts = [half(values, first)["round_trip"].tolist() for first in (0, 1)]
    assert sorted(parts[0] + parts[1]) == list(range(7))


def test_kindred_categories_are_no_strangers() -> None:
    assert {"head", "face", "building"} == set(of_other_subjects("car"))
    assert "face" not in of_other_subjects("head")


def test_photographs_fill_their_range_and_are_the_same_each_time() -> None:
    pytest.importorskip("skimage")
    (first,), (again,) = photographs(32, 14), photographs(32, 14)
    assert first.images.shape == (14, 3, 32, 32)
    assert torch.equal(first.images, again.images)
    assert float(first.images.std()) > 0.2
    assert not first.serves


def test_a_bundled_prior_is_calibrated_from_nothing(monkeypatch) -> None:
    """Few images; those that choose are not those that are rated."""
    monkeypatch.setattr("gan2shape.build.kinds.CATEGORIES", {})  # renders of others and natural ones take long
    monkeypatch.setattr("gan2shape.build.kinds.kindred", lambda *given: [])
    generator, _ = open_prior("head", device="cpu")
    found = choose_limits("head", generator, 8)
    assert set(found.limits) == {"guess_psnr_db", "feature_distance", "round_trip", "mask_iou"}
    assert found.rates["renders: head"]["n"] == 8
    assert found.rates["exam, test"]["n"] == 8
    assert found.rates["noise"]["outside"] == 1.0
    assert found == choose_limits("head", generator, 8)
    bare = type(generator)(generator.prior, None)
    assert choose_limits("head", bare, 8).limits == {}
