"""`--launcher ray`: a local cluster of two workers, one of which is killed at work: nothing lost, nothing twice."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from gan2shape.api_ray import RayOptions, run_many_by_ray
from gan2shape.cli import app
from gan2shape.core.errors import UserError
from gan2shape.core.files import read_lines
from gan2shape.core.many import JOURNAL_NAME, ManyRequest
from gan2shape.core.requests import RunRequest
from tests.tiny_pack import SMALL, disc_mask, write_tiny_pack

SIZE, N_IMAGES = 32, 12
TITLE = b"ray::rows_of_batch"  # what a worker calls itself while it works


def request_in(folder: Path) -> ManyRequest:
    """Twelve images with alpha, and one that is no picture."""
    photos, rng = folder / "photos", np.random.default_rng(0)
    photos.mkdir()
    alpha = (disc_mask(SIZE)[0, 0].numpy() * 255).astype(np.uint8)
    for index in range(N_IMAGES):
        pixels = rng.integers(0, 255, (SIZE, SIZE, 3), np.uint8)
        Image.fromarray(np.dstack([pixels, alpha])).save(photos / f"{index:02d}.png")
    (photos / "broken.jpg").write_bytes(b"nothing")
    run = RunRequest("car", preset="instant", device="cpu", out=folder / "out", overrides=SMALL)
    return ManyRequest(run, tuple(sorted(photos.iterdir())))


def workers() -> list[int]:
    """Processes of Ray that have a task in hand."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().startswith(TITLE):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def kill_one(out: Path, killed: list[int]) -> None:
    """Kill a worker once an image is written: its task has begun."""
    for _ in range(6000):
        if any(out.glob("*/input.png")) and (busy := workers()):
            os.kill(busy[0], signal.SIGKILL)
            killed.append(busy[0])
            return
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="workers are found through /proc")
def test_a_killed_worker_loses_nothing_and_nothing_is_done_twice(tmp_path, monkeypatch) -> None:
    ray = pytest.importorskip("ray", reason="the extra ray is not installed")
    monkeypatch.setenv("GAN2SHAPE_WEIGHTS", str(write_tiny_pack(tmp_path / "weights", "car", SIZE).parent))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    request, killed = request_in(tmp_path), []
    killer = threading.Thread(target=kill_one, args=(request.run.out, killed))
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        killer.start()
        result = run_many_by_ray(request, RayOptions(images_per_task=6))
        killer.join()
    finally:
        ray.shutdown()
    assert killed
    assert (result.n_done, list(result.failures)) == (N_IMAGES, ["broken.jpg"])
    rows = read_lines(request.run.out / JOURNAL_NAME)
    assert sorted(row["image"] for row in rows) == sorted(path.name for path in request.images)  # each exactly once
    assert all((request.run.out / f"{index:02d}" / "mesh.glb").is_file() for index in range(N_IMAGES))
    assert not list(request.run.out.glob("*/.*"))  # locks and litter of the killed one are gone
    assert (request.run.out / "index.html").read_text(encoding="utf-8").count("<article") == N_IMAGES


def test_a_task_asks_for_what_it_needs() -> None:
    assert RayOptions().task_options() == {"num_cpus": 1, "num_gpus": 0.0, "max_retries": 3}
    asked = RayOptions(n_cpus=4, n_gpus=0.5, n_retries=7).task_options()
    assert asked == {"num_cpus": 4, "num_gpus": 0.5, "max_retries": 7}


def test_without_ray_it_is_one_sentence(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"gan2shape\[ray\]"):
        run_many_by_ray(request_in(tmp_path))


def test_another_launcher_is_one_sentence(tmp_path) -> None:
    request_in(tmp_path)
    words = ["run", "--image", str(tmp_path / "photos"), "--launcher", "slurm", "--out", str(tmp_path / "o")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert "write local or ray" in result.stderr
