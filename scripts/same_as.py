"""Does the working tree still compute what a commit computed? For changes that move code and should move no number.

    python scripts/same_as.py COMMIT            # cars and heads, seeds 0 to 3, an exam image; draft, short full
    python scripts/same_as.py COMMIT --quick    # one car seed and one exam image of a head

Both trees run on this machine, on one thread, each in its own process; every array of `scene.npz` is compared.
Prints one line a run and exits with 1 where an array differs by more than `--tolerance` (0: bit for bit).
"""

import argparse
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
# One short stage on the object. The first set that a tree accepts is used: keys are renamed now and then.
SHORT_FULL = (
    ("n_stages=1", "steps.n_projection=[8]", "steps.n_collect=16", "steps.n_joint=[10]", "steps.batch=8"),
    ("n_stages=1", "steps.n_projection=[8]", "steps.n_collect=16", "steps.n_joint=10", "steps.batch=8"),
)
RENAMED: dict[str, str] = {}  # arrays of scene.npz: name in the commit -> name in the working tree


@dataclass(frozen=True)
class Job:
    """One run that both trees do."""

    category: str
    preset: str
    seed: int | None  # None: the first validation image of the exam

    @property
    def name(self) -> str:
        return f"{self.category} {self.preset} {'exam image' if self.seed is None else f'seed {self.seed}'}"


def jobs(quick: bool) -> list[Job]:
    """What is compared."""
    if quick:
        return [Job("car", "full", 0), Job("head", "full", None)]
    seeds = (0, 1, 2, 3, None)
    return [Job(c, preset, seed) for c in ("car", "head") for preset in ("draft", "full") for seed in seeds]


def cli(tree: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess:
    """The command line of a tree, on one thread."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(tree)}
    command = [sys.executable, "-m", "gan2shape", *arguments]
    return subprocess.run(command, cwd=tree, env=environment, check=check, capture_output=True, text=True)


def short_overrides(tree: Path) -> tuple[str, ...]:
    """The settings of the short stage that this tree accepts."""
    for overrides in SHORT_FULL:
        if cli(tree, "run", "--category", "car", "--dry-run", *overrides, check=False).returncode == 0:
            return overrides
    raise SystemExit(f"{tree} accepts no settings of the short stage: add some to SHORT_FULL.")


def run(tree: Path, job: Job, overrides: tuple[str, ...], image: Path, out: Path) -> dict[str, np.ndarray]:
    """The arrays that the tree writes for a job."""
    given = ["--image", str(image)] if job.seed is None else ["--seed", str(job.seed)]
    extra = overrides if job.preset == "full" else ()
    made = cli(tree, "run", "--category", job.category, "--preset", job.preset, "--device", "cpu", *given,
               "--out", str(out), *extra, check=False)  # fmt: skip
    if made.returncode:
        raise SystemExit(f"{job.name} failed in {tree}: {made.stderr.strip().splitlines()[-1:]}")
    with np.load(out / "scene.npz", allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def greatest_difference(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> tuple[float, str]:
    """(value, array) of the greatest absolute difference; infinite where an array is missing or of another shape."""
    worst = (0.0, "")
    for name, array in before.items():
        other = after.get(RENAMED.get(name, name))
        if other is None or other.shape != array.shape:
            return float("inf"), name
        worst = max(worst, (float(np.abs(array.astype(np.float64) - other).max(initial=0.0)), name))
    return worst


def write_exam_image(category: str, folder: Path) -> Path:
    """The first validation image of a category as PNG."""
    with np.load(ROOT / "exam" / category / "val.npz", allow_pickle=False) as stored:
        pixels = stored["image"][0]
    path = folder / f"{category}.png"
    Image.fromarray(pixels).save(path)
    return path


def main() -> None:
    """Command line of this script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--tolerance", type=float, default=0.0)
    options = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory() as scratch:
        folder, old = Path(scratch), Path(scratch) / "tree"
        subprocess.run(["git", "worktree", "add", "--detach", str(old), options.commit], cwd=ROOT, check=True,
                       capture_output=True)  # fmt: skip
        try:
            images = {category: write_exam_image(category, folder) for category in ("car", "head")}
            overrides = {tree: short_overrides(tree) for tree in (old, ROOT)}
            for i, job in enumerate(jobs(options.quick)):
                pair = [
                    run(tree, job, overrides[tree], images[job.category], folder / f"{i}-{when}")
                    for when, tree in (("before", old), ("after", ROOT))
                ]
                value, name = greatest_difference(*pair)
                failed += value > options.tolerance
                print(f"{job.name:24s} {len(pair[0]):2d} arrays, greatest difference {value:g} {name}", flush=True)
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(old)], cwd=ROOT, check=False)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
