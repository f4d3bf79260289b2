"""Building blocks of StyleGAN2: equalised layers, the resampling filter, modulated convolution, minibatch statistics.

Conventions
-----------
* Parameters carry the names and shapes of the published PyTorch network, so its state dict loads without renaming.
* Equalised learning rate: weights are stored with unit variance and scaled by 1 / sqrt(fan_in) when used.
* Leaky ReLU has slope .2 and gain sqrt(2). It is positively homogeneous, lrelu(g y) = g lrelu(y) for g > 0, so every
  gain is folded into the small factors in front of it (demodulation, bias) and costs no pass over the activations.
* Resampling is one of two kinds. "fir": the published [1, 3, 3, 1] filter with zeros beyond the border. "fast":
  bilinear upsampling after the convolution, average pooling before it (downwards a quarter of the FLOPs or fewer).
"""

import math
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

LEAKY_SLOPE = 0.2
LEAKY_GAIN = math.sqrt(2.0)
RESIDUAL_GAIN = math.sqrt(0.5)  # keeps the variance of a sum of two branches
DEMODULATION_EPS = 1e-8
SECOND_MOMENT_EPS = 1e-8
STDDEV_EPS = 1e-8
FIR_TAPS = (1.0, 3.0, 3.0, 1.0)


def full_precision(x: Tensor) -> Tensor:
    """float16 and bfloat16 become float32; float32 and float64 stay."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def bfloat16_if(is_wanted: bool, device: torch.device) -> AbstractContextManager:
    """Within it, convolutions and matrix products work in bfloat16, where that is wanted."""
    return torch.autocast(device.type, torch.bfloat16) if is_wanted else nullcontext()


def fir_kernel() -> Float[Tensor, "4 4"]:
    """The separable [1, 3, 3, 1] filter as a 4 x 4 kernel of unit sum (the published `resample_filter` buffer)."""
    taps = torch.tensor(FIR_TAPS)
    kernel = taps[:, None] * taps[None, :]
    return kernel / kernel.sum()


def normalize_second_moment(x: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
    """Scale each row to unit mean square (Karras et al. 2020; the zero row stays zero)."""
    return x * (x.square().mean(dim=1, keepdim=True) + SECOND_MOMENT_EPS).rsqrt()


def fir_blur(x: Float[Tensor, "B C H W"], pad: int, gain: float = 1.0, stride: int = 1) -> Float[Tensor, "B C h w"]:
    """Filter with [1, 3, 3, 1] (x) [1, 3, 3, 1] / 64 after `pad` zeros on each side, keep every `stride`-th pixel.

    The result is multiplied by `gain`. One dense 4 x 4 pass: a little faster on a CPU than two separable ones.
    """
    channels = x.shape[1]
    kernel = (fir_kernel() * gain).to(x).expand(channels, 1, 4, 4)
    return F.conv2d(x, kernel, padding=pad, stride=stride, groups=channels)


def upsample_fir(x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C h w"]:
    """Double the resolution with the [1, 3, 3, 1] filter and zeros beyond the border.

    The filter's phases are (3, 1) / 4 and (1, 3) / 4: bilinear interpolation, of the zero-padded image.
    """
    padded = F.pad(x, (1, 1, 1, 1))
    return upsample_bilinear(padded)[:, :, 2:-2, 2:-2]


def upsample_bilinear(x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C h w"]:
    """Double the resolution by bilinear interpolation (`align_corners=False`, border pixels repeated)."""
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


class FullyConnected(nn.Module):
    """Equalised linear layer, optionally with leaky ReLU. `lr_multiplier` slows it down (mapping network: .01)."""

    def __init__(
        self, in_features: int, out_features: int, activate: bool, lr_multiplier: float = 1.0, bias_init: float = 0.0
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr_multiplier)
        self.bias = nn.Parameter(torch.full((out_features,), bias_init))
        self.activate = activate
        self.bias_gain = lr_multiplier * (LEAKY_GAIN if activate else 1.0)
        self.weight_gain = self.bias_gain / math.sqrt(in_features)

    def forward(self, x: Float[Tensor, "B I"], offset: Float[Tensor, "B O"] | None = None) -> Float[Tensor, "B O"]:
        """Affine map, plus `offset` if there is one, then leaky ReLU if `activate`."""
        y = torch.addmm(self.bias * self.bias_gain, x, (self.weight * self.weight_gain).t())
        y = y if offset is None else y + offset
        return F.leaky_relu(y, LEAKY_SLOPE) if self.activate else y


class Conv(nn.Module):
    """Equalised convolution with optional resampling by 2, bias and leaky ReLU (published `Conv2dLayer`).

    `resample` is "none", "up_fir", "up_fast", "down_fir" (blur, then stride) or "down_fast" (average pooling first).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        bias: bool = True,
        activate: bool = True,
        resample: str = "none",
        gain: float = 1.0,
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.activate, self.resample, self.kernel = activate, resample, kernel
        self.bias_gain = gain * (LEAKY_GAIN if activate else 1.0)
        self.weight_gain = self.bias_gain / math.sqrt(in_channels * kernel**2)
        self.clamp = None if clamp is None else clamp * gain
        if resample.endswith("fir"):
            self.register_buffer("resample_filter", fir_kernel(), persistent=False)

    def forward(self, x: Float[Tensor, "B I H W"]) -> Float[Tensor, "B O h w"]:
        """Convolve, resample, add the bias, activate, clamp."""
        weight = self.weight * self.weight_gain
        bias = None if self.bias is None else (self.bias * self.bias_gain).to(x.dtype)
        pad = self.kernel // 2
        if self.resample == "none":
            y = F.conv2d(x, weight, bias, padding=pad)
        elif self.resample == "down_fast":
            y = F.conv2d(F.avg_pool2d(x, 2), weight, bias, padding=pad)
        elif self.resample == "down_fir" and self.kernel == 1:
            y = F.conv2d(fir_blur(x, 1, stride=2), weight, bias)
        elif self.resample == "down_fir":
            y = F.conv2d(fir_blur(x, 1 + pad), weight, bias, stride=2)
        elif self.kernel == 1:  # "up_*": a 1x1 convolution commutes with resampling and is cheaper before it
            upsample = upsample_fir if self.resample == "up_fir" else upsample_bilinear
            y = upsample(F.conv2d(x, weight, bias))
        else:
            raise ValueError(f"no convolution with kernel {self.kernel} and resampling {self.resample!r}")
        if self.activate:
            y = F.leaky_relu(y, LEAKY_SLOPE, inplace=True)
        return y if self.clamp is None else y.clamp(-self.clamp, self.clamp)


def modulation_gain(
    weight: Float[Tensor, "O I k k"], style: Float[Tensor, "B I"], demodulate: bool
) -> Float[Tensor, "B O 1 1"]:
    """Factor of each output channel: 1 / ||weight * style|| if demodulated, else 1 / sqrt(fan_in).

    Karras et al. 2020, equations 1-3. ||w s||^2 = sum_i s_i^2 sum_k w_ik^2: no per-sample kernel is formed.
    """
    if not demodulate:
        return weight.new_full((style.shape[0], weight.shape[0], 1, 1), 1.0 / math.sqrt(weight[0].numel()))
    with torch.autocast(weight.device.type, enabled=False):
        energy = full_precision(style).square() @ full_precision(weight).square().sum(dim=(2, 3)).t()
    return (energy + DEMODULATION_EPS).rsqrt()[:, :, None, None]


def modulated_conv(
    x: Float[Tensor, "B I H W"],
    weight: Float[Tensor, "O I k k"],
    style: Float[Tensor, "B I"],
    demodulate: bool = True,
    gain: float = 1.0,
    upsample: str = "none",
) -> Float[Tensor, "B O h w"]:
    """Convolution whose kernel is scaled per sample, as one dense convolution between two channel-wise scalings.

    `style` scales the input channels; `gain` and demodulation scale the output channels. `upsample` is "none", "fir"
    (transposed convolution, then blur; published) or "fast" (convolution, then bilinear).
    """
    scaled = x * style[:, :, None, None].to(x.dtype)
    factor = (modulation_gain(weight, style, demodulate) * gain).to(x.dtype)
    if upsample == "fir":
        y = F.conv_transpose2d(scaled, weight.transpose(0, 1), stride=2)
        return fir_blur(y, 1, gain=4.0) * factor
    y = F.conv2d(scaled, weight, padding=weight.shape[-1] // 2) * factor
    return upsample_bilinear(y) if upsample == "fast" else y


class Style(NamedTuple):
    """What a modulated layer's affine map would give, in the place of its row of W+ (the space S of Wu et al. 2021)."""

    value: Tensor  # [B, I]


def style_of(affine: nn.Module, row: Tensor | Style) -> Float[Tensor, "B I"]:
    """The style that a row of W+ asks for, or the one that is given."""
    return row.value if isinstance(row, Style) else affine(row)


class SynthesisLayer(nn.Module):
    """Modulated 3x3 convolution, noise, bias, leaky ReLU: one row of the style input."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        resolution: int,
        upsample: str,
        demodulate: bool,
        use_noise: bool,
        clamp: float | None,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        self.affine = FullyConnected(w_dim, in_channels, activate=False, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.upsample, self.demodulate, self.use_noise = upsample, demodulate, use_noise
        self.gain = gain * LEAKY_GAIN
        self.clamp = None if clamp is None else clamp * gain
        if use_noise:
            self.register_buffer("noise_const", torch.randn(resolution, resolution))
            self.noise_strength = nn.Parameter(torch.zeros([]))

    def forward(
        self,
        x: Float[Tensor, "B I H W"],
        w: Float[Tensor, "B D"] | Style,
        noise: str | Float[Tensor, "B 1 h w"],
        added: Float[Tensor, "B O h w"] | None = None,
    ) -> Float[Tensor, "B O h w"]:
        """`noise` is "const" (the stored map), "random" (one map per sample), "none", or maps, of strength 1 where the
        layer has not learnt one. `added`: maps of all channels that come on top of it.
        """
        y = modulated_conv(x, self.weight, style_of(self.affine, w), self.demodulate, self.gain, self.upsample)
        if isinstance(noise, Tensor):
            strength = self.noise_strength if self.use_noise else 1.0
            y = y + (noise * strength).to(y.dtype) * self.gain
        elif self.use_noise and noise != "none":
            y = y + self._noise_map(y, noise) * self.gain
        if added is not None:
            y = y + added.to(y.dtype) * self.gain
        y = y + (self.bias * self.gain).to(y.dtype)[:, None, None]
        y = F.leaky_relu(y, LEAKY_SLOPE, inplace=True)
        return y if self.clamp is None else y.clamp(-self.clamp, self.clamp)

    def _noise_map(self, y: Float[Tensor, "B O h w"], noise: str) -> Tensor:
        if noise == "const":
            values = self.noise_const
        elif noise == "random":
            values = torch.randn(y.shape[0], 1, *y.shape[2:], device=y.device)
        else:
            raise ValueError(f"noise must be const, random or none, not {noise!r}")
        return (values * self.noise_strength).to(y.dtype)


class ToRGB(nn.Module):
    """Modulated 1x1 convolution to image channels, without demodulation."""

    def __init__(self, in_channels: int, image_channels: int, w_dim: int, clamp: float | None) -> None:
        super().__init__()
        self.affine = FullyConnected(w_dim, in_channels, activate=False, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(image_channels, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(image_channels))
        self.clamp = clamp

    def forward(self, x: Float[Tensor, "B I H W"], w: Float[Tensor, "B D"] | Style) -> Float[Tensor, "B C H W"]:
        """Colour of each pixel, in full precision."""
        style = style_of(self.affine, w) * (1.0 / math.sqrt(self.weight.shape[1]))
        y = F.conv2d(x * style[:, :, None, None].to(x.dtype), self.weight) + self.bias.to(x.dtype)[:, None, None]
        y = y if self.clamp is None else y.clamp(-self.clamp, self.clamp)
        return full_precision(y)


def minibatch_stddev(x: Float[Tensor, "B C H W"], group_size: int) -> Float[Tensor, "B c H W"]:
    """Append one channel: the mean standard deviation over groups of samples (Karras et al. 2018, section 3).

    Groups are strided: with B = 8 and group 4, samples n, n + 2, n + 4, n + 6 belong together. A batch that the
    group size does not divide uses the largest divisor below it.
    """
    batch, _, height, width = x.shape
    group = max(size for size in range(1, min(group_size, batch) + 1) if batch % size == 0)
    y = full_precision(x).reshape(group, batch // group, -1)
    deviation = (y.var(dim=0, unbiased=False) + STDDEV_EPS).sqrt().mean(dim=1)
    channel = deviation.repeat(group).view(batch, 1, 1, 1).expand(batch, 1, height, width)
    return torch.cat([x, channel.to(x.dtype)], dim=1)


def n_parameters(module: nn.Module) -> int:
    """Number of learnt values."""
    return sum(p.numel() for p in module.parameters())
