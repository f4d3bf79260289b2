"""How well are objects read whose outline is cut off? Exam objects, cut, framed as photos, against the reframed truth.

    python scripts/cut_outlines.py --category head [--generator PACK] [--preset instant] [--count 64] [--split val]
    python scripts/cut_outlines.py --category head --exam face      # what the head prior makes of realistic heads

One row for each kind of cut (`gan2shape/scene/cutting.py`): SIDE x 100 and MAD in degrees inside what is left, then the
same with the best plane taken out; of what is read in the cut image, and on the same pixels in the whole one. `ratio`
is of their means; ± is half of the 95 % interval, paired over objects. --sheet FILE draws the first objects: cut image,
true depth, depth read cut, depth read whole, all in the cut frame, near is bright.
"""

import argparse
import json
from functools import partial
from pathlib import Path

import numpy as np
import torch

from gan2shape.bench.cuts import METRICS, WHOLE, Reader, cut_object, framed_object, read_depth, score_cuts
from gan2shape.bench.exam import ExamObject, exam_objects
from gan2shape.bench.requests import SPLITS
from gan2shape.core.images import contact_sheet, to_uint8, write_png
from gan2shape.core.records import UsualFrame
from gan2shape.measure.statistics import mean_interval, paired_interval
from gan2shape.prior.open import open_prior
from gan2shape.prior.scene import pretrained_networks
from gan2shape.scene.cutting import KINDS
from gan2shape.scene.reframe import reframed_depth

SHOWN = 8  # objects on a sheet
RELIEF = 0.05  # depth from the mean that is drawn black or white


def table(rows: list[dict], kinds: tuple[str, ...]) -> list[str]:
    """Lines to print."""
    lines = [f"{'':8s} " + "".join(f"{name:>16s}" for name in METRICS) + "    ratio to the same pixels seen whole"]

    def column(row: str, name: str) -> np.ndarray:
        return np.array([one[row][name] for one in rows])

    def means(row: str) -> str:
        pairs = [mean_interval(column(row, name)) for name in METRICS]
        return "".join(f"{mean:9.3f} ±{half:5.3f}" for mean, half in pairs)

    lines.append(f"{WHOLE:8s} {means(WHOLE)}")
    for kind in kinds:
        same = f"{kind}, seen whole"
        ratios = [column(kind, name).mean() / column(same, name).mean() for name in METRICS]
        gap, half = paired_interval(column(kind, "side"), column(same, "side"))
        shown = "  ".join(f"{ratio:.2f}" for ratio in ratios)
        lines.append(f"{kind:8s} {means(kind)}    {shown}   SIDE {gap:+.3f} ± {half:.3f}")
        lines.append(f"{'  whole':8s} {means(same)}")
        lines.append(f"{'  flat':8s} {means(f'{kind}, flat')}")
    for suffix in ("", ", seen whole"):
        every = [[np.mean([column(kind + suffix, name).mean() for kind in kinds])] for name in METRICS]
        lines.append(f"all{suffix}: " + "  ".join(f"{one[0]:.3f}" for one in every))
    return lines


def drawn(depth: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Depth about its mean inside the mask as grey, near is bright, white beside the object."""
    inside = mask > 0.5
    relief = (depth[inside].mean() - depth) / RELIEF
    return torch.where(inside, relief.clamp(-1, 1), 1.0).expand(-1, 3, -1, -1)


def sheet(items: list[ExamObject], kinds: tuple[str, ...], frame: UsualFrame, read: Reader) -> np.ndarray:
    """Four rows for each kind of cut, a column for each object."""
    tiles = []
    wholes = [read(item.image, item.mask) for item in items]
    for kind in kinds:
        columns = []
        for item, whole in zip(items, wholes, strict=True):
            cut = cut_object(item, kind, frame)
            depths = cut.depth, read(cut.image, cut.mask), reframed_depth(whole, cut.square, item.fov_deg)
            columns.append([cut.image, *(drawn(depth, cut.mask) for depth in depths)])
        tiles += [to_uint8(column[row])[0] for row in range(4) for column in columns]
    return contact_sheet(tiles, n_columns=len(items))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--category", default="head")
    parser.add_argument("--generator", type=Path, help="a pack in the place of the bundled one")
    parser.add_argument("--exam", help="the category whose exam is read, framed as photos [the prior's own]")
    parser.add_argument("--preset", default="instant")
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--split", default="val", choices=SPLITS)
    parser.add_argument("--kind", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--json", type=Path, help="file for the scores of each object")
    parser.add_argument("--sheet", type=Path, help="file for pictures")
    parser.add_argument("settings", nargs="*", help="key=value of the configuration")
    options = parser.parse_args()
    torch.set_num_threads(1)
    generator, config = open_prior(
        options.category, options.generator, options.preset, tuple(options.settings), device="cpu"
    )
    known, frame = pretrained_networks(generator.prior, config), generator.prior.calibration.frame
    if known is None or frame is None:
        parser.error("The pack has no scene networks or no frame: finish it with `gan2shape build`.")
    exam, kinds = options.exam or options.category, tuple(options.kind)
    items = exam_objects(exam, options.split, options.count, config.render.resolution)
    if exam != options.category:
        items = [framed_object(item, frame) for item in items]
    read = partial(read_depth, known=known, generator=generator, config=config)
    rows = [score_cuts(item, kinds, frame, read) for item in items]
    print("\n".join(table(rows, kinds)))
    if options.json:
        options.json.write_text(json.dumps([{"seed": i.seed, **row} for i, row in zip(items, rows, strict=True)]))
    if options.sheet:
        write_png(options.sheet, sheet(items[:SHOWN], kinds, frame, read))


if __name__ == "__main__":
    main()
