"""The choice among slanted starts: one of those offered, the same twice, and no side effect on the scene."""

import torch

from gan2shape.progress import silent
from gan2shape.shape import loop
from gan2shape.shape.slant import choose_slant, judge
from tests.shape.tiny import tiny_generator, tiny_observation, with_prior_shape


def test_the_choice_is_offered_repeatable_and_has_no_side_effect_on_the_scene():
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
