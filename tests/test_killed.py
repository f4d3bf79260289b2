"""Work that is killed (SIGKILL) at any moment and gone on with gives what unbroken work gives, bit for bit on a CPU.

Every file of every folder is compared; numbers of seconds are left out. Nothing else may lie there, so that litter of
the killed process shows too.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

import gan2shape
from tests.tiny_pack import FEW_STEPS, SMALL, write_tiny_pack

SIZE = 32
QUICK = (*SMALL, *FEW_STEPS, "invert.n_starts=2", "invert.n_tracks=1")
STAGES = (*QUICK, "n_stages=2", "initial.slants_deg=[10.0]", "steps.n_joint=[6,4]", "steps.n_projection=[4,3]")
TRAINING = ("batch=8", "r1_interval=4", "path_weight=2.0", "path_interval=3", "report_kimg=0.008", "precision=fp32",
            "n_threads=1", "checkpoint_seconds=0", "flips=true",
            "generator={resolution: 16, channels: [8,8,6], z_dim: 8, w_dim: 8, n_mapping: 2}",
            "discriminator={resolution: 16, channels: [8,6]}")  # fmt: skip
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked")


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """Photos, a mask, and packs of random weights: `bare` begins at an ellipsoid, `whole` at a depth network."""
    folder, rng = tmp_path_factory.mktemp("killed"), np.random.default_rng(0)
    for name in ("bare", "whole"):
        write_tiny_pack(folder / name, "car", SIZE, bare=name == "bare")
    mask = np.zeros((90, 80), np.uint8)
    mask[20:70, 15:60] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    (folder / "photos").mkdir()
    for name in ("photo.png", "other.png", "photos/a.png", "photos/b.png", "photos/c.png"):
        pixels = rng.integers(0, 255, (90, 80, 3), np.uint8)
        layers = [pixels, mask] if name != "photo.png" else [pixels]
        Image.fromarray(np.dstack(layers)).save(folder / name)
    (folder / "shards").mkdir()
    np.save(folder / "shards" / "images_000.npy", rng.integers(0, 256, (24, 16, 16, 3), dtype=np.uint8))
    return folder


def environment(home: Path, pack: str) -> dict[str, str]:
    package = str(Path(gan2shape.__file__).parent.parent)
    known = {"GAN2SHAPE_WEIGHTS": str(home / pack), "OMP_NUM_THREADS": "1", "PYTHONPATH": package}
    return {**os.environ, **known}


def killed(home: Path, folder: Path, kind: str, count: int, pack: str = "whole", **plain) -> list[dict]:
    """Rows of `tests/killed.py`, whose folders are in `folder`."""
    folder.mkdir()
    plain = {"kind": kind, "folder": str(folder), "count": count, "seed": 0, **plain}
    command = [sys.executable, "-m", "tests.killed", json.dumps(plain)]
    known = environment(home, pack)
    done = subprocess.run(command, env=known, cwd=known["PYTHONPATH"], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = json.loads(done.stdout.splitlines()[-1])
    assert len(rows) == count
    return rows


def without_seconds(value):
    """Plain values without what the clock says."""
    if isinstance(value, dict):
        return {key: without_seconds(one) for key, one in value.items() if not re.search(r"seconds|_s$", str(key))}
    return [without_seconds(one) for one in value] if isinstance(value, list | tuple) else value


def content(path: Path):
    """What a file says, but for the clock; tensors as bytes."""
    if path.suffix == ".html":
        return re.sub(r"<td>\d+\.\d</td>|\d+(\.\d+)? (ms|s|min|h)\b", "", path.read_text(encoding="utf-8"))
    if path.suffix == ".jsonl":
        rows = [without_seconds(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
        return sorted(json.dumps(row, sort_keys=True) for row in rows)
    if path.suffix == ".safetensors":  # metadata lies in the file in any order
        with safe_open(path, "pt") as stored:
            tensors = {name: stored.get_tensor(name).numpy().tobytes() for name in stored.keys()}  # noqa: SIM118
            notes = stored.metadata() or {}
        return {k: without_seconds(json.loads(v)) if k in ("notes", "card") else v for k, v in notes.items()}, tensors
    if path.suffix == ".pt":
        return flat(without_seconds(torch.load(path, weights_only=True)))
    if path.name in ("card.json", "request.json"):
        return re.sub(r"\d+-photo\.png|whole-photo\.png", "", json.dumps(without_seconds(json.loads(path.read_text()))))
    return path.read_bytes()


def flat(value):
    """Nested values whose tensors are bytes."""
    if isinstance(value, dict):
        return {key: flat(one) for key, one in value.items()}
    if isinstance(value, list):
        return [flat(one) for one in value]
    return value.numpy().tobytes() if isinstance(value, torch.Tensor) else value


def differing(first: Path, second: Path) -> list[str]:
    """Files that are not in both folders, or say something else."""
    names = [{path.relative_to(one).as_posix() for path in one.rglob("*") if path.is_file()} for one in (first, second)]
    common = names[0] & names[1]
    return sorted((names[0] ^ names[1]) | {name for name in common if content(first / name) != content(second / name)})


def require_equal(folder: Path, rows: list[dict]) -> None:
    found = {row["folder"]: differing(folder / "whole", folder / str(row["folder"])) for row in rows}
    bad = {number: names for number, names in found.items() if names}
    assert bad == {}, [row for row in rows if row["folder"] in bad]


@pytest.mark.slow
@needs_fork
@pytest.mark.parametrize(("pack", "preset", "settings", "count"), [
    ("bare", "draft", STAGES, 12), ("whole", "full", QUICK, 9),
])  # fmt: skip
def test_a_killed_run_is_resumed_bit_for_bit(pack, preset, settings, count, home, tmp_path) -> None:
    """The photo has gone by then. Some begin in the folder of an earlier run."""
    given = {"input": str(home / "photo.png"), "mask": str(home / "mask.png"), "other": str(home / "other.png")}
    rows = killed(home, tmp_path / "runs", "run", count, pack, preset=preset, overrides=settings, **given)
    assert sum(row["inside"] for row in rows) >= count / 2
    require_equal(tmp_path / "runs", rows)


@pytest.mark.slow
@needs_fork
def test_a_killed_job_of_many_goes_on(home, tmp_path) -> None:
    given = {"input": str(home / "photos"), "preset": "smoke", "overrides": (*QUICK, "n_stages=1")}
    require_equal(tmp_path / "jobs", killed(home, tmp_path / "jobs", "many", 3, **given))


@pytest.mark.slow
@needs_fork
def test_a_killed_training_goes_on_bit_for_bit(home, tmp_path) -> None:
    rows = killed(home, tmp_path / "t", "train", 6, input=str(home / "shards"), overrides=TRAINING)
    require_equal(tmp_path / "t", rows)
