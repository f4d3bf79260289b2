"""How far a foreign generator's samples turn and from where they are lit, read by the networks of a category's pack.

Those networks (`pretrained`) learnt from the pack's own generator to read views and lamps. Of another
generator's samples they are believed as far as two things bear them out, neither of which needs a label: an image and
its mirror image have to be read as mirror images, and the readings have to be spread, but not all over the range.
What is not believed stays the category's. Ambient and diffuse strengths are not read (on renders with known lamps
they correlate .4 and .1 with the truth), and relief is a gauge that no image fixes.

Bounds below were chosen on 256 samples of the two bundled generators, each read by its own pack's networks, by the
other's, and on noise of one colour for each pixel or for each tenth of the side.
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

N_READ = 128  # samples; the ends of a range of lamps then have a standard error of about .03
READ_BATCH = 8
READ_SEED = 2  # of the samples
LAMP_QUANTILES = (0.05, 0.95)  # a range is what lies between
# Correlation of readings of images with those of their mirror images, signs put right. Yaws: own generators .96 to
# .99, the other category's .34 to .67 and .91 to .98, noise .77 at most. Lamps: own .95 to .99; the other category's
# worse one .71 to .81 and .88 to .93, noise .92 at most. (Ranges over several packs; noise with earlier ones.)
LEAST_AGREEMENT = 0.95
# Half the sd of their difference, of yaws, in degrees: enough where little turns and so little can correlate (.87 and
# 1.5 among heads' samples within 10 degrees). Own 1.6 and 2.0, the other category's 2.2 and 3.4, noise 3.1 or more.
MOST_MIRROR_ERROR_DEG = 2.0
# Yaw of heads read by networks for cars is 4.3 degrees sd and of noise 4.7: less cannot be told from seeing nothing.
LEAST_YAW_SD_DEG = 5.0
LEAST_PITCH_SD_DEG = 2.0  # noise: 1.9
MOST_SPREAD = 1 / math.sqrt(3)  # of V's range: a sd as of angles all over it; more says that tanh is saturated
# Of lamps on the scale of the category's box, where an own generator has nine tenths of the box: 1.44 and .9.
LEAST_LX_WIDTH, LEAST_LY_WIDTH = 0.6, 0.4
LEAST_KNOWN_WIDTH = 0.1  # of the pack's own samples' lamps as they are read: less says that nothing is
LAMP_LIMIT = 1.0  # |lx| and |ly| at most: 45 degrees off the camera's axis, the widest box of `LightPriorConfig`

YAW, PITCH, LX, LY = KEYS = ("views.yaw_sd_deg", "views.pitch_sd_deg", "lights.lx", "lights.ly")


@dataclass(frozen=True)
class Range:
    """What pseudo samples are drawn from, of one quantity, and where it comes from."""

    value: float | tuple[float, float]  # sd in degrees, or (low, high) of a lamp's direction
    measured: bool = False
    read: float | tuple[float, float] | None = None  # what the networks said, before it was bounded or refused
    because: str = ""  # why the value is not what was read


@dataclass(frozen=True)
class Readings:
    """What the networks say of N images. Angles from the images' own mean."""

    yaw_deg: Float[Tensor, " N"]
    pitch_deg: Float[Tensor, " N"]
    lx: Float[Tensor, " N"]
    ly: Float[Tensor, " N"]


@torch.inference_mode()
def read_images(networks: SceneNetworks, images: Float[Tensor, "N 3 S S"]) -> Readings:
    """Views and lamps of images of the networks' side, in [-1, 1]."""
    raw = torch.cat([networks.view_net(few) for few in images.split(READ_BATCH)])
    lights = torch.cat([networks.lights(few) for few in images.split(READ_BATCH)])
    views = torch.rad2deg(networks.relative_views(raw, raw.mean(0, keepdim=True))).cpu()
    return Readings(views[:, 1], views[:, 0], *lights[:, 2:].cpu().unbind(1))


@torch.inference_mode()
def generate_images(generator: Generator, size: int, n: int) -> Float[Tensor, "N 3 S S"]:
    """Samples of the whole distribution (not truncated), at another side by area averages."""
    z = torch.randn(n, generator.config.z_dim, generator=torch.Generator().manual_seed(READ_SEED))
    latents = generator.mapping(z.to(generator.w_avg.device))
    parts = [generator.synthesis(few) for few in latents.split(READ_BATCH)]
    return torch.cat([resized(part.clamp(-1, 1), size) for part in parts])


def agreement(found: Float[Tensor, " N"], mirrored: Float[Tensor, " N"]) -> float:
    """Correlation of two readings of the same things; 0 where one of them does not vary."""
    value = torch.corrcoef(torch.stack([found, mirrored]).double())[0, 1].item()
    return value if math.isfinite(value) else 0.0


def doubt(found: Float[Tensor, " N"], mirrored: Float[Tensor, " N"], most_error: float = 0.0) -> str:
    """Why readings of images and of their mirror images (signs put right) are not believed; empty if they are."""
    agrees, error = agreement(found, mirrored), (found - mirrored).std().item() / 2
    if agrees >= LEAST_AGREEMENT or error <= most_error:
        return ""
    return f"mirror images were not read as such (correlation {agrees:.2f}, {LEAST_AGREEMENT:g} needed)"


def calibrated(readings: Readings, known: Readings, lights: LightPriorConfig) -> Readings:
    """Lamps on the scale of the category's box: the networks learnt from drawings, which follow lamps in part, and read
    them too narrow by a factor that differs from pack to pack. `known`: of images lit from all over the box.
    """

    def put_right(values: Tensor, own: Tensor, box: tuple[float, float]) -> Tensor:
        low, high = torch.quantile(own, own.new_tensor(LAMP_QUANTILES))
        wanted = torch.lerp(own.new_tensor(box[0]), own.new_tensor(box[1]), own.new_tensor(LAMP_QUANTILES))
        return wanted[0] + (wanted[1] - wanted[0]) / (high - low).clamp_min(LEAST_KNOWN_WIDTH) * (values - low)

    lx, ly = put_right(readings.lx, known.lx, lights.lx), put_right(readings.ly, known.ly, lights.ly)
    return replace(readings, lx=lx, ly=ly)


def read_ranges(
    networks: SceneNetworks,
    images: Float[Tensor, "N 3 S S"],
    views: ViewPriorConfig,
    lights: LightPriorConfig,
    known: Float[Tensor, "M 3 S S"] | None = None,
) -> dict[str, Range]:
    """The ranges of `KEYS` for a generator that draws such images; `views` and `lights` are the category's, `known` are
    images of the category's own generator (without them, lamps are taken as they are read).
    """
    own, mirror = read_images(networks, images), read_images(networks, images.flip(-1))
    view_doubt = doubt(own.yaw_deg, -mirror.yaw_deg, MOST_MIRROR_ERROR_DEG)
    light_doubt = doubt(own.lx, -mirror.lx) or doubt(own.ly, mirror.ly)
    view_doubt = view_doubt or light_doubt  # networks for heads read yaws of cars as mirrored (.98), lamps not (.88)
    if known is not None:
        own = calibrated(own, read_images(networks, known), lights)
    most_deg = MOST_SPREAD * math.degrees(float(networks.view_range[0]))
    found = {
        YAW: spread(own.yaw_deg, view_doubt, (LEAST_YAW_SD_DEG, most_deg), views.yaw_sd_deg),
        PITCH: spread(own.pitch_deg, view_doubt, (LEAST_PITCH_SD_DEG, most_deg), views.pitch_sd_deg),
        LX: interval(own.lx, light_doubt, LEAST_LX_WIDTH, lights.lx),
        LY: interval(own.ly, light_doubt, LEAST_LY_WIDTH, lights.ly),
    }
    if not found[LX].measured:  # one network reads both, and it has shown that it does not know these pictures
        found[LY] = Range(lights.ly, read=found[LY].read, because=found[LY].because or "lamp x was not believed")
    return found


def spread(
    angles_deg: Float[Tensor, " N"], why_not: str, bounds_deg: tuple[float, float], category_deg: float
) -> Range:
    """Standard deviation in degrees; never more than the category's, because projections do not follow further."""
    sd = round(angles_deg.std().item(), 2)
    if why_not:
        return Range(category_deg, read=sd, because=why_not)
    if not bounds_deg[0] <= sd <= bounds_deg[1]:
        return Range(category_deg, read=sd, because=f"that is outside {bounds_deg[0]:g} to {bounds_deg[1]:.3g}")
    if sd > category_deg:
        return Range(category_deg, True, sd, "projections are not asked to follow further")
    return Range(sd, True, sd)


def interval(values: Float[Tensor, " N"], why_not: str, least_width: float, category: tuple[float, float]) -> Range:
    """The bulk of lamp directions, in the front half-space."""
    low, high = (round(end, 2) for end in torch.quantile(values, values.new_tensor(LAMP_QUANTILES)).tolist())
    if why_not:
        return Range(category, read=(low, high), because=why_not)
    if high - low < least_width:
        return Range(category, read=(low, high), because=f"that is narrower than {least_width:g}")
    bounded = max(low, -LAMP_LIMIT), min(high, LAMP_LIMIT)
    if bounded[1] - bounded[0] < least_width:
        return Range(category, read=(low, high), because=f"that lies beyond {LAMP_LIMIT:g}")
    return Range(bounded, True, (low, high), "" if bounded == (low, high) else f"lamps lie within {LAMP_LIMIT:g}")


def category_ranges(views: ViewPriorConfig, lights: LightPriorConfig) -> dict[str, Range]:
    """The category's own, where nothing can read them."""
    values = views.yaw_sd_deg, views.pitch_sd_deg, lights.lx, lights.ly
    return {key: Range(value) for key, value in zip(KEYS, values, strict=True)}


def as_page(ranges: Mapping[str, Range]) -> dict[str, dict[str, Any]]:
    """Plain values, for JSON."""
    return {key: asdict(one) for key, one in ranges.items()}


def measured_words(page: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """What was measured, as `key=value` words of the configuration.

    Raises ValueError, KeyError or TypeError for a page that `as_page` has not made.
    """
    words = []
    for key, one in page.items():
        if not one["measured"]:
            continue
        value = one["value"]
        ends = [float(end) for end in (value if isinstance(value, list | tuple) else [value])]
        if key not in KEYS or len(ends) != (2 if key in (LX, LY) else 1) or not all(map(math.isfinite, ends)):
            raise ValueError(f"no range: {key}")
        words.append(f"{key}={ends if key in (LX, LY) else ends[0]}".replace(" ", ""))
    return tuple(words)


def described(key: str, one: Range, limit_sd: float, source: str) -> str:
    """A range in words, with its unit; `source` says whose it is where nothing was measured."""
    if key in (LX, LY):
        text = f"{one.value[0]:g} to {one.value[1]:g}" + (" (negative: above)" if key == LY else "")
        read = None if one.read is None else f"{one.read[0]:g} to {one.read[1]:g}"
    else:
        text = f"sd {one.value:g} deg (at most {limit_sd * one.value:g})"
        read = None if one.read is None else f"{one.read:g}"
    if one.measured:
        return f"{text}; read from samples" + (f" as {read}, but {one.because}" if one.because else "")
    return f"{text}; NOT measured ({source})" + (f": read as {read}, but {one.because}" if read else "")
