"""Adversarial objectives beside each other: Fréchet distance at equal images, and at equal steps of the generator.

    python scripts/objectives_study.py --out runs/objectives [--category car] [--kimg 40] [--seeds 0 1 2]

Each objective trains the same small generator at 32 x 32 pixels, adversarially alone, from each seed; the distance is
measured at a quarter, a half and all of the images, with `--count` images a side. `wgan-gp` updates both players alike;
`wgan-gp, 5 critic steps` is the published ratio: as many images, a fifth of the generator's steps. `rows.jsonl` grows
as it goes, and a second call goes on where the first was stopped. 40 kimg take some eight minutes of a core each.
`--sheet PNG` puts the first two rows of each objective's last samples below each other (first seed).
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from gan2shape.bench.frechet import FrechetRequest, real_features, run_frechet
from gan2shape.core.files import append_lines, read_lines
from gan2shape.core.images import write_png
from gan2shape.core.progress import PlainReporter
from gan2shape.nn.discriminator import DiscriminatorConfig
from gan2shape.nn.generator import GeneratorConfig
from gan2shape.train.image_source import image_source
from gan2shape.train.loop import TrainConfig, train

SIZE, CHANNELS = 32, (64, 64, 48, 32)
SHARES = (0.25, 0.5, 1.0)  # of the images: where the distance is measured
OBJECTIVES = {
    "logistic": {},
    "least-squares": {"objective": "least-squares"},
    "wgan-gp": {"objective": "wgan-gp", "lr": 1e-3},
    "wgan-gp, 5 critic steps": {"objective": "wgan-gp", "lr": 1e-3, "critic_steps": 5},
}


def config_for(name: str, seed: int, kimg: float) -> TrainConfig:
    """The same training but for the objective. The rate is constant: a longer training goes on from a shorter one."""
    return TrainConfig(
        kimg=kimg, autoencoding_share=0.0, lr_decay_from=1.0, flips=True, seed=seed, instance_noise_fade_kimg=20.0,
        sheet_kimg=10.0, precision="fp32", n_threads=1,
        generator=GeneratorConfig(resolution=SIZE, channels=CHANNELS, z_dim=64, w_dim=64),
        discriminator=DiscriminatorConfig(resolution=SIZE, channels=CHANNELS[:-1]), **OBJECTIVES[name],
    )  # fmt: skip


def folder_of(out: Path, name: str, seed: int) -> Path:
    """Of a training."""
    return out / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"


def sheet(out: Path, names: list[str], seed: int, path: Path) -> Path:
    """The first two rows of samples of each training's last sheet, twice as large."""
    parts = []
    for name in names:
        last = max(folder_of(out, name, seed).glob("fakes*.png"))
        with Image.open(last) as opened:
            parts.append(np.asarray(opened.convert("RGB"))[: 2 * SIZE])
    return write_png(path, np.concatenate(parts).repeat(2, 0).repeat(2, 1))


def main() -> None:
    """Train and measure what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of trainings and rows")
    parser.add_argument("--category", default="car")
    parser.add_argument("--kimg", type=float, default=40.0)
    parser.add_argument("--count", type=int, default=5000, help="images a side")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--objective", action="append", choices=[*OBJECTIVES], help="these alone")
    parser.add_argument("--sheet", type=Path, help="picture of their samples")
    options = parser.parse_args()
    torch.set_num_threads(1)
    report = PlainReporter(sys.stderr, 30.0)
    source = image_source(options.category, 2 * options.count, SIZE, options.out / "x", report=report)
    (images,), rows = source.images.folders, options.out / "rows.jsonl"
    known = None  # features of the real images, looked at once, where anything is left to measure
    done = {(row["objective"], row["seed"], row["kimg"]) for row in read_lines(rows)}
    for seed in options.seeds:
        for name in options.objective or OBJECTIVES:
            folder = folder_of(options.out, name, seed)
            for kimg in (share * options.kimg for share in SHARES):
                if (name, seed, kimg) in done:
                    continue
                state = train(images, folder, config_for(name, seed, kimg), report=report)
                request = FrechetRequest(folder, images, options.count)
                known = known or real_features(request, SIZE, report)
                found = run_frechet(request, report, known)
                steps = next(iter(state.generator_optimizer.state.values()))["step"]
                row = {"objective": name, "seed": seed, "kimg": kimg, "generator_steps": int(steps)}
                row |= {"frechet": found["frechet"], "floor": found.get("floor"), "n": found["n"]}
                append_lines(rows, [row | {"training_seconds": round(state.seconds, 1)}])
                print(row, flush=True)
    if options.sheet is not None:
        print(sheet(options.out, options.objective or [*OBJECTIVES], options.seeds[0], options.sheet))


if __name__ == "__main__":
    main()
