"""Milliseconds a picture of encoders and restorers, in batches of 32 at 64 x 64.

    python benchmarks/bench_feedforward.py [--threads 1] [--wall]

The networks are untrained: the arithmetic is that of trained ones. Times are CPU milliseconds of the process unless
--wall is given; on an undisturbed machine two threads take about half of them.
"""

import argparse
import time
from collections.abc import Callable

import torch

from gan2shape.build import encoders, restorers
from gan2shape.nn.layers import n_parameters
from gan2shape.prior.open import open_prior

BATCH, REPEATS = 32, 3


def milliseconds(work: Callable[[], object], clock: Callable[[], float]) -> float:
    """Of one picture, the least of a few calls after one that is not counted."""
    work()
    found = []
    for _ in range(REPEATS):
        began = clock()
        work()
        found.append((clock() - began) / BATCH * 1000)
    return min(found)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--wall", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    clock = time.perf_counter if options.wall else time.process_time
    prior = open_prior("car", device="cpu")[0].prior
    images = torch.rand(BATCH, 3, prior.resolution, prior.resolution).contiguous(memory_format=torch.channels_last)
    for kind, plan in encoders.KINDS.items():
        encoder = encoders.new_encoder(prior, plan).requires_grad_(False)
        each = milliseconds(lambda network=encoder: network.encode(images, prior.generator.synthesis), clock)
        print(f"{kind:10s} {n_parameters(encoder) / 1e6:.2f} M parameters {each:6.2f} ms", flush=True)
    for kind, plan in restorers.KINDS.items():
        restorer = restorers.new_restorer(kind, prior, plan).requires_grad_(False).eval()
        given = torch.nn.functional.avg_pool2d(images, restorer.config.factor)
        each = milliseconds(lambda network=restorer, seen=given: network(seen, prior.generator), clock)
        print(f"{kind:10s} {n_parameters(restorer) / 1e6:.2f} M parameters {each:6.2f} ms", flush=True)


if __name__ == "__main__":
    main()
