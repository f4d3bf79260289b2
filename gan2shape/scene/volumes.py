"""Volumes of occupancy: turned about their centre, and what a camera knows of one.

A volume is [B, 1, S, S, S], axes (z, y, x), values in [0, 1]: a cube of SIDE scene units about the centre of rotation
(0, 0, 1), index 0 at -z (towards the camera), -y (up) and -x (left).
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from gan2shape.scene.camera import focal_px, rotation

SIDE = 0.16  # scene units: an object of any heading fits in
FILLED = 0.5  # occupancy from which a voxel counts as filled
IN_FRONT, BEHIND = -0.5, 0.5  # voxels: a voxel whose centre is between these distances beyond a surface is part of it


def turntable_matrix(heading_rad: Float[Tensor, " B"], pitch_rad: Float[Tensor, " B"]) -> Float[Tensor, "B 3 3"]:
    """The rotation of an object that is turned by its heading about its own axis, then seen from above by a pitch."""
    nothing = torch.zeros_like(heading_rad)
    about_axis = rotation(torch.stack([nothing, heading_rad, nothing], 1))
    return rotation(torch.stack([pitch_rad, nothing, nothing], 1)) @ about_axis


def turned(volume: Float[Tensor, "B 1 S S S"], matrix: Float[Tensor, "B 3 3"]) -> Float[Tensor, "B 1 S S S"]:
    """The volume after the rotation x' = R x about its centre, by linear interpolation; nothing comes from outside."""
    size = volume.shape[-1]
    wanted = grid_points(size, volume) * (2.0 / SIDE)  # in [-1, 1]
    there = wanted @ matrix[:, None, None]  # R^T x', as rows
    return F.grid_sample(volume, there, mode="bilinear", padding_mode="zeros", align_corners=False)


def grid_points(size: int, like: Tensor) -> Float[Tensor, "S S S 3"]:
    """Centres (x, y, z) of the voxels about the volume's centre, scene units; the grid's axes are (z, y, x)."""
    line = (torch.arange(size, device=like.device, dtype=like.dtype) + 0.5) * (SIDE / size) - SIDE / 2
    z, y, x = torch.meshgrid(line, line, line, indexing="ij")
    return torch.stack([x, y, z], -1)


def seen_from_front(volume: Float[Tensor, "B 1 S S S"]) -> Bool[Tensor, "B 1 S S S"]:
    """Voxels that a camera far away at -z sees: all up to the first filled one of each line of sight, itself too."""
    filled = (volume >= FILLED).cumsum(2)
    before = F.pad(filled[:, :, :-1], (0, 0, 0, 0, 1, 0))
    return before == 0


def seen_lead(volume: Float[Tensor, "B 1 S S S"]) -> Float[Tensor, " B"]:
    """By how much the surface that a camera far away at -z sees lies before the centre, mean of its lines of sight in
    scene units; 0 where nothing is filled.
    """
    size, filled = volume.shape[-1], volume >= FILLED
    lead = SIDE / 2 - (filled.float().argmax(2) + 0.5) * (SIDE / size)
    shown = filled.any(2).to(volume)
    return (lead * shown).sum((1, 2, 3)) / shown.sum((1, 2, 3)).clamp_min(1)


def seen_of_depth(
    depth: Float[Tensor, "B 1 H H"],
    mask: Float[Tensor, "B 1 H H"],
    size: int,
    fov_deg: float,
    centre_z: Float[Tensor, " B"],
) -> tuple[Float[Tensor, "B 1 S S S"], Bool[Tensor, "B 1 S S S"]]:
    """(what is filled, what is known) of a depth map, in a volume whose centre lies at distance `centre_z`.

    Lines of sight beside the mask are empty. On the object, what lies in front of its surface is empty, what lies at
    it is filled, and what lies behind is not known; neither is what no pixel shows.
    """
    n_pixels, points = depth.shape[-1], grid_points(size, depth)
    z = points[..., 2] + centre_z.view(-1, 1, 1, 1)
    focal = focal_px(n_pixels, fov_deg)
    pixels = torch.stack([points[..., 0] / z * focal, points[..., 1] / z * focal], -1) * (2.0 / n_pixels)
    flat = pixels.flatten(1, 2)  # [B, S * S, S, 2]
    surface, covered = (
        F.grid_sample(x, flat, mode="nearest", align_corners=False).view(len(depth), 1, size, size, size)
        for x in (depth, mask)
    )
    beyond = (z[:, None] - surface) * (size / SIDE)  # voxels
    is_object, is_inside = covered > 0.5, (pixels.abs() <= 1.0).all(-1)[:, None]
    filled = is_object & (beyond >= IN_FRONT) & (beyond < BEHIND)
    known = is_inside & ~(is_object & (beyond >= BEHIND))
    return filled.to(depth), known


def overlap(
    ours: Float[Tensor, "B 1 S S S"], truth: Float[Tensor, "B 1 S S S"], where: Bool[Tensor, "B 1 S S S"]
) -> Float[Tensor, " B"]:
    """Intersection over union of what is filled, in a region; 1 where both have nothing there."""
    a, b = (ours >= FILLED) & where, (truth >= FILLED) & where
    both, either = (a & b).sum((1, 2, 3, 4)), (a | b).sum((1, 2, 3, 4))
    return torch.where(either > 0, both / either.clamp_min(1), torch.ones_like(either, dtype=torch.float32))
