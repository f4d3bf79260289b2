"""Cars: five body styles lofted from a side profile, a plan outline and a cross-section.

Lengths are metres in the modelling frame of `synth.loft` (x right, u from the front bumper backwards, h up). A car is
a body (bonnet, deck, wheel arches cut into its lower edge), a greenhouse (screens, windows, pillars, roof), wheels, a
dark underbody and two mirrors. `CarParams` is everything that varies; `STYLES` holds its centre for each style.
"""

from dataclasses import dataclass, fields, replace

import numpy as np

from gan2shape.synth.loft import (
    Part,
    box,
    corner_normals,
    drum,
    merge,
    mirrored_shell,
    to_object_frame,
    wheel,
)
from gan2shape.synth.objects import CategorySpec, ObjectMesh, ViewDistribution

UNITS_PER_METRE = 0.0303  # constant scale: the longest pickup, at its widest view, leaves a margin in the frame

TRIM_RGB = np.array([0.10, 0.10, 0.11])  # grille, sills, pillars between windows
GLASS_RGB = np.array([0.14, 0.18, 0.24])
TYRE_RGB = np.array([0.08, 0.08, 0.09])
UNDER_RGB = np.array([0.05, 0.05, 0.05])
HEADLIGHT_RGB = np.array([0.80, 0.85, 0.88])
TAILLAMP_RGB = np.array([0.62, 0.05, 0.06])
PAINTS_RGB = np.array(
    [
        [0.86, 0.86, 0.85],  # white
        [0.66, 0.67, 0.69],  # silver
        [0.46, 0.47, 0.49],  # grey
        [0.27, 0.27, 0.29],  # charcoal
        [0.76, 0.15, 0.13],  # red
        [0.16, 0.32, 0.68],  # blue
        [0.18, 0.48, 0.33],  # green
        [0.86, 0.62, 0.14],  # yellow
    ]
)


@dataclass(frozen=True)
class CarParams:
    """One car. Metres unless another unit is named; heights are above the ground, u counts from the front bumper."""

    style: str
    length: float
    width: float
    height: float
    clearance: float  # of the sills
    wheel_radius: float
    front_overhang: float  # front bumper to front axle
    rear_overhang: float
    nose_height: float  # front edge of the bonnet
    belt_height: float  # foot of the windows
    deck_height: float  # rear end of the body
    cowl: float  # u of the windscreen's foot
    roof_front: float  # u of the windscreen's head
    roof_rear: float  # u of the rear screen's head, from the rear end forwards
    back_foot: float  # u of the rear screen's foot, from the rear end forwards
    tumblehome: float  # how much narrower each side of the roof is than the belt
    roof_crown: float  # sag of the roof's ends
    corner_front: float  # plan radius of the front corners, along u
    corner_rear: float
    nose_lean: float  # how far the grille tilts back
    b_pillar: float  # fraction of the side's length
    c_pillar: float
    rear_glass: float  # share of the length behind the C pillar that is glass
    glass_foot: float  # window's foot and head, fractions of the greenhouse's height
    glass_head: float
    bed_depth: float  # of a pickup's open bed; 0 where there is none
    lamp_width: float  # headlight's inner edge, fraction of the half-width
    cladding: float  # share of the side, from below, that is trim rather than paint
    rim: float  # rim's radius, fraction of the wheel's
    rim_value: float  # grey value of the rims
    paint_rgb: tuple[float, float, float]


# Spread of each field: half-width of a uniform jitter about the style's centre.
JITTER = {
    "length": 0.15, "width": 0.05, "height": 0.05, "clearance": 0.02, "wheel_radius": 0.02, "front_overhang": 0.05,
    "rear_overhang": 0.07, "nose_height": 0.04, "belt_height": 0.03, "deck_height": 0.03, "cowl": 0.10,
    "roof_front": 0.10, "roof_rear": 0.08, "back_foot": 0.03, "tumblehome": 0.04, "roof_crown": 0.02,
    "corner_front": 0.06, "corner_rear": 0.05, "nose_lean": 0.05, "b_pillar": 0.03, "c_pillar": 0.03,
    "glass_foot": 0.02, "glass_head": 0.02, "lamp_width": 0.06, "rim": 0.05, "rim_value": 0.18,
}  # fmt: skip

_SEDAN = CarParams(
    style="sedan", length=4.55, width=1.82, height=1.44, clearance=0.24, wheel_radius=0.34, front_overhang=0.90,
    rear_overhang=1.02, nose_height=0.70, belt_height=0.94, deck_height=0.94, cowl=1.30, roof_front=2.02,
    roof_rear=1.46, back_foot=0.66, tumblehome=0.20, roof_crown=0.06, corner_front=0.32, corner_rear=0.26,
    nose_lean=0.12, b_pillar=0.44, c_pillar=0.80, rear_glass=0.35, glass_foot=0.08, glass_head=0.88, bed_depth=0.0,
    lamp_width=0.55, cladding=0.12, rim=0.64, rim_value=0.62, paint_rgb=(0.6, 0.6, 0.6),
)  # fmt: skip
STYLES: dict[str, CarParams] = {
    "sedan": _SEDAN,
    "hatchback": replace(
        _SEDAN, style="hatchback", length=3.95, width=1.74, height=1.50, front_overhang=0.78, rear_overhang=0.66,
        nose_height=0.76, belt_height=0.97, deck_height=0.95, cowl=1.02, roof_front=1.66, roof_rear=0.60,
        back_foot=0.16, tumblehome=0.18, c_pillar=0.78, rear_glass=0.30,
    ),
    "suv": replace(
        _SEDAN, style="suv", length=4.50, width=1.90, height=1.80, clearance=0.33, wheel_radius=0.41,
        front_overhang=0.88, rear_overhang=0.86, nose_height=1.00, belt_height=1.16, deck_height=1.14, cowl=1.24,
        roof_front=1.78, roof_rear=0.42, back_foot=0.14, tumblehome=0.14, corner_front=0.24, corner_rear=0.20,
        nose_lean=0.06, b_pillar=0.40, c_pillar=0.72, rear_glass=0.72, cladding=0.26, roof_crown=0.04,
    ),
    "pickup": replace(
        _SEDAN, style="pickup", length=4.95, width=1.92, height=1.80, clearance=0.34, wheel_radius=0.41,
        front_overhang=0.92, rear_overhang=1.10, nose_height=1.00, belt_height=1.16, deck_height=1.14, cowl=1.32,
        roof_front=1.92, roof_rear=2.00, back_foot=1.82, tumblehome=0.15, corner_front=0.22, corner_rear=0.14,
        nose_lean=0.05, b_pillar=0.56, c_pillar=0.90, rear_glass=0.0, cladding=0.22, roof_crown=0.03, bed_depth=0.42,
    ),
    "van": replace(
        _SEDAN, style="van", length=4.65, width=1.90, height=2.06, clearance=0.26, wheel_radius=0.35,
        front_overhang=0.88, rear_overhang=0.92, nose_height=0.88, belt_height=1.12, deck_height=1.10, cowl=0.72,
        roof_front=1.42, roof_rear=0.22, back_foot=0.10, tumblehome=0.12, corner_front=0.26, corner_rear=0.16,
        nose_lean=0.10, b_pillar=0.30, c_pillar=0.64, rear_glass=0.78, glass_foot=0.08, glass_head=0.80,
        roof_crown=0.03,
    ),
}  # fmt: skip


def sample_params(rng: np.random.Generator) -> CarParams:
    """Sample a car: a style, each measure about the style's centre, one of a few plain paints."""
    centre = STYLES[list(STYLES)[rng.integers(len(STYLES))]]
    jittered = {name: getattr(centre, name) + spread * rng.uniform(-1, 1) for name, spread in JITTER.items()}
    paint = PAINTS_RGB[rng.integers(len(PAINTS_RGB))] + rng.uniform(-0.03, 0.03) + rng.uniform(-0.02, 0.02, 3)
    return replace(centre, **jittered, paint_rgb=tuple(float(v) for v in np.clip(paint, 0.04, 0.88)))


def build(params: CarParams) -> ObjectMesh:
    """The closed mesh of a car, in the object frame."""
    whole = merge([_body(params), _greenhouse(params), _underbody(params), *_wheels(params), *_mirrors(params)])
    points = to_object_frame(whole.points, UNITS_PER_METRE)
    normals = corner_normals(points.astype(np.float64), whole.faces).astype(np.float32)
    return ObjectMesh(points, whole.faces, whole.albedo.astype(np.float32), normals, style=params.style)


# ------------------------------------------------------------------------------------------------------------- body

_FRONT_X = (0.0, 0.28, 0.52, 0.70)  # columns of the front and rear faces, fractions of the half-width; then the corner
_N_CORNER, _N_ARCH, _N_MIDDLE = 4, 9, 5
_ROW_T = np.array([0.0, 0.22, 0.50, 0.80, 1.0])  # side rows, from the lower edge to the shoulder
_ROW_WIDTH = np.array([0.965, 0.99, 1.0, 0.985, 0.955])  # cross-section of the side
_NOSE_OUT = np.array([0.25, 0.0, 0.15, 0.65, 1.15])  # how far back each row of the front face stands, times nose_lean
_TOP_S = np.array([0.95, 0.86, 0.84, 0.45, 0.0])  # rows of the top: fractions of the half-width
_TOP_H = np.array([0.55, 0.75, 0.80, 0.95, 1.0])  # their share of the crown
_CROWN = 0.07  # the top's middle line above the shoulder
_ARCH_GAP = 0.07  # arch's radius less the wheel's
_BOW_FRONT, _BOW_REAR = 0.12, 0.05  # the front face's middle ahead of its corners


def _plan(params: CarParams) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Columns of the body's half outline: x as a fraction, u, and how much of the front and rear tilt applies."""
    theta = np.arange(1, _N_CORNER + 1) / _N_CORNER * np.pi / 2
    edge = _FRONT_X[-1]
    x_end = np.concatenate([_FRONT_X, edge + (1 - edge) * np.sin(theta)])
    bend = np.concatenate([np.zeros(len(_FRONT_X)), 1 - np.cos(theta)])
    front_u = _BOW_FRONT * x_end**2 + params.corner_front * bend
    rear_u = params.length - (_BOW_REAR * x_end**2 + params.corner_rear * bend)
    arch_front, arch_rear = (_arch_columns(params, axle) for axle in _axles(params))
    bed_front = params.length - params.back_foot + 0.10
    middle = np.linspace(arch_front[-1], arch_rear[0], _N_MIDDLE + 2)[1:-1]
    nearest = int(np.argmin(np.abs(middle - bed_front)))
    if params.bed_depth > 0:
        middle[nearest] = bed_front
        middle = np.insert(middle, nearest + 1, bed_front + 0.02)
    side_u = np.concatenate([arch_front, middle, arch_rear])
    x = np.concatenate([x_end, np.ones(len(side_u)), x_end[::-1]])
    u = np.concatenate([front_u, side_u, rear_u[::-1]])
    tilt_front = np.concatenate([1 - bend, np.zeros(len(side_u) + len(rear_u))])
    tilt_rear = np.concatenate([np.zeros(len(front_u) + len(side_u)), (1 - bend)[::-1]])
    return x, u, tilt_front, tilt_rear


def _axles(params: CarParams) -> tuple[float, float]:
    return params.front_overhang, params.length - params.rear_overhang


def _arch_columns(params: CarParams, axle: float) -> np.ndarray:
    radius = params.wheel_radius + _ARCH_GAP
    reach = np.arccos(np.clip((params.clearance - params.wheel_radius) / radius, -1, 1))
    reach = min(reach, np.pi / 2)
    return axle + radius * np.sin(np.linspace(-reach, reach, _N_ARCH))


def _lower_edge(params: CarParams, u: np.ndarray) -> np.ndarray:
    """Height of the body's lower edge: the sills, and the wheel arches."""
    radius = params.wheel_radius + _ARCH_GAP
    edge = np.full_like(u, params.clearance)
    for axle in _axles(params):
        inside = np.abs(u - axle) < radius * 0.9999
        arch = params.wheel_radius + np.sqrt(np.maximum(radius**2 - (u - axle) ** 2, 0))
        edge = np.where(inside, np.maximum(edge, arch), edge)
    return edge


def _shoulder(params: CarParams, u: np.ndarray) -> np.ndarray:
    """Height of the body's upper edge at the side."""
    knots_u = [0.0, params.cowl * 0.5, params.cowl, params.cowl + 0.5, params.length - params.back_foot, params.length]
    rise = params.belt_height - params.nose_height
    at_cowl = params.belt_height - 0.02
    knots_h = [params.nose_height, params.nose_height + 0.66 * rise, at_cowl, params.belt_height, params.belt_height]
    return np.interp(u, knots_u, [*knots_h, params.deck_height]) - _CROWN


def _body(params: CarParams) -> Part:
    x, u, tilt_front, tilt_rear = _plan(params)
    low, high = _lower_edge(params, u), _shoulder(params, u)
    taper = 1 - 0.05 * np.abs(2 * u / params.length - 1) ** 3
    half_width = params.width / 2 * taper
    n_side, n_cols = len(_ROW_T), len(u)
    rows = np.empty((1 + n_side + len(_TOP_S), n_cols, 3))
    side = rows[1 : 1 + n_side]
    side[..., 0] = _ROW_WIDTH[:, None] * x * half_width
    out = _NOSE_OUT[:, None] * params.nose_lean
    side[..., 1] = u + out * tilt_front - 0.5 * out * tilt_rear
    side[..., 2] = low + _ROW_T[:, None] * (high - low)
    rows[0] = side[0] * np.array([0.0, 1.0, 1.0])  # the underside folds onto the middle line
    top = rows[1 + n_side :]
    top[..., 0] = side[-1, :, 0] * _TOP_S[:, None]
    top[..., 1] = side[-1, :, 1]
    top[..., 2] = high + _CROWN * _TOP_H[:, None]
    if params.bed_depth > 0:
        _sink_bed(params, top)
    return mirrored_shell(rows, _body_albedo(params, x, u, n_side, len(rows)))


def _sink_bed(params: CarParams, top: np.ndarray) -> None:
    """Make the rear top an open bed: a level rim, inner walls and a floor."""
    in_bed = top[0, :, 1] > params.length - params.back_foot + 0.11
    rim = top[0, in_bed, 2].mean()
    top[:2, in_bed, 2] = rim
    top[2:, in_bed, 2] = rim - params.bed_depth
    top[1:, in_bed, 1] = np.minimum(top[1:, in_bed, 1], params.length - 0.14)


def _body_albedo(params: CarParams, x: np.ndarray, u: np.ndarray, n_side: int, n_rows: int) -> np.ndarray:
    """Colour of each cell [rows - 1, columns - 1]. Row 0 is the underside, rows 1 ... n_side - 1 the side."""
    paint = np.array(params.paint_rgb)
    albedo = np.tile(paint, (n_rows - 1, len(u) - 1, 1))
    albedo[0] = UNDER_RGB
    albedo[1] = TRIM_RGB if params.cladding > 0.2 else paint
    n_end = len(_FRONT_X) + _N_CORNER - 1  # cells of the front face and corner
    x_mid = (x[1:] + x[:-1]) / 2
    front, rear = np.arange(len(u) - 1) < n_end, np.arange(len(u) - 1) >= len(u) - 1 - n_end
    albedo[1, front | rear] = TRIM_RGB
    albedo[3, front & (x_mid < params.lamp_width - 0.05)] = TRIM_RGB  # grille
    albedo[3, front & (x_mid > params.lamp_width) & (x_mid < 0.99)] = HEADLIGHT_RGB
    albedo[3, rear & (x_mid > 0.6)] = TAILLAMP_RGB
    if params.bed_depth > 0:
        in_bed = (u[1:] > params.length - params.back_foot + 0.11) & (u[:-1] > params.length - params.back_foot + 0.05)
        albedo[n_side + 2 :, in_bed] = TRIM_RGB
    return albedo


# ------------------------------------------------------------------------------------------------------- greenhouse

_SUNK = 0.16  # how deep the greenhouse's foot stands in the body
_CABIN_INSET = 0.05  # its foot inside the body's side


def _greenhouse(params: CarParams) -> Part:
    theta = np.arange(1, 4) / 3 * np.pi / 2
    edge = 0.80
    x_end = np.concatenate([[0.0, 0.45, edge], edge + (1 - edge) * np.sin(theta)])
    back_end = np.concatenate([0.10 * np.array([0.0, 0.45, edge]) ** 2, 0.10 * edge**2 + 0.22 * (1 - np.cos(theta))])
    b, c = params.b_pillar, params.c_pillar
    glass_end = c + 0.03 + params.rear_glass * (0.97 - c)
    side_v = np.array([0.03, b - 0.025, b + 0.025, c - 0.03, c + 0.03, max(glass_end, c + 0.04)])
    n_end = len(x_end)
    x = np.concatenate([x_end, np.ones(len(side_v)), x_end[::-1]])
    rear_u = params.length - params.back_foot, params.length - params.roof_rear
    t = np.array([-_SUNK / (params.height - params.belt_height), 0.0, params.glass_foot, params.glass_head, 1.0])
    rise = np.maximum(t, 0)  # below the belt the walls stand upright, hidden in the body
    front = params.cowl + rise * (params.roof_front - params.cowl)
    rear = rear_u[0] + rise * (rear_u[1] - rear_u[0])
    start, stop = front[:, None] + back_end, rear[:, None] - back_end[::-1] * 0.7
    middle = start[:, -1:] + side_v * (stop[:, :1] - start[:, -1:])
    u = np.concatenate([start, middle, stop], 1)
    half_width = params.width / 2 * 0.955 - _CABIN_INSET - t * params.tumblehome
    centre, reach = (params.roof_front + rear_u[1]) / 2, (rear_u[1] - params.roof_front) / 2
    roof = params.height - 0.06 - params.roof_crown * np.minimum(np.abs(u[-1] - centre) / reach, 1.2) ** 2
    side = np.stack([half_width[:, None] * x, u, params.belt_height + t[:, None] * (roof - params.belt_height)], -1)
    top_s, top_h = np.array([0.94, 0.80, 0.40, 0.0]), np.array([0.025, 0.042, 0.056, 0.06])
    top = np.repeat(side[-1:], len(top_s), 0)
    top[..., 0] *= top_s[:, None]
    top[..., 2] += top_h[:, None]
    foot = side[:1] * np.array([0.0, 1.0, 1.0])
    rows = np.concatenate([foot, side, top])
    paint = np.array(params.paint_rgb)
    albedo = np.tile(paint, (len(rows) - 1, len(x) - 1, 1))
    glass = albedo[3]  # the cells between the windows' foot and head
    glass[: n_end - 3], glass[1 - n_end + 3 :] = GLASS_RGB, GLASS_RGB  # screens; the corners' cells are pillars
    windows = n_end - 1 + np.array([1, 3] if params.rear_glass == 0 else [1, 3, 5])
    glass[windows] = GLASS_RGB
    glass[n_end - 1 + 2] = TRIM_RGB
    return mirrored_shell(rows, albedo)


# ------------------------------------------------------------------------------------------------------ other parts


def _wheels(params: CarParams) -> list[Part]:
    x = params.width / 2 * 0.95 - 0.015
    rim_rgb = np.full(3, params.rim_value)
    centres = [(side * x, axle, params.wheel_radius) for axle in _axles(params) for side in (-1, 1)]
    return [wheel(c, params.wheel_radius, 0.22, params.rim, TYRE_RGB, rim_rgb) for c in centres]


def _underbody(params: CarParams) -> Part:
    """A floor between the wheels and, behind each pair, the wheel housing that closes the arches' tunnel."""
    x = params.width / 2 * 0.95 - 0.22
    radius = params.wheel_radius + _ARCH_GAP + 0.015
    floor = box((-x, 0.35, params.clearance - 0.05), (x, params.length - 0.35, params.clearance + 0.3), UNDER_RGB)
    housings = [
        drum((-x, x), axle, params.wheel_radius, radius, params.clearance - 0.04, UNDER_RGB) for axle in _axles(params)
    ]
    return merge([floor, *housings])


def _mirrors(params: CarParams) -> list[Part]:
    x, u, h = params.width / 2 * 0.955 - 0.06, params.cowl + 0.42, params.belt_height + 0.02
    paint = np.array(params.paint_rgb)
    return [
        box((min(s * x, s * (x + 0.22)), u, h), (max(s * x, s * (x + 0.22)), u + 0.10, h + 0.14), paint)
        for s in (-1, 1)
    ]


N_PARAMS = len(JITTER) + 2  # and the style and the paint
assert {f.name for f in fields(CarParams)} >= set(JITTER)

SPEC = CategorySpec(
    name="car",
    n_params=N_PARAMS,
    sample=sample_params,
    build=build,
    views=ViewDistribution(azimuth_bands_deg=((0.85, 15.0, 65.0), (0.15, 65.0, 90.0)), elevation_deg=(0.0, 25.0)),
    standard_view_deg=(40.0, 12.0),
    clear_coat=(0.3, 1.0),
    longest_side=0.14,
    styles=tuple(STYLES),
    traits=("paint_rgb",),
)
