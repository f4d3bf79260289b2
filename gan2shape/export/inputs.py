"""Images and masks from files of any common kind.

Rules: EXIF rotation is applied. A picture that is not square loses its longer ends (centre crop); then it is resized,
by area averages when it shrinks and by cubic interpolation when it grows. 16-bit grey keeps its full range; grey
becomes three equal channels. Transparent parts are laid over mid-grey, and the alpha channel serves as the mask.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.core.errors import UserError
from gan2shape.core.images import resized

MIN_WIDTH_PX = 8  # smaller pictures hold no object
MIN_MASK_PX = 16  # of the resized mask: less is taken for empty
MIN_MASK_LEVEL = 0.7  # of its brightest pixel: the method's own level of "object" (published)
BACKDROP = 0.5  # grey under transparent parts, in [0, 1]


@dataclass(frozen=True)
class InputImage:
    """A picture as the method wants it."""

    image: Float[Tensor, "1 3 S S"]  # in [-1, 1]
    mask: Float[Tensor, "1 1 S S"] | None  # from the alpha channel, where it is not the same everywhere
    original_size: tuple[int, int]  # width and height of the file, pixels


def read_image(path: Path, size: int) -> InputImage:
    """The picture at `path` as `size` x `size`. Raises UserError where there is none that can be used."""
    pixels, alpha = _decoded(Path(path), "image")
    height, width = pixels.shape[:2]
    rgb = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    mask = None
    if alpha is not None and (alpha.min() < alpha.max() or alpha.max() == 0):
        cover = torch.from_numpy(alpha)[None, None]
        rgb = rgb * cover + BACKDROP * (1 - cover)
        mask = centre_square(cover, size).clamp(0, 1)
        _require_object(mask, path, "alpha channel")
    return InputImage(centre_square(rgb, size).clamp(0, 1) * 2 - 1, mask, (width, height))


def read_mask(path: Path, size: int, original_size: tuple[int, int] | None = None) -> Float[Tensor, "1 1 S S"]:
    """The object mask at `path`, in [0, 1]: bright (or opaque) is the object.

    original_size: width and height of the image it belongs to; None for a sample of a generator, which is square.
    Raises UserError for another size or an empty mask.
    """
    pixels, alpha = _decoded(Path(path), "mask")
    grey = pixels.mean(2) if alpha is None or alpha.min() == alpha.max() else alpha
    height, width = grey.shape
    if original_size is not None and (width, height) != tuple(original_size):
        wanted = f"{original_size[0]} x {original_size[1]}"
        raise UserError(f"the mask {path} is {width} x {height} pixels but the image is {wanted}: make them equal.")
    if original_size is None and width != height:
        raise UserError(f"the mask {path} is {width} x {height} pixels but a sample of a generator is square: crop it.")
    mask = centre_square(torch.from_numpy(np.ascontiguousarray(grey))[None, None], size).clamp(0, 1)
    _require_object(mask, path, "mask")
    return mask


def centre_square(image: Float[Tensor, "1 C H W"], size: int) -> Float[Tensor, "1 C S S"]:
    """The centre square of `image`, shrunk by area averages or grown by cubic interpolation."""
    height, width = image.shape[-2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return resized(image[..., top : top + side, left : left + side].float(), size, "bicubic")


def _require_object(mask: Tensor, path: Path, what: str) -> None:
    if float(mask.sum()) < MIN_MASK_PX or float(mask.max()) < MIN_MASK_LEVEL:
        raise UserError(f"the {what} of {path} is empty: mark the object in white.")


def _decoded(path: Path, what: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Colour [H, W, 3] and alpha [H, W] (or None) of a file, float32 in [0, 1]."""
    from PIL import Image, UnidentifiedImageError

    if not path.is_file():
        raise UserError(f"the {what} {path} does not exist: check the path.")
    if path.stat().st_size == 0:
        raise UserError(f"the {what} {path} is an empty file: save it again.")
    try:
        with Image.open(path) as opened:
            opened.load()
            return _channels(_upright(opened), path, what)
    except UnidentifiedImageError as error:
        raise UserError(f"the {what} {path} is not a picture that can be read: use PNG or JPEG.") from error
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        cause = str(error).rstrip(".") or type(error).__name__
        raise UserError(f"the {what} {path} is damaged or truncated ({cause}): save it again.") from error


def _upright(picture):
    """Rotated as its EXIF says; as it is stored where the EXIF cannot be read."""
    from PIL import ImageOps

    try:
        return ImageOps.exif_transpose(picture)
    except (struct.error, ValueError, TypeError, KeyError, SyntaxError):
        return picture


def _channels(picture, path: Path, what: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Colour and alpha of a Pillow image of any mode."""
    if min(picture.size) < MIN_WIDTH_PX:
        width, height = picture.size
        raise UserError(f"the {what} {path} is only {width} x {height} pixels: use one of at least {MIN_WIDTH_PX}.")
    if picture.mode.startswith("I") or picture.mode == "F":
        grey = np.asarray(picture, dtype=np.float32)
        if not np.isfinite(grey).all():
            raise UserError(f"the {what} {path} holds values that are not finite (NaN or infinite): save it again.")
        # Pillow opens 16-bit grey as I or I;16; float pictures are taken as they are if they fit [0, 1].
        top = 65535.0 if picture.mode.startswith("I") else max(float(grey.max(initial=0)), 1.0)
        return np.repeat((grey / top).clip(0, 1)[..., None], 3, axis=2), None
    has_alpha = "A" in picture.getbands() or "transparency" in picture.info
    values = np.asarray(picture.convert("RGBA" if has_alpha else "RGB"), dtype=np.float32) / 255
    return np.ascontiguousarray(values[..., :3]), np.ascontiguousarray(values[..., 3]) if has_alpha else None
