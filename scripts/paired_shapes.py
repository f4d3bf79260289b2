"""Paired differences of two runs of `gan2shape bench shape`, over the objects that both have.

    python scripts/paired_shapes.py FOLDER OTHER [--method "depth network"]

Prints n and, for SIDE x 100, its aligned form and MAD in degrees, the mean of each folder and that of FOLDER - OTHER,
with half widths of their 95 % intervals.
"""

import argparse
from pathlib import Path

import numpy as np

from gan2shape.core.files import read_lines
from gan2shape.measure.statistics import mean_interval, paired_interval

METRICS = ("side", "side_aligned", "mad_deg")


def main() -> None:
    """Read, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs=2)
    parser.add_argument("--method", default="depth network", help="a row of the table")
    options = parser.parse_args()
    mine, other = ({row["seed"]: row[options.method] for row in read_lines(folder / "objects.jsonl")}
                   for folder in options.folders)  # fmt: skip
    seeds = sorted(mine.keys() & other.keys())
    print(f"n = {len(seeds)}")
    for key in METRICS:
        columns = [np.array([rows[seed][key] for seed in seeds]) for rows in (mine, other)]
        texts = [f"{mean:.3f} ± {half:.3f}" for mean, half in (*map(mean_interval, columns), paired_interval(*columns))]
        print(f"{key:13s} {texts[0]}, {texts[1]}; difference {texts[2]}")


if __name__ == "__main__":
    main()
