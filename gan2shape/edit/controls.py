"""What a user asks for, as numbers: views in degrees, lights by name or direction, ranges of frames, layers.

Lights are (ambient, diffuse, lx, ly) as everywhere; ly < 0 is above. All views are against the input's own view.
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.core.errors import UserError
from gan2shape.scene.camera import rotation
from gan2shape.scene.light import rotate_light

GREATEST_ANGLE_DEG = 80.0  # of a view: a height field has no back
GREATEST_SLOPE = 10.0  # of a light's lx and ly: 84 degrees off the camera's axis
GREATEST_STRENGTH = 4.0  # of ambient and diffuse
LIGHTS = {  # name -> (lx, ly); the sides are somewhat from above, as in the relight strip
    "left": (-1.0, -0.4),
    "right": (1.0, -0.4),
    "above": (0.0, -1.0),
    "below": (0.0, 1.0),
    "front": (0.0, 0.0),
}
CIRCLE = "circle"  # `light=circle`: once around the camera's axis
CIRCLE_SLOPE = 0.8  # of its direction: 39 degrees off the axis, the widest light of the bundled priors
ANGLES = ("yaw", "pitch", "roll")


@dataclass(frozen=True)
class Pose:
    """The view and the light that are wanted, against the input's own."""

    yaw_deg: float | int = 0.0  # positive: the image-right side comes nearer
    pitch_deg: float | int = 0.0  # positive: seen from above
    roll_deg: float | int = 0.0  # positive: clockwise
    direction: tuple[float | int, float | int] | None = None  # lx, ly in the canonical frame; None: the input's own
    ambient: float | int | None = None  # None: the input's own
    diffuse: float | int | None = None

    def __post_init__(self) -> None:
        for name in ANGLES:
            angle = getattr(self, f"{name}_deg")
            if not abs(angle) <= GREATEST_ANGLE_DEG:
                raise UserError(
                    f"{name} {angle:g} is too far: a height field has no back; "
                    f"stay within {GREATEST_ANGLE_DEG:g} degrees of the input's view."
                )
        for value in self.direction or ():
            if not abs(value) <= GREATEST_SLOPE:
                raise UserError(f"A light's direction has to lie within +-{GREATEST_SLOPE:g}, not {value:g}.")
        for name in ("ambient", "diffuse"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= GREATEST_STRENGTH:
                raise UserError(f"{name} has to lie between 0 and {GREATEST_STRENGTH:g}, not {value:g}.")

    @property
    def is_input(self) -> bool:
        """Whether nothing is changed."""
        return self == Pose()

    def view(self, like: Tensor) -> Float[Tensor, "1 6"]:
        """In radians, on the device of `like`."""
        angles = [math.radians(angle) for angle in (self.pitch_deg, self.yaw_deg, self.roll_deg)]
        return like.new_tensor([[*angles, 0.0, 0.0, 0.0]])

    def light(self, own: Float[Tensor, "1 4"]) -> Float[Tensor, "1 4"]:
        """Of the canonical frame; `own` gives what is not asked for."""
        given = (self.ambient, self.diffuse, *(self.direction or (None, None)))
        # Chosen column by column: reading `own` back would stop the device.
        columns = [own[:, i] if value is None else torch.full_like(own[:, i], value) for i, value in enumerate(given)]
        return torch.stack(columns, 1)

    def added(self, change: "Pose") -> "Pose":
        """Both changes: angles add up, and a light that `change` names takes the place of this one."""
        angles = {f"{n}_deg": getattr(self, f"{n}_deg") + getattr(change, f"{n}_deg") for n in ANGLES}
        lights = {n: getattr(change, n) for n in ("direction", "ambient", "diffuse") if getattr(change, n) is not None}
        return replace(self, **angles, **lights)

    def with_camera_light(self) -> "Pose":
        """The direction, which was meant in the new view's camera frame, in the canonical one. Raises UserError where
        the light is behind the object then.
        """
        if self.direction is None:
            return self
        light = torch.tensor([[0.0, 1.0, *self.direction]], dtype=torch.float64)
        back = rotation(self.view(light)[:, :3]).transpose(1, 2)
        lx, ly = rotate_light(light, back)[0, 2:].tolist()
        return replace(self, direction=(lx, ly))


def light_from(text: str) -> tuple[float, float]:
    """(lx, ly) of `left`, `right`, `above`, `below`, `front` or `lx,ly`. Raises UserError for anything else."""
    if text in LIGHTS:
        return LIGHTS[text]
    parts = text.split(",")
    values = [_number(part) for part in parts]
    if len(values) != 2 or None in values:
        raise UserError(f"{text!r} is no light: write {', '.join(LIGHTS)}, or lx,ly such as -0.6,-0.4.")
    return values[0], values[1]


def poses_of(text: str, start: Pose, n_frames: int) -> list[Pose]:
    """The frames of an animation: `yaw=-40:40` (pitch, roll, too), there and back, or `light=circle`, once around.

    `start` gives everything that is not animated. Raises UserError for anything else.
    """
    name, _, value = text.partition("=")
    if name == "light" and value == CIRCLE:
        turns = [2 * math.pi * i / n_frames for i in range(n_frames)]
        return [replace(start, direction=(CIRCLE_SLOPE * math.sin(a), -CIRCLE_SLOPE * math.cos(a))) for a in turns]
    ends = [_number(part) for part in value.split(":")]
    if name not in ANGLES or len(ends) != 2 or None in ends:
        raise UserError(f"{text!r} is no animation: write yaw=-40:40, pitch=-10:10, roll=-15:15 or light=circle.")
    # There and back along a cosine: the ends are slow, and the last frame leads into the first.
    parts = [(1 - math.cos(2 * math.pi * i / n_frames)) / 2 for i in range(n_frames)]
    return [replace(start, **{f"{name}_deg": ends[0] + part * (ends[1] - ends[0])}) for part in parts]


def layers_of(text: str | None, n_layers: int) -> tuple[int, ...]:
    """Rows of W+ that are meant: `3`, `4-8`, `0,2,5-7`; all of them for None. Raises UserError for anything else."""
    if text is None:
        return tuple(range(n_layers))
    chosen: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise UserError(f"{text!r} names no layers: write 3, 4-8 or 0,2,5-7.")
        chosen += range(int(first), int(last if dash else first) + 1)
    if not chosen or max(chosen) >= n_layers:
        raise UserError(f"The generator has layers 0 to {n_layers - 1}: {text!r} is not among them.")
    return tuple(sorted(set(chosen)))


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
