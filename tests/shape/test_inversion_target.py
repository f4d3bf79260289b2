"""What the shape is learnt from, and whose texture it wears."""

from dataclasses import replace

import torch

from gan2shape.core.progress import silent
from gan2shape.scene.light import normals_from_depth, shade
from gan2shape.shape.reconstruct import reconstruct
from gan2shape.shape.state import make_target
from tests.shape.tiny import CONFIG, tiny_generator, tiny_observation


def test_shape_is_learnt_from_the_inversion_and_wears_the_input_s_texture():
    generator = tiny_generator()
    observation = tiny_observation(generator)
    photo = replace(observation, image=(observation.image + 0.2).clamp(-1, 1))
    config = replace(CONFIG, n_stages=1)
    exact, other = (reconstruct(seen, generator, config, silent) for seen in (observation, photo))
    assert torch.equal(exact.scenes[-1].depth, other.scenes[-1].depth), "the photo itself does not move the shape"
    assert (exact.scenes[-1].albedo - other.scenes[-1].albedo).abs().max() > 0.05
    torch.testing.assert_close(exact.scenes[-1].albedo, other.state.model.networks.albedo(
        make_target(observation).surface,
        shade(normals_from_depth(exact.scenes[-1].depth, config.render.fov_deg), exact.scenes[-1].light),
    ))  # fmt: skip


def test_the_published_way_learns_from_the_input():
    generator = tiny_generator()
    observation = tiny_observation(generator)
    photo = replace(observation, image=(observation.image + 0.2).clamp(-1, 1))
    config = replace(CONFIG, n_stages=1, ablation=replace(CONFIG.ablation, learn_from_inversion=False))
    exact, other = (reconstruct(seen, generator, config, silent) for seen in (observation, photo))
    assert not torch.equal(exact.scenes[-1].depth, other.scenes[-1].depth)
