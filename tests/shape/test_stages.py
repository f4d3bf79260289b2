"""The three steps and the loop: what is learnt, what stays, and that an interrupted run continues as if nothing was."""

from dataclasses import replace

import pytest
import torch

from gan2shape.core.config import ViewPriorConfig
from gan2shape.core.errors import UserError
from gan2shape.core.progress import silent
from gan2shape.prior.masked_generator import observe_seed
from gan2shape.prior.open import open_prior
from gan2shape.shape import reconstruct as method
from gan2shape.shape.losses import view_spread_loss
from gan2shape.shape.projection import project
from gan2shape.shape.stages import run_step
from gan2shape.shape.state import STATE_NAME, make_target, new_state, step_rng
from tests.shape.tiny import CONFIG, tiny_generator, tiny_observation, with_steps


@pytest.fixture(scope="module")
def setup():
    generator = tiny_generator()
    return generator, tiny_observation(generator)


def test_the_input_itself_projects_onto_its_own_latent(setup):
    generator, observation = setup
    state = new_state(CONFIG, 8, "cpu")
    for tail in (0, 2):
        config = replace(CONFIG, steps=replace(CONFIG.steps, mapping_tail=tail))
        latents, offset = project(
            state.encoder, generator.prior, observation.latent, observation.image, observation.image, config
        )
        torch.testing.assert_close(latents, observation.latent, atol=1e-5, rtol=0)
        torch.testing.assert_close(offset, torch.zeros_like(offset), atol=1e-4, rtol=0)


def test_each_step_moves_its_own_networks_only(setup):
    generator, observation = setup
    target = make_target(observation)
    state = new_state(CONFIG, 8, "cpu")
    frozen = [p.clone() for p in generator.prior.generator.parameters()]

    def weights(module):
        return torch.cat([p.detach().flatten() for p in module.parameters()])

    for index, moved in ((1, "encoder"), (2, "networks")):
        parts = {"encoder": state.encoder, "networks": state.model.networks}
        before = {name: weights(part) for name, part in parts.items()}
        state = run_step(state, target, observation.latent, generator, CONFIG, index, silent, False)
        for name, old in before.items():
            assert torch.equal(old, weights(parts[name])) == (name != moved)
    assert all(torch.equal(a, b) for a, b in zip(frozen, generator.prior.generator.parameters(), strict=True))


@pytest.fixture(scope="module")
def whole(setup):
    """A run that nothing interrupts."""
    generator, observation = setup
    return method.reconstruct(observation, generator, CONFIG, silent)


def test_a_run_gives_the_same_scenes_twice_and_one_more_per_stage(setup, whole):
    generator, observation = setup
    first, second = whole, method.reconstruct(observation, generator, CONFIG, silent)
    assert len(first.scenes) == 1 + CONFIG.n_stages
    for a, b in zip(first.scenes, second.scenes, strict=True):
        assert torch.equal(a.depth, b.depth)
        assert torch.equal(a.light, b.light)


def die_before_step(stop_after, monkeypatch, observation, generator, config, folder) -> None:
    """Reconstruct into the folder, interrupted after that many steps."""
    original, calls = method.run_step, []

    def step_that_dies(*arguments):
        if len(calls) == stop_after:
            raise KeyboardInterrupt
        calls.append(1)
        return original(*arguments)

    monkeypatch.setattr(method, "run_step", step_that_dies)
    with pytest.raises(KeyboardInterrupt):
        method.reconstruct(observation, generator, config, silent, folder)
    monkeypatch.setattr(method, "run_step", original)


@pytest.mark.parametrize("stop_after", [pytest.param(2, marks=pytest.mark.slow), 4])
def test_an_interrupted_run_of_a_bundled_pack_continues_bit_for_bit(tmp_path, monkeypatch, stop_after):
    """Its generator's images lie channels_last in memory, which chooses other convolutions than the plain order."""
    generator, config = open_prior("head", overrides=("n_stages=2", "steps_scale=0.02", "steps.batch=4"), device="cpu")
    observation = observe_seed(0, generator)
    whole = method.reconstruct(observation, generator, config, silent)
    die_before_step(stop_after, monkeypatch, observation, generator, config, tmp_path)
    resumed = method.reconstruct(observation, generator, config, silent, tmp_path)
    assert torch.equal(resumed.scene.depth, whole.scene.depth)


@pytest.mark.parametrize("stop_after", [0, 1, 2, 4])
def test_an_interrupted_run_continues_bit_for_bit(setup, whole, tmp_path, monkeypatch, stop_after):
    generator, observation = setup
    die_before_step(stop_after, monkeypatch, observation, generator, CONFIG, tmp_path)
    resumed = method.reconstruct(observation, generator, CONFIG, silent, tmp_path)
    for a, b in zip(whole.scenes, resumed.scenes, strict=True):
        assert torch.equal(a.depth, b.depth)
    assert len(whole.progress.losses) == len(resumed.progress.losses)


def test_a_state_of_other_settings_or_a_damaged_one_is_refused(setup, tmp_path):
    generator, observation = setup
    method.reconstruct(observation, generator, replace(CONFIG, n_stages=1), silent, tmp_path)
    with pytest.raises(UserError, match="other settings"):
        method.reconstruct(observation, generator, with_steps(n_joint=(5,)), silent, tmp_path)
    path = tmp_path / STATE_NAME
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match="damaged"):
        method.reconstruct(observation, generator, CONFIG, silent, tmp_path)


def test_a_state_of_another_input_or_generator_is_refused(setup, tmp_path):
    generator, observation = setup
    quick = replace(CONFIG, n_stages=1)
    method.reconstruct(observation, generator, quick, silent, tmp_path)
    method.reconstruct(replace(observation, image=observation.image + 1e-5), generator, quick, silent, tmp_path)
    with pytest.raises(UserError, match="another input"):
        method.reconstruct(replace(observation, image=observation.image.flip(-1)), generator, quick, silent, tmp_path)
    other = replace(generator, prior=replace(generator.prior, w_mean=generator.prior.w_mean + 1))
    with pytest.raises(UserError, match="other weights"):
        method.reconstruct(observation, other, quick, silent, tmp_path)


def test_new_networks_leave_the_caller_s_random_numbers_alone():
    torch.manual_seed(3)
    wanted = torch.rand(4)
    torch.manual_seed(3)
    new_state(CONFIG, 8, "cpu")
    assert torch.equal(torch.rand(4), wanted)


def test_the_greatest_seed_has_random_numbers():
    assert torch.rand(2, generator=step_rng(replace(CONFIG, seed=2**63 - 1), 5)).isfinite().all()


def test_a_loss_that_is_not_finite_stops_the_run_with_one_sentence(setup):
    generator, observation = setup
    with pytest.raises(UserError, match=r"became (nan|inf) at step .*try a lower steps\.lr"):
        method.reconstruct(observation, generator, with_steps(lr=1e30), silent)


def test_views_that_do_not_spread_have_a_finite_gradient():
    views = torch.zeros(4, 6, requires_grad=True)
    view_spread_loss(views, ViewPriorConfig()).backward()
    assert bool(views.grad.isfinite().all())
