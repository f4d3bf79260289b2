"""What a synthetic object is, and which categories of it exist.

Object frame: camera-like axes as seen from the object's front: x right, y down, z forward, the front faces -z, the
bounding box (of a face: its head's) is centred at 0. Lengths are scene units: the object is placed at depth 1, where
the image of a camera with a field of view of 10 degrees is 0.175 wide. Albedo in [0, 1], as stored in an image
(gamma-encoded).

A category is data: how to sample parameters, how to build a mesh from them, and the distributions of its views, lights
and background. Views are sampled as a turntable sees them (azimuth about the object's own vertical axis, then the
elevation of the camera); `synth.render.turntable_view` expresses them as a view of `scene.camera`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

REGIONS = ("background", "object", "hair", "shoulders", "eyes")  # a face's skin is "object"


@dataclass(frozen=True)
class ObjectMesh:
    """Closed surfaces in the object frame."""

    vertices: Float[np.ndarray, "V 3"]  # float32
    faces: Int[np.ndarray, "F 3"]  # counter-clockwise from outside: cross(b - a, c - a) points outwards
    face_albedo: Float[np.ndarray, "F 3"]  # in [0, 1], constant on a face
    corner_normals: Float[np.ndarray, "F 3 3"]  # unit, outwards, at each face's three corners: what is shaded
    corner_albedo: Float[np.ndarray, "F 3 3"] | None = None  # where colour varies inside a face; wins over face_albedo
    style: str = ""  # name of the kind within the category, for labels
    textures: tuple[UInt8[np.ndarray, "_h _w _c"], ...] = ()  # colour as stored, and alpha where c is 4
    face_texture: Int[np.ndarray, " F"] | None = None  # number of each face's texture, -1: its albedo counts
    corner_uv: Float[np.ndarray, "F 3 2"] | None = None  # u right, v down, in [0, 1] of the texture
    repeats: bool = False  # whether textures repeat beyond [0, 1]; otherwise their border is held
    cut_out: Bool[np.ndarray, " F"] | None = None  # where the texture's alpha must be tested; None: everywhere
    both_sided: Bool[np.ndarray, " F"] | None = None  # faces that are seen from behind too
    region: UInt8[np.ndarray, " F"] | None = None  # what a face belongs to, one of REGIONS; None: 1 everywhere


@dataclass(frozen=True)
class ViewDistribution:
    """Turntable poses. Azimuth: a mixture of uniform bands of |azimuth|, either sign equally likely."""

    azimuth_bands_deg: tuple[tuple[float, float, float], ...] = ((1.0, 0.0, 45.0),)  # (weight, low, high)
    elevation_deg: tuple[float, float] = (0.0, 25.0)  # uniform; positive looks from above
    roll_sd_deg: float = 0.0  # normal, about the optical axis

    def sample(self, rng: np.random.Generator) -> tuple[float, float, float]:
        """Azimuth, elevation, roll in radians."""
        weights = np.array([band[0] for band in self.azimuth_bands_deg])
        _, low, high = self.azimuth_bands_deg[rng.choice(len(weights), p=weights / weights.sum())]
        azimuth = rng.uniform(low, high) * rng.choice([-1.0, 1.0])
        elevation, roll = rng.uniform(*self.elevation_deg), rng.normal(0.0, 1.0) * self.roll_sd_deg
        return float(np.deg2rad(azimuth)), float(np.deg2rad(elevation)), float(np.deg2rad(roll))


@dataclass(frozen=True)
class LightDistribution:
    """One light in the front half-space of the camera frame, direction (lx, ly, -1) / norm, and an ambient term."""

    ambient: tuple[float, float] = (0.3, 0.6)  # uniform
    diffuse: tuple[float, float] = (0.4, 0.7)  # uniform
    brightest: float = 1.12  # ambient + diffuse never exceeds it, so that albedo up to 0.89 does not clip
    lx: tuple[float, float] = (-0.8, 0.8)  # uniform
    ly: tuple[float, float] = (-0.8, 0.2)  # uniform; negative is above

    def sample(self, rng: np.random.Generator) -> Float[np.ndarray, "4"]:
        """(ambient, diffuse, lx, ly)."""
        ambient, diffuse = rng.uniform(*self.ambient), rng.uniform(*self.diffuse)
        return np.array([ambient, min(diffuse, self.brightest - ambient), rng.uniform(*self.lx), rng.uniform(*self.ly)])


def no_labels(params: Any) -> dict[str, str]:
    """Of a category whose objects have nothing to group them by but their style."""
    return {}


@dataclass(frozen=True)
class CategorySpec:
    """One category of synthetic objects."""

    name: str
    n_params: int  # effective shape and albedo parameters, for the card
    sample: Callable[[np.random.Generator], Any]  # samples the parameters of one object (a frozen dataclass)
    build: Callable[[Any], ObjectMesh]
    views: ViewDistribution = field(default_factory=ViewDistribution)
    standard_view_deg: tuple[float, float] = (0.0, 0.0)  # azimuth and elevation that objects can be turned to
    lights: LightDistribution = field(default_factory=LightDistribution)
    background_low: tuple[float, float, float] = (0.92, 0.92, 0.92)  # image value in [0, 1], uniform grey between
    background_high: tuple[float, float, float] = (0.92, 0.92, 0.92)
    fov_deg: float = 10.0  # of the plain rendering
    clear_coat: tuple[float, float] = (0.0, 0.0)  # strength in the natural rendering, uniform
    same_as: str = ""  # the category whose subject this one shows too, if not one of its own: car2 shows cars
    longest_side: float = 0.125  # scene units, of a mesh from a file that stands in for this category's objects
    styles: tuple[str, ...] = ()  # every `ObjectMesh.style` of the category, in the order of their class numbers
    version: int = 1  # raised by every change of what a seed draws; exams and packs store theirs
    learns_by_mirror: bool = False  # whether objects are symmetric, and turned so little that mirror images teach depth
    labels: Callable[[Any], dict[str, str]] = no_labels  # what tables group an object by, from its parameters
    traits: tuple[str, ...] = ()  # fields of the parameters that a picture shows whatever the view and light

    @property
    def subject(self) -> str:
        """What the images show."""
        return self.same_as or self.name
