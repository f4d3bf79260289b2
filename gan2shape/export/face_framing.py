"""Faces as a prior's own: the square of a photo in which eyes and nose lie where the prior's mean picture has them."""

import math
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.core.images import resized
from gan2shape.export.inputs import Framing, InputImage, Picture, cropped, default_framing, seen_in
from gan2shape.measure.faces import Face, find_face
from gan2shape.prior.packs import Prior

LEAST_ROLL_DEG = 3.0  # smaller tilts of a head are left as they are


def similarity(
    points: Float[np.ndarray, "N 2"], onto: Float[np.ndarray, "N 2"]
) -> tuple[float, float, Float[np.ndarray, "2"]]:
    """(scale, angle in radians, shift) of the map scale R(angle) p + shift that brings points nearest to others, in
    least squares. Positive angles turn x towards y.
    """
    a, b = points - points.mean(0), onto - onto.mean(0)
    size = max(float((a * a).sum()), 1e-12)
    cosine, sine = float((a * b).sum()) / size, float((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum()) / size
    turn = np.array([[cosine, -sine], [sine, cosine]])
    return math.hypot(cosine, sine), math.atan2(sine, cosine), onto.mean(0) - turn @ points.mean(0)


def usual_landmarks(prior: Prior) -> Float[np.ndarray, "5 2"] | None:
    """Where the prior's mean picture has eyes and nose, in parts of its side; None for a prior of anything else."""
    with torch.no_grad():
        mean = prior.generator.synthesis(prior.w_mean[None]).clamp(-1, 1)
    face = find_face(mean / 2 + 0.5)
    return None if face is None else face.landmarks / mean.shape[-1]


def framed_face(picture: Picture, face: Face, usual: Float[np.ndarray, "5 2"], size: int) -> InputImage:
    """The picture as `size` x `size` with its face where a prior has them; a tilted one is turned upright first, and
    the note says so: such a square cannot be pasted back.
    """
    scale, angle, shift = similarity(face.landmarks, usual)
    roll_deg = math.degrees(angle)
    if abs(roll_deg) < LEAST_ROLL_DEG:
        middle, side = face.landmarks.mean(0), 1.0 / scale
        left, top = middle - usual.mean(0) * side
        framing = Framing(float(round(left)), float(round(top)), float(max(1, round(side))))
        square = resized(cropped(picture.colour, framing, "replicate"), size, "bicubic").clamp(0, 1)
        return replace(seen_in(replace(picture, cover=None), framing, size), image=square * 2 - 1)
    square = turned_square(picture.colour, scale, angle, shift, size)
    note = f"The face was turned upright by {abs(roll_deg):.0f} degrees."
    plain = seen_in(replace(picture, cover=None), default_framing(picture), size)
    return replace(plain, image=square * 2 - 1, notes=(*plain.notes, note), is_turned=True)


def turned_square(
    colour: Float[Tensor, "1 3 H W"], scale: float, angle: float, shift: Float[np.ndarray, "2"], size: int
) -> Float[Tensor, "1 3 S S"]:
    """The unit square of a similarity's target, sampled from a picture at `size` pixels a side (four samples a pixel
    side, averaged); the picture's edge is repeated beyond it.
    """
    fine = 4 * size
    at = (torch.arange(fine, dtype=torch.float64) + 0.5) / fine
    y, x = torch.meshgrid(at, at, indexing="ij")
    u, v = x - float(shift[0]), y - float(shift[1])
    cosine, sine = math.cos(angle) / scale, math.sin(angle) / scale
    source = torch.stack([cosine * u + sine * v, -sine * u + cosine * v], -1)  # pixels of the picture
    height, width = colour.shape[-2:]
    grid = (2 * source / torch.tensor([width, height]) - 1).to(colour.dtype)[None]
    found = torch.nn.functional.grid_sample(colour, grid, padding_mode="border", align_corners=False)
    return torch.nn.functional.avg_pool2d(found, 4)
