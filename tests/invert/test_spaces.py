"""Spaces: each makes the picture that its start made, keeps what it promises, and leaves the generator alone."""

from dataclasses import replace

import pytest
import torch

from gan2shape.core.errors import UserError
from gan2shape.invert.loop import Plan, Stage, optimise
from gan2shape.invert.spaces import FIRST_SPREAD, Unknowns, free_unknowns, parse_space, unknowns, w_scale, whitening
from gan2shape.nn.generator import Generator, GeneratorConfig
from gan2shape.prior.packs import Prior, make_prior
from tests.shape.tiny import SIZE, tiny_generator

SPACES = ("Z", "Z sphere", "P", "W", "W+", "S", "W + N", "W+ + N[:3]", "Z + Theta", "Z + Y", "W+ + N + Theta")
SPREAD = ("W + Spread", "W+ + Spread")


def start(prior: Prior, n: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    z = torch.randn(n, 8, generator=torch.Generator().manual_seed(3))
    return z, prior.generator.mapping(z).detach()


def noisy_prior() -> Prior:
    """A generator that learnt noise strengths."""
    torch.manual_seed(0)
    generator = Generator(
        GeneratorConfig(resolution=16, channels=(8, 8, 8), z_dim=8, w_dim=8, n_mapping=2, noise=True)
    )
    for name, parameter in generator.named_parameters():
        if name.endswith("noise_strength"):
            torch.nn.init.constant_(parameter, 0.3)
    return make_prior(generator, None)


@pytest.mark.parametrize("text", ["Z", "P", "W", "W+", "W+ + N + Theta"])
def test_the_w_of_the_start_stays_what_it_was(text: str) -> None:
    prior = tiny_generator().prior
    free = unknowns(prior, parse_space(text), *start(prior, 2))
    began = free.w
    copy = began.clone()
    with torch.no_grad():
        for parameter in free.groups["latent"]:
            parameter.add_(1.0)
    assert torch.equal(began, copy)
    assert not torch.allclose(free.w, began, atol=1e-3)


@pytest.mark.parametrize("text", SPREAD)
def test_draws_of_a_spread_have_its_deviations_about_w(text: str) -> None:
    prior = tiny_generator().prior
    z, w = start(prior, 2)
    free = unknowns(prior, parse_space(text), z, w)
    torch.testing.assert_close(free.made().image, prior.generator.synthesis(w), atol=2e-5, rtol=1e-4)
    rng = torch.Generator().manual_seed(0)
    n_layers = prior.generator.n_layers
    made = [free.made(torch.randn(1, n_layers, 8, generator=rng)) for _ in range(400)]
    deviations = torch.stack([one.w for one in made]).detach().std(0)
    torch.testing.assert_close(deviations, FIRST_SPREAD * w_scale(prior).expand_as(deviations), atol=0, rtol=0.2)
    torch.testing.assert_close(made[0].spread.detach(), torch.full_like(deviations, FIRST_SPREAD))
    with torch.no_grad():
        free.groups["spread"][0][1] = -30.0
    first, second = (free.made(torch.ones(1, n_layers, 8) * step).image for step in (0.0, 3.0))
    assert not torch.allclose(first[0], second[0])
    torch.testing.assert_close(first[1], second[1], atol=1e-5, rtol=0)  # that picture has no spread left


@pytest.mark.parametrize("text", SPACES)
def test_a_space_begins_at_the_picture_of_its_start(text: str) -> None:
    prior = tiny_generator().prior
    z, w = start(prior)
    made = unknowns(prior, parse_space(text), z, w).made()
    torch.testing.assert_close(made.image, prior.generator.synthesis(w), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("text", SPACES)
def test_every_group_changes_the_picture_and_the_generator_stays(text: str) -> None:
    prior = tiny_generator().prior
    z, w = start(prior)
    before = {name: value.clone() for name, value in prior.generator.state_dict().items()}
    free = unknowns(prior, parse_space(text), z, w)
    loss = free.made().image.square().mean()
    for parameter, gradient in zip(
        [p for g in free.groups.values() for p in g],
        torch.autograd.grad(loss, [p for g in free.groups.values() for p in g]),
        strict=True,
    ):
        assert gradient.shape == parameter.shape
        assert bool(gradient.abs().sum() > 0)
    plan = Plan((Stage("all", 3, lr=0.05),))
    optimise(free.groups, lambda step: free.made().image.square().mean(), plan, after_step=free.after_step)
    after = prior.generator.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)  # bit for bit
    assert not any(p.requires_grad for p in prior.generator.parameters())


@pytest.mark.parametrize("text", ["Z sphere", "P"])
def test_norms_are_kept_on_spheres(text: str) -> None:
    prior = tiny_generator().prior
    free = unknowns(prior, parse_space(text), *start(prior, 2))
    before = free.groups["latent"][0].detach().norm(dim=-1).clone()
    optimise(free.groups, lambda step: free.made().image.mean((1, 2, 3)), Plan((Stage("s", 10, lr=0.3),)),
             after_step=free.after_step)  # fmt: skip
    torch.testing.assert_close(free.groups["latent"][0].detach().norm(dim=-1), before)


def test_the_whitened_space_decodes_to_w_and_standard_normal_codes_to_its_statistics() -> None:
    prior = tiny_generator().prior
    white = whitening(prior.generator)
    w = prior.generator.mapping(torch.randn(5000, 8, generator=torch.Generator().manual_seed(1)))[:, None]
    codes = white.encode(w)
    torch.testing.assert_close(white.decode(codes), w)
    torch.testing.assert_close(codes.mean((0, 1)), torch.zeros(8), atol=0.06, rtol=0)
    torch.testing.assert_close(codes.std((0, 1)), torch.ones(8), atol=0.06, rtol=0)


def test_learnt_noise_begins_at_the_generators_own_and_stays_standardised() -> None:
    prior = noisy_prior()
    w = prior.w_mean[None]
    free = unknowns(prior, parse_space("W + N"), None, w)
    torch.testing.assert_close(free.made().image, prior.generator.synthesis(w), atol=1e-5, rtol=1e-4)
    optimise(free.groups, lambda step: free.made().image.mean(), Plan((Stage("n", 3, lr={"noise": 0.1}),)),
             after_step=free.after_step)  # fmt: skip
    for maps in free.groups["noise"]:
        assert float(maps.detach().mean()) == pytest.approx(0.0, abs=1e-5)
        assert float(maps.detach().square().mean()) == pytest.approx(1.0, abs=1e-4)


def test_maps_of_a_generator_without_noise_begin_at_zero_and_add_to_its_features() -> None:
    prior = tiny_generator().prior
    w = prior.w_mean[None]
    free = unknowns(prior, parse_space("W + N[:2]"), None, w)
    assert len(free.groups["noise"]) == 2
    assert all(bool((maps == 0).all()) for maps in free.groups["noise"])
    assert [maps.shape[-1] for maps in free.groups["noise"]] == list(prior.generator.synthesis.noise_sizes[:2])
    with torch.no_grad():
        free.groups["noise"][1].fill_(1.0)
    assert not torch.equal(free.made().image, prior.generator.synthesis(w))


def test_theta_groups_go_from_coarse_to_fine_and_leave_the_output_layers() -> None:
    prior = tiny_generator().prior
    free = unknowns(prior, parse_space("W + Theta"), None, prior.w_mean[None])
    assert [next(iter(part)).split(".")[0] for part in free.theta] == ["b4", "b8", "b16", "b32"]
    names = [name for part in free.theta for name in part]
    learnt = {name for name, _ in prior.generator.synthesis.named_parameters() if ".torgb." not in name}
    assert set(names) == learnt


def test_a_locked_group_of_weights_stays() -> None:
    prior = tiny_generator().prior
    free = unknowns(prior, parse_space("W + Theta"), None, prior.w_mean[None])
    before = free.state
    stage = Stage("theta", 2, lr={"theta0": 0.01, "theta1": 0.01})
    optimise(free.groups, lambda step: free.made().image.square().mean(), Plan((stage,)))
    moved = {name.split("/")[1].split(".")[0] for name in before if not torch.equal(before[name], free.state[name])}
    assert moved == {"b4", "b8"}


def test_a_saved_state_draws_the_same_picture() -> None:
    prior = tiny_generator().prior
    first = unknowns(prior, parse_space("W+ + N + Theta"), None, start(prior)[1])
    optimise(first.groups, lambda step: first.made().image.square().mean(), Plan((Stage("s", 3, lr=0.02),)))
    second = unknowns(prior, parse_space("W+ + N + Theta"), None, prior.w_mean[None]).load(first.state)
    assert torch.equal(first.made().image, second.made().image)


@pytest.mark.parametrize("text", ["Pixels", "Net"])
def test_pictures_without_a_generator_learn_as_well(text: str) -> None:
    prior = tiny_generator().prior
    target = torch.full((1, 3, SIZE, SIZE), 0.3)
    free: Unknowns = free_unknowns(prior, parse_space(text), torch.zeros(1, 3, SIZE, SIZE), seed=2)
    error = lambda step: (free.made().image - target).square().mean()  # noqa: E731
    first = float(error(None).detach())
    optimise(free.groups, error, Plan((Stage("s", 40, lr=0.02),)))
    assert float(error(None).detach()) < 0.3 * first
    again = free_unknowns(prior, parse_space("Net"), torch.zeros(1, 3, SIZE, SIZE), seed=2)
    other = free_unknowns(prior, parse_space("Net"), torch.zeros(1, 3, SIZE, SIZE), seed=2)
    assert torch.equal(again.made().image, other.made().image)


@pytest.mark.parametrize(("text", "words"), [
    ("V", "unknown space 'V'"), ("W + M", "unknown space 'M' after W"), ("Pixels + N", "has no generator"),
    ("Z + Spread", "is of w"),
    ("w", "known: Z"),
])  # fmt: skip
def test_unknown_spaces_are_named(text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        parse_space(text)


def test_spaces_are_read_as_they_are_written() -> None:
    space = parse_space("W+ + N[:5]")
    assert (space.latent, space.n_noise, space.theta, space.is_single) == ("W+", 5, False, False)
    assert parse_space(" Z + Theta ").is_single
    assert parse_space("W + N").n_noise is None


def test_a_w_cannot_begin_a_z() -> None:
    prior = tiny_generator().prior
    with pytest.raises(UserError, match="begins at a z"):
        unknowns(prior, parse_space("Z"), None, prior.w_mean[None])
    assert replace(prior, card={}).resolution == SIZE
