"""The photo at its own resolution, for textures: the square that the method sees, cut out of the file.

A run works at the generator's resolution, and its meshes carry the picture as it was taken. What a run needs of a photo
is kept in its folder (`PHOTO_NAME`): the file may be gone when the run is resumed. Pixels only: no EXIF.
"""

import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from gan2shape.core.errors import UserError
from gan2shape.core.images import resized, to_uint8, write_png
from gan2shape.export.inputs import BACKDROP, Framing, decoded, full_cover, reduced, upright

PHOTO_NAME = "input_full.png"  # in a run's folder
MAX_SIDE = 4096  # of a texture, pixels; larger photos are reduced
SOLID = 0.9  # of the mask: such a pixel shows the object alone

Photo = UInt8[np.ndarray, "P P C"]  # red, green, blue and, where a mask of the photo's own resolution is known, that


def read_photo(path: Path, framing: Framing, size: int, mask_path: Path | None = None) -> Photo | None:
    """The framed square of the picture at `path`, at most `MAX_SIDE` pixels wide; None where it has no more than the
    `size` x `size` that the method sees. Beyond the picture's edges their colours go on; transparent parts are grey.
    The last channel is the mask at `mask_path`, or the alpha channel that marks an object.

    Raises UserError where there is no picture, or no mask of the same size, that can be read.
    """
    from PIL import Image

    side = min(round(framing.size), MAX_SIDE)
    if side <= size:
        return None
    try:
        with Image.open(path) as opened:
            width, has_alpha = opened.size[0], "A" in opened.getbands() or "transparency" in opened.info
            if (
                framing.size >= 2 * MAX_SIDE
            ):  # JPEG decodes at a half, a quarter or an eighth; other formats ignore this
                opened.draft(None, tuple(math.ceil(length * MAX_SIDE / framing.size) for length in opened.size))
            opened.load()
            if opened.mode[0] in "IF":  # deep grey: its levels are the reader's matter
                picture = decoded(path, "image", size)
                levels = Image.fromarray(to_uint8(picture.colour[0], lowest=0.0))
                pixels = _squared(levels, framing.scaled(levels.size[0] / picture.original_size[0]), side)
            else:
                fits = max(1, int(framing.size * opened.size[0] / width // MAX_SIDE))
                smaller = reduced(opened, fits)
                pixels = _squared(_opaque(upright(smaller)), framing.scaled(smaller.size[0] / width), side)
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise UserError(f"the image {path} cannot be read again ({str(error).rstrip('.')}): save it again.") from error
    cover = full_cover(path, mask_path, size) if has_alpha or mask_path is not None else None
    if cover is None:
        return pixels
    marked, width = cover
    grey = Image.fromarray(to_uint8(marked[0], lowest=0.0)[..., 0])
    return np.dstack([pixels, _squared(grey, framing.scaled(grey.size[0] / width), side)])


def keep_photo(folder: Path, photo: Photo | None) -> None:
    """The photo in the run's folder, in the place of one that an earlier run has left there."""
    if photo is None:
        (folder / PHOTO_NAME).unlink(missing_ok=True)
    else:
        write_png(folder / PHOTO_NAME, photo)


def stored_photo(folder: Path) -> Photo | None:
    """The photo that a run has kept in its folder, if there is one that can be read."""
    from PIL import Image

    try:
        with Image.open(folder / PHOTO_NAME) as opened:
            return np.asarray(opened.convert("RGBA" if opened.mode == "RGBA" else "RGB"))
    except (OSError, SyntaxError, ValueError):
        return None


def as_photo(image: Float[Tensor, "1 3 P P"], mask: Float[Tensor, "1 1 _p _p"] | None) -> Photo:
    """An image in [-1, 1] as a photo, with its mask where that has the same resolution."""
    pixels = to_uint8(image[0])
    is_same = mask is not None and mask.shape[-1] == image.shape[-1]
    return np.dstack([pixels, to_uint8(mask[0], lowest=0.0)]) if is_same else pixels


def _opaque(picture):
    """A Pillow image of any 8-bit mode as colours, transparent parts over grey."""
    from PIL import Image

    if "A" not in picture.getbands() and "transparency" not in picture.info:
        return picture if picture.mode == "RGB" else picture.convert("RGB")
    ground = Image.new("RGBA", picture.size, (round(255 * BACKDROP),) * 3 + (255,))
    return Image.alpha_composite(ground, picture.convert("RGBA")).convert("RGB")


def _squared(picture, framing: Framing, side: int) -> np.ndarray:
    """The square of a Pillow image at `side` pixels: colours go on beyond its edges, a grey mask ends there."""
    from PIL import Image

    box = (framing.left, framing.top, framing.left + framing.size, framing.top + framing.size)
    left, top = math.floor(box[0]), math.floor(box[1])
    right, bottom = math.ceil(box[2]), math.ceil(box[3])
    width, height = picture.size
    pixels = np.asarray(picture.crop((max(left, 0), max(top, 0), min(right, width), min(bottom, height))))
    beyond = ((max(-top, 0), max(bottom - height, 0)), (max(-left, 0), max(right - width, 0)), (0, 0))
    if any(map(any, beyond)):
        pixels = np.pad(pixels, beyond[: pixels.ndim], mode="edge" if pixels.ndim == 3 else "constant")
    inner = (box[0] - left, box[1] - top, box[2] - left, box[3] - top)
    if inner == (0, 0, side, side) and pixels.shape[:2] == (side, side):
        return pixels
    kind = Image.Resampling.BOX if framing.size > side else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(pixels).resize((side, side), kind, box=inner))


def bled(photo: Photo, mask: Float[Tensor, "1 1 S S"]) -> UInt8[np.ndarray, "P P 3"]:
    """The photo with the object's own colours carried on beyond its mask, so that no background shows at the outline or
    in smaller copies of the texture (mipmaps). Its pixels that mix both are replaced too, the others stay as they are.

    Where the photo brings no mask of its own resolution, `mask` is the one that the method works with.
    """
    solid = _solid(photo, mask.detach().float().cpu())
    pixels = photo[..., :3]
    if not bool(solid.any()):
        return pixels
    known, inside, shown = solid.float(), solid[0, 0].numpy(), pixels.copy()
    for channel in range(3):  # one after the other: as floats they are large
        values = carried_on(torch.from_numpy(pixels[..., channel].astype(np.float32))[None, None], known)[0, 0]
        filled = values.round_().clamp_(0, 255).to(torch.uint8).numpy()
        np.copyto(shown[..., channel], filled, where=~inside)
    return shown


def _solid(photo: Photo, mask: Float[Tensor, "1 1 S S"]) -> Bool[Tensor, "1 1 P P"]:
    """The pixels of the photo that show the object alone."""
    width = photo.shape[0]
    if photo.shape[-1] == 4:  # an edge is blurred over a pixel or two
        solid = torch.from_numpy(photo[..., 3] >= SOLID * 255)[None, None]
        return eroded(solid) if width >= 2 * mask.shape[-1] else solid
    inner = F.interpolate(eroded(mask > 0.5).float(), size=(width, width))
    return (resized(mask, width) >= SOLID) | (inner > 0)


def eroded(mask: Bool[Tensor, "1 1 H W"]) -> Bool[Tensor, "1 1 H W"]:
    """Without the pixels that have one outside among their eight neighbours."""
    return F.max_pool2d((~mask).float(), 3, 1, 1) == 0


def carried_on(values: Float[Tensor, "1 1 H W"], weight: Float[Tensor, "1 1 H W"]) -> Float[Tensor, "1 1 H W"]:
    """Values where their weight is 1, elsewhere smooth averages of what is around (push and pull: Gortler et al. 1996,
    The Lumigraph, section 3.4.2). Somewhere the weight has to be above 0.
    """
    if min(values.shape[-2:]) == 1 or bool((weight == 1).all()):
        mean = (values * weight).sum() / weight.sum()
        return torch.lerp(mean.expand_as(values), values, weight)
    odd = (0, values.shape[-1] % 2, 0, values.shape[-2] % 2)
    area = _halved(weight, odd)
    coarse = _halved(values * weight, odd) / area.clamp_min(1e-6)
    below = carried_on(coarse, (4 * area).clamp_max(1.0))
    grown = F.interpolate(below, scale_factor=2.0, mode="bilinear", align_corners=False)
    return torch.lerp(grown[..., : values.shape[-2], : values.shape[-1]], values, weight)


def _halved(values: Tensor, odd: tuple[int, int, int, int]) -> Tensor:
    return F.avg_pool2d(F.pad(values, odd) if any(odd) else values, 2)
