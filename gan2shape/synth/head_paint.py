"""Hair as a cap that thickens the scalp, and the paint of a parametric head.

Conventions are those of `head_form` (centimetres; y down; phi 0 in front). Colours are albedo in [0, 1]; borders are a
few millimetres soft, about the spacing of the vertices, so that they stay crisp in small pictures without jagging.
"""

import numpy as np

from gan2shape.synth.head_form import (
    Grid,
    bump,
    eye_coordinates,
    smooth_curve,
    smoothstep,
)
from gan2shape.synth.head_params import HeadParams

SCALP_CENTRE_Y_CM = -5.0  # above this height hair grows away from a point, below it away from the vertical axis
SCALP_RADIUS_CM = 8.0  # converts angles about the axis to lengths where the hair ends
EDGE_CM = 0.3  # softness of painted borders

SKIN_RGB = np.array([[0.30, 0.18, 0.12], [0.52, 0.33, 0.22], [0.74, 0.52, 0.39], [0.84, 0.66, 0.55]])  # dark to fair
HAIR_RGB = np.array(
    [[0.05, 0.04, 0.04], [0.20, 0.12, 0.07], [0.42, 0.27, 0.13], [0.72, 0.58, 0.35], [0.70, 0.69, 0.68]]
)
IRIS_RGB = np.array([[0.16, 0.09, 0.05], [0.30, 0.28, 0.12], [0.25, 0.38, 0.52]])
SCLERA_RGB = np.array([0.86, 0.84, 0.82])


def colour_ramp(colours: np.ndarray, position: float) -> np.ndarray:
    """The colour at `position` in [0, 1] along evenly spaced colours."""
    at = np.linspace(0, 1, len(colours))
    return np.array([np.interp(position, at, colours[:, k]) for k in range(3)])


def hair_depth(grid: Grid, p: HeadParams) -> np.ndarray:
    """Signed distance in cm above the hair's border (positive: hair grows here), square to it."""
    phi_deg = np.rad2deg(grid.phi)
    side = np.abs(phi_deg)
    # the border from the middle of the forehead over the temples and in front of the ears to the nape
    at = np.array([0.0, 25.0, 42.0, 56.0, 68.0, 79.0, 92.0, 120.0, 180.0])
    short = np.array([-9.6, -9.7, -9.0, -7.0, -4.8, -2.6, -4.2, 3.0, 4.5])
    long = np.array([-9.6, -9.7, -9.0, -6.5, -3.0, 3.0, 8.0, 9.5, 10.0])
    front = np.array([1.0, 1.0, 0.9, 0.6, 0.3, 0.0, 0.0, 0.0, 0.0])
    border = short + p.hair_length**1.5 * (long - short) - p.hairline_cm * front
    parting = 0.9 * p.hair_part * bump(phi_deg, 18.0, 26.0) - 0.9 * p.hair_part * bump(phi_deg, -18.0, 26.0)
    nudge_deg = 0.5
    rise = smooth_curve(side + nudge_deg, at, border) - smooth_curve(side - nudge_deg, at, border)
    slope = rise / (np.deg2rad(2 * nudge_deg) * SCALP_RADIUS_CM)
    return (smooth_curve(side, at, border) - parting - grid.y) / np.sqrt(1 + slope**2)


def grow_hair(points: np.ndarray, grid: Grid, radius: np.ndarray, p: HeadParams) -> tuple[np.ndarray, np.ndarray]:
    """Push the scalp outwards. Returns the new points [R C 3] and the hair's coverage [R C] in [0, 1]."""
    depth = hair_depth(grid, p)
    cover = smoothstep(depth, -0.3, 0.45)
    rise = smoothstep(depth, -0.2, 1.5)
    top = smoothstep(grid.y, -6.0, -11.0)
    wave = 1 + 0.5 * p.hair_part * np.sin(grid.phi) * top * smoothstep(
        grid.y, -14.6, -12.0
    )  # more hair on one side of the parting
    thickness = (p.hair_side_cm + (p.hair_top_cm - p.hair_side_cm) * top) * wave
    # long hair hangs down from the widest place above it instead of following the neck
    hang = np.maximum.accumulate(radius, axis=0) - radius
    thickness = (
        thickness + hang * smoothstep(p.hair_length * np.ones(1), 0.25, 0.75) * smoothstep(grid.y, -4.0, 1.5) * 0.9
    )
    centre = np.stack(
        np.broadcast_arrays(0.0 * points[..., 0], np.maximum(points[..., 1], SCALP_CENTRE_Y_CM), -1.0), -1
    )
    outward = points - centre
    outward /= np.linalg.norm(outward, axis=-1, keepdims=True)
    return points + outward * (thickness * rise)[..., None], cover


def paint(x: np.ndarray, grid: Grid, cover: np.ndarray, p: HeadParams) -> np.ndarray:
    """Albedo [R C 3] of skin, cheeks, brows, eyes, lips, nostrils and hair from coordinates before any lengthening."""
    y = grid.y
    ahead = np.abs(grid.phi) < np.deg2rad(80)
    side = np.abs(x)
    skin = colour_ramp(SKIN_RGB, p.skin_tone) * np.array([1 + 0.06 * p.skin_red, 1.0, 1 - 0.06 * p.skin_red])
    hair = colour_ramp(HAIR_RGB, p.hair_tone)
    out = np.broadcast_to(skin, (*x.shape, 3)).copy()

    def over(colour: np.ndarray, weight: np.ndarray) -> None:
        out[:] += (np.clip(weight, 0, 1) * ahead)[..., None] * (colour - out)

    over(skin * np.array([1.05, 0.82, 0.80]), 0.45 * bump(side, 4.0, 1.3) * bump(y, 0.6, 1.3))  # cheeks
    over(skin * np.array([1.02, 0.85, 0.82]), 0.5 * bump(side, 0.0, 1.2) * bump(y, 0.2, 0.7))  # tip of the nose
    over(skin * 0.3, 0.8 * bump(side, 0.75, 0.3) * bump(y, 1.15 + p.nose_length_cm, 0.28))  # nostrils
    brow_y = -5.55 + p.brow_height_cm + 0.09 * (side - 3.6) ** 2
    brow = (0.32 + p.brow_thickness_cm) * smoothstep(side, 5.6, 3.2) - np.abs(y - brow_y)
    over(hair * 0.75 + skin * 0.08, 0.9 * inside(brow) * smoothstep(side, 0.9, 1.5) * smoothstep(side, 5.6, 5.0))
    paint_eyes(over, skin, side, y, p)
    paint_lips(over, skin, side, y, p)
    return np.clip(out + cover[..., None] * (hair - out), 0.0, 1.0)


def inside(distance_cm: np.ndarray) -> np.ndarray:
    """Coverage of a painted shape from the signed distance to its border (positive inside)."""
    return smoothstep(distance_cm, -0.5 * EDGE_CM, 0.5 * EDGE_CM)


def paint_eyes(over, skin: np.ndarray, side: np.ndarray, y: np.ndarray, p: HeadParams) -> None:
    """Lid shadow, white, iris and pupil, the lashes' line."""
    u, v = eye_coordinates(side, y, p)
    half_height = 0.52 + p.eye_opening_cm
    lens = (1 - u**2) - np.abs(v)
    over(skin * 0.72, 0.7 * smoothstep(lens, -1.6, -0.2))
    opening = inside(lens * half_height)
    over(SCLERA_RGB, opening)
    distance = np.hypot(u * (1.4 + p.eye_size_cm), v * half_height)
    over(colour_ramp(IRIS_RGB, p.iris_tone), opening * inside(0.68 - distance))
    over(np.full(3, 0.03), opening * inside(0.25 - distance))
    lashes = 0.16 - np.abs(v + (1 - u**2)) * half_height
    over(skin * 0.15, 0.9 * inside(lashes) * smoothstep(np.abs(u), 1.15, 0.95))


def paint_lips(over, skin: np.ndarray, side: np.ndarray, y: np.ndarray, p: HeadParams) -> None:
    """The red of both lips and the dark seam."""
    seam_y = 3.4 + p.mouth_height_cm
    half = 2.5 + 0.5 * p.mouth_width_cm
    along = np.clip(1 - (side / half) ** 2, 0, 1)
    bow = 1 - 0.25 * bump(side, 0.0, 0.35)
    upper = (0.85 + p.upper_lip_cm) * along * bow
    lower = (1.0 + p.lower_lip_cm) * along
    red = np.where(y < seam_y, y - (seam_y - upper), seam_y + lower - y)
    lips = skin * (np.array([0.95, 0.74, 0.74]) + p.lip_red * np.array([0.06, -0.26, -0.22]))
    over(lips, inside(red) * (side < half))
    over(lips * 0.35, 0.85 * bump(y, seam_y, 0.14) * smoothstep(side, half * 1.02, half * 0.9))
