"""Which part of each pixel along an outline is the object's: between the colours on either side of it.

A pixel at the outline is a mixture, image = a object + (1 - a) background. Where both colours are known from pixels
nearby, `a` is the image's place on the line between them (the compositing equation; Porter and Duff 1984, solved along
the line as in Chuang et al. 2001, equation 9, with one mean colour a side). It says nothing where the two are alike.
"""

import torch
from jaxtyping import Float
from torch import Tensor

CONTRAST = 0.03  # squared distance of two colours in [-1, 1]^3 at which a pixel has half of its say
LEAST = 1e-4  # of a share of a window, and of a squared distance


def share_around(masks: Float[Tensor, "N 1 G G"], n: int) -> Float[Tensor, "N 1 G G"]:
    """Which part of the square of pixels up to `n` away lies above one half."""
    return box((masks > 0.5).float(), n)


def box(images: Float[Tensor, "N C G G"], n: int) -> Float[Tensor, "N C G G"]:
    """Means over squares of pixels up to `n` away."""
    from kornia.filters import box_blur  # late: it takes half a second

    return box_blur(images, (2 * n + 1, 2 * n + 1), "replicate")


def matted(
    masks: Float[Tensor, "N 1 G G"], images: Float[Tensor, "N 3 G G"], inside: int, outside: int, reach: int
) -> tuple[Float[Tensor, "N 1 G G"], Float[Tensor, "N 1 G G"]]:
    """Object's parts in [0, 1] of the pixels along the outlines of `masks`, and in [0, 1] how much each says.

    Pixels more than `inside` and `outside` pixels from an outline keep their side, and say 1. Their mean colours up to
    `reach` pixels away are the two colours of the others, of images in [-1, 1].
    """
    share_inside, share_outside = share_around(masks, inside), share_around(masks, outside)
    inner, outer = (share_inside > 1 - 1e-3).float(), (share_outside < 1e-3).float()
    near_inner, near_outer = box(inner, reach), box(outer, reach)
    objects = box(inner * images, reach) / near_inner.clamp_min(LEAST)
    backgrounds = box(outer * images, reach) / near_outer.clamp_min(LEAST)
    along = objects - backgrounds
    square = along.square().sum(1, keepdim=True)
    part = ((images - backgrounds) * along).sum(1, keepdim=True) / square.clamp_min(LEAST)
    known = ((near_inner > LEAST) & (near_outer > LEAST)).float()
    is_mixed = (1 - inner) * (1 - outer) > 0
    says = torch.where(is_mixed, known * square / (square + CONTRAST), 1.0)
    return torch.where(is_mixed, part.clamp(0, 1), inner), says
