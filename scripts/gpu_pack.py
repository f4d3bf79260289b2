"""One pack at twice the resolution of a bundled one, on a GPU, in a given time: results for files of at most 16 MiB.

    python scripts/gpu_pack.py --category car --out RESULTS                 8 minutes on CUDA
    python scripts/gpu_pack.py --category car --out RESULTS --device cpu --quick     the same code at a few steps

All processor cores render training images, plain and natural ones, while the GPU already grows the generator on those
that are there; then the mask head and one round of pre-training. How many images the GPU shows follows from its rate
and the time. RESULTS holds the pack, sample sheets, statistics and `log.json`; images and checkpoints go to --work and
may be thrown away. The objects come from the repository's own assets. What a processor measures afterwards as well:
`gan2shape build car --out RESULTS/pack --only calibration --only confidence --only card`.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # a machine may have the checkout and no installed package

from gan2shape.build import pack as building  # noqa: E402
from gan2shape.build.costs import images_there, last_statistics  # noqa: E402
from gan2shape.build.requests import BuildRequest, BuildSizes  # noqa: E402
from gan2shape.checkpoints.open import CARD_NAME  # noqa: E402
from gan2shape.core.progress import PlainReporter, Reporter  # noqa: E402
from gan2shape.core.resources import pack_dir  # noqa: E402
from gan2shape.prior.packs import read_card  # noqa: E402
from gan2shape.shape.pretrain import PretrainConfig  # noqa: E402
from gan2shape.synth.dataset import prerender  # noqa: E402
from gan2shape.train.grow import grown_settings  # noqa: E402
from gan2shape.train.loop import train  # noqa: E402

MINUTES = 8.0
GAN_SHARE, JOINT_SHARE = 0.6, 0.15  # of the time: until the GAN is done; of the joint round
FIRST_IMAGES, MOST_IMAGES = 1024, 48_000  # rendered before the training begins; in all, of each rendering
SHARD = 128  # images; small, so that the training soon sees them
RATE_KIMG = 4.0  # thousands of images that tell how fast the training is
JOINT_STEP_S = 0.1  # of a joint step, as a first guess; more steps than there is time for are not asked for
SETTINGS = {  # of the training
    "cuda": ("batch=64", "lr=0.003", "checkpoint_seconds=20", "report_kimg=4", "sheet_kimg=100"),
    "cpu": ("checkpoint_seconds=20", "report_kimg=0.016", "sheet_kimg=100"),
}


def render_for_ever(category: str, folder: Path, rendering: str, count: int, size: int, workers: int) -> None:
    """Render until `count` images are there or the process group, which has no other members, is ended."""
    os.setpgrp()
    prerender(category, count, 0, folder, SHARD, workers, size, rendering=rendering)


@contextlib.contextmanager
def renderers(request: BuildRequest, count: int, size: int, workers: int) -> Iterator[None]:
    """Processes that fill the folders of `request`, until the block ends."""
    context = multiprocessing.get_context("spawn")
    jobs = []
    for rendering, folder in request.data.items():
        each = max(1, workers // 4) if rendering == "plain" else max(1, workers - workers // 4)  # natural is slower
        what = (request.category, folder, rendering, count, size, each)
        jobs.append(context.Process(target=render_for_ever, args=what))
    for job in jobs:
        job.start()
    try:
        yield
    finally:
        for job in jobs:
            with contextlib.suppress(ProcessLookupError):  # the workers of a process that is ended alone wait for ever
                os.killpg(job.pid, signal.SIGTERM)
            job.terminate()
        for job in jobs:
            job.join()


def wait_for(request: BuildRequest, n: int, seconds: float) -> None:
    """Until every folder has `n` images."""
    began = time.monotonic()
    while any(images_there(folder) < n for folder in request.data.values()):
        if time.monotonic() - began > seconds:
            raise SystemExit(f"{n} images were not rendered within {seconds:.0f} s")
        time.sleep(0.5)


def grow_gan(request: BuildRequest, deadline: float, quick: bool, report: Reporter) -> float:
    """Train until the deadline; returns the thousands of images that the generator has seen in all."""
    begun = read_card(request.grow / CARD_NAME).get("training", {}).get("kimg", 0.0)
    folders = tuple(request.data.values())
    first = replace(request, kimg=begun + (0.064 if quick else RATE_KIMG))
    train(folders, request.folder, first.training(), start_from=request.grow, report=report)
    rate = last_statistics(request.folder)["images_per_s"]
    left = 0.064 if quick else max(RATE_KIMG, rate * (deadline - time.monotonic()) / 1000)
    whole = replace(first, kimg=round(first.kimg + left, 1))
    train(folders, request.folder, whole.training(), start_from=request.grow, report=report)
    return whole.kimg


def main() -> int:
    """Make the pack; 0 when it is whole."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--category", default="car")
    parser.add_argument("--start", type=Path, help="the pack that grows [the bundled one]")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("runs") / "gpu-pack")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--quick", action="store_true", help="a few steps of everything")
    options = parser.parse_args()
    began, log, report = time.monotonic(), {}, PlainReporter(sys.stderr)
    seconds, start = 60 * options.minutes, options.start or pack_dir(options.category)
    pretraining = PretrainConfig(n_joint=int(min(1500, JOINT_SHARE * seconds / JOINT_STEP_S)))
    sizes = BuildSizes(pretrain=pretraining)
    n_first, n_most, workers = FIRST_IMAGES, MOST_IMAGES, max(2, (os.cpu_count() or 2) - 2)
    if options.quick:
        pretraining = PretrainConfig(n_objects=20, n_fit=2, n_joint=2, fit_batch=2, batch=2)
        sizes = BuildSizes(segmenter_images=64, segmenter_steps=80, head_steps=60, pretrain=pretraining)
        n_first = n_most = SHARD
    request = BuildRequest(
        options.category, options.out / "pack", options.work, device=options.device, natural=True, grow=start,
        settings=SETTINGS["cuda" if options.device.startswith("cuda") else "cpu"], sizes=sizes,
    )  # fmt: skip
    size = grown_settings(start)["generator.resolution"]
    for folder in (options.out, options.work):
        folder.mkdir(parents=True, exist_ok=True)

    def step(name: str) -> None:
        log[name] = round(time.monotonic() - began, 1)
        print(f"{name}: {log[name]:.0f} s gone", file=sys.stderr, flush=True)
        (options.out / "log.json").write_text(json.dumps(log, indent=1) + "\n")

    with renderers(request, n_most, size, workers):
        wait_for(request, n_first, seconds)
        step("first images")
        log["kimg"] = grow_gan(request, began + GAN_SHARE * seconds, options.quick, report)
        step("gan")
    log["images"] = {rendering: images_there(folder) for rendering, folder in request.data.items()}
    request = replace(request, images=2 * min(log["images"].values()), kimg=log["kimg"])  # nothing is left to render
    log["sizes"] = asdict(sizes)
    for name in ("gan", "masks", "scene"):
        building.MAKERS[name](request, report)
        step(f"pack: {name}")
    log["training"] = last_statistics(request.folder)
    for sheet in (*sorted(options.work.glob("fakes*.png"))[-2:], options.work / "reals.png"):
        shutil.copy(sheet, options.out / sheet.name)
    shutil.copy(options.work / "stats.jsonl", options.out / "stats.jsonl")
    step("done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
