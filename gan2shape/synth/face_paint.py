"""Colour of a face: mixed skins with brows, stubble, beards, lips and clothes painted on, irises, tinted hair."""

from functools import cache

import numpy as np
from jaxtyping import Float, UInt8

from gan2shape.synth.face_assets import COLLAR_RANGE_DM, MIDDLE_RANGE_DM, HairStyle, face_assets, skin
from gan2shape.synth.face_form import EYE_SPAN_DEG, below_collar
from gan2shape.synth.face_params import FaceParams

EYE_SIDE = 64  # texels along an eye's texture
IRIS_DEG, PUPIL_DEG, LIMBUS_DEG = 26.0, 9.0, 3.0  # angles from the eyeball's front; the limbus is the iris's dark rim
SCLERA_RGB = np.array([0.80, 0.76, 0.73])
GRAIN_SIDES = 420, 520  # width and height of the grain that brows and beards are made of: the atlas's
FOREHEAD = slice(240, 290), slice(105, 125)  # rows and columns of the atlas
BRIGHTEST = 0.89  # of any texel, so that a full light does not clip it


def skin_texture(params: FaceParams) -> UInt8[np.ndarray, "h w 3"]:
    """The skin on the atlas, painted."""
    atlas = sum(np.float32(weight) * skin(name) for name, weight in params.skins.items()) / 255
    bright, warmth = params.skin_tone
    atlas *= (bright * np.exp(warmth * np.array([0.5, 0.0, -1.0]))).astype(np.float32)
    grain = np.roll(_grain(), (params.seed % 509, params.seed // 509 % 401), (0, 1))
    brow, beard, goatee, scalp = np.moveaxis(_masks(), -1, 0)
    hair = np.array(params.hair_rgb, np.float32)
    if params.hair:
        _lay(atlas, 0.75 * hair, 0.85 * scalp)
    elif params.scalp < 1:
        forehead = atlas[FOREHEAD].mean((0, 1))
        _lay(atlas, forehead, (1 - params.scalp) * np.clip(1.3 * scalp, 0, 1))
    if params.lipstick:
        _lay(atlas, np.array(params.lip_rgb, np.float32), 0.75 * params.lipstick * _lips())
    thickness, darkness = params.brow
    strands = np.clip((brow - (1 - 0.45 * thickness)) / 0.3, 0, 1) * (0.55 + 0.45 * grain)
    _lay(atlas, 0.7 * hair, darkness * strands)
    kind, darkness, length = params.beard
    if kind:
        own = np.maximum(beard, goatee) if kind == "full" else goatee
        hairs = np.clip(0.3 + 1.2 * (grain - 0.6 + 0.6 * darkness), 0, 1) if length == 0 else 0.75 + 0.25 * grain
        colour = 0.8 * hair if length > 0 else 0.5 * hair + 0.06
        _lay(atlas, colour, own * hairs * (0.25 + 0.65 * darkness))
    if params.shoulders:
        _lay(atlas, np.array(params.clothes_rgb, np.float32), clothes_mask(params))
    strongest = np.maximum(np.maximum(atlas[..., 0], atlas[..., 1]), atlas[..., 2])  # max(2) takes 20 times as long
    if strongest.max() > BRIGHTEST:  # darker, not of another hue
        atlas *= np.minimum(1, BRIGHTEST / np.maximum(strongest, BRIGHTEST / 2))[..., None]
    return (255 * np.maximum(atlas, 0.01) + 0.5).astype(np.uint8)


def clothes_mask(params: FaceParams) -> Float[np.ndarray, "h w"]:
    """Where clothes lie on the atlas, 0 ... 1."""
    height, sideways, on = _places()
    return below_collar(params.collar_dm, height, sideways, 0.04) * on


def eye_texture(iris_rgb: tuple[float, float, float]) -> UInt8[np.ndarray, "s s 3"]:
    """Iris, pupil and sclera by the angle from the eyeball's front; darker under the upper lid."""
    angle, down, spoke = _eye_angles()
    iris = np.array(iris_rgb)
    depth = 0.75 + 0.45 * np.clip((angle - PUPIL_DEG) / (IRIS_DEG - PUPIL_DEG), 0, 1) * (0.6 + 0.4 * spoke)
    ring = np.clip((IRIS_DEG - angle) / LIMBUS_DEG, 0, 1)
    inner = iris * (depth * (0.45 + 0.55 * ring))[..., None]
    inner = inner * np.clip((angle - PUPIL_DEG) / 2.0, 0.08, 1)[..., None]
    white = SCLERA_RGB * (1 - 0.10 * np.clip((angle - IRIS_DEG) / 30, 0, 1))[..., None]
    inside = np.clip((IRIS_DEG + 0.8 - angle) / 1.6, 0, 1)[..., None]
    colour = inside * inner + (1 - inside) * white
    shaded = 1 - 0.35 * np.clip((-down - 8.0) / 22.0, 0, 1)
    return (255 * np.clip(colour * shaded[..., None], 0.01, BRIGHTEST) + 0.5).astype(np.uint8)


def hair_texture(params: FaceParams, style: HairStyle) -> UInt8[np.ndarray, "s s 4"]:
    """The style's strands in the face's hair colour, with their alpha."""
    relative = 1 + params.hair_contrast * (style.grey.astype(np.float32) / 128 - 1)
    colour = np.clip(relative[..., None] * np.array(params.hair_rgb, np.float32), 0.01, BRIGHTEST)
    return np.concatenate([(255 * colour + 0.5).astype(np.uint8), style.alpha[..., None]], -1)


def _lay(atlas: np.ndarray, colour: np.ndarray, cover: np.ndarray) -> None:
    """Blend a colour over the atlas, in place, where `cover` is not 0."""
    rows, columns = np.flatnonzero(cover.any(1)), np.flatnonzero(cover.any(0))
    if len(rows):
        box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        part = atlas[box]
        part += cover[box][..., None] * (colour - part)


@cache
def _masks() -> Float[np.ndarray, "h w 4"]:
    return face_assets().masks.astype(np.float32) / 255


@cache
def _lips() -> Float[np.ndarray, "h w"]:
    return face_assets().places[..., 0].astype(np.float32) / 255


@cache
def _places() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Height above the collar's plane (dm), distance from the middle plane (dm), and where both are known (0 or 1)."""
    places = face_assets().places.astype(np.float32) / 255
    spans = (COLLAR_RANGE_DM, MIDDLE_RANGE_DM)
    height, sideways = (low + places[..., k] * (high - low) for k, (low, high) in zip((1, 2), spans, strict=True))
    return height, sideways, places[..., 3]


@cache
def _grain() -> Float[np.ndarray, "h w"]:
    """Fine noise in [0, 1], the same for all faces; a face rolls it by its seed."""
    rng = np.random.default_rng(7)
    noise = rng.uniform(size=(GRAIN_SIDES[1], GRAIN_SIDES[0])).astype(np.float32)
    soft = (noise + np.roll(noise, 1, 0) + np.roll(noise, 1, 1) + np.roll(noise, (1, 1), (0, 1))) / 4
    return np.clip(0.5 + 1.6 * (0.5 * noise + 0.5 * soft - 0.5), 0, 1)


@cache
def _eye_angles() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Degrees from the front, degrees downwards, and the iris's spokes (0 ... 1) at each texel of an eye."""
    axis = (np.arange(EYE_SIDE) + 0.5) / EYE_SIDE * 2 * EYE_SPAN_DEG - EYE_SPAN_DEG
    right, down = np.meshgrid(axis, axis)
    around = np.arctan2(down, right)
    spoke = 0.5 + 0.5 * np.cos(9 * around + 1.5 * np.cos(4 * around + 1.0))
    return np.hypot(right, down), down, spoke
