"""Images and masks from files of any common kind.

Rules: EXIF rotation is applied. A picture that is not square loses its longer ends (centre crop), unless its object
would be cut: then the square follows the box of the mask, over the picture's edge where it has to. It is resized by
area averages when it shrinks and by cubic interpolation when it grows. Grey becomes three equal channels; 16-bit grey
keeps its full range. Transparent parts are laid over mid-grey, and the alpha channel serves as the mask.
"""

import math
import struct
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from gan2shape.core.errors import UserError
from gan2shape.core.images import resized

MIN_WIDTH_PX = 8  # smaller pictures hold no object
MIN_MASK_PX = 16  # of the resized mask: less is taken for empty
MIN_MASK_LEVEL = 0.7  # of its brightest pixel: the method's own level of "object" (published); softer masks are scaled
MIN_SOFT_LEVEL = 0.1  # of the brightest pixel of a mask with more than two values: less is noise
MIN_CLEAR_SHARE = 0.005  # of transparent (or opaque) pixels: with less, the alpha channel marks no object
BACKDROP = 0.5  # grey under transparent parts, in [0, 1]
BOX_MARGIN = 0.05  # around the mask's box where the square follows it, of the box's longer side
MAX_PIXELS = 8_000_000  # larger pictures are reduced by a whole factor before they become floats
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
DRAWINGS = ("EPS", "WMF")  # programs, more than pictures: Pillow hands them to another program
ORIENTATION = 0x0112  # tag of EXIF; 1 is upright
STRIP_ROWS = 512  # of a deep picture that are floats at once
INTEGER_TOPS = (255, 1023, 4095, 16383, 65535)  # white of 8, 10, 12, 14 and 16 bits


@dataclass(frozen=True)
class Framing:
    """The square of a picture that the method sees, in pixels of the upright picture; it may reach over the edges."""

    left: float
    top: float
    size: float

    def scaled(self, factor: float | int) -> "Framing":
        """The same square where the picture is `factor` times as large."""
        return Framing(self.left * factor, self.top * factor, self.size * factor)


@dataclass(frozen=True)
class InputImage:
    """A picture as the method wants it."""

    image: Float[Tensor, "1 3 S S"]  # in [-1, 1]
    mask: Float[Tensor, "1 1 S S"] | None  # as it was given, or from an alpha channel that marks an object
    original_size: tuple[int, int]  # width and height of the file, pixels
    framing: Framing  # what `image` shows of the file
    notes: tuple[str, ...] = ()  # what was assumed, in sentences
    is_turned: bool = False  # shown upright, and not as `framing` cuts it


@dataclass(frozen=True)
class Decoded:
    """What a file holds, upright; large ones are reduced."""

    colour: Float[Tensor, "1 3 H W"]  # in [0, 1]
    alpha: Float[Tensor, "1 1 H W"] | None  # in [0, 1]; None where it is the same everywhere, or nearly
    original_size: tuple[int, int]  # width and height of the file, pixels
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Picture:
    """A file with the mask that goes with it; large ones are reduced."""

    colour: Float[Tensor, "1 3 H W"]  # in [0, 1], transparent parts over grey
    cover: Float[Tensor, "1 1 H W"] | None  # the mask, in [0, 1]
    factor: int  # by which the file is larger
    original_size: tuple[int, int]  # width and height of the file, pixels
    source: Path  # of the mask, or of the picture
    what: str = "alpha channel"  # the mask, in words
    notes: tuple[str, ...] = ()


def read_image(path: Path, size: int, mask_path: Path | None = None) -> InputImage:
    """The picture at `path` as `size` x `size`, with the mask at `mask_path` or of its alpha channel.

    Raises UserError where there is no picture, or no mask of the same size, that can be used.
    """
    picture = read_picture(path, size, mask_path)
    return seen_in(picture, default_framing(picture), size)


def read_picture(path: Path, size: int, mask_path: Path | None = None) -> Picture:
    """The whole picture at `path`, with the mask at `mask_path` or of its alpha channel; `size` pixels a side will be
    used of it.

    Raises UserError where there is no picture, or no mask of the same size, that can be used.
    """
    picture = decoded(Path(path), "image", size)
    rgb, cover, notes = picture.colour, None, picture.notes
    if picture.alpha is not None:
        cover = _levelled(picture.alpha, path, "alpha channel")
        rgb = rgb * cover + BACKDROP * (1 - cover)
    what, of = "alpha channel", path
    if mask_path is not None:
        what, of = "mask", mask_path
        cover, further = _cover(Path(mask_path), size, picture.original_size)
        notes += further
        if cover.shape != rgb[:, :1].shape:  # where one of the two was reduced
            cover = F.interpolate(cover, size=tuple(rgb.shape[-2:]), mode="area")
    # Large pictures were reduced by a whole factor, and the last block of a row or column may be an incomplete one.
    factor = round(picture.original_size[0] / rgb.shape[-1])
    return Picture(rgb, cover, factor, picture.original_size, Path(of), what, notes)


def default_framing(picture: Picture) -> Framing:
    """The square that is cut out where nothing is known of a prior's images, in pixels of `picture.colour`."""
    return _centre(*picture.colour.shape[-2:]) if picture.cover is None else square_around(picture.cover)


def seen_in(picture: Picture, framing: Framing, size: int) -> InputImage:
    """A square of the picture, in its own pixels, as `size` x `size`. Raises UserError where the mask shows hardly
    anything there.
    """
    own = framing.scaled(picture.factor)
    if picture.cover is None:
        image = resized(cropped(picture.colour, framing, "constant"), size, "bicubic")
        return InputImage(image.clamp(0, 1) * 2 - 1, None, picture.original_size, own, picture.notes)
    mask = resized(cropped(picture.cover, framing, "constant"), size, "bicubic").clamp(0, 1)
    _require_object(mask, picture.source, picture.what)
    image = resized(cropped(picture.colour, framing, "replicate"), size, "bicubic").clamp(0, 1) * 2 - 1
    return InputImage(image, mask, picture.original_size, own, picture.notes)


def read_mask(path: Path, size: int) -> Float[Tensor, "1 1 S S"]:
    """The object mask at `path` of a generator's sample, in [0, 1]: bright (or opaque) is the object.

    Raises UserError where it is not square or marks nothing.
    """
    cover, _ = _cover(Path(path), size, None)
    mask = centre_square(cover, size).clamp(0, 1)
    _require_object(mask, path, "mask")
    return mask


def centre_square(image: Float[Tensor, "1 C H W"], size: int) -> Float[Tensor, "1 C S S"]:
    """The centre square of `image`, shrunk by area averages or grown by cubic interpolation."""
    return resized(cropped(image, _centre(*image.shape[-2:]), "constant"), size, "bicubic")


def _centre(height: int, width: int) -> Framing:
    """The greatest square in the middle."""
    side = min(height, width)
    return Framing(float((width - side) // 2), float((height - side) // 2), float(side))


def square_around(cover: Float[Tensor, "1 1 H W"]) -> Framing:
    """The square that is cut out, in whole pixels: the centre square where it holds the whole object; otherwise one
    that follows the object's box, as large as the centre square or the box, which may reach over the edge.
    """
    height, width = cover.shape[-2:]
    centre = _centre(height, width)
    left, top, side = round(centre.left), round(centre.top), round(centre.size)
    inside = cover[0, 0] > 0.5
    rows, columns = inside.any(1).nonzero().flatten().tolist(), inside.any(0).nonzero().flatten().tolist()
    if not rows:
        return centre
    box = rows[0], columns[0], rows[-1] + 1, columns[-1] + 1
    if box[0] >= top and box[1] >= left and box[2] <= top + side and box[3] <= left + side:
        return centre
    longer = max(box[2] - box[0], box[3] - box[1])
    side = max(side, math.ceil(longer * (1 + 2 * BOX_MARGIN))) if longer > side else side
    left = _start((box[1] + box[3]) // 2 - side // 2, side, width)
    top = _start((box[0] + box[2]) // 2 - side // 2, side, height)
    return Framing(float(left), float(top), float(side))


def _start(wanted: int, side: int, length: int) -> int:
    """Where a square begins along one axis: inside the picture if it fits, centred over it otherwise."""
    return min(max(wanted, 0), length - side) if side <= length else (length - side) // 2


def cropped(image: Float[Tensor, "1 C H W"], framing: Framing, mode: str) -> Float[Tensor, "1 C N N"]:
    """A square of `image`, to whole pixels; beyond the edge zeros (mode "constant") or the edge's own colours
    ("replicate").
    """
    left, top, side = round(framing.left), round(framing.top), round(framing.size)
    height, width = image.shape[-2:]
    part = image[..., max(top, 0) : top + side, max(left, 0) : left + side].float()
    beyond = (max(-left, 0), max(left + side - width, 0), max(-top, 0), max(top + side - height, 0))
    return F.pad(part, beyond, mode=mode) if any(beyond) else part


def _cover(
    path: Path, size: int, original_size: tuple[int, int] | None
) -> tuple[Float[Tensor, "1 1 H W"], tuple[str, ...]]:
    """The mask in a file at full resolution, and what was assumed. The brightest channel counts: red marks as well."""
    found = decoded(path, "mask", size)
    width, height = found.original_size
    if original_size is not None and (width, height) != tuple(original_size):
        wanted = f"{original_size[0]} x {original_size[1]}"
        raise UserError(f"the mask {path} is {width} x {height} pixels but the image is {wanted}: make them equal.")
    if original_size is None and width != height:
        raise UserError(f"the mask {path} is {width} x {height} pixels but a sample of a generator is square: crop it.")
    grey = found.colour.amax(1, keepdim=True) if found.alpha is None else found.alpha
    return _levelled(grey, path, "mask"), found.notes


def full_cover(image: Path, mask: Path | None, size: int) -> tuple[Float[Tensor, "1 1 H W"], int] | None:
    """The mask in a file, or else in the image's alpha channel, at full resolution (large ones are reduced), and the
    file's width; None where the alpha channel marks no object.
    """
    if mask is not None:
        found = decoded(Path(mask), "mask", size)
        grey = found.colour.amax(1, keepdim=True) if found.alpha is None else found.alpha
        return _levelled(grey, mask, "mask"), found.original_size[0]
    found = decoded(Path(image), "image", size)
    return None if found.alpha is None else (_levelled(found.alpha, image, "alpha channel"), found.original_size[0])


def _levelled(cover: Float[Tensor, "1 1 H W"], path: Path, what: str) -> Float[Tensor, "1 1 H W"]:
    """A mask whose brightest pixels are 1: soft ones and those of two values (0 and 1 of 255) are scaled.

    Raises UserError for one that marks nothing, and for one that marks the surroundings.
    """
    lowest, highest = float(cover.min()), float(cover.max())
    if highest == 0:
        raise UserError(f"the {what} of {path} is empty: mark the object in white.")
    if highest < MIN_MASK_LEVEL:
        if lowest == highest:
            level = f"{100 * highest:.0f} %"
            raise UserError(f"the {what} of {path} is the same everywhere ({level}): mark the object in white.")
        if highest < MIN_SOFT_LEVEL and bool(((cover != 0) & (cover != highest)).any()):
            raise UserError(
                f"the {what} of {path} is almost empty (its brightest pixel has {100 * highest:.1f} % of white): "
                "mark the object in white."
            )
        cover = cover / highest
    if _is_inverted(cover[0, 0] > 0.5):
        raise UserError(
            f"the {what} of {path} marks the border of the picture and not its middle: it seems to be inverted; "
            "mark the object in white."
        )
    return cover


def _is_inverted(inside: Tensor) -> bool:
    """Whether the surroundings are marked, [H, W]: the border (nearly) all round, or much of it and not the middle."""
    height, width = inside.shape
    border = torch.cat([inside[0], inside[-1], inside[:, 0], inside[:, -1]]).float().mean().item()
    middle = inside[height // 4 : height - height // 4, width // 4 : width - width // 4].float().mean().item()
    return (border >= 0.95 and inside.float().mean().item() <= 0.9) or (border >= 0.5 and middle <= 0.6 * border)


def _require_object(mask: Tensor, path: Path, what: str) -> None:
    if float(mask.sum()) < MIN_MASK_PX or float(mask.max()) < MIN_MASK_LEVEL:
        size = mask.shape[-1]
        raise UserError(
            f"the {what} of {path} marks hardly anything (less than {MIN_MASK_PX} of the {size} x {size} pixels that "
            "are used): cut the picture around the object and mark all of it."
        )


def decoded(path: Path, what: str, size: int) -> Decoded:
    """Colour and alpha of a file. Raises UserError where there is no picture that can be read."""
    from PIL import Image, UnidentifiedImageError

    path = Path(path)
    if path.is_dir():
        raise UserError(f"the {what} {path} is a folder: give a picture's file.")
    if not path.is_file():
        raise UserError(f"the {what} {path} does not exist: check the path.")
    if path.stat().st_size == 0:
        raise UserError(f"the {what} {path} is an empty file: save it again.")
    try:
        picture, original_size, n_pictures = _opened(path, size)
        found = _channels(picture, path, what, original_size, size)
    except UnidentifiedImageError as error:
        kind = "a HEIC picture, which is not read here" if _is_heic(path) else "not a picture that can be read"
        raise UserError(f"the {what} {path} is {kind}: save it as PNG or JPEG.") from error
    except Image.DecompressionBombError as error:
        most = 2 * Image.MAX_IMAGE_PIXELS // 10**6
        raise UserError(f"the {what} {path} has more than {most} million pixels: save a smaller copy.") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the system, and not of the picture
            raise UserError(f"the {what} {path} cannot be read ({error.strerror.lower()}): check the file.") from error
        cause = str(error).rstrip(".") or type(error).__name__
        raise UserError(f"the {what} {path} is damaged or truncated ({cause}): save it again.") from error
    note = f"The {what} {path.name} holds {n_pictures} pictures: the first one is taken."
    return found if n_pictures == 1 else replace(found, notes=(*found.notes, note))


def _opened(path: Path, size: int):
    """(Pillow image, upright; width and height of the file, upright; number of pictures in it). Large ones are reduced,
    and nothing is kept of what was decoded, which may be most of the memory.
    """
    from PIL import Image, UnidentifiedImageError

    with Image.open(path) as opened:
        if opened.format in DRAWINGS:
            raise UnidentifiedImageError(opened.format)
        (width, height), n_pictures = opened.size, getattr(opened, "n_frames", 1)
        factor = reduction(width, height, size)
        if factor > 1:  # JPEG decodes at a half, a quarter or an eighth; other formats ignore this
            opened.draft(None, (-(-width // factor), -(-height // factor)))
        opened.load()
        smaller = reduced(opened, reduction(*opened.size, size))
        turned = upright(smaller)
        original_size = (width, height) if turned.size == smaller.size else (height, width)
        return turned if n_pictures == 1 else turned.copy(), original_size, n_pictures


def _is_heic(path: Path) -> bool:
    """Whether a file is of the kind that telephones take."""
    with path.open("rb") as stream:
        start = stream.read(12)
    return start[4:8] == b"ftyp" and start[8:] in HEIC_BRANDS


def reduction(width: int, height: int, size: int) -> int:
    """The whole factor by which a large picture is reduced at once; its shorter side keeps twice `size`."""
    if width * height <= MAX_PIXELS:
        return 1
    return max(1, min(math.ceil(math.sqrt(width * height / MAX_PIXELS)), min(width, height) // (2 * size)))


def reduced(picture, factor: int):
    """A Pillow image shrunk by a whole factor, averages of blocks; 16-bit and float pictures are left as they are."""
    if factor == 1 or picture.mode[0] in "IF":
        return picture
    if picture.mode not in ("P", "1", "PA", "LA", "RGBA"):
        return picture.reduce(factor)
    from PIL import Image

    mode = "RGBA" if "transparency" in picture.info or "A" in picture.mode else "RGB"
    width, height = picture.size
    made = Image.new(mode, (-(-width // factor), -(-height // factor)))
    n_rows = max(1, STRIP_ROWS // factor) * factor
    for top in range(0, height, n_rows):  # the whole as other colours would be there twice, or more
        strip = picture.crop((0, top, width, min(top + n_rows, height)))
        made.paste(strip.convert(mode).reduce(factor), (0, top // factor))
    made.info.update({key: value for key, value in picture.info.items() if key != "transparency"})
    return made


def orientation(picture) -> int:
    """How a Pillow image is stored, as its EXIF says: 1 is upright; also where the EXIF cannot be read."""
    try:
        found = picture.getexif().get(ORIENTATION, 1)
        return found if found in range(1, 9) else 1
    except (struct.error, ValueError, TypeError, KeyError, SyntaxError):
        return 1


def upright(picture):
    """Rotated as its EXIF says; as it is stored where the EXIF cannot be read."""
    from PIL import ImageOps

    if orientation(picture) == 1:  # without this look, a copy would be made
        return picture
    try:
        return ImageOps.exif_transpose(picture)
    except (struct.error, ValueError, TypeError, KeyError, SyntaxError):
        return picture


def _channels(picture, path: Path, what: str, original_size: tuple[int, int], size: int) -> Decoded:
    """Colour and alpha of a Pillow image of any mode."""
    if min(picture.size) < MIN_WIDTH_PX:
        width, height = picture.size
        raise UserError(f"the {what} {path} is only {width} x {height} pixels: use one of at least {MIN_WIDTH_PX}.")
    if picture.mode[0] in "IF":
        factor = reduction(*picture.size, size)
        n_rows = max(1, STRIP_ROWS // factor) * factor
        highest = 0.0
        for levels in _strips(picture, n_rows):
            if not np.isfinite(levels).all():
                raise UserError(f"the {what} {path} holds values that are not finite (NaN or infinite): save it again.")
            highest = max(highest, float(levels.max()))
        top, notes = _white(highest, picture.mode[0] == "I", path, what)
        strips = []
        for levels in _strips(picture, n_rows):
            strip = torch.from_numpy((levels.astype(np.float32) / np.float32(top)).clip(0, 1))[None, None]
            strips.append(strip if factor == 1 else F.avg_pool2d(strip, factor, ceil_mode=True))
        values = torch.cat(strips, 2)
        return Decoded(values.expand(-1, 3, -1, -1), None, original_size, notes)
    has_alpha = "A" in picture.getbands() or "transparency" in picture.info
    channels = torch.from_numpy(np.array(picture.convert("RGBA" if has_alpha else "RGB")))
    channels = channels.permute(2, 0, 1)[None].float().div_(255)
    alpha = channels[:, 3:] if has_alpha and _marks_object(channels[0, 3].numpy(), what) else None
    return Decoded(channels[:, :3], alpha, original_size)


def _strips(picture, n_rows: int):
    """The rows of a Pillow image as arrays, `n_rows` at a time: a large one as a whole would be there several times."""
    width, height = picture.size
    for top in range(0, height, n_rows):
        yield np.asarray(picture.crop((0, top, width, min(top + n_rows, height))))


def _white(highest: float, is_integer: bool, path: Path, what: str) -> tuple[float, tuple[str, ...]]:
    """The value of white in a picture of more than 8 bits, and a note where it is not what its format has.

    Pillow opens 16-bit grey as I or I;16; float pictures are taken as they are if they fit [0, 1].
    """
    if not is_integer:
        return max(highest, 1.0), ()
    top = next((top for top in INTEGER_TOPS if highest <= top), highest)
    if top == INTEGER_TOPS[-1] or highest == 0:
        return float(top), ()
    note = f"The {what} {path.name} has more than 8 bits but no value above {highest:.0f}: {top} is taken for white."
    return float(top), (note,)


def _marks_object(alpha: np.ndarray, what: str) -> bool:
    """Whether an alpha channel tells an object from its surroundings: a stray pixel, or one value, does not."""
    if alpha.max() == 0:
        return what == "image"  # said to be empty; of a mask the colours count
    clear = float((alpha < alpha.max() / 2).mean())
    return bool(alpha.min() < alpha.max()) and clear >= MIN_CLEAR_SHARE
