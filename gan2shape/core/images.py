"""Images as tensors, bytes and PNG files: one conversion, one resize, one contact sheet.

Tensors are [B, C, H, W] in [-1, 1]. Pictures are uint8 arrays [H, W, 3], or with alpha [H, W, 4].
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from gan2shape.core.files import write_atomic


def to_uint8(images: Float[Tensor, "*B C H W"], lowest: float = -1.0) -> UInt8[np.ndarray, "*B H W C"]:
    """Values from `lowest` (black) to 1 (white) as bytes, rounded and clipped, channels last."""
    levels = (images.detach().float() - lowest).mul(255 / (1 - lowest))
    return levels.round().clamp(0, 255).to(torch.uint8).movedim(-3, -1).cpu().numpy()


def to_float(pictures: UInt8[np.ndarray, "B H W C"]) -> Float[Tensor, "B C H W"]:
    """The inverse of `to_uint8`: bytes as values in [-1, 1], channels first."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1.0


def resized(images: Float[Tensor, "B C H H"], size: int, growth: str = "bilinear") -> Float[Tensor, "B C S S"]:
    """Square images at another resolution: area averages down, `growth` (bilinear as published, or bicubic) up."""
    if images.shape[-1] == size:
        return images
    if images.shape[-1] > size:
        return F.interpolate(images, size=(size, size), mode="area")
    return F.interpolate(images, size=(size, size), mode=growth, align_corners=False)


@dataclass(frozen=True)
class SheetLayout:
    """How a contact sheet looks."""

    gap_px: int = 4  # between tiles
    paper: tuple[int, int, int] = (255, 255, 255)
    ink: tuple[int, int, int] = (70, 74, 82)
    label_px: int = 18  # height of the band below a tile, where there are labels
    font_px: int = 12
    indent_px: int | None = None  # of a label from the tile's left edge, at the top of its band; None: centred
    scale: int = 1  # each pixel becomes scale x scale


BARE = SheetLayout(gap_px=0, paper=(0, 0, 0))  # tiles side by side; missing places are black


def contact_sheet(
    tiles: Sequence[UInt8[np.ndarray, "H W 3"]] | UInt8[np.ndarray, "N H W 3"],
    labels: Sequence[str] = (),
    n_columns: int | None = None,
    layout: SheetLayout = SheetLayout(),
) -> UInt8[np.ndarray, "_H _W 3"]:
    """Tiles of one size in rows of `n_columns` (all in one row if None), a label under each where labels are given."""
    from PIL import Image, ImageDraw, ImageFont

    if len(tiles) == 0:
        raise ValueError("a sheet needs at least one tile")
    if labels and len(labels) != len(tiles):
        raise ValueError(f"{len(labels)} labels for {len(tiles)} tiles")
    n_columns = min(n_columns or len(tiles), len(tiles))
    height, width = (layout.scale * length for length in tiles[0].shape[:2])
    cell = (height + (layout.label_px if labels else 0) + layout.gap_px, width + layout.gap_px)
    n_rows = -(-len(tiles) // n_columns)
    size = (cell[1] * n_columns - layout.gap_px, cell[0] * n_rows - layout.gap_px)
    page = Image.new("RGB", size, layout.paper)
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(layout.font_px) if labels else None
    for index, tile in enumerate(tiles):
        top, left = (index // n_columns) * cell[0], (index % n_columns) * cell[1]
        page.paste(Image.fromarray(tile.repeat(layout.scale, 0).repeat(layout.scale, 1)), (left, top))
        if labels and layout.indent_px is None:
            centre = (left + width / 2, top + height + layout.label_px / 2)
            pen.text(centre, labels[index], layout.ink, font, anchor="mm")
        elif labels:
            pen.text((left + layout.indent_px, top + height), labels[index], layout.ink, font)
    return np.asarray(page)


def write_png(path: Path, pixels: np.ndarray) -> Path:
    """uint8 [H, W, 3], [H, W, 4] or [H, W], or uint16 [H, W] as PNG, whole or not at all."""
    from PIL import Image

    return write_atomic(Path(path), lambda temporary: Image.fromarray(pixels).save(temporary, format="PNG"))
