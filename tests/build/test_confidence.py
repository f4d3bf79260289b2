"""What the confidence network learns from, and whether it learns it."""

import pytest
import torch

from gan2shape.build import confidence
from gan2shape.build.confidence import (
    FIRST_SEED,
    HELD_OUT_FIRST_SEED,
    ConfidencePlan,
    Judged,
    confidence_in,
    depth_error,
    judge,
    judged_on_disk,
    laplace_loss,
    measure_confidence,
    pipeline_config,
    train_confidence,
)
from gan2shape.core.errors import UserError
from gan2shape.core.resources import pack_dir
from gan2shape.measure.metrics import side
from gan2shape.prior.masked_generator import masked_generator
from gan2shape.prior.packs import load_pack
from gan2shape.shape.confidence import MIRRORED
from gan2shape.synth.dataset import EXAM_FIRST_SEED
from tests.tiny_pack import write_tiny_pack


def judged_of(error: torch.Tensor, seed: int) -> Judged:
    """Objects whose errors stand in one map of the evidence, among noise."""
    rng = torch.Generator().manual_seed(seed)
    maps = torch.randn(len(error), len(MIRRORED), 16, 16, generator=rng)
    maps[:, 6:7] = error.log()
    return Judged(maps.half(), error, torch.rand(error.shape, generator=rng) < 0.8)


def smooth_errors(n: int, seed: int) -> torch.Tensor:
    coarse = torch.randn(n, 1, 4, 4, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, size=(16, 16), mode="bilinear").exp()


def test_errors_are_those_of_side():
    torch.manual_seed(0)
    depth, truth = 1 + 0.05 * torch.rand(2, 3, 1, 8, 8)
    compared = torch.rand(3, 1, 8, 8) < 0.7
    error = depth_error(depth, truth, compared)
    assert not error[~compared].any()
    rms = torch.stack([e[c].square().mean().sqrt() for e, c in zip(error, compared, strict=True)])
    torch.testing.assert_close(rms, side(depth, truth, compared))
    torch.testing.assert_close(depth_error(1.3 * depth, truth, compared), error, atol=1e-6, rtol=1e-4)


def test_the_loss_is_least_where_the_scale_is_the_mean_error():
    error, compared = torch.tensor([0.5, 1.5, 4.0]).view(3, 1, 1, 1), torch.tensor([True, True, False]).view(3, 1, 1, 1)
    log_scale = torch.zeros(3, 1, 1, 1, requires_grad=True)  # mean of the compared errors: 1
    loss = laplace_loss(log_scale, error, compared)
    loss.backward()
    assert loss.item() == pytest.approx(1)
    assert log_scale.grad.sum().item() == pytest.approx(0, abs=1e-6)
    assert log_scale.grad[2].item() == 0


def test_errors_that_show_in_the_evidence_are_learnt():
    plan = ConfidencePlan(n_steps=60, batch=8)
    network = train_confidence(judged_of(smooth_errors(64, 0), 1), plan)
    held_out = judged_of(smooth_errors(16, 2), 3)
    measured = measure_confidence(network, held_out)
    assert measured["n"] == 16
    assert measured["rank_correlation"] > 0.9
    assert measured["rank_correlation_within"] > 0.8
    sure = confidence_in(network, held_out.evidence)
    assert sure[held_out.error > held_out.error.median()].mean() < sure.mean()


def test_judged_objects_are_kept_on_disk(tmp_path, monkeypatch):
    generator = masked_generator(load_pack(pack_dir("car")))
    config = pipeline_config("car", generator)
    first = judged_on_disk("car", FIRST_SEED, 2, generator, config, tmp_path)
    assert first.evidence.shape == (2, len(MIRRORED), 64, 64)
    assert first.compared.any((1, 2, 3)).all()
    assert 0 < first.error.max() < 0.3
    monkeypatch.setattr(confidence, "judge", None)
    again = judged_on_disk("car", FIRST_SEED, 2, generator, config, tmp_path)
    assert torch.equal(again.error, first.error)
    assert torch.equal(again.evidence, first.evidence)


def test_seeds_lie_below_every_exam():
    assert FIRST_SEED + ConfidencePlan().n_objects <= HELD_OUT_FIRST_SEED
    assert HELD_OUT_FIRST_SEED + ConfidencePlan().n_held_out <= EXAM_FIRST_SEED


def test_a_pack_without_a_depth_network_is_refused(tmp_path):
    generator = masked_generator(load_pack(write_tiny_pack(tmp_path, "car", 32, bare=True)))
    with pytest.raises(UserError, match="--only scene"):
        pipeline_config("car", generator)


@pytest.mark.parametrize("category", ["car", "face", "head"])
def test_bundled_networks_rank_the_errors_of_other_objects(category):
    generator = masked_generator(load_pack(pack_dir(category)))
    seeds = list(range(HELD_OUT_FIRST_SEED + 1000, HELD_OUT_FIRST_SEED + 1016))
    judged = judge(category, seeds, generator, pipeline_config(category, generator))
    assert measure_confidence(generator.prior.confidence, judged)["rank_correlation"] > 0.25
