"""What of an observation is kept in a restored picture. Images are [B, 3, S, S] in [-1, 1]."""

import torch
from jaxtyping import Float
from kornia.color import lab_to_rgb, rgb_to_lab
from torch import Tensor


def composed(
    made: Float[Tensor, "B 3 S S"],
    observed: Float[Tensor, "B 3 h w"],
    known: Float[Tensor, "b 1 S S"] | None,
    kind: str,
) -> Float[Tensor, "B 3 S S"]:
    """`made` with what the observation knows better.

    kind: "none"; "mask": known pixels as observed; "lab": lightness as observed, colours as made (DGP).
    """
    made = made.clamp(-1, 1)
    if kind == "mask":
        return known * observed + (1.0 - known) * made
    return with_lightness(made, observed) if kind == "lab" else made


def with_lightness(
    colours: Float[Tensor, "B 3 S S"], lightness: Float[Tensor, "B 3 S S"]
) -> Float[Tensor, "B 3 S S"]:
    """CIE Lab's a and b of one picture, L of the other; what falls outside RGB is clipped."""
    ab, light = rgb_to_lab(colours / 2 + 0.5)[:, 1:], rgb_to_lab(lightness / 2 + 0.5)[:, :1]
    return lab_to_rgb(torch.cat([light, ab], 1), clip=True) * 2 - 1
