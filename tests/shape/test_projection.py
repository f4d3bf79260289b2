"""Step 2: what a projection begins at, and what keeps it there."""

from dataclasses import replace

import pytest
import torch

from gan2shape.core.config import ShapeConfig
from gan2shape.core.records import Render
from gan2shape.nn.scene_networks import VectorEncoder
from gan2shape.shape.projection import project, refine
from tests.shape.tiny import CONFIG, SIZE, tiny_generator, tiny_observation, with_encoder


def with_changes(**changes) -> ShapeConfig:
    """CONFIG with other steps, or ablations where the name is one."""
    ablations = {name: changes.pop(name) for name in ("pack_encoder", "refine_steps") if name in changes}
    return replace(CONFIG, steps=replace(CONFIG.steps, **changes), ablation=replace(CONFIG.ablation, **ablations))


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(2)) * 2 - 1


@pytest.mark.parametrize("pack_encoder", [True, False])
def test_e_adds_to_the_change_that_the_pack_s_encoder_sees(images, pack_encoder):
    generator = with_encoder(tiny_generator())
    observation, prior = tiny_observation(generator), generator.prior
    silent_e = VectorEncoder(8, SIZE, CONFIG.networks, last_scale=0.0)
    latents, offsets = project(
        silent_e,
        prior,
        observation.latent,
        images,
        observation.image,
        with_changes(pack_encoder=pack_encoder, residual_kept=1.0),
    )
    change = prior.generator.mapping(prior.encoder(images)[0]) - prior.generator.mapping(
        prior.encoder(observation.image)[0]
    )
    assert change.abs().max() > 1e-3
    wanted = observation.latent + (change if pack_encoder else torch.zeros_like(change))
    torch.testing.assert_close(latents, wanted.expand(3, -1))
    assert not offsets.any(), "only what E adds is held back"


@pytest.mark.parametrize("n_rows", [None, 8])
def test_far_from_the_input_only_a_part_of_the_encoder_s_residual_in_it_stays(images, n_rows):
    """With w's spread made tiny every image is far: the projection is the guess and that part."""
    generator = with_encoder(tiny_generator())
    observation = tiny_observation(generator)
    prior = replace(generator.prior, w_cov=1e-12 * torch.eye(8))
    latent = observation.latent + 0.5 if n_rows is None else (observation.latent + 0.5)[:, None].repeat(1, n_rows, 1)
    silent_e = VectorEncoder(8, SIZE, CONFIG.networks, last_scale=0.0)
    guess, own = prior.guess_latent(images), prior.guess_latent(observation.image)
    for kept in (0.0, 0.25, 1.0):
        config = with_changes(residual_kept=kept)
        found, _ = project(silent_e, prior, latent, images, observation.image, config)
        shape = (-1, 8) if n_rows is None else (-1, 1, 8)
        wanted = guess.reshape(shape) + kept * (latent - own.reshape(shape))
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


def test_without_an_encoder_in_the_pack_e_stands_alone(images):
    generator = tiny_generator()
    observation = tiny_observation(generator)
    torch.manual_seed(0)
    e = VectorEncoder(8, SIZE, CONFIG.networks)
    found = [
        project(e, generator.prior, observation.latent, images, observation.image, with_changes(pack_encoder=given))[0]
        for given in (True, False)
    ]
    assert torch.equal(*found)


@pytest.mark.parametrize("mapping_tail", [0, 2])
@pytest.mark.parametrize("n_rows", [None, 8])
def test_the_input_projects_onto_its_own_latent(mapping_tail, n_rows):
    generator = with_encoder(tiny_generator())
    observation = tiny_observation(generator)
    latent = observation.latent if n_rows is None else observation.latent[:, None].repeat(1, n_rows, 1)
    torch.manual_seed(0)
    e = VectorEncoder(8, SIZE, CONFIG.networks, last_scale=1.0)
    with torch.no_grad():
        latents, _ = project(
            e, generator.prior, latent, observation.image, observation.image, with_changes(mapping_tail=mapping_tail)
        )
    torch.testing.assert_close(latents, latent, atol=1e-5, rtol=0)


def test_a_heavier_weight_keeps_refined_latents_nearer_to_where_e_left_them(images):
    generator = tiny_generator()
    prior = generator.prior
    masks = torch.ones_like(images[:, :1])
    rendered = Render(images, masks, masks, masks, torch.zeros(3, SIZE, SIZE, 2))
    first = prior.w_mean.expand(3, -1)
    moved = [
        (refine(first, rendered, prior, with_changes(refine_steps=20, latent_weight=weight)) - first).abs().mean()
        for weight in (0.0, 1.0, 100.0)
    ]
    assert moved[0] > moved[1] > moved[2] > 0
