"""Buildings: real ones, deformed, repainted and clad anew.

Each family is a real building (`assets/building`). Its width, height and depth change, and where along each axis its
parts lie; it tapers a little, may be mirrored, gets other colours material by material, and those without texture (and
some others) get a facade of windows. Four are held out for exams: no seed of `building` draws them.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from gan2shape.synth.facade import Facade, facade_picture, facade_uv, sample_facade
from gan2shape.synth.loose import TO_OBJECT, corner_normals, reach_of, triangle_areas
from gan2shape.synth.objects import CategorySpec, ObjectMesh, ViewDistribution
from gan2shape.synth.repaint import NewColours, repainted, sample_colours
from gan2shape.synth.shape_assets import base_mesh, shape_settings

CATEGORY = "building"
WALLS = np.array(
    [[0.62, 0.30, 0.22], [0.50, 0.24, 0.18], [0.80, 0.74, 0.62], [0.86, 0.84, 0.80], [0.55, 0.55, 0.54],
     [0.72, 0.62, 0.42], [0.45, 0.52, 0.42], [0.48, 0.56, 0.66], [0.70, 0.50, 0.40], [0.38, 0.33, 0.30],
     [0.84, 0.72, 0.48], [0.60, 0.66, 0.60], [0.74, 0.58, 0.56]]
)  # fmt: skip
REPAINTED, MATERIAL_SHARE, CLAD = 0.8, 0.65, 0.12  # how often: at all, of a material, a facade on a textured building
STRETCH_SD, HEIGHT_SD, MOST = 0.16, 0.20, 0.38  # of the logarithm of width and depth, of height; limit
BEND, SHIFT = 0.35, 0.15  # how unevenly an axis is stretched, about its middle and from end to end


@dataclass(frozen=True)
class BuildingParams:
    """One building."""

    base: str  # name of the real one
    stretch: tuple[float, float, float]  # factors of width, height, depth
    bend: tuple[float, float, float]  # > 0: the middle grows and the ends shrink
    shift: tuple[float, float, float]  # > 0: parts move to the right, up, to the front
    taper: float  # how much narrower the top is than the bottom
    mirrored: bool
    longest_side: float  # scene units
    colours: NewColours
    facade: Facade | None


def sample_params(rng: np.random.Generator, held_out: bool = False) -> BuildingParams:
    """One of the families for training, or of those held out for exams."""
    settings = shape_settings(CATEGORY)
    names = settings.held_out if held_out else settings.trained
    base = base_mesh(CATEGORY, names[rng.integers(len(names))])
    spread = np.array([STRETCH_SD, HEIGHT_SD, STRETCH_SD]) * rng.normal(0, 1, 3)
    bend, shift = (tuple(float(v) for v in rng.uniform(-most, most, 3)) for most in (BEND, SHIFT))
    share = MATERIAL_SHARE * (rng.uniform() < REPAINTED)
    clad = rng.uniform() < CLAD or base.name in settings.plain
    return BuildingParams(
        base=base.name,
        stretch=tuple(float(v) for v in np.exp(np.clip(spread, -MOST, MOST))),
        bend=bend,
        shift=shift,
        taper=float(max(0.0, rng.normal(0.0, 0.05))),
        mirrored=bool(rng.uniform() < 0.5),
        longest_side=float(rng.uniform(0.115, 0.135)),
        colours=sample_colours(rng, base, WALLS, share),
        facade=sample_facade(rng, WALLS) if clad else None,
    )


def build(params: BuildingParams) -> ObjectMesh:
    """The textured mesh of a building, in the object frame."""
    base = base_mesh(CATEGORY, params.base)
    upright = deformed(base.vertices, params)  # +Y up, +Z front
    order = [2, 1, 0] if params.mirrored else [0, 1, 2]  # a mirrored triangle is walked the other way round
    faces = base.faces[:, order]
    textures, texture = repainted(base, params.colours), base.face_texture
    corner_uv = np.zeros((len(faces), 3, 2), np.float32) if base.corner_uv is None else base.corner_uv[:, order]
    albedo = base.rgb * np.array(params.colours.gain, np.float32)
    if params.facade is not None:
        is_wall, uv = facade_uv(upright[faces], triangle_areas(upright, faces), params.facade)
        corner_uv = np.where(is_wall[:, None, None], uv, corner_uv)
        texture = np.where(is_wall, len(textures), texture)
        textures = (*textures, facade_picture(params.facade))
        albedo = np.where((texture < 0)[:, None], np.array(params.facade.roof_rgb), albedo)
    points = upright * TO_OBJECT
    normals = corner_normals(points, base.faces, base.pairs)[:, order]
    return ObjectMesh(
        vertices=points.astype(np.float32),
        faces=faces,
        face_albedo=np.clip(albedo, 0, 0.9).astype(np.float32),
        corner_normals=-normals if params.mirrored else normals,
        style=params.base.split("_", 1)[1],
        textures=textures,
        face_texture=texture,
        corner_uv=corner_uv.astype(np.float32),
        repeats=True,
        both_sided=base.both_sided,
    )


def deformed(vertices: Float[np.ndarray, "V 3"], params: BuildingParams) -> Float[np.ndarray, "V 3"]:
    """Free-form deformation axis by axis, every axis monotone; then centred and scaled to the scene."""
    extent = np.maximum(np.abs(vertices).max(0), 1e-6)
    q = np.clip(vertices / extent, -1, 1)
    q = q + 0.5 * np.array(params.bend) * (q - q**3) + np.array(params.shift) * (1 - q**2)
    points = q * extent * np.array(params.stretch)
    narrower = 1 - params.taper * (q[:, 1] + 1) / 2
    points = points * np.stack([narrower, np.ones_like(narrower), narrower], 1)
    if params.mirrored:
        points = points * np.array([-1.0, 1.0, 1.0])
    low, high = points.min(0), points.max(0)
    return (points - (low + high) / 2) * (params.longest_side / reach_of(high - low))


SPEC = CategorySpec(
    name=CATEGORY,
    n_params=60,
    sample=sample_params,
    build=build,
    views=ViewDistribution(azimuth_bands_deg=((1.0, 0.0, 60.0),), elevation_deg=(0.0, 25.0)),
    background_low=(0.55, 0.55, 0.55),
    background_high=(0.95, 0.95, 0.95),
)
HELD_OUT = replace(SPEC, sample=lambda rng: sample_params(rng, held_out=True))  # same stream of numbers, for exams
