"""The published networks: numbers of parameters in closed form, shapes, layers, and ranges of their outputs."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn

from gan2shape.core.config import NetworkConfig, RenderConfig, ShapeConfig
from gan2shape.core.errors import UserError
from gan2shape.nn.published_scene_networks import (
    PublishedAutoEncoder,
    PublishedProjector,
    PublishedVectorEncoder,
    first_width,
)
from gan2shape.nn.scene_networks import SceneNetworks, projector

CODE = 256
PUBLISHED = ShapeConfig(render=RenderConfig(resolution=32), networks=NetworkConfig(kind="published", albedo="network"))


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def autoencoder_count(widths: list[int], channels: int) -> int:
    """Encoder, bottleneck, decoder and head; a normalised channel has two parameters."""
    first, last, pairs = widths[0], widths[-1], list(pairwise(widths))
    encoder = 16 * 3 * first + sum(16 * a * b for a, b in pairs) + 2 * sum(widths[:-1])
    bottleneck = 16 * last * CODE + 16 * CODE * last + 9 * last**2
    decoder = sum(16 * b * a + 9 * a**2 + 4 * a for a, b in pairs)
    head = 9 * first**2 + 2 * first + 25 * first**2 + 2 * first + 25 * first * channels
    return encoder + bottleneck + decoder + head


def vector_count(widths: list[int], outputs: int) -> int:
    pairs = zip([3, *widths], widths, strict=False)
    return sum(16 * a * b for a, b in pairs) + 16 * widths[-1] ** 2 + widths[-1] * outputs


def projector_count(widths: list[int], outputs: int) -> int:
    """Residual blocks a -> b: two convolutions without bias, a shortcut with one."""
    blocks = sum(9 * a * b + 9 * b * b + a * b + b for a, b in pairwise(widths))
    return 16 * 3 * widths[0] + blocks + 16 * widths[-1] * 2 * widths[-1] + 2 * widths[-1] * outputs


COUNTS_AT_64 = [12_979_648, 12_982_848, 6_952_960, 6_951_936, 3_565_504]  # D, A, V, L, and E for w of 512
SIZES = {  # resolution: widths of D, A, V, L, and of E
    32: ([128, 256, 512], [32, 64, 128]),
    64: ([64, 128, 256, 512], [32, 64, 128, 256]),
    128: ([32, 64, 128, 256, 512], [32, 64, 128, 256, 512]),
}


@pytest.mark.parametrize("size", SIZES)
def test_parameters_are_as_many_as_the_published_layout_has(size: int) -> None:
    widths, projector_widths = SIZES[size]
    for channels in (1, 3):
        assert count(PublishedAutoEncoder(channels, size)) == autoencoder_count(widths, channels)
    for outputs in (6, 4):
        assert count(PublishedVectorEncoder(outputs, size)) == vector_count(widths, outputs)
    assert count(PublishedProjector(512, size)) == projector_count(projector_widths, 512)


def test_parameters_at_64_are_these_numbers() -> None:
    counts = [count(PublishedAutoEncoder(c, 64)) for c in (1, 3)]
    counts += [count(PublishedVectorEncoder(d, 64)) for d in (6, 4)]
    assert [*counts, count(PublishedProjector(512, 64))] == COUNTS_AT_64


@torch.no_grad()
@pytest.mark.parametrize("size", [32, 64])
def test_shapes(size: int) -> None:
    images = torch.zeros(2, 3, size, size)
    assert PublishedAutoEncoder(1, size)(images).shape == (2, 1, size, size)
    assert PublishedAutoEncoder(3, size)(images).shape == (2, 3, size, size)
    assert PublishedVectorEncoder(6, size)(images).shape == (2, 6)
    assert PublishedProjector(40, size)(images).shape == (2, 40)


def test_layers_are_the_published_ones() -> None:
    network = PublishedAutoEncoder(1, 64)
    norms = [layer for layer in network.modules() if isinstance(layer, nn.GroupNorm)]
    assert all(norm.num_channels == 4 * norm.num_groups for norm in norms)
    assert len(norms) == 3 + 2 * 3 + 2  # encoder but its last level, decoder levels, head
    assert all(layer.bias is None for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d))
    biased = [layer for layer in PublishedProjector(8, 64).modules() if getattr(layer, "bias", None) is not None]
    assert all(layer.kernel_size == (1, 1) for layer in biased)
    assert len(biased) == 3  # shortcuts


@torch.no_grad()
def test_outputs_have_the_published_ranges() -> None:
    torch.manual_seed(0)
    networks = SceneNetworks(PUBLISHED)
    for network in (networks.view_net, networks.light_net, networks.albedo_net):
        [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)][-1].weight.mul_(1e4)
    images = torch.randn(4, 3, 32, 32)
    views, lights = networks.views(images, images[:1]), networks.lights(images)
    assert views.shape == (4, 6)
    assert views[:, :3].abs().max().item() == pytest.approx(math.radians(60))
    assert views[:, 3:5].abs().max().item() == pytest.approx(0.1)
    assert (views[:, 5] == 0).all()
    assert (views[0] == 0).all()  # the canonical frame is the input's
    reach = (lights - torch.tensor(PUBLISHED.lights.mean)).abs().amax(0)
    torch.testing.assert_close(reach, torch.tensor([0.5, 0.5, 1.0, 1.0]), atol=1e-3, rtol=0)
    assert networks.albedo(images, torch.ones(4, 1, 32, 32)).abs().max() <= 1
    assert networks.border_depth == pytest.approx(0.7 * 1.1 + 0.3 * 0.9)


def test_the_projector_is_of_the_chosen_kind() -> None:
    assert isinstance(projector(8, PUBLISHED), PublishedProjector)
    small = replace(PUBLISHED, networks=replace(PUBLISHED.networks, kind="small", encoder_channels=(8, 8, 8)))
    assert not isinstance(projector(8, small), PublishedProjector)


@pytest.mark.parametrize("size", [16, 48, 96])
def test_other_resolutions_are_one_sentence(size: int) -> None:
    with pytest.raises(UserError, match=rf"needs a resolution of 32, 64, 128 \.\.\., not {size}"):
        first_width(size)
