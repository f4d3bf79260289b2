"""Cutting a mask as a user's mask may be cut: below the chin, along the hairline, by a line or by a box.

bottom, top   a part of the mask's box is taken away below or above
oval          what is left is an ellipse about the middle of the box
line          what lies on one side of a line, as a part of the object's pixels
box           what lies outside a box within the mask's box
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.core.devices import upload
from gan2shape.scene.reframe import INSIDE, box_ends

KINDS = ("bottom", "top", "oval", "line", "box")
EDGE_PX = 1.0  # over which a cut falls from 1 to 0
# What is taken away at the least and at the most: parts of the box's height; of the ellipse's and the box's axes; of
# the pixels.
LEAST, MOST = 0.1, 0.4


def cut_masks(
    masks: Float[Tensor, "B 1 S S"], kinds: list[str], amounts: Float[Tensor, "B 3"]
) -> Float[Tensor, "B 1 S S"]:
    """Each mask less what its kind of cut takes away.

    amounts in [0, 1], 0 is the least and 1 the most: how much; for "box" and "oval" along x and along y. The last one
    is a direction ("line") or a place ("box"). Raises ValueError for an unknown kind. Nothing waits for the device.
    """
    if unknown := set(kinds) - set(KINDS):
        raise ValueError(f"unknown kind of cut {sorted(unknown)[0]!r}: {', '.join(KINDS)}")
    left, top, right, bottom = (one[:, None, None] for one in box_ends(masks).unbind(1))
    x0, y0, half_x, half_y = (left + right) / 2, (top + bottom) / 2, (right - left) / 2, (bottom - top) / 2
    centres = torch.arange(masks.shape[-1], device=masks.device, dtype=masks.dtype) + 0.5
    x, y = centres[None, None, :], centres[None, :, None]
    amounts = amounts.to(masks)[:, :, None, None]
    first, second = (LEAST + (MOST - LEAST) * amounts[:, i] for i in (0, 1))
    across, down = (1 - first) * half_x, (1 - second) * half_y
    reach = (((x - x0) / across).square() + ((y - y0) / down).square()).sqrt()
    angle, place = 2 * math.pi * amounts[:, 2], 2 * amounts[:, 2] - 1
    along = angle.cos() * x + angle.sin() * y
    column, row = x0 + place * (half_x - across), y0 - place * (half_y - down)
    kept = {
        "bottom": _soft(bottom - 0.5 - first * 2 * half_y - y),  # from the middle of the last row
        "top": _soft(y - top - 0.5 - first * 2 * half_y),
        "oval": _soft((1 - reach) * torch.minimum(across, down)),
        "line": _soft(_level(along, masks[:, 0], 1 - first) - along),
        "box": _soft(across - (x - column).abs()) * _soft(down - (y - row).abs()),
    }
    kept = torch.stack(torch.broadcast_tensors(*(kept[kind] for kind in KINDS)), 1)
    chosen = upload(torch.tensor([KINDS.index(kind) for kind in kinds]), masks.device)
    rows = torch.arange(len(kinds), device=masks.device)
    return masks * kept[rows, chosen, None]


def _soft(distance_px: Tensor) -> Tensor:
    """1 inside, 0 outside, over `EDGE_PX` about the edge."""
    return (distance_px / EDGE_PX + 0.5).clamp(0, 1)


def _level(
    values: Float[Tensor, "B S S"], masks: Float[Tensor, "B S S"], share: Float[Tensor, "B 1 1"]
) -> Float[Tensor, "B 1 1"]:
    """What this share of each mask's pixels lies below, interpolated."""
    inside = masks > INSIDE
    beyond = 4.0 * values.shape[-1]  # of all pixels; an empty mask has a level too
    ordered = torch.where(inside, values, beyond).flatten(1).sort(1).values
    last = (inside.sum((1, 2)) - 1).clamp_min(0)
    place = (share.flatten() * last)[:, None]
    below = place.floor().long()
    low, high = (ordered.gather(1, index) for index in (below, (below + 1).minimum(last[:, None])))
    return torch.lerp(low, high, place - below)[..., None]
