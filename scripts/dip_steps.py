"""When should the Deep Image Prior stop? PSNR after numbers of steps, on validation cars that no table shows.

    python scripts/dip_steps.py [--count 4] [--steps 100 200 400 1000]

The cars are those behind the first eight, which the tables of docs/restoration.md are of. The same number of steps has
to serve every task, as in configs/restore/dip.yaml.
"""

import argparse
from dataclasses import replace

import torch

from gan2shape.bench.exam import exam_objects
from gan2shape.measure.metrics import psnr_db
from gan2shape.prior.open import open_prior
from gan2shape.restoration.methods import load_method
from gan2shape.restoration.restore import restore_images
from gan2shape.restoration.tasks import parse_damage

IN_TABLES = 8
TASKS = ("superres:4", "superres:8", "inpaint", "denoise:0.2", "deblur:2")


def main() -> None:
    """Print a line a task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=4)
    parser.add_argument("--steps", type=int, nargs="+", default=[100, 200, 400, 1000])
    given = parser.parse_args()
    prior = open_prior("car")[0].prior
    images = torch.cat([one.image for one in exam_objects("car", "val", IN_TABLES + given.count)[IN_TABLES:]])
    everywhere = torch.ones_like(images[:, :1]) > 0
    for task in TASKS:
        damage, found = parse_damage(task), []
        method = load_method("dip", damage.task)
        for n_steps in given.steps:
            stages = (replace(method.stages[0], n_steps=n_steps),)
            some = replace(method, stages=stages, steps_factor=1.0)
            restored = restore_images(images, damage, some, prior, degrade=True)
            found.append(psnr_db(restored.image, images, everywhere).mean().item())
        shown = (f"{n}: {db:.1f}" for n, db in zip(given.steps, found, strict=True))
        print(f"{task:12s} " + "  ".join(shown), flush=True)


if __name__ == "__main__":
    main()
