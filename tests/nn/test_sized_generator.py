"""A large generator at a smaller resolution: the same images, averaged; the same gradients, whatever the memory."""

import pytest
import torch
from torch.nn import functional as F

from gan2shape.core.images import resized
from gan2shape.nn.generator import Generator, GeneratorConfig
from gan2shape.nn.sized_generator import at_size


@pytest.fixture(scope="module")
def generator() -> Generator:
    torch.manual_seed(0)
    config = GeneratorConfig(resolution=64, channels=(4,) * 5, z_dim=8, w_dim=8, n_mapping=2, resample="fir")
    return Generator(config).eval().requires_grad_(False)


def test_images_are_area_averages_of_the_same_weights(generator):
    sized, w = at_size(generator, 16), torch.randn(3, 8)
    torch.testing.assert_close(sized.synthesis(w), F.avg_pool2d(generator.synthesis(w), 4))
    wplus = torch.randn(2, generator.n_layers, 8)
    torch.testing.assert_close(sized.synthesis(wplus), F.avg_pool2d(generator.synthesis(wplus), 4))
    assert sized.n_layers == generator.n_layers
    assert generator.synthesis(w).shape[-1] == 64  # the original is as it was
    assert all(a is b for a, b in zip(sized.parameters(), generator.parameters(), strict=True))


def test_features_stop_at_the_size(generator):
    w = torch.randn(2, 8)
    features = at_size(generator, 16).features(w)
    assert [maps.shape[-1] for maps in features] == [4, 8, 16]
    for ours, whole in zip(features, generator.features(w), strict=False):
        assert torch.equal(ours, whole)


def test_the_own_size_changes_nothing(generator):
    assert at_size(generator, 64) is generator


def test_drawing_a_few_at_a_time_changes_neither_images_nor_gradients(generator):
    w = torch.randn(5, 8)
    results = []
    for n_at_once in (5, 2):
        sized = at_size(generator, 32)
        sized.synthesis.n_at_once = n_at_once
        free = w.clone().requires_grad_()
        image = sized.synthesis(free)
        (gradient,) = torch.autograd.grad(image.square().mean(), free)
        results.append((image.detach(), gradient, *sized.synthesis(w, return_features=True)[1]))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("size", [4, 8, 16])
def test_a_constant_keeps_its_value_at_any_size(size):
    torch.testing.assert_close(resized(torch.full((1, 3, 8, 8), 0.3), size), torch.full((1, 3, size, size), 0.3))


@pytest.mark.parametrize("size", [16, 64])
@pytest.mark.parametrize("is_coarse", [False, True])
def test_bfloat16_changes_images_and_gradients_by_its_rounding_only(generator, size, is_coarse):
    w, results = torch.randn(4, 8), []
    for is_bfloat16 in (False, True):
        synthesis, free = at_size(generator, size, is_coarse, is_bfloat16).synthesis, w.clone().requires_grad_()
        image, features = synthesis(free, return_features=True)
        assert {one.dtype for one in (image, *features)} == {torch.float32}
        (gradient,) = torch.autograd.grad(image.square().mean(), free)
        results.append((image.detach(), gradient))
        torch.testing.assert_close(synthesis.from_styles(generator.synthesis.styles(w)), image, atol=1e-5, rtol=1e-4)
    (exact, slope), (rough, rough_slope) = results
    assert 0 < float((rough - exact).abs().mean()) < 0.02 * float(exact.std())
    assert float(F.cosine_similarity(slope.flatten(), rough_slope.flatten(), 0)) > 0.99
