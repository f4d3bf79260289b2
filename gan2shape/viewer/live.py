"""What the viewer's controls ask for, and the picture that answers: effects of an edit, before and after."""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from gan2shape.core.images import resized, to_uint8
from gan2shape.core.records import Scene
from gan2shape.edit.controls import Pose
from gan2shape.edit.effects import Editable, Own, own_of, project_poses, render_poses, with_own_detail
from gan2shape.viewer.surface import with_depth_scale

WAYS = ("effect-GAN", "effect-3D")
PICTURE_PX = 256  # width of the picture beside the 3D view
DIVIDER = 255  # white line between before and after


@dataclass(frozen=True)
class Controls:
    """The state of one client's sliders."""

    surface: str = "photo"
    yaw_deg: float = 0.0
    pitch_deg: float = 0.0
    azimuth_deg: float = 0.0  # of the light, positive from the right
    elevation_deg: float = 0.0  # of the light, positive from above
    depth_scale: float = 1.0
    wireframe: bool = False
    way: str = WAYS[0]
    before_part: float = 0.5  # of the picture's width that shows the input

    @property
    def pose(self) -> Pose:
        """View and light as an edit has them."""
        direction = direction_from(self.azimuth_deg, self.elevation_deg)
        return Pose(yaw_deg=self.yaw_deg, pitch_deg=self.pitch_deg, direction=direction)


def direction_from(azimuth_deg: float, elevation_deg: float) -> tuple[float, float]:
    """(lx, ly) of a light at these angles, as `scene.json` has them."""
    azimuth, elevation = math.radians(azimuth_deg), math.radians(elevation_deg)
    return math.tan(azimuth), -math.tan(elevation) / math.cos(azimuth)


def angles_of(light: Float[Tensor, "1 4"]) -> tuple[float, float]:
    """(azimuth, elevation) in degrees of a light's direction: the inverse of `direction_from`."""
    lx, ly = light[0, 2:].tolist()
    return math.degrees(math.atan2(lx, 1)), math.degrees(math.atan2(-ly, math.hypot(lx, 1)))


@dataclass(frozen=True)
class Scaled:
    """A reconstruction whose depth is scaled; it projects as the original does."""

    subject: Editable
    depth_scale: float

    @property
    def scene(self) -> Scene:
        return with_depth_scale(self.subject.scene, self.depth_scale)

    def __getattr__(self, name: str):
        return getattr(self.subject, name)


@torch.no_grad()
def live_picture(
    subject: Editable, controls: Controls, own: Own | None = None
) -> UInt8[np.ndarray, "H W 3"]:
    """The input beside the edited picture, divided where the slider stands. Effect-GAN is made in one pass: steps of
    refinement and guidance are too slow to be live. `own`: of `own_of`, where it is known.
    """
    own, poses = own_of(subject) if own is None else own, [controls.pose]
    scaled = Scaled(subject, controls.depth_scale)
    rendered = render_poses(scaled, poses)
    if controls.way == WAYS[0]:
        images = project_poses(scaled, rendered, poses, n_refine=0, own=own).images
    else:
        images = with_own_detail(rendered, poses, own).image
    both = torch.cat([subject.observation.image, images])
    before, after = to_uint8(resized(both, max(PICTURE_PX, both.shape[-1]), "bicubic"))
    return divided(before, after, controls.before_part)


def divided(
    before: UInt8[np.ndarray, "H W 3"], after: UInt8[np.ndarray, "H W 3"], before_part: float
) -> UInt8[np.ndarray, "H W 3"]:
    """The left part of one picture and the rest of the other, with a line between."""
    column = round(before_part * before.shape[1])
    shown = after.copy()
    shown[:, :column] = before[:, :column]
    if 0 < column < before.shape[1]:
        shown[:, column] = DIVIDER
    return shown


def with_light_of(controls: Controls, light: Float[Tensor, "1 4"]) -> Controls:
    """The controls with a run's own light."""
    azimuth_deg, elevation_deg = angles_of(light)
    return replace(controls, azimuth_deg=azimuth_deg, elevation_deg=elevation_deg)
