"""The ranges of views and lights of a foreign generator, read off its samples by the networks of a category's pack.

Those networks learnt from the pack's own generator to read views and lights. Their readings of another generator's
samples count as far as two checks bear them out, neither of which needs a label. An image and its mirror image have to
be read as mirror images, and the readings have to be spread, but not all over the range. A range that fails stays the
category's. Ambient and diffuse strengths are not read, and depth scale is a gauge that no image fixes.

How the bounds below were chosen: docs/trials.md, "Measured choices".
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.core.config import LightPriorConfig, ViewPriorConfig
from gan2shape.core.images import resized
from gan2shape.nn.generator import Generator
from gan2shape.nn.scene_networks import SceneNetworks

N_READ = 128  # samples
READ_BATCH, DRAWN_AT_ONCE = 8, 4  # images
READ_SEED = 2  # of the samples
LIGHT_QUANTILES = (0.05, 0.95)  # a range is what lies between
LEAST_AGREEMENT = 0.95  # correlation of readings of images with those of their mirror images, signs reversed
MOST_MIRROR_ERROR_DEG = 2.0  # half the sd of their difference, of yaws; enough where yaws hardly vary
LEAST_YAW_SD_DEG = 5.0  # what is read off noise is smaller
LEAST_PITCH_SD_DEG = 2.0
MOST_SPREAD = 1 / math.sqrt(3)  # of V's range: a sd as of angles all over it; more means that tanh is saturated
LEAST_LX_WIDTH, LEAST_LY_WIDTH = 0.6, 0.4  # of lights on the scale of the category's box
LEAST_KNOWN_WIDTH = 0.1  # of the lights of the pack's own samples as they are read; less means that nothing is
LIGHT_LIMIT = 1.0  # |lx| and |ly| at most: 45 degrees off the camera's axis, the widest box of `LightPriorConfig`

YAW, PITCH, LX, LY = KEYS = ("views.yaw_sd_deg", "views.pitch_sd_deg", "lights.lx", "lights.ly")


@dataclass(frozen=True)
class Range:
    """The range of one quantity of pseudo samples, and where it comes from."""

    value: float | tuple[float, float]  # sd in degrees, or (low, high) of a light's direction
    measured: bool = False
    read: float | tuple[float, float] | None = None  # what the networks read, before it was bounded or refused
    because: str = ""  # why the value is not what was read


@dataclass(frozen=True)
class Readings:
    """What the networks read off N images. Angles from the images' own mean."""

    yaw_deg: Float[Tensor, " N"]
    pitch_deg: Float[Tensor, " N"]
    lx: Float[Tensor, " N"]
    ly: Float[Tensor, " N"]


@torch.inference_mode()
def read_images(networks: SceneNetworks, images: Float[Tensor, "N 3 S S"]) -> Readings:
    """Views and lights of images at the networks' resolution, in [-1, 1]."""
    raw = torch.cat([networks.view_net(few) for few in images.split(READ_BATCH)])
    lights = torch.cat([networks.lights(few) for few in images.split(READ_BATCH)])
    views = torch.rad2deg(networks.relative_views(raw, raw.mean(0, keepdim=True))).cpu()
    return Readings(views[:, 1], views[:, 0], *lights[:, 2:].cpu().unbind(1))


@torch.inference_mode()
def generate_images(generator: Generator, size: int, n: int) -> Float[Tensor, "N 3 S S"]:
    """Samples of the whole distribution (not truncated), averaged to another resolution."""
    rng = torch.Generator().manual_seed(READ_SEED)
    z = torch.randn(n, generator.config.z_dim, generator=rng)
    latents = generator.mapping(z.to(generator.w_avg.device))
    parts = [generator.synthesis(few) for few in latents.split(DRAWN_AT_ONCE)]
    return torch.cat([resized(part.clamp(-1, 1), size) for part in parts])


def agreement(direct: Float[Tensor, " N"], mirrored: Float[Tensor, " N"]) -> float:
    """Correlation of two readings of the same things; 0 where one of them does not vary."""
    value = torch.corrcoef(torch.stack([direct, mirrored]).double())[0, 1].item()
    return value if math.isfinite(value) else 0.0


def inconsistency(direct: Float[Tensor, " N"], mirrored: Float[Tensor, " N"], most_error: float = 0.0) -> str:
    """Why readings of images and of their mirror images (signs reversed) are not consistent; empty if they are."""
    agrees, error = agreement(direct, mirrored), (direct - mirrored).std().item() / 2
    if agrees >= LEAST_AGREEMENT or error <= most_error:
        return ""
    return f"mirror images were not read as such (correlation {agrees:.2f}, {LEAST_AGREEMENT:g} needed)"


def calibrated(readings: Readings, known: Readings, lights: LightPriorConfig) -> Readings:
    """Lights on the scale of the category's box. The networks learnt from renders whose response to the light is
    partial, and read ranges that are too narrow by a factor that differs from pack to pack. `known`: readings of images
    with lights from all over the box.
    """

    def rescaled(values: Tensor, known_values: Tensor, box: tuple[float, float]) -> Tensor:
        quantiles = known_values.new_tensor(LIGHT_QUANTILES)
        low, high = torch.quantile(known_values, quantiles)
        target = torch.lerp(known_values.new_tensor(box[0]), known_values.new_tensor(box[1]), quantiles)
        return target[0] + (target[1] - target[0]) / (high - low).clamp_min(LEAST_KNOWN_WIDTH) * (values - low)

    lx, ly = rescaled(readings.lx, known.lx, lights.lx), rescaled(readings.ly, known.ly, lights.ly)
    return replace(readings, lx=lx, ly=ly)


def read_ranges(
    networks: SceneNetworks,
    images: Float[Tensor, "N 3 S S"],
    views: ViewPriorConfig,
    lights: LightPriorConfig,
    known: Float[Tensor, "M 3 S S"] | None = None,
) -> dict[str, Range]:
    """The ranges of `KEYS` for a generator of such images. `views` and `lights` are the category's; `known` are images
    of the category's own generator (without them, lights count as they are read).
    """
    direct, mirror = read_images(networks, images), read_images(networks, images.flip(-1))
    light_fault = inconsistency(direct.lx, -mirror.lx) or inconsistency(direct.ly, mirror.ly)
    view_fault = inconsistency(direct.yaw_deg, -mirror.yaw_deg, MOST_MIRROR_ERROR_DEG)
    view_fault = view_fault or light_fault  # yaws of another category's objects may be read as mirrored by chance
    if known is not None:
        direct = calibrated(direct, read_images(networks, known), lights)
    most_deg = MOST_SPREAD * math.degrees(float(networks.view_range[0]))
    ranges = {
        YAW: spread(direct.yaw_deg, view_fault, (LEAST_YAW_SD_DEG, most_deg), views.yaw_sd_deg),
        PITCH: spread(direct.pitch_deg, view_fault, (LEAST_PITCH_SD_DEG, most_deg), views.pitch_sd_deg),
        LX: interval(direct.lx, light_fault, LEAST_LX_WIDTH, lights.lx),
        LY: interval(direct.ly, light_fault, LEAST_LY_WIDTH, lights.ly),
    }
    if not ranges[LX].measured:  # one network reads both, and fails on these images
        ranges[LY] = Range(lights.ly, read=ranges[LY].read, because=ranges[LY].because or "light x was refused")
    return ranges


def spread(
    angles_deg: Float[Tensor, " N"], why_not: str, bounds_deg: tuple[float, float], category_deg: float
) -> Range:
    """Standard deviation in degrees; at most the category's, because projections do not respond to larger changes."""
    sd = round(angles_deg.std().item(), 2)
    if why_not:
        return Range(category_deg, read=sd, because=why_not)
    if not bounds_deg[0] <= sd <= bounds_deg[1]:
        return Range(category_deg, read=sd, because=f"that is outside {bounds_deg[0]:g} to {bounds_deg[1]:.3g}")
    if sd > category_deg:
        return Range(category_deg, True, sd, "projections do not respond to larger view changes")
    return Range(sd, True, sd)


def interval(values: Float[Tensor, " N"], why_not: str, least_width: float, category: tuple[float, float]) -> Range:
    """The bulk of light directions, in the front half-space."""
    low, high = (round(end, 2) for end in torch.quantile(values, values.new_tensor(LIGHT_QUANTILES)).tolist())
    if why_not:
        return Range(category, read=(low, high), because=why_not)
    if high - low < least_width:
        return Range(category, read=(low, high), because=f"that is narrower than {least_width:g}")
    bounded = max(low, -LIGHT_LIMIT), min(high, LIGHT_LIMIT)
    if bounded[1] - bounded[0] < least_width:
        return Range(category, read=(low, high), because=f"that lies beyond {LIGHT_LIMIT:g}")
    return Range(bounded, True, (low, high), "" if bounded == (low, high) else f"lights lie within {LIGHT_LIMIT:g}")


def category_ranges(views: ViewPriorConfig, lights: LightPriorConfig) -> dict[str, Range]:
    """The category's own, where no network can read them."""
    values = views.yaw_sd_deg, views.pitch_sd_deg, lights.lx, lights.ly
    return {key: Range(value) for key, value in zip(KEYS, values, strict=True)}


def as_page(ranges: Mapping[str, Range]) -> dict[str, dict[str, Any]]:
    """Plain values, for JSON."""
    return {key: asdict(one) for key, one in ranges.items()}


def measured_overrides(page: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """What was measured, as `key=value` overrides of the configuration.

    Raises ValueError, KeyError or TypeError for a page that `as_page` has not made.
    """
    overrides = []
    for key, one in page.items():
        if not one["measured"]:
            continue
        value = one["value"]
        ends = [float(end) for end in (value if isinstance(value, list | tuple) else [value])]
        if key not in KEYS or len(ends) != (2 if key in (LX, LY) else 1) or not all(map(math.isfinite, ends)):
            raise ValueError(f"no range: {key}")
        overrides.append(f"{key}={ends if key in (LX, LY) else ends[0]}".replace(" ", ""))
    return tuple(overrides)


def described(key: str, one: Range, limit_sd: float, source: str) -> str:
    """A range for people, with its unit; `source` names whose it is where nothing was measured."""
    if key in (LX, LY):
        text = f"{one.value[0]:g} to {one.value[1]:g}" + (" (negative: above)" if key == LY else "")
        read = None if one.read is None else f"{one.read[0]:g} to {one.read[1]:g}"
    else:
        text = f"sd {one.value:g} deg (at most {limit_sd * one.value:g})"
        read = None if one.read is None else f"{one.read:g}"
    if one.measured:
        return f"{text}; read from samples" + (f" as {read}, but {one.because}" if one.because else "")
    return f"{text}; NOT measured ({source})" + (f": read as {read}, but {one.because}" if read else "")
