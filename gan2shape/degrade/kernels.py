"""Kernels of resampling and blur, as 1-D or 2-D taps of unit sum."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

RESAMPLERS = ("lanczos2", "lanczos3", "bicubic", "box")  # what `Down` can be made of


def resampling_taps(name: str, factor: int) -> Float[Tensor, " K"]:
    """Taps that shrink by a whole `factor`, phase one half: output pixel i covers input pixels about (i + .5) factor.

    lanczos2, lanczos3: windowed sinc of 2 or 3 lobes. bicubic: Keys's cubic with a = -1/2. box: the plain average.
    """
    if name == "box":
        return torch.full((factor,), 1.0 / factor)
    lobes = 3 if name == "lanczos3" else 2
    x = (torch.arange(2 * lobes * factor, dtype=torch.float64) + 0.5) / factor - lobes
    taps = _keys(x) if name == "bicubic" else torch.sinc(x) * torch.sinc(x / lobes)
    return (taps / taps.sum()).float()


def _keys(x: Tensor, a: float = -0.5) -> Tensor:
    near = x.abs()
    inner = ((a + 2) * near - (a + 3)) * near**2 + 1
    outer = ((a * near - 5 * a) * near + 8 * a) * near - 4 * a
    return torch.where(near <= 1, inner, torch.where(near < 2, outer, torch.zeros_like(x)))


def shrunk(x: Float[Tensor, "B C H W"], taps: Float[Tensor, " K"], factor: int) -> Float[Tensor, "B C h w"]:
    """Every `factor`-th value of the separable filter `taps`, border pixels repeated."""
    channels, pad = x.shape[1], (len(taps) - factor) // 2
    row = taps.to(x).view(1, 1, 1, -1).expand(channels, 1, 1, -1)
    x = F.pad(x, (pad, pad, pad, pad), mode="replicate")
    x = F.conv2d(x, row, stride=(1, factor), groups=channels)
    return F.conv2d(x, row.transpose(2, 3), stride=(factor, 1), groups=channels)


def gaussian_kernel(sd_px: float, sd_across_px: float, angle_rad: float) -> Float[Tensor, "K K"]:
    """A Gaussian of standard deviation `sd_px` along `angle_rad` (0 is to the right) and `sd_across_px` across it."""
    radius = max(1, math.ceil(3 * max(sd_px, sd_across_px)))
    y, x = torch.meshgrid(*[torch.arange(-radius, radius + 1, dtype=torch.float64)] * 2, indexing="ij")
    along = math.cos(angle_rad) * x + math.sin(angle_rad) * y
    across = -math.sin(angle_rad) * x + math.cos(angle_rad) * y
    kernel = torch.exp(-0.5 * ((along / sd_px) ** 2 + (across / sd_across_px) ** 2))
    return (kernel / kernel.sum()).float()


def filtered(x: Float[Tensor, "B C H W"], kernel: Float[Tensor, "K K"]) -> Float[Tensor, "B C H W"]:
    """Correlation with an odd kernel, border pixels repeated."""
    channels, pad = x.shape[1], kernel.shape[-1] // 2
    taps = kernel.to(x).expand(channels, 1, -1, -1)
    return F.conv2d(F.pad(x, (pad, pad, pad, pad), mode="replicate"), taps, groups=channels)
