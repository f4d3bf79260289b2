"""How well a prior reproduces what it knows and what it does not: PSNR of G(w) inside the mask, by kind of image.

    python benchmarks/inversion_figures.py --category car --count 16

Kinds: exam images, exam images of the other category, noise (pixel by pixel, and smooth), one flat colour. All are
inverted as preset `draft` does, without a mask; the mask is the prior's own, as in a run. The threshold of
`gan2shape.shape.verdict.OUTSIDE_PSNR_DB` was chosen on these validation images;
`--split test` prints the rates on others.
"""

import argparse

import numpy as np
import torch
from torch import Tensor

from gan2shape.core.images import resized, to_float
from gan2shape.core.progress import silent
from gan2shape.core.resources import exam_dir
from gan2shape.invert.w_space import invert
from gan2shape.measure.metrics import psnr_db
from gan2shape.prior.open import open_prior
from gan2shape.shape.verdict import OUTSIDE_PSNR_DB

BATCH = 8


def exam_images(category: str, split: str, count: int) -> Tensor:
    """The first images of a split, [N, 3, S, S]."""
    with np.load(exam_dir() / category / f"{split}.npz", allow_pickle=False) as stored:
        return to_float(stored["image"][:count])


def kinds(category: str, split: str, count: int) -> dict[str, Tensor]:
    """Images by kind."""
    rng = torch.Generator().manual_seed(0 if split == "val" else 1)
    other = {"car": "head", "head": "car"}[category]
    own = exam_images(category, split, count)
    size, n = own.shape[-1], len(own)
    coarse = torch.rand(n, 3, 8, 8, generator=rng) * 2 - 1
    return {
        "own": own,
        f"of {other}s": exam_images(other, split, count),
        "noise": torch.rand(n, 3, size, size, generator=rng) * 2 - 1,
        "smooth noise": resized(coarse, size, "bicubic").clamp(-1, 1),
        "flat colour": (torch.rand(n, 3, 1, 1, generator=rng) * 2 - 1).expand(n, 3, size, size).contiguous(),
    }


def main() -> None:
    """Command line of this script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--category", default="car")
    parser.add_argument("--split", default="val")
    parser.add_argument("--count", type=int, default=16)
    options = parser.parse_args()
    generator, config = open_prior(options.category, None, "draft", (), None, "cpu")
    for kind, images in kinds(options.category, options.split, options.count).items():
        values = []
        for batch in images.split(BATCH):
            found = invert(batch, generator.prior, config.invert, config.seed, None, silent)
            with torch.no_grad():
                made, masks = generator(found.latent)
            values += psnr_db(made, batch, masks > 0.5).tolist()
        seen = np.sort([value for value in values if np.isfinite(value)])
        empty, low = len(values) - len(seen), int((seen < OUTSIDE_PSNR_DB).sum())
        spread = "  ".join(f"{value:.1f}" for value in np.quantile(seen, (0, 0.05, 0.5, 0.95, 1))) if len(seen) else "-"
        print(f"{options.category} {kind:14s} n {len(values)}, no object {empty}, below {low}: {spread}", flush=True)


if __name__ == "__main__":
    main()
