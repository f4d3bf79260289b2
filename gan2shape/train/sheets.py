"""Contact sheets of what a generator makes, each one PNG to look at."""

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.core.images import BARE, contact_sheet, to_uint8, write_png
from gan2shape.nn.generator import Generator

SHEET_BATCH = 16  # images generated at a time
SHEET_IMAGES, SHEET_COLUMNS = 64, 8
SHEET_SEED = 0  # of the latents, the same in every run


def write_sheet(images: Float[Tensor, "B 3 S S"], path: str | Path, n_columns: int = SHEET_COLUMNS) -> Path:
    """Images in [-1, 1] side by side, row by row, without gaps. Returns the path."""
    return write_png(Path(path), contact_sheet(to_uint8(images), n_columns=n_columns, layout=BARE))


@torch.no_grad()
def samples_sheet(
    generator: Generator,
    path: str | Path,
    n_images: int = SHEET_IMAGES,
    n_columns: int = SHEET_COLUMNS,
    seed: int = SHEET_SEED,
) -> Path:
    """Write `n_images` uncurated samples (fixed seed) as one PNG."""
    rng = torch.Generator().manual_seed(seed)
    z = torch.randn(n_images, generator.config.z_dim, generator=rng).to(generator.w_avg.device)
    images = torch.cat([generator(part, 1.0, "const") for part in z.split(SHEET_BATCH)])
    return write_sheet(images, path, n_columns)
