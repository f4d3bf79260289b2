"""The solver: recovery of known answers, batches, stages, stop rules, and what it refuses."""

import math
from dataclasses import replace

import pytest
import torch

from gan2shape.core.errors import UserError
from gan2shape.degrade.degradations import Down, Gray, Mask, box_mask
from gan2shape.invert.loop import Step
from gan2shape.invert.method import MethodConfig, StageConfig, StartConfig, TermConfig
from gan2shape.invert.solver import Problem, _jitter, n_steps_of, solve
from tests.shape.tiny import SIZE, tiny_generator, with_encoder

PIXELS = (TermConfig("pixel_l2"),)
FEW = (StageConfig(60, {"latent": 0.1}, schedule="cosine"),)


def sample(prior, n: int = 1, seed: int = 5) -> torch.Tensor:
    z = torch.randn(n, 8, generator=torch.Generator().manual_seed(seed))
    return prior.generator.synthesis(prior.w_mean + 0.7 * (prior.generator.mapping(z) - prior.w_mean)).detach()


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(10 * torch.log10(4 / (a - b).square().mean()))


@pytest.mark.parametrize(("space", "least_db"), [("W", 25), ("W+", 25), ("S", 25), ("P", 20)])  # P: on a sphere
def test_a_generators_own_sample_is_found(space: str, least_db: float) -> None:
    prior = tiny_generator().prior
    target = sample(prior)
    method = MethodConfig(space=space, start=StartConfig("best", 16), terms=PIXELS,
                          stages=(StageConfig(200, {"latent": 0.1}, schedule="cosine"),))  # fmt: skip
    assert psnr(solve(Problem(target), method, prior, seed=1).image, target) > least_db


def test_a_sample_is_found_through_a_degradation() -> None:
    """Grey, at half the resolution, with a hole: the generator knows the rest."""
    prior = tiny_generator().prior
    target = sample(prior)
    phi = Down(2) >> Gray() >> Mask(box_mask(SIZE // 2))
    method = MethodConfig(start=StartConfig("best", 32), terms=PIXELS,
                          stages=(StageConfig(200, {"latent": 0.1}, schedule="cosine"),))  # fmt: skip
    solved = solve(Problem(phi.observe(target), phi), method, prior, seed=1)
    assert float(solved.data) < 1e-4
    assert psnr(solved.image, target) > 20


def test_a_batch_gives_what_each_picture_gives_alone() -> None:
    prior = tiny_generator().prior
    targets = sample(prior, 3)
    method = MethodConfig(space="W+", start=StartConfig("best", 8), terms=(*PIXELS, TermConfig("features")), stages=FEW)
    together = solve(Problem(targets), method, prior, seed=2)
    for i in range(3):
        alone = solve(Problem(targets[i : i + 1]), method, prior, seed=2)
        torch.testing.assert_close(alone.image, together.image[i : i + 1], atol=2e-3, rtol=0)


def test_weights_are_solved_picture_by_picture() -> None:
    prior = tiny_generator().prior
    targets = sample(prior, 2) + 0.2
    method = MethodConfig(space="W + Theta", start=StartConfig("mean"), terms=PIXELS,
                          stages=(StageConfig(5, {"latent": 0.1, "theta": 0.01}),))  # fmt: skip
    together = solve(Problem(targets), method, prior)
    alone = solve(Problem(targets[1:]), method, prior)
    assert torch.equal(alone.image, together.image[1:])
    assert len(together.states) == 2


def test_the_best_iterate_is_never_worse_than_the_last() -> None:
    prior = tiny_generator().prior
    problem = Problem(sample(prior))
    wild = MethodConfig(start=StartConfig("mean"), terms=PIXELS, stages=(StageConfig(30, {"latent": 2.0}),))
    best = solve(problem, wild, prior)
    last = solve(problem, replace(wild, keeps_best=False), prior)
    assert float(best.data) < float(last.data)
    assert float(best.data) == pytest.approx(float((best.image - problem.observed).square().mean()), rel=1e-5)


def test_stages_unlock_groups_and_change_weights() -> None:
    prior = tiny_generator().prior
    target = sample(prior) + 0.1
    method = MethodConfig(
        space="W + Theta",
        start=StartConfig("mean"),
        terms=(TermConfig("pixel_l2"), TermConfig("w_prior", (5.0, 0.0))),
        stages=(StageConfig(4, {"latent": 0.1}), StageConfig(4, {"theta": 0.01}, n_groups=2)),
        keeps_best=False,
    )
    solved = solve(Problem(target), method, prior)
    moved = set()
    for name, value in solved.states[0].items():
        if name.startswith("theta/"):
            own = dict(prior.generator.synthesis.named_parameters())[name.removeprefix("theta/")]
            moved |= set() if torch.equal(own[None], value) else {name.split("/")[1].split(".")[0]}
    assert moved == {"b4", "b8"}
    only_first = replace(method, stages=method.stages[:1])
    torch.testing.assert_close(solve(Problem(target), only_first, prior).w, solved.w)


def test_a_descent_stops_at_its_threshold() -> None:
    prior = tiny_generator().prior
    method = MethodConfig(start=StartConfig("best", 16), terms=PIXELS, stages=(StageConfig(200, {"latent": 0.1}),))
    whole, early = (solve(Problem(sample(prior)), replace(method, stop_at=at), prior, seed=1) for at in (0.0, 0.02))
    assert early.n_steps < whole.n_steps == 200
    assert float(early.data) <= 0.02


def test_a_floor_takes_the_gradient_away() -> None:
    prior = tiny_generator().prior
    floored = (TermConfig("pixel_l2", floor=1e6), TermConfig("w_prior"))
    method = MethodConfig(start=StartConfig("random"), terms=floored, keeps_best=False,
                          stages=(StageConfig(100, {"latent": 0.1}),))  # fmt: skip
    solved = solve(Problem(sample(prior)), method, prior, seed=3)
    assert float((solved.w - prior.w_mean).abs().max()) < 0.05  # nothing but the prior pulls


def test_an_encoder_begins_where_it_looks_and_a_given_w_where_it_is() -> None:
    prior = with_encoder(tiny_generator()).prior
    target = sample(prior)
    still = MethodConfig(terms=PIXELS, stages=(StageConfig(0, {"latent": 0.1}),))
    torch.testing.assert_close(solve(Problem(target), still, prior).w, prior.guess_latent(target))
    w = prior.w_mean[None] + 0.1
    assert torch.equal(solve(Problem(target), still, prior, start_w=w).w, w)


def test_the_projectors_noise_on_w_is_gone_in_the_end() -> None:
    prior = tiny_generator().prior
    target = sample(prior)
    method = MethodConfig(start=StartConfig("best", 16), terms=PIXELS, perturb=0.5,
                          stages=(StageConfig(200, {"latent": 0.1}, schedule="projector"),))  # fmt: skip
    assert psnr(solve(Problem(target), method, prior, seed=1).image, target) > 25


@pytest.mark.parametrize("factor", [1.0, 0.5, 2.0])
def test_that_noise_fades_over_the_steps_that_are_taken(factor: float) -> None:
    prior, method = tiny_generator().prior, MethodConfig(perturb=0.5, steps_factor=factor)
    n_steps = n_steps_of(method)[0]
    assert n_steps == 300 * factor
    fraction = {t: Step(math.ceil(t * n_steps), n_steps, 0, {}) for t in (0.0, 0.7, 0.75)}
    rng = torch.Generator().manual_seed(0)
    first, late, gone = (_jitter(method, prior, step, rng) for step in fraction.values())
    assert float(late.abs().mean()) < 0.05 * float(first.abs().mean())
    assert gone is None


def test_a_loss_that_is_not_finite_keeps_the_best_iterate(capsys: pytest.CaptureFixture[str]) -> None:
    prior = tiny_generator().prior
    method = MethodConfig(start=StartConfig("mean"), terms=PIXELS, stages=(StageConfig(30, {"latent": 1e30}),))
    solved = solve(Problem(sample(prior)), method, prior)
    assert bool(solved.image.isfinite().all())
    assert "best iterate so far is kept" in capsys.readouterr().err


@pytest.mark.parametrize(("method", "words"), [
    (MethodConfig(terms=(TermConfig("pixel_l3"),)), "did you mean pixel_l"),
    (MethodConfig(terms=(TermConfig("z_normal"),)), "nothing to look at in the space W"),
    (MethodConfig(terms=(TermConfig("entropy"),)), "nothing to look at in the space W"),
    (MethodConfig(terms=(TermConfig("features", network="vgg"),)), "unknown feature network 'vgg'"),
    (MethodConfig(space="W+ + Spread"), "needs the term entropy"),
    (MethodConfig(space="Y"), "unknown space"),
    (MethodConfig(space="W + Y"), "acts on the way from z to w"),
])  # fmt: skip
def test_what_a_prior_cannot_do_is_said(method: MethodConfig, words: str) -> None:
    prior = tiny_generator().prior
    with pytest.raises(UserError, match=words):
        solve(Problem(sample(prior)), method, prior)


def test_features_without_a_discriminator_name_what_is_missing() -> None:
    prior = replace(tiny_generator().prior, discriminator=None)
    method = MethodConfig(start=StartConfig("mean"), terms=(TermConfig("features"),))
    with pytest.raises(UserError, match="needs a discriminator"):
        solve(Problem(sample(prior)), method, prior)
    mine = {"mine": lambda images, n_blocks: [images]}
    method = replace(method, terms=(TermConfig("features", network="mine"),), stages=(StageConfig(2, {"latent": 0.1}),))
    assert solve(Problem(sample(prior), networks=mine), method, prior).n_steps == 2


@pytest.mark.parametrize("space", ["Z", "Z + Theta", "Pixels", "Net"])
def test_what_has_no_w_cannot_begin_at_one(space: str) -> None:
    prior = tiny_generator().prior
    with pytest.raises(UserError, match="cannot begin at the w of an encoder"):
        solve(Problem(sample(prior)), MethodConfig(space=space), prior, start_w=prior.w_mean[None])


def test_an_observation_of_another_size_is_refused() -> None:
    prior = tiny_generator().prior
    with pytest.raises(UserError, match=r"32 x 32 pixels, but .* gives 16 x 16"):
        solve(Problem(sample(prior), Down(2)), MethodConfig(start=StartConfig("mean")), prior)
