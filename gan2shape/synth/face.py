"""Faces: the CC0 MakeHuman head with its skins and hair, morphed, painted and framed as photographs of faces are.

The head, its eyeballs and its hair are textured meshes; see `face_form` (surface), `face_paint` (colour), `face_params`
(what varies). In the object frame the head is about as tall as `FaceParams.fill` says and its middle lies near 0;
shoulders and long hair leave the picture at its lower border.
"""

from dataclasses import dataclass, fields
from functools import cache

import numpy as np

from gan2shape.synth.face_assets import face_assets, hair_style
from gan2shape.synth.face_form import (
    Surface,
    below_collar,
    collar_height,
    eye_surface,
    frame_of,
    hair_surface,
    head_surface,
    morph,
)
from gan2shape.synth.face_paint import eye_texture, hair_texture, skin_texture
from gan2shape.synth.face_params import FaceParams, sample_params, shape_axes
from gan2shape.synth.head_params import truncated_normal
from gan2shape.synth.objects import REGIONS, CategorySpec, ObjectMesh, ViewDistribution

PICTURE_WIDTH = 2 * np.tan(np.deg2rad(5.0))  # scene units that a picture shows at the object's distance
NEARER = -0.008  # the head's middle stands before its axis of rotation, so that shoulders stay in the depth's range
SKIN, HAIR, SHOULDERS, EYES = (REGIONS.index(name) for name in ("object", "hair", "shoulders", "eyes"))


@dataclass(frozen=True)
class FaceViews(ViewDistribution):
    """Frontal poses: azimuth, elevation and roll normal about 0, redrawn beyond a limit."""

    azimuth_sd_deg: float = 20.0
    elevation_sd_deg: float = 8.0
    roll_sd_deg: float = 3.0
    limit_sd: float = 2.25  # azimuth stays within 45 degrees, elevation within 18

    def sample(self, rng: np.random.Generator) -> tuple[float, float, float]:
        """Azimuth, elevation, roll in radians."""
        spreads = (self.azimuth_sd_deg, self.elevation_sd_deg, self.roll_sd_deg)
        azimuth, elevation, roll = (sd * truncated_normal(rng, self.limit_sd) for sd in spreads)
        return float(np.deg2rad(azimuth)), float(np.deg2rad(elevation)), float(np.deg2rad(roll))


def build(params: FaceParams) -> ObjectMesh:
    """The textured mesh of a face, in the object frame."""
    points = morph(params)
    frame = frame_of(points)
    parts = [head_surface(points, _beard_at(params.beard[0]), params, frame)]
    parts += [eye_surface(points, side, params.gaze_deg) for side in (0, 1)]
    textures = [skin_texture(params), eye_texture(params.iris_rgb)]
    strands = np.zeros(0, bool)
    if params.hair:
        style = hair_style(params.hair)
        parts.append(hair_surface(points, style))
        textures.append(hair_texture(params, style))
        strands = style.cut_out
    scale = params.fill * PICTURE_WIDTH / frame.height
    vertices = (np.concatenate([part.points for part in parts]) - frame.middle) * scale * np.array([1.0, -1.0, -1.0])
    vertices += np.array([params.offset[0] * PICTURE_WIDTH, params.offset[1] * PICTURE_WIDTH, NEARER])
    starts = np.cumsum([0] + [len(part.points) for part in parts])
    texture = np.concatenate([_texture_of(part, number) for part, number in zip(parts, (0, 1, 1, 2), strict=False)])
    albedo = np.zeros((len(texture), 3), np.float32)
    albedo[texture < 0] = params.clothes_rgb if params.shoulders else textures[0][CUT_TEXEL] / 255
    return ObjectMesh(
        vertices=vertices.astype(np.float32),
        faces=np.concatenate([part.faces + start for part, start in zip(parts, starts, strict=False)]),
        face_albedo=albedo,
        corner_normals=(np.concatenate([part.corner_normals for part in parts]) * [1, -1, -1]).astype(np.float32),
        style=f"{max(params.ancestry, key=params.ancestry.get)} {params.hair}".strip(),
        textures=tuple(textures),
        face_texture=texture,
        corner_uv=np.concatenate([part.corner_uv for part in parts]),
        cut_out=np.concatenate([np.zeros(len(texture) - len(strands), bool), strands]),
        both_sided=np.arange(len(texture)) >= len(texture) - len(strands),
        region=_regions(params, parts),
    )


CUT_TEXEL = 500, 240  # atlas row and column of the throat's skin: the colour of a cut neck


def _texture_of(part: Surface, number: int) -> np.ndarray:
    texture = np.full(len(part.faces), number)
    texture[len(texture) - part.n_plain :] = -1
    return texture


def _regions(params: FaceParams, parts: list[Surface]) -> np.ndarray:
    """The region of each triangle: clothes where the middle of a triangle of the base head lies below the collar."""
    head = parts[0]
    region = np.full(len(head.faces), SKIN)
    if params.shoulders:
        centres = face_assets().vertices[face_assets().head_faces].mean(1)
        dressed = below_collar(params.collar_dm, collar_height(centres), np.abs(centres[:, 0]), 0.04) > 0.5
        dressed &= centres[:, 1] < 6.1  # not the inside of the mouth
        region[: len(centres)][dressed] = SHOULDERS
        region[len(centres) :] = SHOULDERS
    others = [np.full(len(part.faces), number) for part, number in zip(parts[1:], (EYES, EYES, HAIR), strict=False)]
    return np.concatenate([region, *others]).astype(np.uint8)


@cache
def _beard_at(kind: str) -> np.ndarray:
    """How much beard each vertex of the head carries, 0 ... 1."""
    assets = face_assets()
    masks = assets.masks[..., 1:3].max(-1) if kind == "full" else assets.masks[..., 2]
    height, width = masks.shape
    column, row = (assets.head_uv.reshape(-1, 2) * np.array([width, height])).astype(int).T
    out = np.zeros(len(assets.vertices))
    out[assets.head_faces.reshape(-1)] = masks[np.minimum(row, height - 1), np.minimum(column, width - 1)] / 255
    return out


def labels(params: FaceParams) -> dict[str, str]:
    """Which ancestry, sex and age weigh most."""
    return {
        "ancestry": max(params.ancestry, key=params.ancestry.get),
        "sex": "male" if params.male > 0.5 else "female",
        "age": max(params.age, key=params.age.get),
    }


SPEC = CategorySpec(
    name="face",
    n_params=len(shape_axes()) + len(fields(FaceParams)),
    sample=sample_params,
    build=build,
    views=FaceViews(),
    background_low=(0.55, 0.55, 0.55),
    background_high=(0.95, 0.95, 0.95),
    same_as="head",
    labels=labels,
    learns_by_mirror=True,
)
