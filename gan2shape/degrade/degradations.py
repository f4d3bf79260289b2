"""Degradations: what happened to a picture, as differentiable functions that compose.

    phi = Down(4, "lanczos2") >> Up(4) >> Gray()
    y = phi.observe(picture, rng)      what somebody was given
    loss = difference(phi(candidate), y)

Images are [B, C, H, W] in [-1, 1]. `observe` is how the observation arises and may differ from the call, which is what
a candidate goes through: noise is observed, but the candidate of the least error has none. `known` tells which pixels
of the observation say anything. `draw(rng)` turns a `Random` into one of its members; of all others it is themselves.
"""

import io
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from gan2shape.core.devices import upload
from gan2shape.core.errors import UserError
from gan2shape.core.images import to_float, to_uint8
from gan2shape.degrade.kernels import RESAMPLERS, filtered, gaussian_kernel, resampling_taps, shrunk

LOST_SHARE = 0.02  # of a pixel's weight: more that comes from lost pixels makes it one
LUMA = (0.299, 0.587, 0.114)  # grey of red, green and blue (Rec. 601)


class Degradation:
    """The base of all, and what does nothing."""

    def __call__(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C h w"]:
        """What a candidate goes through, differentiable."""
        return x

    def observe(self, x: Float[Tensor, "B C H W"], rng: torch.Generator | None = None) -> Float[Tensor, "B C h w"]:
        """The observation of a true picture."""
        return self(x)

    def known(self, before: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B 1 h w"]:
        """1 where the observation says something, 0 elsewhere, of a picture of which `before` was known."""
        return before

    def draw(self, rng: torch.Generator) -> "Degradation":
        """One member of a random family: itself."""
        return self

    def __rshift__(self, after: "Degradation") -> "Chain":
        """This one first, then `after`."""
        return Chain((*_steps(self), *_steps(after)))


@dataclass(frozen=True)
class Identity(Degradation):
    """Nothing happened."""


def _steps(one: Degradation) -> tuple[Degradation, ...]:
    return one.steps if isinstance(one, Chain) else (one,)


@dataclass(frozen=True)
class Chain(Degradation):
    """Several, one after the other."""

    steps: tuple[Degradation, ...]

    def __call__(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C h w"]:
        for step in self.steps:
            x = step(x)
        return x

    def observe(self, x: Float[Tensor, "B C H W"], rng: torch.Generator | None = None) -> Float[Tensor, "B C h w"]:
        for step in self.steps:
            x = step.observe(x, rng)
        return x

    def known(self, before: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B 1 h w"]:
        for step in self.steps:
            before = step.known(before)
        return before

    def draw(self, rng: torch.Generator) -> "Chain":
        return Chain(tuple(step.draw(rng) for step in self.steps))


class Resampling(Degradation):
    """The base of those that mix neighbours: what was lost before stays lost wherever it enters."""

    def known(self, before: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B 1 h w"]:
        return (self(1.0 - before).abs() < LOST_SHARE).to(before)


def per_channel(values: tuple[float, ...], like: Tensor) -> Float[Tensor, "C 1 1"]:
    """Numbers to multiply channels by; they reach the device without making the host wait."""
    return upload(torch.tensor(values, dtype=like.dtype), like.device)[:, None, None]


@dataclass(frozen=True)
class Gray(Degradation):
    """Luma in all three channels."""

    def __call__(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C h w"]:
        return (x * per_channel(LUMA, x)).sum(1, keepdim=True).expand(-1, 3, -1, -1)


@dataclass(frozen=True, eq=False)
class Mask(Degradation):
    """Pixels are kept where `kept` is 1; the others show `fill`."""

    kept: Float[Tensor, "b 1 H W"]
    fill: float = 0.0  # mid-grey, as DGP's

    def __call__(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C h w"]:
        kept = self.kept.to(x)
        return x * kept + self.fill * (1.0 - kept)

    def known(self, before: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B 1 h w"]:
        return before * (self.kept.to(before) > 0.5)


def box_mask(size: int, share: float = 1 / 3) -> Float[Tensor, "1 1 S S"]:
    """Everything but a square in the middle, whose side is this share of the image's, is kept (DGP: a third)."""
    side, kept = max(1, int(size * share)), torch.ones(1, 1, size, size)
    start = (size - side) // 2
    kept[..., start : start + side, start : start + side] = 0.0
    return kept


def stroke_mask(size: int, rng: torch.Generator, n_strokes: int = 4, width: float = 0.08) -> Float[Tensor, "1 1 S S"]:
    """Everything but `n_strokes` random lines, as wide as this share of the image, is kept."""
    y, x = torch.meshgrid(*[(torch.arange(size) + 0.5) / size] * 2, indexing="ij")
    kept = torch.ones(1, 1, size, size)
    for a, b, c, d in torch.rand(n_strokes, 4, generator=rng).tolist():
        along = (((x - a) * (c - a) + (y - b) * (d - b)) / max((c - a) ** 2 + (d - b) ** 2, 1e-9)).clamp(0, 1)
        distance = ((x - a - along * (c - a)) ** 2 + (y - b - along * (d - b)) ** 2).sqrt()
        kept[0, 0][distance < width / 2] = 0.0
    return kept


@dataclass(frozen=True)
class Down(Resampling):
    """Shrunk by a whole factor. `observed_by`: another kernel for the observation (DGP: Lanczos of three lobes)."""

    factor: int
    kernel: str = "bicubic"
    observed_by: str | None = None

    def __post_init__(self) -> None:
        for name in (self.kernel, self.observed_by or self.kernel):
            if name not in RESAMPLERS:
                raise UserError(f"the kernel {name!r} is unknown: use {', '.join(RESAMPLERS)}.")
        if self.factor < 1:
            raise UserError(f"a picture cannot be shrunk by {self.factor}: give a whole factor from 1 on.")

    def __call__(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C h w"]:
        return self._shrunk(x, self.kernel)

    def observe(self, x: Float[Tensor, "B C H W"], rng: torch.Generator | None = None) -> Float[Tensor, "B C h w"]:
        return self._shrunk(x, self.observed_by or self.kernel)

    def _shrunk(self, x: Tensor, kernel: str) -> Tensor:
        if x.shape[-1] % self.factor or x.shape[-2] % self.factor:
            sides = f"{x.shape[-1]} x {x.shape[-2]}"
            raise UserError(f"{sides} pixels cannot be shrunk by {self.factor}: give a factor that divides both.")
        return x if self.factor == 1 else shrunk(x, resampling_taps(kernel, self.factor), self.factor)


@dataclass(frozen=True)
class Up(Resampling):
    """Enlarged by a whole factor, bilinearly (as DGP before its discriminator) or bicubically."""

    factor: int
    mode: str = "bilinear"

    def __call__(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C h w"]:
        return F.interpolate(x, scale_factor=float(self.factor), mode=self.mode, align_corners=False)


@dataclass(frozen=True)
class Blur(Resampling):
    """Gaussian of `sd_px` pixels; `sd_across_px` across the direction `angle_rad`, the same unless given."""

    sd_px: float
    sd_across_px: float | None = None
    angle_rad: float = 0.0

    def __call__(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C h w"]:
        return filtered(x, gaussian_kernel(self.sd_px, self.sd_across_px or self.sd_px, self.angle_rad))


@dataclass(frozen=True)
class Noise(Degradation):
    """Gaussian noise of standard deviation `sd` (of values in [-1, 1]) in the observation."""

    sd: float

    def observe(self, x: Float[Tensor, "B C H W"], rng: torch.Generator | None = None) -> Float[Tensor, "B C h w"]:
        return x + self.sd * torch.randn(x.shape, generator=rng).to(x)


@dataclass(frozen=True)
class Jpeg(Degradation):
    """JPEG of a quality from 1 to 95. The gradient passes straight through (Bengio et al. 2013)."""

    quality: int

    def __call__(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C h w"]:
        return x + (self._coded(x.detach()) - x).detach()

    def _coded(self, x: Tensor) -> Tensor:
        from PIL import Image

        pictures = []
        for pixels in to_uint8(x):
            stream = io.BytesIO()
            Image.fromarray(pixels).save(stream, "JPEG", quality=self.quality)
            pictures.append(np.asarray(Image.open(stream)))
        return to_float(np.stack(pictures)).to(x)


@dataclass(frozen=True)
class ColourShift(Degradation):
    """Each channel times `gain` plus `offset`."""

    gain: tuple[float, float, float] = (1.0, 1.0, 1.0)
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def __call__(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C h w"]:
        return x * per_channel(self.gain, x) + per_channel(self.offset, x)


@dataclass(frozen=True)
class Fourier(Degradation):
    """Only a share of the lines of the spectrum is kept: the middle ones, half of the share, and random others."""

    share: float = 0.5
    seed: int = 0  # of the random lines

    def __call__(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C h w"]:
        kept = self._lines(x.shape[-2]).to(x.device)[:, None]
        return torch.fft.ifft2(torch.fft.fft2(x) * kept).real

    def _lines(self, n: int) -> Float[Tensor, " N"]:
        """1 for each line that is kept, in the order of `fft2`. A line and its mirror image go together: the result
        stays real.
        """
        frequency = torch.fft.fftfreq(n, 1.0 / n).abs().long()
        n_kept = round(self.share * (n // 2 + 1))
        n_low = (n_kept + 1) // 2
        order = torch.randperm(n // 2 + 1 - n_low, generator=torch.Generator().manual_seed(self.seed))
        chosen = torch.zeros(n // 2 + 1)
        chosen[:n_low] = 1.0
        chosen[n_low + order[: n_kept - n_low]] = 1.0
        return chosen[frequency]


@dataclass(frozen=True)
class Crop(Resampling):
    """The part of `height` x `width` pixels at (`top`, `left`)."""

    top: int
    left: int
    height: int
    width: int

    def __call__(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C h w"]:
        return x[..., self.top : self.top + self.height, self.left : self.left + self.width]


@dataclass(frozen=True)
class Random(Degradation):
    """A family: `Random(Blur, sd_px=(0.5, 3.0))` is uniform between two floats, `Random(Down, factor=(2, 4))` one of
    the whole numbers that are listed. Has to be drawn before it is used.
    """

    kind: type[Degradation]
    ranges: tuple[tuple[str, tuple], ...]

    def __init__(self, kind: type[Degradation], **ranges: tuple) -> None:
        object.__setattr__(self, "kind", kind)
        object.__setattr__(self, "ranges", tuple(ranges.items()))

    def __call__(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C h w"]:
        raise TypeError("a random degradation has to be drawn first: call draw(rng)")

    def draw(self, rng: torch.Generator) -> Degradation:
        drawn = {}
        for name, values in self.ranges:
            chance = float(torch.rand((), generator=rng))
            is_listed = all(isinstance(value, int) for value in values)
            drawn[name] = (
                values[int(chance * len(values))] if is_listed else values[0] + chance * (values[-1] - values[0])
            )
        return self.kind(**drawn)
