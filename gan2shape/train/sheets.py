"""Contact sheets: what a generator draws, as one PNG to look at."""

import os
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from gan2shape.nn.generator import Generator

SHEET_BATCH = 16  # images drawn at a time


def tile(images: Float[Tensor, "B 3 S S"], n_columns: int, upscale: int = 1) -> UInt8[np.ndarray, "H W 3"]:
    """Images in [-1, 1] side by side, row by row; missing places are black. `upscale` repeats pixels."""
    n_rows = -(-images.shape[0] // n_columns)
    pixels = ((images.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu()
    size = images.shape[-1]
    sheet = torch.zeros(n_rows * n_columns, 3, size, size, dtype=torch.uint8)
    sheet[: images.shape[0]] = pixels
    sheet = (
        sheet.view(n_rows, n_columns, 3, size, size).permute(0, 3, 1, 4, 2).reshape(n_rows * size, n_columns * size, 3)
    )
    return sheet.repeat_interleave(upscale, 0).repeat_interleave(upscale, 1).numpy()


def save_png(pixels: UInt8[np.ndarray, "H W 3"], path: str | Path) -> Path:
    """Write atomically; returns the path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    Image.fromarray(pixels).save(temporary, format="PNG")
    os.replace(temporary, path)
    return path


@torch.no_grad()
def draw(
    generator: Generator, z: Float[Tensor, "B Z"], truncation_psi: float = 1.0, noise: str = "const"
) -> Float[Tensor, "B 3 S S"]:
    """Images of latents, in batches."""
    return torch.cat([generator(part, truncation_psi, noise) for part in z.split(SHEET_BATCH)])


def samples_sheet(
    generator: Generator,
    path: str | Path,
    n_images: int = 64,
    n_columns: int = 8,
    seed: int = 0,
    truncation_psi: float = 1.0,
    upscale: int = 1,
) -> Path:
    """Write `n_images` uncurated samples (fixed seed) as one PNG."""
    rng = torch.Generator().manual_seed(seed)
    z = torch.randn(n_images, generator.config.z_dim, generator=rng).to(generator.w_avg.device)
    return save_png(tile(draw(generator, z, truncation_psi), n_columns, upscale), path)
