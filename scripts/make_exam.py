"""Freeze the exam of a category: render its splits from their seeds, write arrays and hashes.

    python scripts/make_exam.py --category car
    python scripts/make_exam.py --category car --nearest data/car64  # nearest training image of each image

A changed exam changes every number that was ever reported on it: commit it alone, with old and new numbers.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from gan2shape.bench.exam import (
    DEPTH_STEPS,
    FORMAT,
    FORMATS,
    array_hash,
    images_of,
    load_split,
    make_split,
    spec_of,
)
from gan2shape.core.files import write_arrays_atomic, write_text_atomic
from gan2shape.core.resources import exam_dir

NEAREST_NAME = "nearest.json"  # beside the exam's arrays


def freeze(category: str, folder: Path) -> None:
    """Write SPLIT.npz of each split and hashes.json; refuses to overwrite an exam that differs."""
    hashes: dict = {"versions": {}}
    folder.mkdir(parents=True, exist_ok=True)
    stored = folder / "hashes.json"
    before = json.loads(stored.read_text()) if stored.is_file() else {}
    for split in FORMATS.get(category, FORMAT).splits:
        arrays = make_split(category, split)
        inside = arrays["depth"][arrays["mask"] == 255]
        if not 0 < inside.min() <= inside.max() < DEPTH_STEPS:
            raise SystemExit(f"an object of the {split} exam of {category} leaves the range of stored depth")
        hashes[split], hashes["versions"][split] = array_hash(arrays), spec_of(category, split).version
        if before.get(split, hashes[split]) != hashes[split]:
            raise SystemExit(f"the {split} exam of {category} would change: delete {folder} first if that is meant")
        write_arrays_atomic(folder / f"{split}.npz", arrays)
    write_text_atomic(stored, json.dumps(hashes, indent=1) + "\n")


def nearest_images(category: str, split: str, shards: Path) -> list[dict]:
    """For each exam image the training image (the seed it was rendered from) with the least root-mean-square difference
    (0-255), as it is or mirrored.
    """
    arrays = load_split(category, split)
    images = images_of(arrays).astype(np.float32)
    wanted = {False: images.reshape(len(images), -1), True: images[:, :, ::-1].reshape(len(images), -1)}
    least, found, first = np.full(len(images), np.inf), [{} for _ in images], 0
    for path in sorted(shards.glob("images_*.npy")):
        training = np.load(path, allow_pickle=False).reshape(-1, wanted[False].shape[1]).astype(np.float32)
        squares = (training**2).sum(1)
        for mirrored, flat in wanted.items():
            distance = (flat**2).sum(1)[:, None] - 2 * flat @ training.T + squares
            nearest = distance.argmin(1)
            for i in np.flatnonzero(distance.min(1) < least):
                least[i] = distance[i, nearest[i]]
                found[i] = {"training_seed": first + int(nearest[i]), "mirrored": mirrored}
        first += len(training)
    rms = np.sqrt(np.maximum(least, 0) / wanted[False].shape[1])
    return [
        {"seed": int(seed), **one, "rms": round(float(value), 2)}
        for seed, one, value in zip(arrays["seed"], found, rms, strict=True)
    ]


def main() -> None:
    """Command line of this script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--category", required=True)
    parser.add_argument("--nearest", type=Path, help="folder of training shards to compare with, instead of freezing")
    options = parser.parse_args()
    if options.nearest is None:
        freeze(options.category, exam_dir() / options.category)
        return
    nearest = {split: nearest_images(options.category, split, options.nearest) for split in ("val", "test")}
    for split, rows in nearest.items():
        rms = np.array([row["rms"] for row in rows])
        print(f"{split}: least {rms.min():.2f}, median {np.median(rms):.2f}, greatest {rms.max():.2f} (rms, 0-255)")
    lines = [f'"{split}": [\n' + ",\n".join(json.dumps(row) for row in rows) + "\n]" for split, rows in nearest.items()]
    (exam_dir() / options.category / NEAREST_NAME).write_text("{" + ",\n".join(lines) + "}\n")


if __name__ == "__main__":
    main()
