"""The natural rendering: what a camera would make of the same objects under the same views and lights.

It differs from the plain one in the field of view (10 to 30 degrees; the camera stands so that the object keeps its
size), in linear light with a tinted key light and sky, in gloss, clear coat and contact shadows (ambient occlusion and
a shadow map), in a background that is a picture, in noise and in JPEG. All of it comes from the seed, apart from the
object, view and light, which stay those of the plain rendering.

Depth is stored as z - D + 1 with D the camera's distance, so that an object at fov 10 degrees and one at 30 have
depths about 1 alike.
"""

import io
import zlib
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from gan2shape.scene.camera import focal_px, rotation
from gan2shape.scene.light import light_direction
from gan2shape.synth.backdrop import sample_backdrop
from gan2shape.synth.objects import ObjectMesh
from gan2shape.synth.occlusion import ambient_occlusion, cast_shadow
from gan2shape.synth.render import (
    CHUNK,
    SUPERSAMPLE,
    SurfaceSamples,
    TruthRender,
    join,
    resolve,
    sample_surfaces,
    truth_of,
)

PLAIN_FOV_DEG = 10.0  # where the camera stands at distance 1
SHADOW_LEFT = 0.15  # of the key light in a full cast shadow: bounced light
FRESNEL_NORMAL = 0.04  # share of light that a smooth dielectric reflects head on
SKY_UP, SKY_DOWN = 1.4, 0.45  # brightness of what a clear coat reflects above and below the horizon, over the ambient
# Gloss by region (objects.REGIONS): strength of the highlight and its exponent, multiplied by what the seed gives
GLOSS = torch.tensor([[0.0, 1.0], [1.0, 1.0], [1.6, 1.0], [0.2, 0.5], [3.0, 12.0]])


@dataclass(frozen=True)
class NaturalLook:
    """How one image is taken. Colours are gains in linear light."""

    seed: int  # of the background, the noise
    fov_deg: float
    key_rgb: tuple[float, float, float]
    sky_rgb: tuple[float, float, float]
    fill: float  # ambient light over that of the plain rendering
    exposure: float
    gloss: float  # strength of highlights on the object's own surface
    hardness: float  # Blinn-Phong exponent
    coat: float  # 0 no clear coat ... 1
    occlusion: float  # strength 0 ... 1
    shadow: float  # strength 0 ... 1
    noise: float  # sd at middle grey, of values in [0, 1]
    jpeg_quality: int


def distance_of(fov_deg: float) -> float:
    """Where the camera stands so that an object fills what it fills at 10 degrees: D = tan 5 deg / tan(fov / 2)."""
    return float(np.tan(np.deg2rad(PLAIN_FOV_DEG / 2)) / np.tan(np.deg2rad(fov_deg / 2)))


def sample_look(category: str, seed: int, coat: tuple[float, float] = (0.0, 0.0)) -> NaturalLook:
    """The look of one seed: a stream of its own, which leaves the plain rendering's numbers as they are."""
    rng = np.random.default_rng([seed, zlib.crc32(f"natural {category}".encode())])
    warmth, sky = rng.normal(0, 0.08), rng.normal(0.03, 0.06)
    return NaturalLook(
        seed=int(rng.integers(1 << 31)),
        fov_deg=float(rng.uniform(10, 30)),
        key_rgb=tuple(float(v) for v in np.exp(warmth * np.array([1.0, 0.1, -1.0]))),
        sky_rgb=tuple(float(v) for v in np.exp(sky * np.array([-1.0, 0.0, 1.0]))),
        fill=float(rng.uniform(0.35, 0.8)),
        exposure=float(np.exp(rng.normal(0.25, 0.15))),
        gloss=float(rng.uniform(0.02, 0.16)),
        hardness=float(np.exp(rng.uniform(np.log(6), np.log(40)))),
        coat=float(rng.uniform(*coat)),
        occlusion=float(rng.uniform(0.5, 1.0)),
        shadow=float(rng.uniform(0.4, 1.0)),
        noise=float(rng.uniform(0.0, 0.02)),
        jpeg_quality=int(rng.integers(60, 98)),
    )


def render_natural(
    meshes: list[ObjectMesh],
    view: Float[Tensor, "B 6"],
    light: Float[Tensor, "B 4"],
    looks: list[NaturalLook],
    size: int = 64,
) -> TruthRender:
    """B objects with their truth. The image is the decoded JPEG; albedo is as in the plain rendering, 0 around."""
    parts = []
    for i in range(0, len(meshes), CHUNK):
        part = slice(i, i + CHUNK)
        samples, files = _take(meshes[part], view[part], light[part], looks[part], size)
        image = torch.from_numpy(decoded(files)).permute(0, 3, 1, 2).float() / 255
        parts.append(truth_of(samples, image, torch.zeros(samples.batch, 3), size))
    return join(parts)


def render_natural_colour(
    meshes: list[ObjectMesh],
    view: Float[Tensor, "B 6"],
    light: Float[Tensor, "B 4"],
    looks: list[NaturalLook],
    size: int = 64,
) -> UInt8[np.ndarray, "B S S 3"]:
    """The pixels of `render_natural` alone."""
    return decoded(_take(meshes, view, light, looks, size)[1])


def render_natural_files(
    meshes: list[ObjectMesh],
    view: Float[Tensor, "B 6"],
    light: Float[Tensor, "B 4"],
    looks: list[NaturalLook],
    size: int = 64,
) -> list[bytes]:
    """The JPEG files that the images of `render_natural` are decoded from."""
    return [
        file
        for i in range(0, len(meshes), CHUNK)
        for file in _take(*(part[i : i + CHUNK] for part in (meshes, view, light, looks)), size)[1]
    ]


def decoded(files: list[bytes]) -> UInt8[np.ndarray, "B S S 3"]:
    """Pictures of one size from JPEG files."""
    pictures = []
    for file in files:
        with Image.open(io.BytesIO(file)) as picture:
            pictures.append(np.asarray(picture))
    return np.stack(pictures)


def jpeg(picture: UInt8[np.ndarray, "S S 3"], quality: int) -> bytes:
    """The picture as a JPEG file."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return file.getvalue()


def to_linear(stored: Tensor) -> Tensor:
    """sRGB values in [0, 1] -> linear light."""
    return torch.where(stored <= 0.04045, stored / 12.92, ((stored.clamp(min=0) + 0.055) / 1.055) ** 2.4)


def to_stored(linear: Tensor) -> Tensor:
    """Linear light, 0 ... 1 and above (clipped) -> sRGB values in [0, 1]."""
    light = linear.clamp(0, 1)
    return torch.where(light <= 0.0031308, light * 12.92, 1.055 * light.clamp(min=1e-8) ** (1 / 2.4) - 0.055)


@torch.no_grad()
def _take(meshes, view, light, looks, size) -> tuple[SurfaceSamples, list[bytes]]:
    """Sub-samples, and the JPEG file that the camera makes of each image's."""
    fov = [look.fov_deg for look in looks]
    distance = [distance_of(value) for value in fov]
    samples = sample_surfaces(meshes, view, size * SUPERSAMPLE, fov, distance)
    colour = to_stored(_shade(samples, meshes, view, light, looks, distance))
    nothing = torch.zeros(samples.batch, 3)
    front = resolve(samples, colour, nothing, size)
    mask = resolve(samples, torch.ones(len(colour), 1), nothing[:, :1], size)
    files = []
    for i, look in enumerate(looks):
        rng = np.random.default_rng(look.seed)
        behind = torch.from_numpy(sample_backdrop(rng, size)).permute(2, 0, 1)
        picture = (front[i] + (1 - mask[i]) * behind).permute(1, 2, 0).numpy()
        grain = look.noise * np.sqrt(picture / 0.5 + 0.05) * rng.normal(size=picture.shape)
        stored = (255 * np.clip(picture + grain, 0, 1) + 0.5).astype(np.uint8)
        files.append(jpeg(stored, look.jpeg_quality))
    return samples, files


def _shade(samples, meshes, view, light, looks, distance) -> Float[Tensor, "N 3"]:
    """Linear light that reaches the camera from each sub-sample."""
    item = samples.item
    points = camera_points(samples, [look.fov_deg for look in looks], distance)
    towards = light_direction(light)[item]
    normal, eye = samples.normal, -F.normalize(points, dim=1)

    def of_look(name: str) -> Tensor:
        return torch.tensor([getattr(look, name) for look in looks])[item]

    shadow = cast_shadow(samples, points, meshes, rotation(view[:, :3]), view[:, 3:], distance, light_direction(light))
    lit = 1 - of_look("shadow") * (1 - SHADOW_LEFT) * shadow
    open_sky = 1 - of_look("occlusion") * ambient_occlusion(samples)
    cosine = (normal * towards).sum(1).clamp(min=0)
    key = (light[item, 1] * lit)[:, None] * of_look("key_rgb")
    ambient = (light[item, 0] * of_look("fill") * open_sky)[:, None] * of_look("sky_rgb")
    upwards = (1 - 0.25 * normal[:, 1])[:, None]  # the sky is brighter than the ground
    linear = to_linear(samples.albedo) * (key * cosine[:, None] + ambient * upwards)
    strength, sharper = GLOSS[samples.region.long()].unbind(1)
    half = F.normalize(towards + eye, dim=1)
    exponent = of_look("hardness") * sharper
    peak = (normal * half).sum(1).clamp(min=0) ** exponent * (cosine > 0)
    linear = linear + key * (strength * of_look("gloss") * peak)[:, None]
    if any(look.coat > 0 for look in looks):
        linear = linear + of_look("coat")[:, None] * _coat(normal, eye, half, key, ambient)
    return linear * of_look("exposure")[:, None]


def _coat(normal: Tensor, eye: Tensor, half: Tensor, key: Tensor, ambient: Tensor) -> Tensor:
    """What a clear coat adds: sky and ground mirrored by Fresnel's law (Schlick), and a sharp highlight."""
    facing = (normal * eye).sum(1).clamp(0, 1)
    share = FRESNEL_NORMAL + (1 - FRESNEL_NORMAL) * (1 - facing) ** 5
    up = -(2 * facing * normal[:, 1] - eye[:, 1])  # upward part of the mirrored direction
    blend = torch.sigmoid(up * 12)
    mirrored = ambient * (SKY_DOWN + (SKY_UP - SKY_DOWN) * blend)[:, None]
    return share[:, None] * mirrored + key * ((normal * half).sum(1).clamp(min=0) ** 200)[:, None]


def camera_points(samples: SurfaceSamples, fov_deg: list[float], distance: list[float]) -> Float[Tensor, "N 3"]:
    """Where each sub-sample's surface point is in its camera's frame, before depth is moved to about 1."""
    item, fine = samples.item, samples.fine
    pixel = samples.index % (fine * fine)
    z = samples.depth + (torch.tensor(distance) - 1)[item]
    focal = torch.tensor([focal_px(fine, value) for value in fov_deg])[item]
    x = (pixel % fine).float() + 0.5 - fine / 2
    y = torch.div(pixel, fine, rounding_mode="floor").float() + 0.5 - fine / 2
    return torch.stack([x * z / focal, y * z / focal, z], 1)
