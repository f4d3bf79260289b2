"""What the mirror image of a picture says about a symmetric object.

The mirror image shows the same object from the other side of its plane of symmetry, lit from the other side too (Wu et
al. 2020, "Unsupervised learning of probably symmetric deformable 3D objects from images in the wild"): a second view
that nobody had to take.

Conventions
-----------
* The plane of symmetry has the normal Rx(pitch) Ry(yaw) (1, 0, 0) and the distance `offset` from the centre (0, 0, 1),
  along that normal. Yaw 0 and pitch 0 is the plane that halves the image; for a turntable (`scene.camera`), yaw is the
  object's heading and pitch the camera's elevation, where nothing rolls.
* Points, lights and normals of the mirror image are in its own camera's frame, whose x runs the other way.
"""

from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from gan2shape.scene.camera import focal_px, move_depth, pixel_slopes, rigid, rotation_to_angles
from gan2shape.scene.light import normals_from_depth, shade
from gan2shape.scene.render import render_depth

FLIP = (-1.0, 1.0, 1.0)  # of coordinates, from a picture to its mirror image
LEAST_SHADING = 0.1  # divisor of colours; darker pixels carry none
LEAST_FACING = 0.25  # cosine to the viewing direction, in both pictures, from which a point counts as seen
LEAST_MASK = 0.9  # of both pictures
HIDDEN = 0.006  # scene units behind the nearest surface from which a point is hidden


@dataclass(frozen=True)
class MirrorPlanes:
    """Where objects have their plane of symmetry, and how they are lit; rows belong together."""

    yaw_rad: Float[Tensor, " N"]
    pitch_rad: Float[Tensor, " N"]
    offset: Float[Tensor, " N"]  # scene units
    lights: Float[Tensor, "N 4"]

    def pick(self, rows: Tensor) -> "MirrorPlanes":
        """Some of them."""
        return MirrorPlanes(*(getattr(self, one.name)[rows] for one in fields(self)))

    def of_mirror_images(self) -> "MirrorPlanes":
        """The planes and lights that mirror images show."""
        return MirrorPlanes(-self.yaw_rad, self.pitch_rad, -self.offset, mirrored_lights(self.lights))


def mirrored_lights(lights: Float[Tensor, "N 4"]) -> Float[Tensor, "N 4"]:
    """The lights of mirror images."""
    return lights * lights.new_tensor([1.0, 1.0, -1.0, 1.0])


def mirror_motion(planes: MirrorPlanes) -> tuple[Float[Tensor, "N 3 3"], Float[Tensor, "N 6"]]:
    """The rotation, and the view with it, that turn an object as the picture shows it into what the mirror image shows:
    the reflection at the plane of symmetry, which changes nothing, then the reflection of the picture.
    """
    yaw, pitch = planes.yaw_rad, planes.pitch_rad
    normals = torch.stack([yaw.cos(), yaw.sin() * pitch.sin(), -yaw.sin() * pitch.cos()], -1)
    flip = normals.new_tensor(FLIP)
    reflection = torch.eye(3, device=normals.device) - 2 * normals[:, :, None] * normals[:, None]
    matrix = flip[:, None] * reflection
    return matrix, torch.cat([rotation_to_angles(matrix), 2 * planes.offset[:, None] * flip * normals], 1)


def colours_by_mirror(
    colours: Float[Tensor, "N 3 S S"], depth: Float[Tensor, "N 1 S S"], planes: MirrorPlanes, fov_deg: float
) -> Float[Tensor, "N 3 S S"]:
    """The object's colours, in [-1, 1], as its mirror image says they are: looked up where each point appears there,
    and relit. Differentiable in depth and planes. At the true ones it is `colours` again where the mirror image shows
    the point.
    """
    matrix, views = mirror_motion(planes)
    normals = normals_from_depth(depth, fov_deg)
    turned = torch.einsum("nij,njhw->nihw", matrix, normals)
    here = shade(normals, planes.lights).clamp_min(LEAST_SHADING)
    there = shade(turned, mirrored_lights(planes.lights)).clamp_min(LEAST_SHADING)
    found = looked_up(colours.flip(-1), mirror_places(depth, views, fov_deg)[0])
    return (found / 2 + 0.5) * here / there * 2 - 1


def mirror_places(
    depth: Float[Tensor, "N 1 S S"], views: Float[Tensor, "N 6"], fov_deg: float
) -> tuple[Float[Tensor, "N S S 2"], Float[Tensor, "N 1 S S"]]:
    """Where each point appears in a view, in [-1, 1], and its depth there."""
    size = depth.shape[-1]
    slopes = pixel_slopes(size, fov_deg, depth)
    x, y, z = move_depth(depth[:, 0], slopes, slopes, *rigid(views))
    unit = focal_px(size, fov_deg) * 2 / size
    return torch.stack([x / z * unit, y / z * unit], -1), z[:, None]


def looked_up(maps: Float[Tensor, "N C S S"], places: Float[Tensor, "N S S 2"]) -> Float[Tensor, "N C S S"]:
    """Values of maps at places in [-1, 1], bilinearly."""
    return functional.grid_sample(maps, places, padding_mode="border", align_corners=False)


@torch.no_grad()
def seen_in_mirror(
    depth: Float[Tensor, "N 1 S S"], masks: Float[Tensor, "N 1 S S"], planes: MirrorPlanes, fov_deg: float
) -> Float[Tensor, "N 1 S S"]:
    """1 at points of the object that its mirror image shows too: inside both masks, facing both cameras, not hidden.

    Without gradient. A depth that learns can hide here what it explains badly: ask for a settled one's.
    """
    matrix, views = mirror_motion(planes)
    nearest, _, _ = render_depth(depth, views, fov_deg)
    places, z = mirror_places(depth, views, fov_deg)
    normals = normals_from_depth(depth, fov_deg)
    turned = torch.einsum("nij,njhw->nihw", matrix, normals)
    faces = (-normals[:, 2:] > LEAST_FACING) & (-turned[:, 2:] > LEAST_FACING)
    inside = (masks > LEAST_MASK) & (looked_up(masks.flip(-1), places) > LEAST_MASK)
    return (faces & inside & (z < looked_up(nearest, places) + HIDDEN)).to(depth.dtype)
