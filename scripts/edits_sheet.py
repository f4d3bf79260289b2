"""The second picture of docs/restoration.md: edits by optimisation, of the first validation images, not chosen.

    python scripts/edits_sheet.py --out docs/restoration-edits.png [--category car] [--steps 1.0]

Rows from the top: morph from the first image to the second (DGP); the first one jittered by .3, .5 and .7 (DGP); of
the first and the second, then of the third and the fourth image: crossover of the left half of one with the right half
of the other, the one with the texture of the other on its left half, and a scribble in it (Image2StyleGAN++), each
after its inputs; draws of a variational BRGM for a hole.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import gan2shape.restoration.combine as combining
from gan2shape.bench.exam import exam_objects
from gan2shape.core.images import resized, to_uint8, write_png
from gan2shape.prior.open import open_prior
from gan2shape.prior.packs import Prior
from gan2shape.restoration.edits import jittered, morphed
from gan2shape.restoration.methods import load_method
from gan2shape.restoration.restore import restore_images
from gan2shape.restoration.tasks import Damage, hole_of

COLUMNS, TILE_PX = 8, 128
SCRIBBLE = (0.9, -0.8, -0.8)  # red


def combined(one: Tensor, other: Tensor, prior: Prior) -> list[Tensor]:
    """Two pictures, their crossover, the style of the other in the one, the one with a scribble, and what it became."""
    size = prior.resolution
    half = torch.zeros(1, 1, size, size)
    half[..., : size // 2] = 1.0
    spot = torch.zeros(1, 1, size, size)
    spot[..., size // 2 : size // 2 + size // 8, size // 3 : 2 * size // 3] = 1.0
    painted = one * (1 - spot) + torch.tensor(SCRIBBLE)[:, None, None] * spot
    made = [
        combining.combine(one, other, half, "crossover", prior).image,
        combining.combine(one, other, half, "style", prior).image,
        combining.combine(painted, one, spot, "scribble", prior).image,
    ]
    crossed, styled, scribbled = (image[0].clamp(-1, 1) for image in made)
    return [one[0], other[0], crossed, styled, painted[0], scribbled]


def main() -> None:
    """Solve, draw and write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--category", default="car")
    parser.add_argument("--steps", type=float, default=1.0, help="share of each method's steps")
    parser.add_argument("--out", type=Path, default=Path("restoration-edits.png"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    prior = open_prior(options.category)[0].prior
    size = prior.resolution
    images = [resized(item.image, size) for item in exam_objects(options.category, "val", 4)]
    first, second = images[:2]

    def shortened(name: str, task: str):
        method = load_method(name, task)
        return replace(method, steps_factor=options.steps * method.steps_factor)

    method = shortened("dgp", "manipulate")
    solved = restore_images(torch.cat([first, second]), Damage("reconstruct"), method, prior).solved
    rows = [list(morphed(*solved.states, method.space, prior, COLUMNS))]
    moved = [jittered(solved.states[0], method.space, prior, sd, n) for sd, n in ((0.3, 2), (0.5, 2), (0.7, 3))]
    rows.append([first[0], *torch.cat(moved)])

    combining.load_method = shortened
    rows += [combined(*images[i : i + 2], prior) for i in (0, 2)]

    damage = Damage("inpaint")
    restored = restore_images(first, damage, shortened("brgmvi", "inpaint"), prior, degrade=True)
    hole = hole_of(damage, size)
    rows.append([restored.observed[0], *(hole[0] * draw + (1 - hole[0]) * first[0] for draw in restored.draws[0])])

    blank = torch.ones(3, size, size)
    lines = [torch.stack([*row, *([blank] * (COLUMNS - len(row)))]) for row in rows]
    pixels = [to_uint8(resized(line, TILE_PX, "bicubic").clamp(-1, 1)) for line in lines]
    print(write_png(options.out, np.concatenate([np.concatenate(list(line), 1) for line in pixels], 0)))


if __name__ == "__main__":
    main()
