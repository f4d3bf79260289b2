"""Faces in pictures by dlib (extra `face`): box, five landmarks, and a descriptor that says who it is.

dlib's code and detector come with the package dlib-bin, two networks with face-recognition-models (Boost licence and
public domain). That package holds a landmark network of another licence too, with 68 points, which is never opened.
Nothing is fetched. Coordinates are pixels of the picture that was given, x to the right, y down.
"""

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from gan2shape.core.errors import UserError
from gan2shape.core.images import to_uint8

LANDMARKS, DESCRIPTOR = "shape_predictor_5_face_landmarks.dat", "dlib_face_recognition_resnet_model_v1.dat"
LEAST_PX = 256  # a picture's shorter side when faces are looked for: smaller ones are enlarged, since 80 pixels of a
# face are the least that the detector was trained on
GREATEST_PX = 1024  # longer side; larger ones are reduced
LEAST_SCORE = 0.0  # of a detection
CHIP_PX = 150  # what the descriptor sees


@dataclass(frozen=True)
class Face:
    """One face of a picture."""

    box: tuple[float, float, float, float]  # left, top, right, bottom
    landmarks: Float[np.ndarray, "5 2"]  # corners of the eye on the image's right, of the other one, base of the nose
    score: float  # of the detector; above 0

    @property
    def eyes(self) -> Float[np.ndarray, "2 2"]:
        """Middles of the eyes, the image-left one first."""
        return np.stack([self.landmarks[2:4].mean(0), self.landmarks[:2].mean(0)])


@dataclass(frozen=True)
class _Tools:
    dlib: Any
    detector: Any
    landmarks: Any
    folder: Path


def has_faces() -> bool:
    """Whether the extra is installed."""
    return find_spec("dlib") is not None and find_spec("face_recognition_models") is not None


@cache
def _tools() -> _Tools:
    # The package's own import needs a module that current setuptools no longer have: only its folder is asked for.
    found = find_spec("face_recognition_models")
    if not has_faces() or found is None or not found.submodule_search_locations:
        raise UserError('Finding faces needs networks that are not installed: `pip install "gan2shape[face]"`.')
    import dlib

    folder = Path(found.submodule_search_locations[0]) / "models"
    detector, landmarks = dlib.get_frontal_face_detector(), dlib.shape_predictor(str(folder / LANDMARKS))
    return _Tools(dlib, detector, landmarks, folder)


@cache
def _descriptor() -> Any:
    tools = _tools()
    return tools.dlib.face_recognition_model_v1(str(tools.folder / DESCRIPTOR))


def _prepared(colour: Float[Tensor, "1 3 H W"]) -> tuple[np.ndarray, float]:
    """(the picture as dlib wants it, how many of its pixels one of the given ones has a side)."""
    short, long = min(colour.shape[-2:]), max(colour.shape[-2:])
    scale = min(max(1.0, LEAST_PX / short), GREATEST_PX / long) if long < GREATEST_PX else GREATEST_PX / long
    if scale != 1.0:
        mode = "bicubic" if scale > 1 else "area"
        size = [max(1, round(side * scale)) for side in colour.shape[-2:]]
        colour = F.interpolate(colour, size=size, mode=mode).clamp(0, 1)
    return np.ascontiguousarray(to_uint8(colour.cpu(), lowest=0.0)[0]), scale


def find_face(colour: Float[Tensor, "1 3 H W"]) -> Face | None:
    """The largest face of a picture in [0, 1]; None where there is none. Raises UserError without the extra."""
    tools, (pixels, scale) = _tools(), _prepared(colour)
    boxes, scores, _ = tools.detector.run(pixels, 1, LEAST_SCORE)
    if not len(boxes):
        return None
    best = max(range(len(boxes)), key=lambda i: boxes[i].area())
    found, box = tools.landmarks(pixels, boxes[best]), boxes[best]
    points = np.array([(found.part(i).x, found.part(i).y) for i in range(5)], dtype=np.float64) / scale
    sides = tuple(float(side) / scale for side in (box.left(), box.top(), box.right() + 1, box.bottom() + 1))
    return Face(sides, points, float(scores[best]))


def descriptor(colour: Float[Tensor, "1 3 H W"]) -> Float[np.ndarray, "128"] | None:
    """128 numbers that say who the largest face of a picture is; None where there is none."""
    tools, (pixels, scale) = _tools(), _prepared(colour)
    face = find_face(colour)
    if face is None:
        return None
    left, top, right, bottom = (round(side * scale) for side in face.box)
    shape = tools.landmarks(pixels, tools.dlib.rectangle(left, top, right - 1, bottom - 1))
    chip = tools.dlib.get_face_chip(pixels, shape, size=CHIP_PX)
    return np.array(_descriptor().compute_face_descriptor(chip))


@torch.no_grad()
def face_distance(image: Float[Tensor, "1 3 H W"], other: Float[Tensor, "1 3 h w"]) -> float | None:
    """Euclidean distance of the descriptors of two pictures in [-1, 1]; None where one of them shows no face. dlib's
    authors take two photographs below .6 for one person.
    """
    first, second = (descriptor(one / 2 + 0.5) for one in (image, other))
    return None if first is None or second is None else float(np.linalg.norm(first - second))
