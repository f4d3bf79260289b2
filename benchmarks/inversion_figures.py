"""What an inversion tells of images that a prior knows and does not: PSNR of G(w) and the distance of w, by kind.

    python benchmarks/inversion_figures.py --category car --count 12

Kinds are those of `gan2shape.build.kinds`, or those among them that begin with a `--kind`. All are inverted as preset
`draft` does, without a mask; the mask is the prior's own, as in a run. Verdicts do not need the inversion
(docs/trust.md); runs print these two figures.
"""

import argparse

import numpy as np
import torch
from torch import Tensor

from gan2shape.build.kinds import all_kinds
from gan2shape.core.progress import silent
from gan2shape.measure.metrics import psnr_db
from gan2shape.prior.open import open_prior
from gan2shape.shape.inversion import invert
from gan2shape.shape.verdict import latent_distance

BATCH = 8


def spread(values: Tensor) -> str:
    """Least, median and greatest; images in which the prior shows no object are left out."""
    seen = values.numpy()[np.isfinite(values.numpy())]
    return "  ".join(f"{value:5.1f}" for value in np.quantile(seen, (0, 0.5, 1))) if len(seen) else "none"


def main() -> None:
    """Command line of this script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--category", default="car")
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--kind", nargs="*", default=[""])
    options = parser.parse_args()
    generator, config = open_prior(options.category, None, "draft", (), None, "cpu")
    for kind in all_kinds(options.category, generator, options.count):
        if not kind.name.startswith(tuple(options.kind)):
            continue
        figures = []
        for batch in kind.images.split(BATCH):
            found = invert(batch, generator.prior, config.invert, config.seed, None, silent)
            with torch.no_grad():
                made, masks = generator(found.latent)
                figures.append(torch.stack([psnr_db(made, batch, masks > 0.5),
                                            latent_distance(found.latent, generator.prior)]))  # fmt: skip
        psnr, distance = torch.cat(figures, 1)
        print(f"{kind.name:24s} n {len(psnr)}  PSNR {spread(psnr)}  distance of w {spread(distance)}", flush=True)


if __name__ == "__main__":
    main()
