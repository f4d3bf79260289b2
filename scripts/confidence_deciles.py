"""Does the confidence of depth tell where depth is wrong? Figures, and the picture docs/confidence.png.

    python scripts/confidence_deciles.py --split test [--count 32] [--guess] [--out docs/confidence.png]

Exam images with their true masks, preset draft; with --guess the encoder's guess stands in for the inversion, which
takes seconds an image. Error is |log depth - log true depth| times 100 after each object's mean is removed, on the mask
that scores use. One JSON line a category: Spearman's rank correlation of doubt and error over all pixels, its mean over
objects, and the mean error of each tenth of all pixels, from the surest on. The bars show these.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

import gan2shape
from gan2shape.bench.exam import exam_objects
from gan2shape.bench.score import score_mask
from gan2shape.build.confidence import depth_error
from gan2shape.core.images import write_png
from gan2shape.export.pictures import HIGH_COLOUR, LOW_COLOUR
from gan2shape.measure.statistics import means_by_share, rank_correlation

CATEGORIES = ("car", "head")
N_SHARES = 10
WIDTH, HEIGHT, MARGIN = 440, 260, 44  # of one category's bars, pixels
INK, PAPER = (40, 40, 40), (255, 255, 255)


def judged(category: str, split: str, count: int, overrides: tuple[str, ...]) -> list[tuple[np.ndarray, np.ndarray]]:
    """(doubt, error) of the scored pixels of each object."""
    prior, rows = gan2shape.Prior.open(category, device="cpu"), []
    for item in exam_objects(category, split, count, prior.generator.resolution):
        made = gan2shape.reconstruct(item.image, mask=item.mask, prior=prior, overrides=overrides)
        scored = score_mask(item.mask)
        error = 100 * depth_error(made.scene.depth, item.depth, scored)
        rows.append(((1 - made.confidence)[scored].numpy(), error[scored].numpy()))
    return rows


def figures(rows: list[tuple[np.ndarray, np.ndarray]]) -> dict:
    """What the docstring of this file names."""
    doubt, error = (np.concatenate(column) for column in zip(*rows, strict=True))
    return {
        "n": len(rows),
        "rank_correlation": round(rank_correlation(doubt, error), 3),
        "rank_correlation_within": round(float(np.mean([rank_correlation(*row) for row in rows])), 3),
        "error_by_tenth": [round(mean, 3) for mean in means_by_share(error, doubt, N_SHARES)],
    }


def bars(title: str, means: list[float]) -> np.ndarray:
    """The mean errors as bars, surest pixels at the left, uint8 [HEIGHT, WIDTH, 3]."""
    picture = Image.new("RGB", (WIDTH, HEIGHT), PAPER)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(13)
    step, high = (WIDTH - 2 * MARGIN) / len(means), HEIGHT - 2 * MARGIN
    for i, mean in enumerate(means):
        share = i / (len(means) - 1)
        colour = tuple(round(255 * (b + share * (a - b))) for a, b in zip(LOW_COLOUR, HIGH_COLOUR, strict=True))
        left, top = MARGIN + i * step, HEIGHT - MARGIN - high * mean / max(means)
        draw.rectangle((left + 3, top, left + step - 3, HEIGHT - MARGIN), fill=colour)
        draw.text((left + step / 2, top - 2), f"{mean:.2f}", INK, font, anchor="mb")
    draw.text((WIDTH / 2, 14), title, INK, font, anchor="mm")
    draw.text((MARGIN, HEIGHT - MARGIN + 6), "surest tenth", INK, font)
    draw.text((WIDTH - MARGIN, HEIGHT - MARGIN + 6), "least sure", INK, font, anchor="ra")
    draw.text((WIDTH / 2, HEIGHT - 12), "mean depth error, % of the distance", INK, font, anchor="mm")
    return np.asarray(picture)


def main() -> None:
    """Command line of this script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", choices=("val", "test"), default="val")
    parser.add_argument("--count", type=int, default=32)
    parser.add_argument("--guess", action="store_true")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    panels = []
    for category in CATEGORIES:
        overrides = ("invert.n_steps=0",) if given.guess else ()
        found = figures(judged(category, given.split, given.count, overrides))
        print(json.dumps({"category": category, "split": given.split, "guess": given.guess, **found}), flush=True)
        title = f"{category}, {given.split}, n = {found['n']}: rank correlation {found['rank_correlation']:.2f}"
        panels.append(bars(title, found["error_by_tenth"]))
    if given.out is not None:
        write_png(given.out, np.concatenate(panels, 1))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
