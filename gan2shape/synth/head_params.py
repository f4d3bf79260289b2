"""What varies between parametric heads, and how much.

Lengths are centimetres of deviation from the mean head of `head_form`: 0 is the mean. Hair and colours are uniform over
a stated range.
"""

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

TRUNCATION_SD = 2.0  # normal parameters are cut at this many standard deviations


def _normal(sd: float) -> Any:
    """A deviation from the mean head, normal with this standard deviation, truncated."""
    return field(default=0.0, metadata={"sd": sd})


def _uniform(low: float, high: float) -> Any:
    """Uniform over the range; the default is its middle."""
    return field(default=(low + high) / 2, metadata={"low": low, "high": high})


@dataclass(frozen=True)
class HeadParams:
    """Deviations from the mean head in cm, then hair and colours. The standard deviations follow the spread of the same
    measures over the identity modes of ICT-FaceKit, a little wider where 64-pixel pictures would not show them.
    """

    cranium_width_cm: float = _normal(0.8)
    cranium_length_cm: float = _normal(0.8)
    cranium_height_cm: float = _normal(0.65)
    forehead_slope_cm: float = _normal(0.5)  # how far the hairline lies behind the brow
    forehead_bulge_cm: float = _normal(0.25)
    temple_cm: float = _normal(0.2)
    brow_ridge_cm: float = _normal(0.25)
    socket_depth_cm: float = _normal(0.25)
    eye_spacing_cm: float = _normal(0.2)  # of one eye from the middle
    eye_height_cm: float = _normal(0.2)
    eye_size_cm: float = _normal(0.12)
    eye_opening_cm: float = _normal(0.1)
    eye_slant_cm: float = _normal(0.14)
    nose_length_cm: float = _normal(0.3)
    nose_protrusion_cm: float = _normal(0.45)
    nose_root_cm: float = _normal(0.3)
    nose_hump_cm: float = _normal(0.18)
    nose_width_cm: float = _normal(0.35)
    nose_ridge_width_cm: float = _normal(0.12)
    nose_tip_up_cm: float = _normal(0.25)
    face_width_cm: float = _normal(0.8)
    cheekbone_cm: float = _normal(0.25)
    cheek_fullness_cm: float = _normal(0.35)
    mouth_width_cm: float = _normal(0.45)
    mouth_height_cm: float = _normal(0.2)
    muzzle_cm: float = _normal(0.3)
    upper_lip_cm: float = _normal(0.2)
    lower_lip_cm: float = _normal(0.2)
    lower_face_length_cm: float = _normal(0.65)
    chin_protrusion_cm: float = _normal(0.45)
    chin_width_cm: float = _normal(0.45)
    jaw_width_cm: float = _normal(0.9)
    neck_width_cm: float = _normal(0.8)
    ear_size_cm: float = _normal(0.3)
    ear_angle_cm: float = _normal(0.35)
    hairline_cm: float = _normal(0.7)  # positive: a higher forehead
    hair_top_cm: float = _uniform(0.3, 2.6)  # thickness above
    hair_side_cm: float = _uniform(0.2, 1.6)  # thickness at the sides and the back
    hair_length: float = _uniform(0.0, 1.0)  # 0 cropped above the ears, 1 down to the shoulders
    hair_part: float = _uniform(-1.0, 1.0)  # which side the parting is on, and how strong
    brow_height_cm: float = _normal(0.12)
    brow_thickness_cm: float = _uniform(-0.1, 0.2)
    skin_tone: float = _uniform(0.0, 1.0)  # dark to fair
    skin_red: float = _uniform(-1.0, 1.0)
    hair_tone: float = _uniform(0.0, 1.0)  # black, brown, blond, gray
    iris_tone: float = _uniform(0.0, 1.0)
    lip_red: float = _uniform(0.0, 1.0)


def sample_params(rng: np.random.Generator) -> HeadParams:
    """A random head: every parameter independent and continuous."""
    values = {}
    for item in fields(HeadParams):
        if "sd" in item.metadata:
            values[item.name] = item.metadata["sd"] * truncated_normal(rng, TRUNCATION_SD)
        else:
            values[item.name] = rng.uniform(item.metadata["low"], item.metadata["high"])
    return HeadParams(**values)


def truncated_normal(rng: np.random.Generator, limit_sd: float) -> float:
    """A standard normal number, redrawn until it lies within `limit_sd` (>= 1) of 0."""
    value = rng.standard_normal()
    while abs(value) > limit_sd:
        value = rng.standard_normal()
    return float(value)
