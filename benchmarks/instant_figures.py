"""SIDE and MAD of preset instant beside another preset, on the same first validation objects, with paired differences.

python benchmarks/instant_figures.py --category car --count 64              # instant alone, seconds
python benchmarks/instant_figures.py --category car --count 64 --beside draft
"""

import argparse

import numpy as np
import torch

import gan2shape
from gan2shape.bench.exam import ExamObject, exam_objects
from gan2shape.bench.score import METRICS, score_depth
from gan2shape.measure.statistics import mean_interval, paired_interval


def scores(items: list[ExamObject], depths: list[torch.Tensor]) -> dict[str, np.ndarray]:
    """Each metric of each object."""
    rows = [score_depth(d, i.depth, i.mask, i.fov_deg) for i, d in zip(items, depths, strict=True)]
    return {name: np.array([row[name] for row in rows]) for name in METRICS[:3]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--category", default="car")
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--beside", default=None, help="another preset, one image at a time")
    given = parser.parse_args()
    prior = gan2shape.Prior.open(given.category, device="cpu")
    items = exam_objects(given.category, "val", given.count)
    images = torch.cat([item.image for item in items])
    found = {"flat": scores(items, [torch.ones_like(item.depth) for item in items])}
    for preset in filter(None, ("instant", given.beside)):
        made = gan2shape.reconstruct_batch(images, prior, preset=preset)
        found[preset] = scores(items, [one.scene.depth for one in made])
    for name, one in found.items():
        intervals = {metric: mean_interval(values) for metric, values in one.items()}
        shown = (f"{metric} {mean:.3f} ± {half:.3f}" for metric, (mean, half) in intervals.items())
        print(f"{given.category:8s} {name:10s} n={given.count}  {'  '.join(shown)}")
    if given.beside:
        for metric, values in found["instant"].items():
            mean, half = paired_interval(values, found[given.beside][metric])
            print(f"{given.category:8s} instant - {given.beside}: {metric} {mean:+.3f} ± {half:.3f}")


if __name__ == "__main__":
    main()
