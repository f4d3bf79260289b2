"""Pinhole camera, rigid motion of the object, and conversions between views.

Conventions
-----------
* Camera frame: x right, y down, z forward (OpenCV). Pixel centres at i + 0.5, so the principal point is (S/2, S/2).
* view = (pitch, yaw, roll, tx, ty, tz): radians and scene units. It moves the OBJECT: x' = R (x - c) + c + t with
  c = (0, 0, 1), R = Rz(roll) Ry(yaw) Rx(pitch).
* Positive yaw: the image-right side comes nearer, the front rotates to image left. Positive pitch: the top comes nearer
  (we look from above). Positive roll: clockwise on the screen.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

DEFAULT_FOV_DEG = 10.0  # narrow, as published: near-orthographic
CENTRE_Z = 1.0  # the object rotates about (0, 0, 1)


def intrinsics(
    size: int,
    fov_deg: float = DEFAULT_FOV_DEG,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "3 3"]:
    """Camera matrix of a square image that sees `fov_deg` degrees: focal length S/2/tan(fov/2), centre S/2, in px."""
    focal = focal_px(size, fov_deg)
    rows = [[focal, 0.0, size / 2], [0.0, focal, size / 2], [0.0, 0.0, 1.0]]
    return torch.tensor(rows, device=device, dtype=dtype)


def focal_px(size: int, fov_deg: float) -> float:
    """Focal length in pixels of a square image `size` px wide that sees `fov_deg` degrees."""
    if not 0 < fov_deg < 180:
        raise ValueError(f"fov_deg must lie between 0 and 180, not {fov_deg}")
    return size / 2 / math.tan(math.radians(fov_deg) / 2)


def rotation(pitch_yaw_roll: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation matrix R = Rz(roll) Ry(yaw) Rx(pitch) from angles in radians.

    ::

        Rx(a) = | 1  0   0 |     Ry(b) = |  cb  0  sb |     Rz(g) = | cg  -sg  0 |
                | 0  ca -sa |            |  0   1  0  |             | sg   cg  0 |
                | 0  sa  ca |            | -sb  0  cb |             | 0    0   1 |

        R = | cg cb   cg sb sa - sg ca   cg sb ca + sg sa |
            | sg cb   sg sb sa + cg ca   sg sb ca - cg sa |
            | -sb     cb sa              cb ca            |
    """
    sa, sb, sg = pitch_yaw_roll.sin().unbind(-1)
    ca, cb, cg = pitch_yaw_roll.cos().unbind(-1)
    rows = [
        cg * cb, cg * sb * sa - sg * ca, cg * sb * ca + sg * sa,
        sg * cb, sg * sb * sa + cg * ca, sg * sb * ca - cg * sa,
        -sb, cb * sa, cb * ca,
    ]  # fmt: skip
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


def rotation_to_angles(matrix: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3"]:
    """(pitch, yaw, roll) in radians of a rotation matrix: the inverse of `rotation` for |yaw| < pi/2."""
    pitch = torch.atan2(matrix[..., 2, 1], matrix[..., 2, 2])
    yaw = torch.atan2(-matrix[..., 2, 0], torch.hypot(matrix[..., 2, 1], matrix[..., 2, 2]))
    roll = torch.atan2(matrix[..., 1, 0], matrix[..., 0, 0])
    return torch.stack([pitch, yaw, roll], -1)


def rigid(view: Float[Tensor, "B 6"]) -> tuple[Float[Tensor, "B 3 3"], Float[Tensor, "B 3"]]:
    """(R, s) such that the view moves a point to R x + s: s = c + t - R c."""
    matrix = rotation(view[:, :3])
    centre = _centre(view)
    return matrix, centre + view[:, 3:] - matrix @ centre


def rigid_back(view: Float[Tensor, "B 6"]) -> tuple[Float[Tensor, "B 3 3"], Float[Tensor, "B 3"]]:
    """(R, s) such that R x + s undoes the view: R^T of `rotation`, s = c - R (c + t)."""
    back = rotation(view[:, :3]).transpose(1, 2)
    centre = _centre(view)
    return back, centre - (back @ (centre + view[:, 3:])[..., None]).squeeze(-1)


def move(points: Float[Tensor, "#B N 3"], view: Float[Tensor, "#B 6"]) -> Float[Tensor, "#B N 3"]:
    """Canonical points as this view sees them: R (x - c) + c + t. A batch of 1 on either side is shared."""
    matrix, shift = rigid(view)
    return points @ matrix.transpose(1, 2) + shift[:, None]


def move_back(points: Float[Tensor, "#B N 3"], view: Float[Tensor, "#B 6"]) -> Float[Tensor, "#B N 3"]:
    """Points of this view's camera in the canonical frame: R^T (x - c - t) + c. Inverse of `move`."""
    matrix, shift = rigid_back(view)
    return points @ matrix.transpose(1, 2) + shift[:, None]


def move_depth(
    depth: Float[Tensor, "#B H W"],
    slope_x: Float[Tensor, " W"],
    slope_y: Float[Tensor, " H"],
    matrix: Float[Tensor, "#B 3 3"],
    shift: Float[Tensor, "#B 3"],
) -> tuple[Float[Tensor, "#B H W"], Float[Tensor, "B H W"], Float[Tensor, "B H W"]]:
    """Coordinates x, y, z of R p + s for the points p = depth * (slope_x, slope_y, 1) of a depth map.

    The rotated rays are a sum of a row and a column, so that a map costs two additions and a product per coordinate.
    """
    return tuple(
        depth
        * (matrix[:, i, 0, None, None] * slope_x + (matrix[:, i, 1, None] * slope_y + matrix[:, i, 2, None])[..., None])
        + shift[:, i, None, None]
        for i in range(3)
    )


def pixel_slopes(size: int, fov_deg: float, like: Tensor) -> Float[Tensor, " S"]:
    """Ray slopes x/z of the pixel columns (and y/z of the rows) of a square image."""
    return (torch.arange(size, device=like.device, dtype=like.dtype) + (0.5 - size / 2)) / focal_px(size, fov_deg)


def _centre(like: Tensor) -> Tensor:
    centre = like.new_zeros(3)
    centre[2] = CENTRE_Z
    return centre


def project(points: Float[Tensor, "B N 3"], K: Float[Tensor, "3 3"]) -> Float[Tensor, "B N 3"]:
    """(u px, v px, z) of camera points; z is kept in scene units."""
    x, y, z = points.unbind(-1)
    return torch.stack([K[0, 0] * x / z + K[0, 2], K[1, 1] * y / z + K[1, 2], z], -1)


def unproject(depth: Float[Tensor, "B 1 S S"], K: Float[Tensor, "3 3"]) -> Float[Tensor, "B S S 3"]:
    """Camera points at the pixel centres of a depth map."""
    size = depth.shape[-1]
    centres = torch.arange(size, device=depth.device, dtype=depth.dtype) + 0.5
    z = depth[:, 0]
    return torch.stack([z * ((centres - K[0, 2]) / K[0, 0]), z * ((centres - K[1, 2]) / K[1, 1])[:, None], z], -1)


def compose_views(first: Float[Tensor, "#B 6"], second: Float[Tensor, "#B 6"]) -> Float[Tensor, "#B 6"]:
    """The one view that equals moving by `first`, then by `second`: R = R2 R1, t = R2 t1 + t2."""
    matrix = rotation(second[:, :3])
    angles = rotation_to_angles(matrix @ rotation(first[:, :3]))
    shift = (matrix @ first[:, 3:, None]).squeeze(-1) + second[:, 3:]
    return torch.cat([angles, shift], 1)


def inverse_view(view: Float[Tensor, "B 6"]) -> Float[Tensor, "B 6"]:
    """The view that undoes `view`: R^T, -R^T t."""
    back = rotation(view[:, :3]).transpose(1, 2)
    return torch.cat([rotation_to_angles(back), -(back @ view[:, 3:, None]).squeeze(-1)], 1)


def relative_view(view: Float[Tensor, "#B 6"], reference: Float[Tensor, "#B 6"]) -> Float[Tensor, "#B 6"]:
    """`view` re-expressed in the frame of `reference` (both given in the object's frame): R = R1 R0^T, t = t1 - R t0.

    What the camera of `reference` sees becomes canonical, so `relative_view(v, v)` is zero. A ladder uses this to give
    true views in the exam view's frame.
    """
    return compose_views(inverse_view(reference), view)


def yaw_views(yaws_deg: Sequence[float], like: Tensor) -> Float[Tensor, "N 6"]:
    """Views that differ from the canonical one by yaw alone, on the device and of the type of `like`."""
    views = like.new_zeros(len(yaws_deg), 6)
    views[:, 1] = like.new_tensor([math.radians(yaw_deg) for yaw_deg in yaws_deg])
    return views
