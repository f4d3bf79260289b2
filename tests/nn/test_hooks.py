"""The generator's conditioning hook: what does nothing changes nothing, and each part acts where it says."""

from dataclasses import replace

import pytest
import torch

from gan2shape.nn.generator import Generator, GeneratorConfig, Hook
from gan2shape.nn.sized_generator import at_size

SMALL = GeneratorConfig(resolution=32, channels=(16, 12, 10, 8), z_dim=12, w_dim=16, n_mapping=3)
VARIANTS = {
    "skip": SMALL,
    "noise": replace(SMALL, noise=True),
    "resnet, fir": replace(SMALL, architecture="resnet", resample="fir"),
    "single": replace(SMALL, last_stage="single"),
    "shuffle": replace(SMALL, last_stage="shuffle"),
}


def made(config: GeneratorConfig) -> tuple[Generator, torch.Tensor]:
    generator = Generator(config).eval().requires_grad_(False)
    for name, p in generator.named_parameters():
        if name.endswith("noise_strength"):
            p.fill_(0.7)
    return generator, generator.mapping(torch.randn(2, 12))


def zero_maps(generator: Generator, resolution: int, value: float = 0.0) -> list[torch.Tensor]:
    width = dict(zip(generator.config.resolutions, generator.config.channels, strict=True))[resolution]
    return [torch.full((2, width, resolution, resolution), value)] * 2


@pytest.mark.parametrize("name", VARIANTS)
def test_identities_and_zero_maps_give_the_ordinary_image_bit_for_bit(name: str) -> None:
    generator, w = made(VARIANTS[name])
    hooks = {r: Hook(lambda x, image: (x, image), lambda x: x, zero_maps(generator, r)) for r in (4, 8, 16, 32)}
    image, features = generator.synthesis(w, return_features=True, hooks=hooks)
    expected, own = generator.synthesis(w, return_features=True)
    assert torch.equal(image, expected)
    assert all(map(torch.equal, features, own))


def test_fusion_with_zero_weights_on_the_added_channels_is_the_ordinary_image() -> None:
    """GLEAN at its start: bank and encoder features side by side, the encoder's part of the weights zero."""
    generator, w = made(SMALL)
    added = torch.nn.Conv2d(5, 12, 3, padding=1)
    torch.nn.init.zeros_(added.weight)
    torch.nn.init.zeros_(added.bias)
    hook = Hook(pre=lambda x, image: (x + added(torch.randn(2, 5, 8, 8)), image))
    assert torch.equal(generator.synthesis(w, hooks={16: hook}), generator.synthesis(w))


@pytest.mark.parametrize("part", ["pre", "mid", "noise"])
@pytest.mark.parametrize("resolution", [8, 16, 32])
def test_each_part_acts_from_its_own_resolution_on(part: str, resolution: int) -> None:
    generator, w = made(SMALL)
    parts = {"pre": lambda x, image: (x * 1.5, image), "mid": lambda x: x * 1.5,
             "noise": zero_maps(generator, resolution, 0.5)}  # fmt: skip
    image, features = generator.synthesis(w, return_features=True, hooks={resolution: Hook(**{part: parts[part]})})
    expected, own = generator.synthesis(w, return_features=True)
    assert not torch.equal(image, expected)
    for ours, theirs in zip(features, own, strict=True):
        assert torch.equal(ours, theirs) == (ours.shape[-1] < resolution)


def test_the_image_before_a_block_can_be_changed_too() -> None:
    generator, w = made(SMALL)
    seen = []
    hook = Hook(pre=lambda x, image: (x, seen.append(image) or torch.zeros_like(image)))
    image = generator.synthesis(w, hooks={32: hook})
    assert seen[0].shape == (2, 3, 16, 16)
    torch.testing.assert_close(image, generator.synthesis.b32.torgb(generator.features(w)[-1], w))


def test_added_maps_come_on_top_of_the_generator_s_own_noise() -> None:
    """A map that is the layer's own noise, once more, is the noise of twice the strength."""
    generator, w = made(replace(SMALL, noise=True))
    layer = generator.synthesis.b8.conv0
    once_more = (layer.noise_const * layer.noise_strength).expand(2, 12, 8, 8)
    hooked = generator.synthesis(w, hooks={8: Hook(noise=(once_more, torch.zeros(2, 12, 8, 8)))})
    with torch.no_grad():
        layer.noise_strength.mul_(2)
    torch.testing.assert_close(hooked, generator.synthesis(w))


def test_gradients_reach_what_a_hook_brings_in() -> None:
    generator, w = made(SMALL)
    maps = [m.clone().requires_grad_() for m in zero_maps(generator, 16)]
    generator.synthesis(w, hooks={16: Hook(noise=maps)}).square().sum().backward()
    assert all(float(m.grad.abs().sum()) > 0 for m in maps)


def test_a_generator_that_is_used_at_a_smaller_size_takes_hooks() -> None:
    generator, w = made(SMALL)
    small = at_size(generator, 16)
    hooks = {16: Hook(mid=lambda x: x * 1.5)}
    expected = torch.nn.functional.avg_pool2d(generator.synthesis(w, hooks=hooks), 2)
    torch.testing.assert_close(small.synthesis(w, hooks=hooks), expected)
