"""Paired differences of rows of `gan2shape bench restore`, over the images that both have.

    python scripts/paired_rows.py FOLDER "superres:4=runs/glean/glean.safetensors" "superres:4=bicubic" …

FOLDER is that of the benchmark. The first row is compared with each of the others: mean and half width of the 95 %
interval of first - other, for every number that both have. Rows joined by " + " are one: its numbers are their means,
image by image (the same training from several seeds).
"""

import argparse
from pathlib import Path

import numpy as np

from gan2shape.bench.restorations import IMAGES_NAME, NUMBERS
from gan2shape.core.files import read_lines
from gan2shape.measure.statistics import paired_interval


def averaged(by_row: dict[str, dict[int, dict]], names: str) -> dict[int, dict[str, float]]:
    """Numbers of each image that all rows of `names` have, by its seed."""
    rows = [by_row.get(name, {}) for name in names.split(" + ")]
    seeds = set.intersection(*(set(row) for row in rows))
    found = {}
    for seed in seeds:
        shared = [key for key in NUMBERS if all(key in row[seed] for row in rows)]
        found[seed] = {key: sum(row[seed][key] for row in rows) / len(rows) for key in shared}
    return found


def main() -> None:
    """Read, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("first")
    parser.add_argument("other", nargs="+")
    options = parser.parse_args()
    by_row: dict[str, dict[int, dict]] = {}
    for line in read_lines(options.folder / IMAGES_NAME):
        by_row.setdefault(line["row"], {})[line["seed"]] = line
    mine = averaged(by_row, options.first)
    for name in options.other:
        theirs = averaged(by_row, name)
        seeds = sorted(mine.keys() & theirs.keys())
        if len(seeds) < 2:
            print(f"{name}: fewer than two images in common")
            continue
        parts = []
        for key in NUMBERS:
            if key in mine[seeds[0]] and key in theirs[seeds[0]]:
                columns = [np.array([rows[seed][key] for seed in seeds]) for rows in (mine, theirs)]
                mean, half = paired_interval(*columns)
                parts.append(f"{key} {mean:+.3g} ± {half:.2g}")
        print(f"against {name} (n = {len(seeds)}): {', '.join(parts)}")


if __name__ == "__main__":
    main()
