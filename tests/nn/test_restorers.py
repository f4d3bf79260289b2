"""Restorers at their start: the prior inside is untouched until they have learnt, and each part takes part."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from gan2shape.nn.discriminator import DiscriminatorConfig
from gan2shape.nn.generator import Generator, GeneratorConfig
from gan2shape.nn.layers import n_parameters
from gan2shape.nn.restorers import (
    RESTORERS,
    Fusion,
    RestorerConfig,
    build_restorer,
    n_rows_of,
    split_transform,
    width_for,
    widths,
)

GENERATOR = GeneratorConfig(resolution=32, channels=(12, 12, 8, 8), z_dim=6, w_dim=6, n_mapping=2)
TRUNK = DiscriminatorConfig(resolution=32, channels=(12, 12, 8), unshuffle=True)
SMALL_TRUNK = DiscriminatorConfig(resolution=8, channels=(12, 12), unshuffle=False)


def config_of(kind: str) -> RestorerConfig:
    return RestorerConfig(kind, SMALL_TRUNK if kind == "glean" else TRUNK, GENERATOR, 4 if kind == "glean" else 1)


def made(kind: str) -> tuple[torch.nn.Module, Generator, torch.Tensor]:
    size, generator = 8 if kind == "glean" else 32, Generator(GENERATOR).eval().requires_grad_(False)
    return build_restorer(config_of(kind)), generator, torch.rand(2, 3, size, size)


@pytest.mark.parametrize("kind", RESTORERS)
def test_a_picture_of_the_generator_s_size_comes_out_and_every_part_learns(kind: str) -> None:
    restorer, generator, given = made(kind)
    for _ in range(2):  # what was zero hides what is behind it for one step
        image, sides = restorer(given, generator)
        (image.square().sum() + sum(side.square().sum() for side in sides)).backward()
        with torch.no_grad():
            for p in restorer.parameters():
                if p.grad is not None:
                    p += 1e-2 * torch.randn_like(p)
    assert image.shape == (2, 3, 32, 32)
    silent = [name for name, p in restorer.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert silent in ([], ["generator.mapping.fc0.bias"])
    assert all(p.grad is None for p in generator.parameters())


def test_gfpgan_begins_as_the_generator_s_picture_of_its_rows() -> None:
    restorer, generator, given = made("gfpgan")
    restorer.w_mean.normal_()
    image, sides = restorer(given, generator)
    assert torch.equal(image, generator.synthesis(restorer.w_mean.repeat(2, 8, 1)))
    assert [side.shape[-1] for side in sides] == [4, 8, 16, 32]


def test_gpen_begins_as_the_picture_of_its_own_generator() -> None:
    restorer, _, given = made("gpen")
    torch.nn.init.normal_(restorer.z.out.weight)
    z = restorer.z([restorer.descent(given)[4]])[:, 0]
    assert torch.equal(restorer(given)[0], restorer.generator(z))


def test_glean_and_the_unet_begin_as_the_picture_that_was_given() -> None:
    restorer, generator, given = made("glean")
    expected = F.interpolate(given, scale_factor=4.0, mode="bicubic", align_corners=False)
    assert torch.equal(restorer(given, generator)[0], expected)
    restorer, _, given = made("unet")
    assert torch.equal(restorer(given)[0], given)


def test_glean_draws_on_the_bank_s_features_alone() -> None:
    """Published: the bank's own picture is discarded; its features above the observation's resolution count."""
    restorer, generator, given = made("glean")
    torch.nn.init.normal_(restorer.out.weight)
    before = restorer(given, generator)[0]
    for block, counts in ((generator.synthesis.b32.torgb, False), (generator.synthesis.b32.conv1, True),
                          (generator.synthesis.b4.conv1, True)):  # fmt: skip
        kept = block.weight.detach().clone()
        block.weight.data.mul_(-1.0)
        assert torch.equal(restorer(given, generator)[0], before) != counts
        block.weight.data.copy_(kept)


def test_fusion_passes_the_generator_s_channels_bit_for_bit_at_first() -> None:
    own, beside = torch.randn(2, 7, 9, 9), torch.randn(2, 5, 9, 9)
    assert torch.equal(Fusion(7, 5)(own, beside), own)


def test_half_of_the_channels_are_scaled_and_shifted() -> None:
    x, scale, shift = torch.randn(1, 6, 4, 4), torch.full((1, 3, 4, 4), 0.5), torch.full((1, 3, 4, 4), 2.0)
    found = split_transform(x, scale, shift)
    assert torch.equal(found[:, :3], x[:, :3])
    torch.testing.assert_close(found[:, 3:], x[:, 3:] * 1.5 + 2.0)
    assert torch.equal(split_transform(x, torch.zeros_like(scale), torch.zeros_like(shift)), x)


@pytest.mark.parametrize("kind", ["glean", "gfpgan", "gpen"])
def test_the_unet_without_a_prior_has_as_many_parameters(kind: str) -> None:
    trunk = DiscriminatorConfig(resolution=16, channels=(128, 128, 96), unshuffle=False)
    whole = RestorerConfig(kind, trunk, GeneratorConfig(), 4)
    whole = whole if kind == "glean" else replace(whole, trunk=DiscriminatorConfig(), factor=1)
    unet = RestorerConfig("unet", DiscriminatorConfig(), GeneratorConfig())
    with torch.device("meta"):
        wanted = n_parameters(build_restorer(whole))
        found = n_parameters(build_restorer(replace(unet, width=width_for(unet, wanted))))
    assert found == pytest.approx(wanted, rel=0.05)


def test_rows_and_widths_follow_the_generator() -> None:
    assert n_rows_of(GENERATOR) == Generator(GENERATOR).n_layers
    assert widths(GENERATOR) == {4: 12, 8: 12, 16: 8, 32: 8}
    assert widths(GENERATOR, 0.5) == {4: 8, 8: 8, 16: 4, 32: 4}
