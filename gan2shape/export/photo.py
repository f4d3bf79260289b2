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
from gan2shape.export.inputs import BACKDROP, Framing, decoded, full_cover, orientation

PHOTO_NAME = "input_full.png"  # in a run's folder
MAX_SIDE = 4096  # of a texture, pixels; larger photos are reduced
BAND_PIXELS = 4_000_000  # of a larger photo that are colours at once
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
            has_alpha, is_deep = "A" in opened.getbands() or "transparency" in opened.info, opened.mode[0] in "IF"
        if is_deep:  # deep grey: its levels are the reader's matter
            picture = decoded(path, "image", size)
            levels = Image.fromarray(to_uint8(picture.colour[0], lowest=0.0))
            pixels = _squared(levels, framing.scaled(levels.size[0] / picture.original_size[0]), side)
        else:
            pixels = _cut_out(path, framing, side)
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise UserError(f"the image {path} cannot be read again ({str(error).rstrip('.')}): save it again.") from error
    cover = full_cover(path, mask_path, size) if has_alpha or mask_path is not None else None
    if cover is None:
        return pixels
    marked, width = cover
    grey = Image.fromarray(to_uint8(marked[0], lowest=0.0)[..., 0])
    return np.dstack([pixels, _squared(grey, framing.scaled(grey.size[0] / width), side, is_mask=True)])


def _cut_out(path: Path, framing: Framing, side: int) -> UInt8[np.ndarray, "P P 3"]:
    """The framed square of a file of colours at `side` pixels, upright."""
    from PIL import Image

    with Image.open(path) as opened:
        width = opened.size[0]
        if framing.size >= 2 * MAX_SIDE:  # JPEG decodes at a half, a quarter or an eighth; others ignore this
            opened.draft(None, tuple(math.ceil(length * MAX_SIDE / framing.size) for length in opened.size))
        opened.load()
        turn = orientation(opened)
        stored = _as_stored(framing.scaled(opened.size[0] / width), opened.size, turn)
        return _upright(_squared(opened, stored, side), turn)


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


def _as_stored(framing: Framing, size: tuple[int, int], turn: int) -> Framing:
    """A square of the upright picture in the picture of this width and height as it is stored; `turn`: its EXIF's."""
    (width, height), (x, y) = size, (framing.left, framing.top)
    far_x, far_y = x + framing.size, y + framing.size
    left, top = {
        2: (width - far_x, y), 3: (width - far_x, height - far_y), 4: (x, height - far_y), 5: (y, x),
        6: (y, height - far_x), 7: (width - far_y, height - far_x), 8: (width - far_y, x),
    }.get(turn, (x, y))  # fmt: skip
    return Framing(left, top, framing.size)


def _upright(pixels: np.ndarray, turn: int) -> np.ndarray:
    """Rows, columns (and channels) that are stored, as they are shown."""
    swapped = pixels.swapaxes(0, 1) if turn in (5, 6, 7, 8) else pixels
    rows, columns = turn in (3, 4, 7, 8), turn in (2, 3, 6, 7)
    return np.ascontiguousarray(swapped[:: -1 if rows else 1, :: -1 if columns else 1])


def _squared(picture, framing: Framing, side: int, is_mask: bool = False) -> np.ndarray:
    """The square of a Pillow image at `side` pixels: colours go on beyond its edges, a grey mask ends there."""
    if framing.size <= side:
        return _part(picture, (framing.left, framing.top, framing.size, framing.size), (side, side), is_mask)
    scale, bands = framing.size / side, []  # averages of areas need no neighbours: a band of rows is enough at a time
    n_rows = max(1, int(BAND_PIXELS / framing.size / scale))
    for first in range(0, side, n_rows):
        count = min(n_rows, side - first)
        top, height = framing.top + first * scale, count * scale
        bands.append(_part(picture, (framing.left, top, framing.size, height), (side, count), is_mask))
    return np.concatenate(bands)


def _part(picture, place: tuple[float, float, float, float], size: tuple[int, int], is_mask: bool) -> np.ndarray:
    """A rectangle (left, top, width, height) of a Pillow image as so many columns and rows."""
    from PIL import Image

    x, y, width, height = place
    columns = np.arange(math.floor(x), math.ceil(x + width))
    rows = np.arange(math.floor(y), math.ceil(y + height))
    near_x, near_y = columns.clip(0, picture.size[0] - 1), rows.clip(0, picture.size[1] - 1)
    part = picture.crop((int(near_x[0]), int(near_y[0]), int(near_x[-1]) + 1, int(near_y[-1]) + 1))
    pixels = np.asarray(part if is_mask else _opaque(part))
    if pixels.shape[:2] != (len(rows), len(columns)):
        pixels = pixels[near_y - near_y[0]][:, near_x - near_x[0]]
        if is_mask:
            pixels = pixels * ((near_y == rows)[:, None] & (near_x == columns)[None]).astype(np.uint8)
    box = (x - int(columns[0]), y - int(rows[0]), x - int(columns[0]) + width, y - int(rows[0]) + height)
    if box == (0, 0, *size) and pixels.shape[1::-1] == size:
        return pixels
    kind = Image.Resampling.BOX if width > size[0] else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(pixels).resize(size, kind, box=box))


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
    return grown[..., : values.shape[-2], : values.shape[-1]].lerp_(values, weight)  # in place: photos are large


def _halved(values: Tensor, odd: tuple[int, int, int, int]) -> Tensor:
    return F.avg_pool2d(F.pad(values, odd) if any(odd) else values, 2)
