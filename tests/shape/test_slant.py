"""The choice among slanted starts: one of those offered, the same twice, and no side effect on the scene."""

import torch

from gan2shape.core.progress import silent
from gan2shape.shape import loop, slant
from gan2shape.shape.ellipsoid import ellipsoid_depth
from gan2shape.shape.slant import (
    choose_slant,
    judge,
    least,
    reproduction_residual,
)
from gan2shape.shape.stages import current_scene
from tests.shape.tiny import tiny_generator, tiny_observation, with_encoder, with_prior_shape


def test_the_choice_is_offered_repeatable_and_has_no_side_effect_on_the_scene(monkeypatch):
    monkeypatch.setattr(slant, "N_STEPS", 6)
    generator = tiny_generator()
    observation = tiny_observation(generator)
    target = loop.make_target(observation, generator)
    config = with_prior_shape(slants_deg=(-25.0, 25.0))
    found = []
    for _ in range(2):
        learner = loop.new_learner(config, 8, "cpu")
        before = {name: value.clone() for name, value in learner.networks.state_dict().items()}
        found.append(
            choose_slant(learner.networks, learner.encoder, target, observation.latent, generator, config, silent)
        )
        assert all(torch.equal(before[name], value) for name, value in learner.networks.state_dict().items())
    assert found[0] == found[1]
    assert found[0] in (-25.0, 25.0)
    scores = [judge(learner.networks, learner.encoder, target, observation.latent, generator, config) for _ in range(2)]
    assert scores[0] == scores[1] > 0


def test_the_least_residual_wins():
    assert least((-25.0, 0.0, 25.0), (0.3, 0.2, 0.1)) == 25.0
    assert least((-25.0, 25.0), (0.1, 0.3)) == -25.0


def test_a_pack_with_an_encoder_is_asked_directly():
    generator = with_encoder(tiny_generator())
    observation = tiny_observation(generator)
    target = loop.make_target(observation, generator)
    config = with_prior_shape(slants_deg=(-25.0, 25.0))
    learner = loop.new_learner(config, 8, "cpu")
    before = {name: value.clone() for name, value in learner.encoder.state_dict().items()}
    found = choose_slant(learner.networks, learner.encoder, target, observation.latent, generator, config, silent)
    assert all(torch.equal(before[name], value) for name, value in learner.encoder.state_dict().items())
    residuals = []
    for slant_deg in config.prior_shape.slants_deg:
        depth = ellipsoid_depth(observation.mask, config.prior_shape, config.render.fov_deg, slant_deg)
        learner.networks.start_from(depth)
        scene = current_scene(learner.networks, target, config.render)
        residuals.append(reproduction_residual(scene, target, generator, config))
    assert residuals[0] != residuals[1]
    assert found == least(config.prior_shape.slants_deg, residuals)
