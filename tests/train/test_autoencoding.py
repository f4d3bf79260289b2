"""Encoder and reproduction: closed forms, what the gradients reach, recovery of images, continuation, packs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from gan2shape.core.config import InvertConfig
from gan2shape.nn.discriminator import Discriminator, DiscriminatorConfig
from gan2shape.nn.generator import Generator, GeneratorConfig
from gan2shape.nn.image_encoder import (
    ENCODER_NAME,
    build_encoder,
    coverage,
    divergence,
    encoder_beside,
    encoder_settings,
    sample_posterior,
)
from gan2shape.prior.packs import load_pack, make_prior, save_pack
from gan2shape.shape.inversion import invert
from gan2shape.train import autoencoding
from gan2shape.train.loop import TrainConfig, train
from gan2shape.train.state import load_encoder

GENERATOR = GeneratorConfig(resolution=16, channels=(8, 8, 6), z_dim=8, w_dim=8, n_mapping=2)
DISCRIMINATOR = DiscriminatorConfig(resolution=16, channels=(8, 6))
CONFIG = TrainConfig(
    kimg=0.032, batch=8, lr_decay_from=1.0, report_kimg=0.008, precision="fp32", device="cpu", n_threads=1,
    checkpoint_seconds=0.0, generator=GENERATOR, discriminator=DISCRIMINATOR,
)  # fmt: skip
WEIGHTS = autoencoding.AutoencodingWeights(pixel=50.0, feature=2.0, divergence=3e-4, coverage=0.0)


@pytest.fixture
def players() -> tuple[Generator, Discriminator]:
    torch.manual_seed(0)
    return Generator(GENERATOR), Discriminator(DISCRIMINATOR)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    np.save(folder / "images_000.npy", np.random.default_rng(0).integers(0, 256, (24, 16, 16, 3), dtype=np.uint8))
    return folder


def test_divergence_is_that_of_two_normals() -> None:
    torch.manual_seed(1)
    mean, log_variance = torch.randn(5, 7), torch.randn(5, 7)
    truth = kl_divergence(Normal(mean, (0.5 * log_variance).exp()), Normal(0.0, 1.0)).sum(1).mean()
    torch.testing.assert_close(divergence(mean, log_variance), truth)
    assert divergence(torch.zeros(3, 4), torch.zeros(3, 4)) == 0


def test_posterior_samples_have_the_asked_moments() -> None:
    noise = torch.randn(200_000, 1, generator=torch.Generator().manual_seed(0))
    z = sample_posterior(torch.full_like(noise, 2.0), torch.full_like(noise, np.log(0.25)), noise)
    assert z.mean() == pytest.approx(2.0, abs=0.01)
    assert z.std() == pytest.approx(0.5, abs=0.01)


def test_coverage_spreads_a_cone_and_leaves_random_latents_alone(players: tuple[Generator, Discriminator]) -> None:
    encoder = encoder_beside(players[1], GENERATOR.z_dim)
    rng = torch.Generator().manual_seed(0)
    z = torch.randn(512, 8, generator=rng)
    for _ in range(400):
        _, even = coverage(encoder, torch.randn(64, 8, generator=rng))
    assert even == pytest.approx(np.log(1.05), abs=0.02)  # the floor is added to a second moment of 1
    cone = torch.nn.Parameter(0.1 * z + 3.0)
    for _ in range(600):
        _, crowded = coverage(encoder, cone.detach())
    assert crowded < -1.0
    optimizer = torch.optim.Adam([cone], lr=0.05)
    for _ in range(600):
        loss, spread = coverage(encoder, cone)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert spread > -0.05


def test_the_trunk_starts_as_the_discriminators(players: tuple[Generator, Discriminator]) -> None:
    _, discriminator = players
    encoder = encoder_beside(discriminator, GENERATOR.z_dim)
    for name in encoder.block_names:
        ours, theirs = getattr(encoder, name).state_dict(), getattr(discriminator, name).state_dict()
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_gradients_reach_generator_mapping_and_encoder_but_not_the_discriminator(
    players: tuple[Generator, Discriminator],
) -> None:
    generator, discriminator = players
    encoder = encoder_beside(discriminator, GENERATOR.z_dim)
    images, instance_noise = torch.rand(4, 3, 16, 16) * 2 - 1, torch.zeros(8, 3, 16, 16)
    w = generator.mapping(torch.randn(4, 8)).detach()[:, None].expand(-1, generator.n_layers, -1)
    autoencoding.generator_gradients(
        generator, discriminator, encoder, w, images, torch.zeros(4, 8), instance_noise, WEIGHTS
    )  # fmt: skip
    for module in (encoder, generator.synthesis, generator.mapping):  # random w carry none here
        assert any(p.grad is not None and p.grad.abs().max() > 0 for p in module.parameters())
    assert all(p.grad is None for p in discriminator.parameters())
    assert all(p.requires_grad for p in discriminator.parameters())


def test_reproductions_come_to_resemble_their_images(
    players: tuple[Generator, Discriminator],
) -> None:
    generator, discriminator = players
    encoder = encoder_beside(discriminator, GENERATOR.z_dim)
    colours = torch.tensor([[1.0, -1, -1], [-1, 1, -1], [-1, -1, 1], [0.5, 0.5, -1]])
    images = colours[:, :, None, None].expand(-1, -1, 16, 16).contiguous()
    optimizer = torch.optim.Adam([*generator.parameters(), *encoder.parameters()], lr=1e-2, betas=(0.0, 0.99))
    w = generator.mapping(torch.randn(4, 8)).detach()[:, None].expand(-1, generator.n_layers, -1)
    errors = []
    for _ in range(60):
        _, made = autoencoding.generator_gradients(
            generator, discriminator, encoder, w, images, torch.zeros(4, 8), torch.zeros(8, 3, 16, 16), WEIGHTS
        )
        optimizer.step()
        errors.append(float(made.pixel))
    assert errors[-1] < 0.3 * errors[0]


def test_a_resumed_run_keeps_its_encoder(data: Path, tmp_path: Path) -> None:
    whole = train(data, tmp_path / "whole", CONFIG)
    train(data, tmp_path / "parts", replace(CONFIG, kimg=0.016))
    parts = train(data, tmp_path / "parts", CONFIG)
    for name, tensor in whole.encoder_average.state_dict().items():
        assert torch.equal(parts.encoder_average.state_dict()[name], tensor), name
    assert load_encoder(tmp_path / "whole") is not None


def test_a_plain_adversarial_run_has_none_and_may_take_one_up(data: Path, tmp_path: Path) -> None:
    plain = replace(CONFIG, autoencoding_share=0.0, kimg=0.016)
    assert train(data, tmp_path / "out", plain).encoder is None
    assert load_encoder(tmp_path / "out") is None
    assert train(data, tmp_path / "out", CONFIG).encoder is not None
    assert load_encoder(tmp_path / "out") is not None


def test_a_pack_carries_the_encoder_and_inversion_starts_from_it(
    players: tuple[Generator, Discriminator], tmp_path: Path
) -> None:
    generator, discriminator = players
    encoder = encoder_beside(discriminator, GENERATOR.z_dim)
    bare = make_prior(generator, discriminator)
    images = torch.rand(2, 3, 16, 16) * 2 - 1
    assert bare.encoder is None
    assert bare.guess_latent(images) is None
    prior = replace(
        bare,
        networks={ENCODER_NAME: encoder.state_dict()},
        network_configs={ENCODER_NAME: encoder_settings(encoder)},
    )
    save_pack(tmp_path, prior, dtype=torch.float32)
    loaded = load_pack(tmp_path)
    torch.testing.assert_close(loaded.encoder(images), encoder(images))
    guess = loaded.guess_latent(images)
    torch.testing.assert_close(guess, generator.mapping(encoder(images)[0]))
    found = invert(images, loaded, InvertConfig(n_steps=0))
    torch.testing.assert_close(found.latent, guess)


def test_settings_survive_json(players: tuple[Generator, Discriminator]) -> None:
    import json

    encoder = encoder_beside(players[1], GENERATOR.z_dim)
    rebuilt = build_encoder(json.loads(json.dumps(encoder_settings(encoder))), encoder.state_dict())
    assert rebuilt.config == encoder.config
