"""Random views and lights of the pseudo samples (GAN2Shape section 3.2)."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.core.config import LightPriorConfig, ViewPriorConfig
from gan2shape.core.devices import upload


def sample_views(n: int, config: ViewPriorConfig, rng: torch.Generator) -> Float[Tensor, "n 6"]:
    """n views from a Gaussian truncated at `limit_sd`; angles in radians, tz 0. On the device of `rng` (the CPU, for a
    seed to mean the same on every machine).
    """
    radians = math.pi / 180.0
    sd = torch.tensor([config.pitch_sd_deg * radians, config.yaw_sd_deg * radians, config.roll_sd_deg * radians,
                       *config.shift_sd, 0.0])  # fmt: skip
    mean = torch.tensor([*(angle * radians for angle in config.mean_deg), *config.mean_shift, 0.0])
    # Inverse-CDF sampling of the truncated normal: no rejection loop, one uniform per number.
    edge = 0.5 * (1.0 + math.erf(config.limit_sd / math.sqrt(2.0)))
    uniform = torch.rand(n, 6, generator=rng) * (2 * edge - 1) + (1 - edge)
    normal = math.sqrt(2.0) * torch.erfinv(2 * uniform - 1)
    rho = config.yaw_shift_correlation
    if rho != 0:
        normal[:, 3] = rho * normal[:, 1] + math.sqrt(1 - rho**2) * normal[:, 3]
    return normal * sd + mean


def truncated_sd(limit_sd: float) -> float:
    """Standard deviation of a unit normal that is cut at +-limit_sd: sqrt(1 - 2 L phi(L) / (2 Phi(L) - 1))."""
    density = math.exp(-0.5 * limit_sd**2) / math.sqrt(2.0 * math.pi)
    return math.sqrt(1.0 - 2.0 * limit_sd * density / math.erf(limit_sd / math.sqrt(2.0)))


def sample_lights(
    n: int, config: LightPriorConfig, base: Float[Tensor, "4"], rng: torch.Generator
) -> Float[Tensor, "n 4"]:
    """n lights: direction uniform in the box; gain r adds r to the diffuse and alpha r to the ambient strength of
    `base`.

    base: (ambient, diffuse, lx, ly) of the input, on whose device they come; the random numbers are the CPU's.
    Strengths are kept non-negative.
    """
    low = torch.tensor([config.gain[0], config.lx[0], config.ly[0]])
    high = torch.tensor([config.gain[1], config.lx[1], config.ly[1]])
    sampled = low + (high - low) * torch.rand(n, 3, generator=rng)
    gain, lx, ly = upload(sampled, base.device).unbind(1)
    ambient = (base[0] + config.alpha * gain).clamp_min(0.0)
    diffuse = (base[1] + gain).clamp_min(0.0)
    return torch.stack([ambient, diffuse, lx, ly], 1)
