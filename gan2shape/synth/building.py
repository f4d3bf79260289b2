"""Buildings: real ones, deformed, repainted and clad anew.

Each family is a real building (`assets/building`). Its width, height and depth change, and where along each axis its
parts lie; it tapers a little, may be mirrored, gets other colours material by material, and those without texture (and
some others) get a facade of windows. Four are held out for exams: no seed of `building` draws them.
"""

from dataclasses import dataclass, replace

import numpy as np

from gan2shape.synth.facade import Facade, facade_picture, facade_uv, sample_facade
from gan2shape.synth.family import Deformation, family_mesh, sample_deformation, with_textures
from gan2shape.synth.loose import triangle_areas
from gan2shape.synth.objects import CategorySpec, ObjectMesh, ViewDistribution
from gan2shape.synth.repaint import NewColours, sample_colours
from gan2shape.synth.shape_assets import base_mesh, shape_settings

CATEGORY = "building"
WALLS = np.array(
    [[0.62, 0.30, 0.22], [0.50, 0.24, 0.18], [0.80, 0.74, 0.62], [0.86, 0.84, 0.80], [0.55, 0.55, 0.54],
     [0.72, 0.62, 0.42], [0.45, 0.52, 0.42], [0.48, 0.56, 0.66], [0.70, 0.50, 0.40], [0.38, 0.33, 0.30],
     [0.84, 0.72, 0.48], [0.60, 0.66, 0.60], [0.74, 0.58, 0.56]]
)  # fmt: skip
REPAINTED, MATERIAL_SHARE, CLAD = 0.8, 0.65, 0.12  # how often: at all, of a material, a facade on a textured building
STRETCH_SD, MOST = (0.16, 0.20, 0.16), 0.38  # of the logarithm of width, height, depth; limit
BEND, SHIFT = 0.35, 0.15  # how unevenly an axis is stretched, about its middle and from end to end


@dataclass(frozen=True)
class BuildingParams:
    """One building."""

    base: str  # name of the real one
    form: Deformation
    colours: NewColours
    facade: Facade | None


def sample_params(rng: np.random.Generator, held_out: bool = False) -> BuildingParams:
    """One of the families for training, or of those held out for exams."""
    settings = shape_settings(CATEGORY)
    names = settings.held_out if held_out else settings.trained
    base = base_mesh(CATEGORY, names[rng.integers(len(names))])
    form = sample_deformation(rng, STRETCH_SD, MOST, BEND, SHIFT, (0.05, 0.05), -1.0, (0.115, 0.135))
    share = MATERIAL_SHARE * (rng.uniform() < REPAINTED)
    clad = rng.uniform() < CLAD or base.name in settings.plain
    colours = sample_colours(rng, base, WALLS, share)
    return BuildingParams(base.name, form, colours, sample_facade(rng, WALLS) if clad else None)


def build(params: BuildingParams) -> ObjectMesh:
    """The textured mesh of a building, in the object frame."""
    base = base_mesh(CATEGORY, params.base)
    upright = params.form.of(base.vertices)
    mesh = family_mesh(base, upright, params.form, params.colours, params.base.split("_", 1)[1])
    if params.facade is None:
        return mesh
    is_wall, uv = facade_uv(upright[mesh.faces], triangle_areas(upright, mesh.faces), params.facade)
    if mesh.corner_uv is not None:
        uv = np.where(is_wall[:, None, None], uv, mesh.corner_uv)
    texture = np.where(is_wall, len(mesh.textures), base.face_texture)
    roof = np.array(params.facade.roof_rgb, np.float32)
    mesh = replace(mesh, face_albedo=np.where((texture < 0)[:, None], roof, mesh.face_albedo))
    return with_textures(mesh, (*mesh.textures, facade_picture(params.facade)), texture, uv)


def labels(params: BuildingParams) -> dict[str, str]:
    """The real building, or the first of its twins."""
    return {"base": shape_settings(CATEGORY).family(params.base)}


SPEC = CategorySpec(
    name=CATEGORY,
    n_params=60,
    sample=sample_params,
    build=build,
    views=ViewDistribution(azimuth_bands_deg=((1.0, 0.0, 60.0),), elevation_deg=(0.0, 25.0)),
    standard_view_deg=(0.0, 12.0),
    background_low=(0.55, 0.55, 0.55),
    background_high=(0.95, 0.95, 0.95),
    labels=labels,
)
HELD_OUT = replace(SPEC, sample=lambda rng: sample_params(rng, held_out=True))  # same stream of numbers, for exams
