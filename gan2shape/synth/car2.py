"""Cars, second version: half of them the parametric ones of `car`, half real ones, deformed and repainted.

Each family is a real car (`assets/car2`): its length, roof, bonnet and tumblehome change, and its materials get other
colours. Two are held out for exams. All headings are equally likely. `car` stays as it was, for its exam's sake.
"""

from dataclasses import dataclass, replace

import numpy as np

from gan2shape.synth import car
from gan2shape.synth.car import CarParams
from gan2shape.synth.family import Deformation, family_mesh, sample_deformation
from gan2shape.synth.objects import CategorySpec, ObjectMesh, ViewDistribution
from gan2shape.synth.repaint import NewColours, sample_colours
from gan2shape.synth.shape_assets import base_mesh, shape_settings

CATEGORY = "car2"
PAINTS = np.array(
    [[0.85, 0.85, 0.85], [0.62, 0.63, 0.65], [0.30, 0.31, 0.33], [0.12, 0.12, 0.13], [0.62, 0.10, 0.10],
     [0.12, 0.22, 0.50], [0.10, 0.34, 0.24], [0.76, 0.68, 0.50], [0.80, 0.62, 0.12], [0.42, 0.26, 0.16],
     [0.45, 0.58, 0.70], [0.74, 0.34, 0.10]]
)  # fmt: skip
REAL_SHARE = 0.5
REPAINTED, MATERIAL_SHARE = 0.85, 0.75  # how often: at all, of a material
STRETCH_SD, MOST = (0.07, 0.09, 0.10), 0.22  # of the logarithm of width, height, length; limit
BEND, SHIFT = 0.2, 0.08
TUMBLEHOME_SD, BELT = (0.10, 0.05), 0.0  # how much narrower and shorter the roof is than the belt line, and its height
LONGEST_SIDE = 0.13, 0.15  # scene units, as the parametric ones


@dataclass(frozen=True)
class RealCarParams:
    """One real car in another form."""

    base: str
    form: Deformation
    colours: NewColours


def sample_real(rng: np.random.Generator, held_out: bool = False) -> RealCarParams:
    """One of the families for training, or of those held out for exams."""
    settings = shape_settings(CATEGORY)
    names = settings.held_out if held_out else settings.trained
    base = base_mesh(CATEGORY, names[rng.integers(len(names))])
    form = sample_deformation(rng, STRETCH_SD, MOST, BEND, SHIFT, TUMBLEHOME_SD, BELT, LONGEST_SIDE)
    share = MATERIAL_SHARE * (rng.uniform() < REPAINTED)
    return RealCarParams(base.name, form, sample_colours(rng, base, PAINTS, share))


def sample_params(rng: np.random.Generator) -> "RealCarParams | CarParams":
    """A real car or a parametric one."""
    return sample_real(rng) if rng.uniform() < REAL_SHARE else car.sample_params(rng)


def build(params: "RealCarParams | CarParams") -> ObjectMesh:
    """The mesh of either kind, in the object frame."""
    if not isinstance(params, RealCarParams):
        return car.build(params)
    base = base_mesh(CATEGORY, params.base)
    style = params.base.split("_", 1)[1]
    return family_mesh(base, params.form.of(base.vertices), params.form, params.colours, style)


def labels(params: "RealCarParams | CarParams") -> dict[str, str]:
    """The real car, or the first of its twins."""
    if not isinstance(params, RealCarParams):
        return {"base": "parametric"}
    return {"base": shape_settings(CATEGORY).family(params.base)}


SPEC = CategorySpec(
    name=CATEGORY,
    n_params=car.N_PARAMS + 40,
    sample=sample_params,
    build=build,
    views=ViewDistribution(azimuth_bands_deg=((1.0, 0.0, 180.0),), elevation_deg=(0.0, 30.0)),
    standard_view_deg=(40.0, 12.0),
    background_low=(0.55, 0.55, 0.55),
    background_high=(0.95, 0.95, 0.95),
    clear_coat=(0.3, 1.0),
    same_as="car",
    longest_side=0.14,
    labels=labels,
)
HELD_OUT = replace(SPEC, sample=lambda rng: sample_real(rng, held_out=True))  # same stream of numbers, for exams
