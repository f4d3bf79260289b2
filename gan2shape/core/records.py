"""The frozen dataclasses that travel between packages.

Conventions (stated once, used everywhere)
------------------------------------------
* Camera frame: x right, y down, z forward (OpenCV). Pixel centres lie at i + 0.5 (`align_corners=False`).
* Images are float in [-1, 1], masks float in [0, 1], depth is the z coordinate, about 1 (range 1 +- half-range).
* view = (pitch, yaw, roll, tx, ty, tz) in radians and scene units; light = (ambient, diffuse, lx, ly) with the
  direction towards the light (lx, ly, -1) / norm in the canonical frame. Normals point to the camera (z < 0).
* B is the batch, S the resolution of the images.
"""

from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float, Int, UInt8
from torch import Tensor


@dataclass(frozen=True)
class Observation:
    """One image to explain."""

    image: Float[Tensor, "1 3 S S"]  # in [-1, 1]
    mask: Float[Tensor, "1 1 S S"]  # the object, in [0, 1]
    latent: Float[Tensor, "1 *L D"]  # w, or W+ with a row for each layer: the inversion of `image`
    is_inverted: bool = False  # the image was given and its latent found; otherwise the image is the latent's own
    has_given_mask: bool = False  # otherwise the mask is what the generator shows of the latent


@dataclass(frozen=True)
class UsualFrame:
    """How a prior's images show their object: sizes and places in parts of the image's width, x right, y down."""

    size: tuple[float, float, float]  # longer side of the mask's box: least, middle, greatest
    centre: tuple[float, float]  # middle of the box
    shift: float  # greatest distance of a box's middle from there, along x or y
    background: tuple[float, float, float]  # colour around the object, in [-1, 1]
    background_spread: float  # greatest mean |pixel - background| around an object


@dataclass(frozen=True)
class Verdict:
    """Whether an image lies inside what a prior knows."""

    level: str  # "inside", "edge" or "outside"
    sentence: str  # for the reader: the level, and the figure that decided
    figures: dict[str, float]  # by name, see shape/verdict.py


@dataclass(frozen=True)
class Scene:
    """A height field with its texture, seen by B cameras under B lights."""

    depth: Float[Tensor, "B 1 S S"]  # canonical depth, about 1
    albedo: Float[Tensor, "B 3 S S"]  # in [-1, 1]
    view: Float[Tensor, "B 6"]  # (pitch, yaw, roll, tx, ty, tz), radians and scene units
    light: Float[Tensor, "B 4"]  # (ambient, diffuse, lx, ly)


@dataclass(frozen=True)
class Render:
    """A scene in B views. Pixels that no surface covers have mask and covered 0 and the far depth."""

    image: Float[Tensor, "B 3 S S"]  # in [-1, 1]: the object over the background
    mask: Float[Tensor, "B 1 S S"]  # of the object, soft; without a canvas the whole height field is object
    depth: Float[Tensor, "B 1 S S"]  # z in the target camera
    covered: Float[Tensor, "B 1 S S"]  # 1 where any part of the height field (object or background plane) is seen
    grid: Float[Tensor, "B S S 2"]  # canonical coordinates in [-1, 1] (`grid_sample`) seen by each pixel

    def pick(self, rows: Tensor) -> "Render":
        """Some of the views."""
        return Render(*(getattr(self, spec.name)[rows] for spec in fields(self)))


@dataclass(frozen=True)
class MeshPart:
    """Triangles of one material, as a mesh file has them: +Y up, +Z front, any unit."""

    vertices: Float[np.ndarray, "V 3"]
    faces: Int[np.ndarray, "F 3"]  # counter-clockwise from outside
    rgb: Float[np.ndarray, "F 3 3"]  # colour of each corner, in [0, 1] as stored; a texture is multiplied by its mean
    texture: UInt8[np.ndarray, "_h _w _c"] | None = None  # alpha where c is 4: below a half there is nothing
    corner_uv: Float[np.ndarray, "F 3 2"] | None = None  # u right, v down; beyond [0, 1] the texture repeats
    both_sided: bool = False


@dataclass(frozen=True)
class LooseMesh:
    """A mesh of any origin, in parts."""

    name: str  # of its file, without the ending
    parts: tuple[MeshPart, ...]
    notes: tuple[str, ...] = ()  # what was missing and what stands in for it, a sentence each
