"""How far a sentence moves a picture, and what else moves with it: the trade-off of `edit --text`.

    python scripts/text_claims.py --pair runs/text/text.safetensors [--category car] [--count 16]

Samples of the generator are edited towards "a red car", "a blue car" … at several localities. The attribute network,
which took no part in training the pair, judges: the CIE 1976 distance of the paint from the colour that was asked for,
how often the body style stays, and how far heading and light turn.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from gan2shape.build.captions import PALETTE_LAB
from gan2shape.edit.text import asking, open_text_pair, text_offset
from gan2shape.measure.attributes import bundled_attributes, differences, identity
from gan2shape.measure.statistics import mean_interval
from gan2shape.prior.open import open_prior

COLOURS = ("red", "blue", "green", "white")
LOCALITIES = (30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03)


def main() -> None:
    """Edit, read, print a line for each locality."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pair", type=Path, required=True)
    parser.add_argument("--category", default="car")
    parser.add_argument("--count", type=int, default=16, help="samples, a quarter of them for each colour")
    options = parser.parse_args()
    prior, reader = open_prior(options.category, device="cpu")[0].prior, bundled_attributes(options.category)
    pair, rng = open_text_pair(options.pair, prior), torch.Generator().manual_seed(0)
    z = torch.randn(options.count, prior.generator.config.z_dim, generator=rng)
    with torch.no_grad():
        rows = prior.generator.mapping(z)[:, None].expand(-1, prior.generator.n_layers, -1)
        before = reader.read(prior.generator.synthesis(rows))
    parts = np.array_split(np.arange(options.count), len(COLOURS))
    wanted = torch.cat([torch.tensor(PALETTE_LAB[c]).expand(len(p), 3) for c, p in zip(COLOURS, parts, strict=True)])
    for locality in (None, *LOCALITIES):
        moved = rows
        if locality is not None:
            asked = [(asking(f"a {c} {options.category}", pair), p) for c, p in zip(COLOURS, parts, strict=True)]
            moved = rows + torch.cat([text_offset(asks, rows[p], prior, locality) for asks, p in asked])
        with torch.no_grad():
            after = reader.read(prior.generator.synthesis(moved))
        found = {"paint_to_asked": (after.traits["paint_lab"] - wanted).norm(dim=1)}
        found |= {"identity": identity(after, before)}
        found |= {k: v for k, v in differences(after, before).items() if k in ("heading_deg", "light_deg", "style")}
        shown = {name: mean_interval(value.numpy()) for name, value in found.items()}
        line = "  ".join(f"{name} {mean:.3g} ± {half:.2g}" for name, (mean, half) in shown.items())
        print(locality, line, flush=True)


if __name__ == "__main__":
    main()
