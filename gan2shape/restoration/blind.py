"""Blind restoration: blurred, shrunk, noisy, compressed by JPEG, and enlarged again (GFPGAN's and GPEN's degradation).

Training draws each part by itself for every picture; a benchmark asks for one severity.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from gan2shape.core.errors import UserError
from gan2shape.degrade.degradations import Blur, Chain, Down, Jpeg, Noise, Random, Up

BLIND = "blind"  # the task
MOST_SEVERE = 4.0
BLUR_PX, NOISE_SD, QUALITY = 0.5, 0.04, 15  # a unit of severity: pixels, of values in [-1, 1], steps below 100
FACTORS = (1, 2, 4, 4)  # of shrinking, by severity rounded up
DRAWN = (
    Random(Blur, sd_px=(0.1, BLUR_PX * MOST_SEVERE))
    >> Random(Down, factor=FACTORS)
    >> Random(Noise, sd=(0.0, NOISE_SD * MOST_SEVERE))
    >> Random(Jpeg, quality=tuple(range(100 - QUALITY * int(MOST_SEVERE), 96)))
)


def of_severity(severity: float) -> Chain:
    """The chain of one severity, above 0 and up to 4. Raises UserError beyond."""
    if not 0 < severity <= MOST_SEVERE:
        raise UserError(f"a severity of {severity:g} is not known: give one above 0 and up to {MOST_SEVERE:g}.")
    factor = FACTORS[-int(-severity // 1) - 1]
    quality = round(100 - QUALITY * severity)
    parts = Blur(BLUR_PX * severity) >> Down(factor) >> Noise(NOISE_SD * severity) >> Jpeg(quality)
    return parts >> Up(factor, "bicubic") if factor > 1 else parts


def damaged(images: Float[Tensor, "B 3 S S"], rng: torch.Generator) -> Float[Tensor, "B 3 S S"]:
    """Each picture through a chain of its own, at its own resolution again, in [-1, 1]."""
    size = images.shape[-1]
    small = [DRAWN.draw(rng).observe(image[None], rng) for image in images]
    same = [one if one.shape[-1] == size else F.interpolate(one, size=(size, size), mode="bicubic") for one in small]
    return torch.cat(same).clamp(-1, 1)
