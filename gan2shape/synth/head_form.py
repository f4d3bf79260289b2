"""The geometry of a parametric head: stacked sections, then soft radial bumps, then small features.

Conventions
-----------
* Lengths are centimetres. Axes of the object frame: x to the image right, y down, z forward; the face looks towards -z.
  The eyes' line is near y = -3.5, the chin's lowest point near y = 7.5, the crown near y = -14.5.
* phi is the angle about the vertical axis: 0 in front, +-pi at the back, positive on the image-right side.
* A "field" adds a smooth displacement with a local support; `side` is |phi| or |x|, so fields are mirror-symmetric.
* Every function takes arrays that broadcast to the grid [R rows, C columns] of (y, phi) and returns the same shape.

The mean head's proportions (SECTIONS and the default fields) are a least-squares fit, rounded by hand, to the mean of
ICT-FaceKit (USC Institute for Creative Technologies, 2020, MIT licence); no vertex of that model is stored.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from gan2shape.synth.head_params import HeadParams

# y of the section, its extent forwards, sideways and backwards of the axis, and the exponents of its front and back
# superellipses (2 an ellipse, more a box, less a wedge); no nose, no ears
SECTIONS = np.array(
    [
        [-14.5, 0.00, 0.00, 0.00, 1.8, 2.5],
        [-13.0, 5.25, 4.75, 6.30, 1.8, 2.5],
        [-11.0, 7.80, 6.55, 7.90, 1.9, 2.5],
        [-9.0, 8.95, 7.50, 9.05, 2.0, 2.35],
        [-7.0, 9.40, 7.95, 9.50, 2.2, 2.3],
        [-5.0, 9.20, 7.85, 9.60, 2.6, 2.3],
        [-3.0, 8.90, 7.65, 9.30, 2.6, 2.25],
        [-1.0, 9.00, 7.40, 8.70, 2.8, 2.1],
        [1.0, 9.10, 6.95, 7.70, 2.9, 1.9],
        [3.0, 9.20, 6.60, 7.00, 2.6, 1.75],
        [5.0, 9.20, 5.85, 6.70, 2.6, 1.9],
        [6.5, 8.50, 5.45, 6.60, 2.0, 2.2],
        [7.5, 7.90, 5.35, 6.80, 1.5, 2.3],
        [8.3, 6.40, 5.35, 6.95, 1.35, 2.3],
        [9.2, 4.80, 5.35, 7.10, 1.4, 2.3],
        [10.5, 4.30, 5.40, 7.20, 1.5, 2.2],
    ]
)
AXIS_Z_CM = -1.0  # the vertical axis of the sections

# height of the nose's ridge above the face plane, by the fraction of the way from root (0) to base (1)
NOSE_RIDGE = np.array(
    [
        [-0.35, 0.0],
        [0.0, 0.4],
        [0.2, 1.3],
        [0.5, 2.25],
        [0.8, 2.95],
        [0.9, 3.0],
        [1.0, 2.4],
        [1.13, 1.0],
        [1.3, 0.3],
        [1.5, 0.0],
    ]
)
NOSE_ROOT_Y_CM, NOSE_BASE_Y_CM = -4.2, 0.45


@dataclass(frozen=True)
class Grid:
    """The (y, phi) grid on which a head is built, as open rows [R 1] and columns [1 C]."""

    y: Float[np.ndarray, "R 1"]
    phi: Float[np.ndarray, "1 C"]


def smooth_curve(x: np.ndarray, knots_x: np.ndarray, knots_y: np.ndarray) -> np.ndarray:
    """Monotone cubic through the knots (Fritsch and Carlson 1980, harmonic-mean slopes), constant outside them."""
    step = np.diff(knots_x)
    slope = np.diff(knots_y) / step
    left, right = slope[:-1], slope[1:]
    weight = (2 * step[1:] + step[:-1], step[1:] + 2 * step[:-1])
    same_sign = left * right > 0
    safe = np.where(same_sign, left, 1.0), np.where(same_sign, right, 1.0)
    inner = np.where(same_sign, (weight[0] + weight[1]) / (weight[0] / safe[0] + weight[1] / safe[1]), 0.0)
    tangent = np.concatenate([slope[:1], inner, slope[-1:]])
    x = np.clip(x, knots_x[0], knots_x[-1])
    k = np.clip(np.searchsorted(knots_x, x, side="right") - 1, 0, len(step) - 1)
    t = (x - knots_x[k]) / step[k]
    return (
        knots_y[k] * (1 + 2 * t) * (1 - t) ** 2
        + step[k] * tangent[k] * t * (1 - t) ** 2
        + knots_y[k + 1] * t**2 * (3 - 2 * t)
        + step[k] * tangent[k + 1] * t**2 * (t - 1)
    )


def smoothstep(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 below `low`, 1 above `high`, a cubic between; falls instead of rising when high < low."""
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    return t * t * (3 - 2 * t)


def bump(x: np.ndarray, centre: float | np.ndarray, sd: float | np.ndarray) -> np.ndarray:
    """Gaussian of height 1."""
    return np.exp(-0.5 * ((x - centre) / sd) ** 2)


def make_grid(n_rows: int, n_cols: int) -> Grid:
    """Rows from just below the crown to the neck's end, dense over the face; columns dense in front."""
    top, bottom = SECTIONS[0, 0], SECTIONS[-1, 0]
    # density of rows over y, and of columns over |phi|, relative to the sparsest part
    row_at = np.array(
        [
            [top, 16.0],
            [-14.4, 6.0],
            [-13.8, 2.5],
            [-9.0, 1.0],
            [-7.0, 1.3],
            [-5.0, 2.2],
            [2.0, 2.2],
            [8.8, 2.4],
            [9.5, 1.0],
            [bottom, 1.0],
        ]
    )
    col_at = np.array([[0.0, 2.0], [45.0, 1.8], [75.0, 1.6], [112.0, 1.6], [130.0, 0.7], [180.0, 0.7]])
    y = _spaced(row_at, n_rows + 1)[1:]  # the first row would be the pole
    side = np.deg2rad(_spaced(col_at, n_cols // 2 + 1))
    return Grid(y[:, None], np.concatenate([side, -side[-2:0:-1]])[None])


def _spaced(density: np.ndarray, n: int) -> np.ndarray:
    """n points from the first to the last abscissa, with the given piecewise-linear density."""
    fine = np.linspace(density[0, 0], density[-1, 0], 4001)
    mass = np.cumsum(np.interp(fine, density[:, 0], density[:, 1]))
    points = np.interp(np.linspace(mass[0], mass[-1], n), mass, fine)
    points[[0, -1]] = density[[0, -1], 0]
    return points


def section_radius(grid: Grid, sections: np.ndarray = SECTIONS) -> np.ndarray:
    """Distance of the base surface from the axis. Squared extents are interpolated: they vanish linearly at a pole."""
    front, width, back = (np.sqrt(smooth_curve(grid.y, sections[:, 0], sections[:, k] ** 2)) for k in (1, 2, 3))
    exponent_front, exponent_back = (smooth_curve(grid.y, sections[:, 0], sections[:, k]) for k in (4, 5))
    ahead = np.abs(grid.phi) <= np.pi / 2
    exponent = np.where(ahead, exponent_front, exponent_back)
    sine, cosine = np.abs(np.sin(grid.phi)), np.abs(np.cos(grid.phi))
    return ((sine / width) ** exponent + (cosine / np.where(ahead, front, back)) ** exponent) ** (-1 / exponent)


def radial_fields(grid: Grid, p: HeadParams) -> np.ndarray:
    """Soft bumps of the radius: the skull, forehead, temples, cheekbones, cheeks, jaw and neck."""
    y, side = grid.y, np.abs(grid.phi)

    def at(phi_deg: float, sd_deg: float, y0: float, sd_y: float) -> np.ndarray:
        return bump(side, np.deg2rad(phi_deg), np.deg2rad(sd_deg)) * bump(y, y0, sd_y)

    lateral = np.sin(side) ** 2
    above = smoothstep(y, -13.9, -10.0) * smoothstep(y, 0.0, -6.0)
    total = 0.5 * p.cranium_width_cm * lateral * above
    total = total + p.cranium_length_cm * np.clip(-np.cos(side), 0, 1) ** 2 * above
    total += 0.5 * p.face_width_cm * at(70.0, 28.0, -0.5, 3.0)
    total += 0.5 * p.jaw_width_cm * at(52.0, 20.0, 4.2, 2.0)
    total += 0.5 * p.neck_width_cm * smoothstep(y, 6.5, 9.0) * np.ones_like(side)
    total += (p.cheekbone_cm + 0.12) * at(46.0, 14.0, -1.5, 1.2)
    total += (p.cheek_fullness_cm + 0.18) * at(42.0, 14.0, 2.2, 1.7)
    total += (p.temple_cm - 0.55) * at(58.0, 13.0, -6.0, 2.2)
    total += p.forehead_bulge_cm * at(0.0, 32.0, -9.2, 1.8)
    chin = np.exp(-((side / (np.deg2rad(27.0) + 0.06 * p.chin_width_cm)) ** 4))  # a shelf over the throat
    total += 1.3 * chin * smoothstep(y, 5.5, 7.5) * smoothstep(y, 8.7, 7.7)
    return total


def planar_fields(x: np.ndarray, y: np.ndarray, p: HeadParams) -> np.ndarray:
    """Displacement towards the viewer (-z), in cm, of the face's parts, as a function of (x, y) seen from the front."""
    side = np.abs(x)
    out = -p.forehead_slope_cm * smoothstep(y, -4.5, -12.5) * np.ones_like(side)
    brow_y = -5.6 + 0.05 * (side - 2.5) ** 2
    out += (0.45 + p.brow_ridge_cm) * bump(y, brow_y, 0.75) * smoothstep(side, 6.3, 4.0)
    out += 0.25 * bump(y, -5.6, 1.0) * bump(side, 0.0, 1.3)  # between the brows
    out += eye_bumps(side, y, p) + nose_bumps(side, y, p) + mouth_bumps(side, y, p)
    out += (0.75 + p.chin_protrusion_cm) * bump(y, 6.5, 1.05) * bump(side, 0.0, 1.75 + 0.5 * p.chin_width_cm)
    return out


def eye_bumps(side: np.ndarray, y: np.ndarray, p: HeadParams) -> np.ndarray:
    """Socket, eyeball and the lids' edges."""
    u, v = eye_coordinates(side, y, p)
    centre_x, centre_y = eye_centre(p)
    socket = bump(side, centre_x - 0.25, 1.5) * bump(y, centre_y, 0.95)
    ball = bump(side, centre_x, 0.95) * bump(y, centre_y, 0.6)
    inner = bump(side, 1.7, 0.5) * bump(y, centre_y - 0.3, 0.7)
    opening = np.clip(1 - u**2 - np.abs(v), 0, 1) * (np.abs(u) < 1)
    lid = bump(v, -1.35 + 0.6 * u**2, 0.3) * smoothstep(np.abs(u), 1.25, 0.6)
    return (
        -(0.55 + p.socket_depth_cm) * socket + (0.55 + p.eye_size_cm) * ball - 0.25 * inner - 0.12 * opening + 0.1 * lid
    )


def eye_centre(p: HeadParams) -> tuple[float, float]:
    """(|x|, y) of the pupils."""
    return 3.15 + p.eye_spacing_cm, -3.5 + p.eye_height_cm


def eye_coordinates(side: np.ndarray, y: np.ndarray, p: HeadParams) -> tuple[np.ndarray, np.ndarray]:
    """(u, v): -1..1 over the lid opening's width, inner corner at -1, and over its height at the pupil."""
    centre_x, centre_y = eye_centre(p)
    u = (side - centre_x) / (1.4 + p.eye_size_cm)
    v = (y - centre_y + p.eye_slant_cm * u) / (0.52 + p.eye_opening_cm)
    return u, v


def nose_bumps(side: np.ndarray, y: np.ndarray, p: HeadParams) -> np.ndarray:
    """A wedge from root to tip, the wings, and the recess at the nostrils."""
    root, base = NOSE_ROOT_Y_CM, NOSE_BASE_Y_CM + p.nose_length_cm
    t = (y - root) / (base - root) + p.nose_tip_up_cm * bump(y, base - 1.2, 0.9) / (base - root)
    ridge = smooth_curve(t, NOSE_RIDGE[:, 0], NOSE_RIDGE[:, 1])
    tip = smoothstep(t, 0.15, 0.85)
    ridge = ridge * (1 + p.nose_protrusion_cm / 3.0 * tip)
    ridge += p.nose_root_cm * bump(t, 0.05, 0.22) + p.nose_hump_cm * bump(t, 0.45, 0.16)
    half_width = 0.9 + 0.5 * smoothstep(t, 0.0, 0.75) + p.nose_ridge_width_cm
    profile = np.exp(-((side / half_width) ** (2.0 + 0.6 * tip)))  # across the ridge
    wing_x = 1.3 + 0.5 * p.nose_width_cm
    wings = 1.9 * bump(side, wing_x, 0.4) * bump(t, 0.93, 0.11) * (1 - profile)
    nostril = 0.45 * bump(side, 0.75, 0.35) * bump(t, 1.12, 0.07)
    return ridge * profile + wings - nostril


def mouth_bumps(side: np.ndarray, y: np.ndarray, p: HeadParams) -> np.ndarray:
    """Muzzle, the two lips, the seam between them and the groove above the chin."""
    seam_y = 3.4 + p.mouth_height_cm
    half = 2.5 + 0.5 * p.mouth_width_cm
    along = np.clip(1 - (side / (half * 1.08)) ** 2, 0, 1)
    muzzle = (1.25 + p.muzzle_cm) * bump(side, 0.0, 2.0) * bump(y, seam_y - 0.4, 1.9)
    upper = (
        (0.38 + 0.8 * p.upper_lip_cm)
        * bump(y, seam_y - 0.75 - 0.4 * p.upper_lip_cm, 0.42 + 0.3 * p.upper_lip_cm)
        * along
    )
    lower = (
        (0.45 + 0.8 * p.lower_lip_cm)
        * bump(y, seam_y + 0.75 + 0.4 * p.lower_lip_cm, 0.45 + 0.3 * p.lower_lip_cm)
        * along
    )
    seam = 0.35 * bump(y, seam_y, 0.22) * smoothstep(side, half * 1.15, half * 0.85)
    groove = 0.5 * bump(y, seam_y + 1.9, 0.5) * bump(side, 0.0, 1.6)
    philtrum = 0.1 * bump(side, 0.0, 0.3) * bump(y, seam_y - 1.5, 0.5)
    return muzzle + upper + lower - seam - groove - philtrum


def ear_offset(grid: Grid, p: HeadParams) -> tuple[np.ndarray, np.ndarray]:
    """(outwards, backwards) displacement in cm of the ears, flaps that rise slowly in front and fall steeply behind."""
    y, side = grid.y, np.abs(grid.phi)
    height = 3.0 + p.ear_size_cm
    centre_y = -1.6 + 0.35 * p.ear_size_cm
    along = np.clip(1 - ((y - centre_y) / height) ** 2, 0, 1) ** 0.7
    tilt = np.deg2rad(1.6) * (y - centre_y)  # the upper end lies further back
    start, rim, end = np.deg2rad([80.0, 103.0, 113.0])
    rise = smoothstep(side + tilt, start, rim) * smoothstep(side + tilt, end, rim + 0.02)
    concha = 0.45 * bump(side + tilt, np.deg2rad(95), np.deg2rad(4)) * bump(y, centre_y, 0.35 * height)
    flap = along * rise
    return (1.75 + p.ear_angle_cm) * flap - concha * along, 0.9 * flap


def lengthen(y: np.ndarray, p: HeadParams) -> np.ndarray:
    """Vertical stretch of the finished head: skull height, upper and lower face (the neck moves along)."""
    out = y - p.cranium_height_cm * smoothstep(y, -5.5, -14.5)
    return out + p.lower_face_length_cm * smoothstep(y, 0.5, 7.5)
