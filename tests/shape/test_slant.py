"""The choice among slanted ellipsoids: one of those offered, the same twice, and no side effect on the scene."""

import torch

from gan2shape.core.progress import silent
from gan2shape.shape.ellipsoid import (
    best_slant,
    choose_slant,
    ellipsoid_model,
    projection_residual,
    reproduction_residual,
)
from gan2shape.shape.state import current_scene, make_target, new_state
from tests.shape.tiny import tiny_generator, tiny_observation, with_encoder, with_initial


def test_the_choice_is_offered_repeatable_and_has_no_side_effect_on_the_scene():
    generator = tiny_generator()
    observation = tiny_observation(generator)
    target = make_target(observation, generator)
    config = with_initial(slants_deg=(-25.0, 25.0), slant_steps=6, slant_judged=8)
    found = []
    for _ in range(2):
        state = new_state(config, 8, "cpu")
        before = {name: value.clone() for name, value in state.model.networks.state_dict().items()}
        found.append(choose_slant(state, target, observation.latent, generator, config, silent))
        assert all(torch.equal(before[name], value) for name, value in state.model.networks.state_dict().items())
    assert found[0] == found[1]
    assert found[0] in (-25.0, 25.0)
    scores = [
        projection_residual(state.model, state.encoder, target, observation.latent, generator, config) for _ in range(2)
    ]
    assert scores[0] == scores[1] > 0


def test_the_least_residual_wins():
    assert best_slant((-25.0, 0.0, 25.0), (0.3, 0.2, 0.1)) == 25.0
    assert best_slant((-25.0, 25.0), (0.1, 0.3)) == -25.0


def test_a_pack_s_encoder_judges_directly():
    generator = with_encoder(tiny_generator())
    observation = tiny_observation(generator)
    target = make_target(observation, generator)
    config = with_initial(slants_deg=(-25.0, 25.0))
    state = new_state(config, 8, "cpu")
    before = {name: value.clone() for name, value in state.encoder.state_dict().items()}
    found = choose_slant(state, target, observation.latent, generator, config, silent)
    assert all(torch.equal(before[name], value) for name, value in state.encoder.state_dict().items())
    residuals = []
    for slant_deg in config.initial.slants_deg:
        scene = current_scene(
            ellipsoid_model(state.model, observation.mask, config, slant_deg), target, config.render.fov_deg
        )
        residuals.append(reproduction_residual(scene, target, generator, config))
    assert residuals[0] != residuals[1]
    assert found == best_slant(config.initial.slants_deg, residuals)
