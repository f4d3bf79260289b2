"""Blocks below their own resolution: exact where theory says so, near on the bundled generators."""

import pytest
import torch
from torch.nn import functional as F

from gan2shape.core.resources import pack_dir
from gan2shape.nn.coarse_blocks import average_of_doubled, coarse_layer, drawn_at, narrowed
from gan2shape.nn.generator import Generator, GeneratorConfig
from gan2shape.nn.layers import SynthesisLayer, upsample_bilinear, upsample_fir
from gan2shape.nn.sized_generator import at_size
from gan2shape.prior.packs import load_pack

SIZE, RIM = 16, 4  # pixels of coarse maps; those near the border see what lies beyond it


def ramps(n: int = 3) -> torch.Tensor:
    """Smooth maps: planes of random slopes, [1, n, SIZE, SIZE]."""
    at = torch.linspace(-1, 1, SIZE)
    slopes = torch.randn(3, n, 1, 1, generator=torch.Generator().manual_seed(1))
    return (slopes[0] + slopes[1] * at[:, None] + slopes[2] * at)[None]


def inner(x: torch.Tensor) -> torch.Tensor:
    return x[..., RIM:-RIM, RIM:-RIM]


def doubled(x: torch.Tensor, times: int) -> torch.Tensor:
    for _ in range(times):
        x = upsample_bilinear(x)
    return x


def averaged(x: torch.Tensor, times: int) -> torch.Tensor:
    return F.avg_pool2d(x, 2**times)


@pytest.mark.parametrize("octaves", [1, 2])
def test_narrowed_kernels_do_on_coarse_maps_what_kernels_do_on_fine_ones(octaves):
    weight = torch.randn(2, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    fine = averaged(F.conv2d(doubled(ramps(), octaves), weight, padding=1), octaves)
    coarse = F.conv2d(ramps(), narrowed(weight, octaves), padding=1)
    torch.testing.assert_close(inner(coarse), inner(fine), atol=1e-5, rtol=1e-5)


def test_what_doubling_leaves_in_an_average():
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(average_of_doubled(x, True), F.avg_pool2d(upsample_bilinear(x), 2))
    torch.testing.assert_close(average_of_doubled(x, False), F.avg_pool2d(upsample_fir(x), 2))


@pytest.mark.parametrize("upsample", ["none", "fast", "fir"])
@pytest.mark.parametrize("noise", ["none", "const", "maps"])
def test_a_layer_on_smooth_maps_is_exact_where_it_is_linear(upsample, noise):
    """A large bias keeps every value on the linear side of the activation."""
    torch.manual_seed(0)
    layer = SynthesisLayer(3, 2, 8, 2 * SIZE, upsample, demodulate=True, use_noise=True, clamp=None)
    layer.bias.data.fill_(100.0)
    layer.noise_strength.data.fill_(0.7)
    w, kind = torch.randn(1, 8), torch.randn(1, 1, 2 * SIZE, 2 * SIZE) if noise == "maps" else noise
    with torch.no_grad():
        fine = averaged(layer(ramps() if upsample != "none" else doubled(ramps(), 1), w, kind), 1)
        coarse = coarse_layer(layer, ramps(), w, kind, 1)
    torch.testing.assert_close(inner(coarse), inner(fine), atol=2e-4, rtol=1e-6)


def test_random_noise_is_averaged_too():
    torch.manual_seed(0)
    layer = SynthesisLayer(1, 1, 4, 256, "none", demodulate=True, use_noise=True, clamp=None)
    layer.noise_strength.data.fill_(1.0)
    layer.bias.data.fill_(100.0)
    with torch.no_grad():
        spread = coarse_layer(layer, torch.zeros(1, 1, 64, 64), torch.randn(1, 4), "random", 2).std()
    assert float(spread) == pytest.approx(layer.gain / 4, rel=0.05)


@pytest.mark.parametrize("architecture", ["skip", "resnet", "orig"])
@pytest.mark.parametrize("resample", ["fir", "fast"])
def test_blocks_on_constant_features_are_exact_away_from_the_border(architecture, resample):
    torch.manual_seed(0)
    settings = {"architecture": architecture, "resample": resample, "z_dim": 8, "w_dim": 8, "n_mapping": 2}
    generator = Generator(GeneratorConfig(resolution=128, channels=(4,) * 6, **settings)).eval()
    synthesis, images = generator.synthesis, []
    by_block = synthesis.rows(torch.randn(1, generator.n_layers, 8))
    for size in (128, 32):
        x, image, draw = torch.randn(1, 4, 1, 1, generator=torch.Generator().manual_seed(0)), None, drawn_at(size)
        x = x.expand(1, 4, 16, 16)
        with torch.no_grad():
            for block, rows in zip(synthesis.blocks()[3:], by_block[3:], strict=True):  # 32, 64 and 128 pixels
                x, image = draw(block, x, image, rows, "none")
        images.append(F.adaptive_avg_pool2d(image, 32)[..., 12:-12, 12:-12])
    torch.testing.assert_close(*images, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("category", ["car", "head"])
def test_bundled_generators_are_near_and_their_images_so_far_are_not(category):
    pack = load_pack(pack_dir(category))
    z = torch.randn(16, pack.generator.config.z_dim, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        w = pack.w_mean + 0.7 * (pack.generator.mapping(z) - pack.w_mean)
        full = F.avg_pool2d(pack.generator.synthesis(w), 2)
        coarse, features = at_size(pack.generator, 32, is_coarse=True).synthesis(w, return_features=True)
        whole, so_far = pack.generator.features(w), None
        parts = pack.generator.synthesis.blocks(), pack.generator.synthesis.rows(w)
        for block, rows, x in zip(*(part[:4] for part in parts), features, strict=True):
            so_far = block.torgb(x, rows[-1]) + (0 if so_far is None else upsample_bilinear(so_far))
    assert float((coarse - full).abs().mean()) < 0.025
    assert float((so_far - full).abs().mean()) > 0.1
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(features, whole, strict=False))
    assert [maps.shape[-1] for maps in features] == [4, 8, 16, 32]


def test_gradients_few_at_a_time_and_styles_are_those_of_all_at_once():
    torch.manual_seed(0)
    generator = Generator(GeneratorConfig(resolution=64, channels=(4,) * 5, z_dim=8, w_dim=8, n_mapping=2))
    generator.eval().requires_grad_(False)
    w, gradients = torch.randn(5, 8), []
    for n_at_once in (5, 2):
        sized = at_size(generator, 16, is_coarse=True)
        sized.synthesis.n_at_once = n_at_once
        free = w.clone().requires_grad_()
        gradients.append(torch.autograd.grad(sized.synthesis(free).square().mean(), free)[0])
    torch.testing.assert_close(*gradients, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(sized.synthesis.from_styles(generator.synthesis.styles(w)), sized.synthesis(w))
