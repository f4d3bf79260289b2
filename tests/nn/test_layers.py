"""Layers against naive twins and closed forms."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from gan2shape.nn import layers


def naive_modulated_conv(x: Tensor, weight: Tensor, style: Tensor, demodulate: bool, upsample: str) -> Tensor:
    """The textbook form: one kernel per sample, one grouped convolution (double precision)."""
    batch, channels, height, width = x.shape
    kernels = weight[None] * style[:, None, :, None, None]
    if demodulate:
        kernels = kernels / (kernels.square().sum(dim=(2, 3, 4), keepdim=True) + layers.DEMODULATION_EPS).sqrt()
    else:
        kernels = kernels / math.sqrt(weight[0].numel())
    x = x.reshape(1, batch * channels, height, width)
    if upsample == "none":
        y = F.conv2d(x, kernels.flatten(0, 1), padding=weight.shape[-1] // 2, groups=batch)
        return y.view(batch, -1, height, width)
    y = F.conv_transpose2d(x, kernels.transpose(1, 2).flatten(0, 1), stride=2, groups=batch)
    y = F.pad(y, (1, 1, 1, 1)).view(batch * weight.shape[0], 1, 2 * height + 3, 2 * width + 3)
    y = F.conv2d(y, 4 * layers.fir_kernel().to(y)[None, None])
    return y.view(batch, -1, 2 * height, 2 * width)


@pytest.mark.parametrize("upsample", ["none", "fir"])
@pytest.mark.parametrize("demodulate", [True, False])
def test_modulated_conv_equals_grouped_twin(upsample: str, demodulate: bool) -> None:
    torch.manual_seed(1)
    x, weight, style = torch.randn(3, 5, 6, 6), torch.randn(7, 5, 3, 3), torch.randn(3, 5) + 1
    ours = [t.clone().requires_grad_(True) for t in (x, weight, style)]
    twin = [t.double().requires_grad_(True) for t in (x, weight, style)]
    y = layers.modulated_conv(*ours, demodulate=demodulate, upsample=upsample)
    y_twin = naive_modulated_conv(*twin, demodulate=demodulate, upsample=upsample)
    torch.testing.assert_close(y.double(), y_twin, atol=1e-5, rtol=1e-5)
    cotangent = torch.randn_like(y)
    y.backward(cotangent)
    y_twin.backward(cotangent.double())
    for a, b in zip(ours, twin, strict=True):
        torch.testing.assert_close(a.grad.double(), b.grad, atol=2e-4, rtol=1e-4)


def test_demodulation_gives_unit_variance() -> None:
    """White unit-variance input: every output channel has unit variance, whatever the style."""
    torch.manual_seed(2)
    x, weight = torch.randn(2, 16, 96, 96), torch.randn(8, 16, 3, 3)
    style = torch.tensor([0.1, 10.0])[:, None] * (1 + torch.rand(2, 16))
    y = layers.modulated_conv(x, weight, style)[:, :, 1:-1, 1:-1]
    torch.testing.assert_close(y.var(dim=(2, 3)), torch.ones(2, 8), atol=0.08, rtol=0)


def test_fast_upsampling_equals_fir_inside() -> None:
    """Bilinear interpolation is the [1, 3, 3, 1] filter; only the border differs."""
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(layers.upsample_fir(x)[:, :, 1:-1, 1:-1], layers.upsample_bilinear(x)[:, :, 1:-1, 1:-1])


def test_fir_upsampling_equals_zero_insertion() -> None:
    x = torch.randn(2, 1, 5, 5)
    spread = torch.zeros(2, 1, 10, 10)
    spread[:, :, ::2, ::2] = x
    expected = F.conv2d(F.pad(spread, (2, 1, 2, 1)), 4 * layers.fir_kernel()[None, None])
    torch.testing.assert_close(layers.upsample_fir(x), expected)


@pytest.mark.parametrize("stride", [1, 2])
def test_fir_blur_is_three_averages_of_neighbours(stride: int) -> None:
    """[1, 3, 3, 1] = [1, 1] * [1, 1] * [1, 1], in both directions."""
    x = torch.randn(2, 3, 8, 8)
    expected = F.pad(x, (2, 2, 2, 2))
    for _ in range(3):
        expected = F.avg_pool2d(expected, 2, 1)
    blurred = layers.fir_blur(x, 2, gain=4.0, stride=stride)
    torch.testing.assert_close(blurred, 4 * expected[:, :, ::stride, ::stride])


def test_leaky_relu_gain_is_folded_exactly() -> None:
    layer = layers.Conv(3, 4, 3, gain=0.5, clamp=0.3)
    with torch.no_grad():
        layer.bias.normal_()
    x = torch.randn(2, 3, 6, 6)
    plain = F.conv2d(x, layer.weight / math.sqrt(27), layer.bias, padding=1)
    expected = (F.leaky_relu(plain, 0.2) * math.sqrt(2) * 0.5).clamp(-0.15, 0.15)
    torch.testing.assert_close(layer(x), expected)


def test_mapping_layer_scales_with_learning_rate_multiplier() -> None:
    """A multiplier m stores weights / m and uses weights * m: the initial function does not depend on it."""
    x, outputs = torch.randn(4, 6), []
    for multiplier in (1.0, 0.01):
        torch.manual_seed(3)
        outputs.append(layers.FullyConnected(6, 5, activate=True, lr_multiplier=multiplier)(x))
    torch.testing.assert_close(*outputs)


def test_second_moment() -> None:
    x = layers.normalize_second_moment(torch.randn(4, 32) * 7)
    torch.testing.assert_close(x.square().mean(dim=1), torch.ones(4))
    assert torch.equal(layers.normalize_second_moment(torch.zeros(1, 32)), torch.zeros(1, 32))


def test_minibatch_stddev_closed_form() -> None:
    """Group members n and n + 2 differ by 2 c everywhere: their standard deviation is c."""
    x = torch.zeros(4, 3, 2, 2)
    x[0], x[2] = 1.0, 5.0  # group {0, 2}: deviation 2; group {1, 3}: 0
    channel = layers.minibatch_stddev(x, group_size=2)[:, 3]
    torch.testing.assert_close(channel[:, 0, 0], torch.tensor([2.0, 1e-4, 2.0, 1e-4]))


@pytest.mark.parametrize(("batch", "group"), [(1, 1), (3, 3), (6, 3), (7, 1), (8, 4)])
def test_minibatch_stddev_takes_the_largest_divisor(batch: int, group: int) -> None:
    x = torch.randn(batch, 2, 3, 3)
    torch.testing.assert_close(layers.minibatch_stddev(x, 4), layers.minibatch_stddev(x, group))
