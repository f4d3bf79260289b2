"""A square of a picture, seen as a picture of its own: image, mask, depth and view of what it shows.

A network takes whatever it is shown for an object at distance 1 under the category's field of view. So of a square that
is `size` pixels wide in a picture of S pixels

    zoom      = S / size: everything in it is seen that much larger, and to be that much larger without coming nearer,
                its relief is larger too: depth' = 1 + zoom (depth - 1). The mean distance stays a gauge.
    turn      the camera now looks at the square's centre. That is a rotation of the object by the angle between the two
                viewing rays (5 degrees at the edge of a picture of 10): depth runs along the new axis, and views are
                turned. Left out, an object that was cut off at one side would get a tilt that nothing shows.

Squares are [B, 3]: left, top and size in pixels of the picture. They may reach over its edges, where its border colours
are repeated. Perspective within the square is left as it was: at 10 degrees that is less than half a pixel of 64.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from gan2shape.scene.camera import focal_px, pixel_slopes, rotation, rotation_to_angles

INSIDE = 0.5  # level of a mask from which a pixel belongs to its box


def box_ends(masks: Float[Tensor, "B 1 S S"]) -> Float[Tensor, "B 4"]:
    """Left, top, right and bottom of the box around each mask's pixels, in pixels; the picture's for an empty one."""
    inside, size = masks[:, 0] > INSIDE, masks.shape[-1]
    ends = []
    for axis in (1, 2):  # columns, then rows
        any_inside = inside.any(axis).float()
        is_empty = any_inside.sum(1) == 0
        first, last = any_inside.argmax(1), size - any_inside.flip(1).argmax(1)
        ends.append((torch.where(is_empty, 0, first).float(), torch.where(is_empty, size, last).float()))
    (left, right), (top, bottom) = ends
    return torch.stack([left, top, right, bottom], 1)


def boxes(masks: Float[Tensor, "B 1 S S"]) -> Float[Tensor, "B 3"]:
    """Middle x, middle y and longer side of these boxes."""
    left, top, right, bottom = box_ends(masks).unbind(1)
    return torch.stack([(left + right) / 2, (top + bottom) / 2, torch.maximum(right - left, bottom - top)], 1)


def squares_around(
    boxes_px: Float[Tensor, "B 3"], share: Float[Tensor, " B"], centre: Float[Tensor, "B 2"]
) -> Float[Tensor, "B 3"]:
    """The squares in which each box's longer side takes this share of the width and its middle lies at `centre` (parts
    of the width, from the top left).
    """
    size = boxes_px[:, 2] / share
    return torch.cat([boxes_px[:, :2] - centre * size[:, None], size[:, None]], 1)


def reframed(
    images: Float[Tensor, "B C S S"], squares: Float[Tensor, "B 3"], outside: str = "border"
) -> Float[Tensor, "B C S S"]:
    """Each picture's square as a picture of S pixels, bilinear; beyond the edge "border" or "zeros"."""
    size = images.shape[-1]
    centres = torch.arange(size, device=images.device, dtype=images.dtype) + 0.5
    steps = centres * squares[:, 2:] / size
    x, y = ((squares[:, i : i + 1] + steps) * (2 / size) - 1 for i in (0, 1))
    grid = torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), -1)
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode=outside, align_corners=False)


def zooms(squares: Float[Tensor, "B 3"], size: int) -> Float[Tensor, " B"]:
    """How much larger things are seen in each square of pictures of `size` pixels."""
    return size / squares[:, 2]


def axis_slopes(squares: Float[Tensor, "B 3"], size: int, fov_deg: float) -> Float[Tensor, "B 2"]:
    """Ray slopes x / z and y / z of the squares' centres."""
    return (squares[:, :2] + squares[:, 2:] / 2 - size / 2) / focal_px(size, fov_deg)


def turns(squares: Float[Tensor, "B 3"], size: int, fov_deg: float) -> Float[Tensor, "B 3 3"]:
    """The rotations that bring the rays through the squares' centres onto the optical axis, without roll."""
    across, down = axis_slopes(squares, size, fov_deg).unbind(1)
    pitch = down.atan()
    yaw = -(across / (1 + down.square()).sqrt()).atan()
    return rotation(torch.stack([pitch, yaw, torch.zeros_like(yaw)], 1))


def reframed_depth(
    depth: Float[Tensor, "B 1 S S"], squares: Float[Tensor, "B 3"], fov_deg: float
) -> Float[Tensor, "B 1 S S"]:
    """Depth maps of what the squares show: along the new axis, the relief about distance 1 times the zoom."""
    size = depth.shape[-1]
    to_axis = turns(squares, size, fov_deg)[:, 2]
    slopes = pixel_slopes(size, fov_deg, depth)
    ahead = to_axis[:, 0, None, None] * slopes + (to_axis[:, 1, None] * slopes)[:, :, None] + to_axis[:, 2, None, None]
    return 1 + zooms(squares, size)[:, None, None, None] * (reframed(depth * ahead[:, None], squares) - 1)


def reframed_view(
    views: Float[Tensor, "B 6"], squares: Float[Tensor, "B 3"], size: int, fov_deg: float
) -> Float[Tensor, "B 6"]:
    """Views of objects in the squares of pictures of `size` pixels: turned, and shifted to where they are seen there;
    tz is 0.
    """
    angles = rotation_to_angles(turns(squares, size, fov_deg) @ rotation(views[:, :3]))
    seen = views[:, 3:5] / (1 + views[:, 5:])
    shift = zooms(squares, size)[:, None] * (seen - axis_slopes(squares, size, fov_deg))
    return torch.cat([angles, shift, torch.zeros_like(shift[:, :1])], 1)
