"""Shapes and identities of the generator and the discriminator."""

from dataclasses import replace

import pytest
import torch

from gan2shape.nn.discriminator import Discriminator, DiscriminatorConfig
from gan2shape.nn.generator import Generator, GeneratorConfig, ShuffleHead
from gan2shape.nn.layers import n_parameters

SMALL = GeneratorConfig(resolution=32, channels=(16, 12, 10, 8), z_dim=12, w_dim=16, n_mapping=3)
MAX_PARAMETERS = 2_000_000  # of each network of a pack


def test_default_networks_fit_a_pack() -> None:
    assert n_parameters(Generator()) <= MAX_PARAMETERS
    assert n_parameters(Discriminator()) <= MAX_PARAMETERS


@pytest.mark.parametrize(("last_stage", "n_layers"), [("full", 8), ("single", 7), ("shuffle", 6)])
@pytest.mark.parametrize("noise", [True, False])
def test_wplus_of_equal_rows_is_w(last_stage: str, n_layers: int, noise: bool) -> None:
    generator = Generator(replace(SMALL, last_stage=last_stage, noise=noise))
    w = generator.mapping(torch.randn(3, 12))
    assert generator.n_layers == n_layers
    image, features = generator.synthesis(w, return_features=True)
    assert image.shape == (3, 3, 32, 32)
    assert [f.shape[-1] for f in features] == [4, 8, 16, 16 if last_stage == "shuffle" else 32]
    torch.testing.assert_close(generator.synthesis(w[:, None].expand(-1, n_layers, -1)), image)
    torch.testing.assert_close(generator.features(w)[-1], features[-1])


def test_every_wplus_row_matters() -> None:
    generator = Generator(SMALL)
    w = generator.mapping(torch.randn(1, 12)).detach()[:, None].repeat(1, generator.n_layers, 1).requires_grad_(True)
    generator.synthesis(w).square().sum().backward()
    assert (w.grad.abs().sum(dim=2) > 0).all()


def test_wrong_number_of_rows_is_refused() -> None:
    generator = Generator(SMALL)
    with pytest.raises(ValueError, match="rows"):
        generator.synthesis(torch.randn(1, 3, 16))


def test_noise_modes() -> None:
    generator = Generator(replace(SMALL, noise=True))
    w = generator.mapping(torch.randn(2, 12))
    with torch.no_grad():
        generator.synthesis.b32.conv1.noise_strength.fill_(1.0)
    const, none = generator.synthesis(w, "const"), generator.synthesis(w, "none")
    assert torch.equal(const, generator.synthesis(w, "const"))
    assert not torch.equal(const, none)
    assert not torch.equal(generator.synthesis(w, "random"), generator.synthesis(w, "random"))
    with pytest.raises(ValueError, match="noise"):
        generator.synthesis(w, "loud")


def test_truncation_ends() -> None:
    generator = Generator(SMALL)
    generator.mapping.w_avg.normal_()
    z = torch.randn(4, 12)
    torch.testing.assert_close(generator.mapping(z, truncation_psi=0.0), generator.w_avg.expand(4, -1))
    half = generator.mapping(z, truncation_psi=0.5)
    torch.testing.assert_close(half, (generator.mapping(z) + generator.w_avg) / 2)


@pytest.mark.parametrize("n_last", [0, 1, 2, 3])
def test_mapping_splits(n_last: int) -> None:
    generator = Generator(SMALL)
    z = torch.randn(4, 12)
    hidden = generator.mapping_front(z, n_last)
    torch.testing.assert_close(generator.mapping_tail(hidden, n_last), generator.mapping(z))


@pytest.mark.parametrize("n_last", [0, 1, 2])
def test_offset_through_mapping(n_last: int) -> None:
    """No offset for a zero input; the published difference otherwise."""
    generator = Generator(SMALL)
    for layer in generator.mapping.layers(0, 3):
        layer.bias.data.normal_(std=20)
    assert generator.offset_through_mapping(torch.zeros(2, 16), n_last).abs().max() == 0
    delta = torch.randn(2, 16)
    offset = generator.offset_through_mapping(delta, n_last)
    if n_last == 0:
        assert torch.equal(offset, delta)
        return
    hidden = generator.mapping_front(torch.zeros(1, 12), n_last)
    expected = generator.mapping_tail(hidden + delta, n_last) - generator.mapping_tail(hidden, n_last)
    torch.testing.assert_close(offset, expected)


def test_shuffle_head_has_no_screen_door() -> None:
    """Four different colours per coarse pixel average out exactly: no pattern of period two is left."""
    config = replace(SMALL, last_stage="shuffle")
    head = ShuffleHead(config)
    head.torgb.bias.data.normal_()
    x = torch.randn(1, 10, 1, 1).expand(1, 10, 8, 8)
    _, image = head(x, None, [torch.randn(1, 16)], "none")
    inside = image[:, :, 2:-2, 2:-2]
    torch.testing.assert_close(inside, inside[:, :, :1, :1].expand_as(inside))


def test_bad_configurations_are_refused() -> None:
    with pytest.raises(ValueError, match="widths"):
        GeneratorConfig(channels=(8, 8))
    with pytest.raises(ValueError, match="architecture"):
        GeneratorConfig(architecture="dense")
    with pytest.raises(ValueError, match="widths"):
        DiscriminatorConfig(channels=(8, 8))


@pytest.mark.parametrize("unshuffle", [True, False])
def test_discriminator_features(unshuffle: bool) -> None:
    """Features halve the resolution, do not mix samples, and take images of another size."""
    channels = (16, 12, 10) if unshuffle else (16, 12, 10, 8)
    discriminator = Discriminator(DiscriminatorConfig(resolution=32, channels=channels, unshuffle=unshuffle))
    images = torch.randn(4, 3, 32, 32)
    n_blocks = 2 if unshuffle else 3
    features = discriminator.features(images, n_blocks)
    assert [f.shape[-1] for f in features] == ([8, 4] if unshuffle else [16, 8, 4])
    torch.testing.assert_close(discriminator.features(images[:1], n_blocks)[-1], features[-1][:1])
    assert discriminator.features(torch.randn(1, 3, 64, 96), 1)[0].shape[-2:] == ((16, 24) if unshuffle else (32, 48))
    assert discriminator(images).shape == (4, 1)
    with pytest.raises(ValueError, match="blocks"):
        discriminator.features(images, n_blocks + 1)
