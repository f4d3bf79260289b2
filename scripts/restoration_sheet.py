"""The picture of docs/restoration.md: the first validation images of the exam, not chosen, damaged and restored.

    python scripts/restoration_sheet.py --out docs/restoration.png [--category car] [--count 4] [--row TASK=METHOD …]

From the top: the clean images; then for each task what was given, and what each method made of it.
"""

import argparse
from pathlib import Path

import torch

from gan2shape.bench.requests import BenchRequest
from gan2shape.bench.restorations import sheet

ROWS = ("superres:4=bicubic", "superres:4=brgm", "superres:4=dgp", "inpaint=tv", "inpaint=dgp", "colorize=dgp")


def main() -> None:
    """Draw and write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--category", default="car")
    parser.add_argument("--count", type=int, default=4, help="images")
    parser.add_argument("--split", default="val")
    parser.add_argument("--row", action="append", help="as of `gan2shape bench restore`, instead of those of the page")
    parser.add_argument("--out", type=Path, default=Path("restoration.png"))
    options = parser.parse_args()
    torch.set_num_threads(1)  # the same picture on any machine of one kind
    print(sheet(BenchRequest(options.category), options.split, tuple(options.row or ROWS), options.out, options.count))


if __name__ == "__main__":
    main()
