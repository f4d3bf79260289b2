"""Seconds of an inversion, and what of them is not the networks.

    python benchmarks/bench_invert.py [--threads 1] [--wall]

On eight validation cars at 64 x 64. Times are CPU seconds of the process unless --wall is given: with one thread that
is about what an undisturbed core takes, whatever else the machine does. In the same run the convolution peak of this
machine is measured (a 3 x 3 convolution of 96 channels at 32 x 32, channels last), and the networks alone: one pass of
generator and discriminator forward and back for the same batch.
"""

import argparse
import datetime
import platform
import resource
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch.nn import functional as F

from gan2shape.bench.exam import exam_objects
from gan2shape.core.config import InvertConfig
from gan2shape.invert.solver import Problem, solve
from gan2shape.measure.metrics import psnr_db
from gan2shape.prior.open import open_prior
from gan2shape.prior.packs import Prior
from gan2shape.restoration.methods import load_method
from gan2shape.shape.inversion import FEATURE_BLOCKS, invert

BATCH = 8
WARM_UP_STEPS = 3
G_GFLOP, D_GFLOP = 0.2, 0.15  # an image, forward (their docstrings); back takes twice that for inputs and styles


def seconds_of(work: Callable[[], object], repeats: int, clock: Callable[[], float]) -> float:
    """Mean seconds of one call."""
    work()
    began = clock()
    for _ in range(repeats):
        work()
    return (clock() - began) / repeats


def networks_alone(images: torch.Tensor, prior: Prior, clock: Callable[[], float]) -> float:
    """Seconds of one step's passes through generator and discriminator, forward and back, without anything else."""
    w = prior.w_mean.expand(len(images), -1).clone().requires_grad_(True)

    def passes() -> None:
        made = prior.generator.synthesis(w)
        sum(maps.sum() for maps in prior.discriminator.features(made, FEATURE_BLOCKS)).backward()

    return seconds_of(passes, 20, clock)


def peak_gflops(clock: Callable[[], float]) -> float:
    """Of a large convolution in float32, in billions of operations a second of `clock`."""
    x = torch.randn(16, 96, 32, 32).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(96, 96, 3, 3).contiguous(memory_format=torch.channels_last)
    operations = 2 * 16 * 96 * 96 * 9 * 32 * 32
    return operations / seconds_of(lambda: F.conv2d(x, weight, padding=1), 20, clock) / 1e9


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--wall", action="store_true", help="wall clock instead of CPU seconds")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    clock = time.perf_counter if options.wall else time.process_time
    unit = "wall" if options.wall else "CPU"
    print(f"{datetime.date.today()}, {platform.machine()}, torch {torch.__version__}, {options.threads} threads\n")
    prior = open_prior("car")[0].prior
    images = torch.cat([item.image for item in exam_objects("car", "val", BATCH)])
    inside = torch.ones_like(images[:, :1]) > 0

    peak, alone = peak_gflops(clock), networks_alone(images, prior, clock)
    operations = BATCH * 3 * (G_GFLOP + D_GFLOP)
    print(f"peak of a convolution            {peak:7.1f} GFLOP/s")
    print(f"networks alone, a step of {BATCH}      {1000 * alone:7.1f} ms, {operations / alone / peak:.0%} of the peak")
    for n_steps in (300, 100):
        config = replace(InvertConfig(), n_steps=n_steps)
        invert(images, prior, replace(config, n_steps=2 * WARM_UP_STEPS))
        began = clock()
        found = invert(images, prior, config)
        seconds = clock() - began
        quality = float(psnr_db(found.image, images, inside).mean())
        outside = 1 - n_steps * alone / seconds
        print(f"W from the encoder, {n_steps} steps    {seconds / BATCH:7.2f} {unit} s an image, {quality:.2f} dB, "
              f"{outside:.0%} outside the networks")  # fmt: skip
    mean = replace(load_method("w", "reconstruct"), start=replace(load_method("w", "reconstruct").start, kind="mean"))
    began = clock()
    solved = solve(Problem(images), mean, prior)
    quality = float(psnr_db(solved.image, images, inside).mean())
    print(f"W from the mean, 300 steps       {(clock() - began) / BATCH:7.2f} {unit} s an image, {quality:.2f} dB")
    began = clock()
    solved = solve(Problem(images), load_method("wfast", "reconstruct"), prior)
    quality = float(psnr_db(solved.image, images, inside).mean())
    print(f"W, method wfast, 100 steps       {(clock() - began) / BATCH:7.2f} {unit} s an image, {quality:.2f} dB")
    began = clock()
    solve(Problem(images[:1]), load_method("dgp", "reconstruct"), prior)
    print(f"DGP, reconstruction              {clock() - began:7.2f} {unit} s an image")
    print(f"most memory                      {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:7.2f} GiB")


if __name__ == "__main__":
    main()
