"""Freeze the exam of a category: render both splits from their seeds, write arrays and hashes.

    python scripts/make_exam.py --category car
    python scripts/make_exam.py --category car --nearest data/car64     # distance of each image to the training set

A changed exam changes every number that was ever reported on it: commit it alone, with old and new numbers.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from gan2shape.bench.exam import FIRST_SEED, array_hash, load_split, make_split
from gan2shape.resources import exam_dir


def freeze(category: str, folder: Path) -> None:
    """Write val.npz, test.npz and hashes.json; refuses to overwrite an exam that differs."""
    hashes = {}
    folder.mkdir(parents=True, exist_ok=True)
    stored = folder / "hashes.json"
    before = json.loads(stored.read_text()) if stored.is_file() else {}
    for split in FIRST_SEED:
        arrays = make_split(category, split)
        hashes[split] = array_hash(arrays)
        if before.get(split, hashes[split]) != hashes[split]:
            raise SystemExit(f"the {split} exam of {category} would change: delete {folder} first if that is meant")
        np.savez_compressed(folder / f"{split}.npz", **arrays)
    stored.write_text(json.dumps(hashes, indent=1) + "\n")


def nearest_rms(category: str, split: str, shards: Path) -> np.ndarray:
    """For each exam image the least root-mean-square difference (0-255) to any training image or its mirror image."""
    images = load_split(category, split)["image"].astype(np.float32)
    best = np.full(len(images), np.inf)
    flat = images.reshape(len(images), -1)
    mirrored = images[:, :, ::-1].reshape(len(images), -1)
    for path in sorted(shards.glob("images_*.npy")):
        training = np.load(path, allow_pickle=False).reshape(-1, flat.shape[1]).astype(np.float32)
        squares = (training**2).sum(1)
        for wanted in (flat, mirrored):
            distance = (wanted**2).sum(1)[:, None] - 2 * wanted @ training.T + squares
            best = np.minimum(best, distance.min(1))
    return np.sqrt(np.maximum(best, 0) / flat.shape[1])


def main() -> None:
    """Command line of this script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--category", required=True)
    parser.add_argument("--nearest", type=Path, help="folder of training shards to compare with, instead of freezing")
    options = parser.parse_args()
    if options.nearest is None:
        freeze(options.category, exam_dir() / options.category)
        return
    for split in FIRST_SEED:
        rms = nearest_rms(options.category, split, options.nearest)
        print(f"{split}: least {rms.min():.2f}, median {np.median(rms):.2f}, greatest {rms.max():.2f} (rms, 0-255)")


if __name__ == "__main__":
    main()
