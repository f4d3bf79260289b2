"""The restored square back in the photo that it was cut from, at the photo's own resolution."""

from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from gan2shape.core.errors import UserError
from gan2shape.core.images import resized, to_float, to_uint8
from gan2shape.export.inputs import Framing, centre_square, cropped, decoded, upright
from gan2shape.export.photo import read_photo
from gan2shape.restoration.composition import composed


def read_hole(
    path: Path, size: int, original_size: tuple[int, int] | None = None, framing: Framing | None = None
) -> Float[Tensor, "1 1 S S"]:
    """What a mask marks in white, a square of it (the middle one unless given) at `size` pixels: 1 is what has to be
    filled in.

    Raises UserError where there is no picture, or one of another size than the image's.
    """
    found = decoded(path, "mask", size)
    if original_size is not None and found.original_size != tuple(original_size):
        (width, height), (w, h) = found.original_size, original_size
        raise UserError(f"the mask {path} is {width} x {height} pixels but the image is {w} x {h}: make them equal.")
    grey = found.colour.amax(1, keepdim=True) if found.alpha is None else found.alpha
    if framing is None:
        return (centre_square(grey, size) > 0.5).float()
    square = cropped(grey, framing.scaled(grey.shape[-1] / found.original_size[0]), "constant")
    return (resized(square, size, "bicubic") > 0.5).float()


def pasted(
    path: Path,
    framing: Framing,
    made: Float[Tensor, "1 3 S S"],
    compose: str,
    hole: Float[Tensor, "1 1 S S"] | None,
    hole_path: Path | None,
) -> UInt8[np.ndarray, "H W 3"] | None:
    """The whole photo with its framed square restored; None where it has no more pixels than the prior sees.

    The enlarged picture of the generator gives what is missing: the colours, the hole, or everything; of a photo that
    knows its lightness or its surroundings those stay at full resolution.
    """
    from PIL import Image

    crop = read_photo(path, framing, made.shape[-1])
    if crop is None:
        return None
    side = crop.shape[0]
    photo = to_float(crop[None, ..., :3].copy())
    large = resized(made.detach().float().cpu().clamp(-1, 1), side, "bicubic")
    known = None
    if hole is not None:
        lost = resized(hole, side) if hole_path is None else read_hole(hole_path, side, framing=framing)
        known = 1.0 - (lost > 0.5).float()
    square = to_uint8(composed(large, photo, known, compose)[0])
    with Image.open(path) as opened:
        whole = upright(opened).convert("RGB")
    extent = round(framing.size)
    patch = Image.fromarray(square).resize((extent, extent), Image.Resampling.BICUBIC) if extent != side else None
    whole.paste(patch or Image.fromarray(square), (round(framing.left), round(framing.top)))
    return np.asarray(whole)
