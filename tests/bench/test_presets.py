"""Benchmarks under presets that were written for other resolutions than the bundled generators'."""

import pytest
import torch

from gan2shape.bench import run_ladder
from gan2shape.bench.exam import exam_objects
from gan2shape.bench.requests import BenchRequest
from gan2shape.bench.score import score_depth
from gan2shape.core.errors import UserError
from gan2shape.prior.open import open_prior


def test_a_bundled_generator_is_used_at_its_own_resolution() -> None:
    generator, config = open_prior("car", preset="paper", device="cpu")
    assert config.render.resolution == generator.prior.generator.config.resolution
    assert config.n_stages == 4  # the rest of the preset stays


@pytest.mark.slow
def test_the_ladder_runs_under_the_published_preset() -> None:
    quick = ("n_stages=1", "steps.n_projection=[1]", "steps.n_joint=[1]", "steps.batch=2", "steps.n_collect=2",
             "steps.n_albedo=[1]", "invert.n_steps=2", "invert.n_starts=1", "invert.n_tracks=1",
             "ablation.fit_steps=5")  # fmt: skip
    rows = run_ladder.run_ladder(BenchRequest("car", "paper", 1, "cpu", quick), ("flat", "O5"))
    flat, begun, learnt = rows
    assert [row["method"] for row in rows] == ["flat", "O5 ellipsoid", "O5 stage 1"]
    (item,) = exam_objects("car", "val", 1)
    plane = score_depth(torch.ones_like(item.depth), item.depth, item.mask, item.fov_deg)
    assert flat["side"] == pytest.approx(plane["side"], rel=1e-5)
    assert flat["mad_deg"] == pytest.approx(plane["mad_deg"], rel=1e-5)
    assert 0 < begun["side"] < 2 * flat["side"]
    assert learnt["side"] != begun["side"]
    assert learnt["side"] == pytest.approx(begun["side"], rel=0.2)  # one small step was taken


def test_another_resolution_is_refused() -> None:
    with pytest.raises(UserError, match=r"render\.resolution=32 does not fit"):
        open_prior("car", overrides=("render.resolution=32",), device="cpu")
