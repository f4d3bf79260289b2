"""PNG files: depth, normals, albedo, shading, strips and contact sheets.

Conventions
-----------
* Images come in as [3, S, S] in [-1, 1]; arrays are uint8 [H, W, 3], with alpha [H, W, 4].
* `depth.png` is 16-bit grey: 0 is z = 1 - half_range (near), 65535 is z = 1 + half_range (far), linear between.
* Normal pictures follow the usual look (x right red, y UP green, towards the viewer blue), although our own normals
  have y down and z < 0 towards the viewer.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gan2shape.core.files import write_atomic

LABEL_PX = 18  # height of a caption
GAP_PX = 4  # between tiles
PAPER = (255, 255, 255)
INK = (70, 74, 82)


def to_uint8(image: Float[Tensor, "3 S S"]) -> np.ndarray:
    """[-1, 1] to uint8 [S, S, 3], rounded, clipped."""
    return ((image.detach().float().cpu().permute(1, 2, 0).numpy() + 1) * 127.5).round().clip(0, 255).astype(np.uint8)


def depth_to_uint16(depth: Float[Tensor, "1 1 S S"], half_range: float) -> np.ndarray:
    """z to uint16 [S, S] over 1 +- half_range, clipped."""
    unit = (depth.detach().cpu().double().numpy()[0, 0] - 1 + half_range) / (2 * half_range)
    return (unit * 65535).round().clip(0, 65535).astype(np.uint16)


def uint16_to_depth(stored: np.ndarray, half_range: float) -> np.ndarray:
    """The inverse of `depth_to_uint16`, float32, to within half_range / 65535."""
    return (1 + (stored.astype(np.float64) / 65535 * 2 - 1) * half_range).astype(np.float32)


def normal_picture(normal: Float[Tensor, "1 3 S S"]) -> np.ndarray:
    """Unit normals as colours: (x, -y, -z) / 2 + 1/2."""
    flipped = normal[0] * normal.new_tensor([1.0, -1.0, -1.0])[:, None, None]
    return to_uint8(flipped)


def grey_picture(values: Float[Tensor, "1 1 S S"], low: float, high: float) -> np.ndarray:
    """Values as grey: `low` black, `high` white."""
    unit = (values[0, 0] - low) / max(high - low, 1e-12)
    return to_uint8((unit * 2 - 1).expand(3, -1, -1))


def depth_picture(depth: Float[Tensor, "1 1 S S"], mask: Float[Tensor, "1 1 S S"]) -> np.ndarray:
    """Depth for the eye: near is bright, stretched to the object's own range."""
    inside = depth[mask > 0.5] if bool((mask > 0.5).any()) else depth.flatten()
    return grey_picture(-depth, -float(inside.max()), -float(inside.min()))


def cut_out(pixels: np.ndarray, mask: Float[Tensor, "1 1 S S"]) -> np.ndarray:
    """uint8 [S, S, 3] with the mask as its alpha channel, [S, S, 4]: beside the object, maps mean nothing."""
    alpha = (mask[0, 0].detach().float().cpu().numpy() * 255).round().clip(0, 255).astype(np.uint8)
    return np.concatenate([pixels, alpha[..., None]], -1)


def on_paper(pixels: np.ndarray) -> np.ndarray:
    """uint8 [S, S, 4] over white, [S, S, 3]."""
    alpha = pixels[..., 3:].astype(np.float64) / 255
    return (alpha * pixels[..., :3] + (1 - alpha) * np.array(PAPER)).round().astype(np.uint8)


def write_png(path: Path, pixels: np.ndarray) -> Path:
    """uint8 [H, W, 3], [H, W, 4] or [H, W], or uint16 [H, W] as PNG, atomically."""
    from PIL import Image

    return write_atomic(Path(path), lambda temporary: Image.fromarray(pixels).save(temporary, format="PNG"))


def png_bytes(pixels: np.ndarray) -> bytes:
    """The same in memory."""
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def sheet(tiles: Sequence[np.ndarray], labels: Sequence[str] = (), n_columns: int | None = None) -> np.ndarray:
    """Tiles of one size in rows of n_columns (all in one row if None), a caption under each where labels are given."""
    from PIL import Image, ImageDraw, ImageFont

    if not tiles:
        raise ValueError("a sheet needs at least one tile")
    if labels and len(labels) != len(tiles):
        raise ValueError(f"{len(labels)} labels for {len(tiles)} tiles")
    n_columns = min(n_columns or len(tiles), len(tiles))
    height, width = tiles[0].shape[:2]
    cell = (height + (LABEL_PX if labels else 0) + GAP_PX, width + GAP_PX)
    n_rows = -(-len(tiles) // n_columns)
    page = Image.new("RGB", (cell[1] * n_columns - GAP_PX, cell[0] * n_rows - GAP_PX), PAPER)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(12)
    for index, tile in enumerate(tiles):
        top, left = (index // n_columns) * cell[0], (index % n_columns) * cell[1]
        page.paste(Image.fromarray(tile), (left, top))
        if labels:
            draw.text((left + width / 2, top + height + LABEL_PX / 2), labels[index], INK, font, anchor="mm")
    return np.asarray(page)


def strip(
    images: Float[Tensor, "N 3 S S"], labels: Sequence[str] = (), side: int = 128, n_columns: int | None = None
) -> np.ndarray:
    """Images in a row with captions, each shown at `side` pixels or more (grown by cubic interpolation)."""
    shown = images.detach().float().cpu()
    if shown.shape[-1] < side:
        shown = F.interpolate(shown, size=(side, side), mode="bicubic", align_corners=False)
    return sheet([to_uint8(image) for image in shown], labels, n_columns)
