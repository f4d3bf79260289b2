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
    is a direction ("line") or a place ("box"). Raises ValueError for an unknown kind.
    """
    size = masks.shape[-1]
    centres = torch.arange(size, device=masks.device, dtype=masks.dtype) + 0.5
    kept = []
    for mask, kind, amount in zip(masks, kinds, amounts.tolist(), strict=True):
        kept.append(mask * _keep(mask[0], kind, amount, centres))
    return torch.stack(kept)


def _keep(mask: Tensor, kind: str, amount: list[float], centres: Tensor) -> Tensor:
    """What a cut leaves, [S, S] in [0, 1]."""
    x, y = centres[None, :], centres[:, None]
    inside = mask > 0.5
    if not bool(inside.any()):
        return torch.ones_like(mask)
    columns, rows = centres[inside.any(0)], centres[inside.any(1)]
    left, right, top, bottom = columns[0], columns[-1], rows[0], rows[-1]
    middle, half = ((left + right) / 2, (top + bottom) / 2), ((right - left) / 2 + 0.5, (bottom - top) / 2 + 0.5)
    first, second = (LEAST + (MOST - LEAST) * one for one in amount[:2])
    if kind == "bottom":
        return _soft(bottom - first * 2 * half[1] - y).expand_as(mask)
    if kind == "top":
        return _soft(y - top - first * 2 * half[1]).expand_as(mask)
    if kind == "oval":
        across, down = (1 - first) * half[0], (1 - second) * half[1]
        reach = (((x - middle[0]) / across).square() + ((y - middle[1]) / down).square()).sqrt()
        return _soft((1 - reach) * min(across, down))
    if kind == "line":
        angle = 2 * math.pi * amount[2]
        along = math.cos(angle) * x + math.sin(angle) * y
        return _soft(along[inside].quantile(1 - first) - along)
    if kind == "box":
        across, down = (1 - first) * half[0], (1 - second) * half[1]
        place = 2 * amount[2] - 1
        x0, y0 = middle[0] + place * (half[0] - across), middle[1] - place * (half[1] - down)
        return _soft(across - (x - x0).abs()) * _soft(down - (y - y0).abs())
    raise ValueError(f"unknown kind of cut {kind!r}: {', '.join(KINDS)}")


def _soft(distance_px: Tensor) -> Tensor:
    """1 inside, 0 outside, over `EDGE_PX` about the edge."""
    return (distance_px / EDGE_PX + 0.5).clamp(0, 1)
