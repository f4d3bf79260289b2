"""How fast preset instant is on a folder of images, and whether its memory stays flat. Linux, for /proc.

    python benchmarks/bench_many.py [--category car] [--count 640] [--threads 2]

The folder holds the exam's images, each a little noisy so that none is like another. Times are by the clock: leave the
machine to it alone. Memory is what the process holds (resident), looked at ten times a second.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from gan2shape.bench.exam import COUNT, exam_objects
from gan2shape.core.images import to_uint8

NOISE = 2  # greatest change of a value, of 255
EARLY = 100  # images after which memory is looked at first
LOOK_S = 0.1


def write_images(folder: Path, category: str, count: int) -> None:
    """PNGs of exam objects, each with its own noise."""
    items = [item for split in ("val", "test") for item in exam_objects(category, split, COUNT[split])]
    found = [to_uint8(item.image[0]) for item in items]
    rng = np.random.default_rng(0)
    for i in range(count):
        noisy = found[i % len(found)].astype(int) + rng.integers(-NOISE, NOISE + 1, found[0].shape)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / f"{i:05d}.png")


def resident_mib(pid: int) -> float:
    """What a process holds now; 0 where it has gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def process(arguments: list[str], out: Path | None, threads: int) -> tuple[float, dict, list[tuple[int, float]]]:
    """(seconds from start to end, its JSON, (images done, MiB held) as it went) of one process."""
    began, looked = time.perf_counter(), []
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    with tempfile.TemporaryFile("w+") as said:
        child = subprocess.Popen([sys.executable, *arguments], env=environment, stdout=said, stderr=subprocess.DEVNULL)
        while child.poll() is None:
            if out is not None and (out / "images.jsonl").is_file():
                n_done = (out / "images.jsonl").read_bytes().count(b"\n")
                looked.append((n_done, resident_mib(child.pid)))
            time.sleep(LOOK_S)
        spent = time.perf_counter() - began
        said.seek(0)
        lines = said.read().splitlines()
    if child.returncode:
        raise SystemExit(f"{' '.join(arguments)} ended with {child.returncode}")
    return spent, json.loads(lines[-1]) if lines else {}, looked


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--category", default="car")
    parser.add_argument("--count", type=int, default=640)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    run = ["-m", "gan2shape", "run", "--category", given.category, "--preset", "instant", "--device", "cpu", "--json"]
    with tempfile.TemporaryDirectory() as home:
        images, out, one = Path(home) / "images", Path(home) / "out", Path(home) / "one"
        images.mkdir()
        write_images(images, given.category, given.count)
        spent, told, looked = process([*run, "--image", str(images), "--out", str(out)], out, given.threads)
        print(f"{given.count} images: {told['seconds']:.1f} s, {given.count / told['seconds']:.1f} images a second")
        print(f"the same with the start of the process: {spent:.1f} s")
        held = [mib for _, mib in looked if mib]
        early = next((mib for n_done, mib in looked if n_done >= EARLY), 0.0)
        print(f"memory held: at most {max(held):.0f} MiB, after {EARLY} images {early:.0f}, at the end {held[-1]:.0f}")
        picture = str(next(iter(sorted(images.iterdir()))))
        spent, _, _ = process([*run, "--image", picture, "--out", str(one)], None, given.threads)
        of_torch, _, _ = process(["-c", "import torch"], None, given.threads)
        print(f"one image, process and all: {spent:.1f} s; `import torch` alone: {of_torch:.1f} s")


if __name__ == "__main__":
    main()
