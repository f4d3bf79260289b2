"""Ctrl-C and SIGTERM, in a process at work: one sentence that says how to go on, an exit code, nothing left over."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import gan2shape
from tests.tiny_pack import FEW_STEPS, SMALL, write_tiny_pack

LONG = ["steps.n_joint=[4000]"]
QUICK = [*SMALL, *FEW_STEPS, "n_stages=1", "initial.slants_deg=[10.0]"]
pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("stopped")
    write_tiny_pack(folder / "weights", "car", 32, bare=True)
    alpha = np.zeros((40, 40), np.uint8)
    alpha[8:32, 8:32] = 255
    (folder / "photos").mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)
    Image.fromarray(np.dstack([pixels, alpha])).save(folder / "photos" / "a.png")
    (folder / "shards").mkdir()
    np.save(folder / "shards" / "images_000.npy", np.zeros((8, 16, 16, 3), np.uint8))
    return folder


def started(home: Path, folder: Path, *words: str) -> subprocess.Popen:
    """The command at work."""
    known = {"GAN2SHAPE_WEIGHTS": str(home / "weights"), "PYTHONPATH": str(Path(gan2shape.__file__).parent.parent)}
    command = [sys.executable, "-m", "gan2shape", *words]
    return subprocess.Popen(command, cwd=folder, env={**os.environ, **known}, stderr=subprocess.PIPE, text=True)


def stopped(process: subprocess.Popen, sign: Path, number: int) -> tuple[int, str]:
    """(exit code as shells show it, last line on stderr) of a process that gets a signal once the file is there.

    Python may end a process that was interrupted by the signal itself: a shell shows 128 and its number either way.
    """
    ends_at = time.monotonic() + 120
    while not sign.exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < ends_at
        time.sleep(0.05)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert "Traceback" not in said
    code = process.returncode
    return (code if code >= 0 else 128 - code), said.splitlines()[-1]


@pytest.mark.parametrize(("number", "code", "how"), [
    (signal.SIGTERM, 143, "Terminated"), (signal.SIGINT, 130, "Interrupted"),
])  # fmt: skip
def test_a_run_that_is_stopped_says_how_to_go_on(number, code, how, home, tmp_path) -> None:
    run = tmp_path / "a run"
    words = ["run", "--preset", "smoke", "--device", "cpu", "--seed", "1", "--out", str(run), *QUICK, *LONG]
    ended = stopped(started(home, tmp_path, *words), run / "state.safetensors", number)
    assert ended == (code, f"{how}: `gan2shape run --resume '{run}'` goes on.")
    assert {path.name for path in run.iterdir()} == {"config.yaml", "request.json", "state.safetensors"}
    resume = started(home, tmp_path, "run", "--resume", str(run), "--device", "cpu", "--dry-run")
    assert resume.wait(60) == 0


@pytest.mark.slow
def test_jobs_that_go_on_by_themselves_say_so(home, tmp_path) -> None:
    words = ["run", "--preset", "smoke", "--device", "cpu", "--image", str(home / "photos"), "--out", "job"]
    many = started(home, tmp_path, *words, *QUICK, *LONG)
    sentence = "Terminated: the same command goes on."
    assert stopped(many, tmp_path / "job" / "a" / "state.safetensors", signal.SIGTERM) == (143, sentence)
    assert (tmp_path / "job" / "index.html").is_file()
    settings = ["batch=8", "checkpoint_seconds=0", "report_kimg=0.008", "precision=fp32",
                "generator={resolution: 16, channels: [8,8,6], z_dim: 8, w_dim: 8, n_mapping: 2}",
                "discriminator={resolution: 16, channels: [8,6]}"]  # fmt: skip
    words = ["train", "--data", str(home / "shards"), "--out", "t", "--device", "cpu", *settings]
    training = started(home, tmp_path, *words)
    assert stopped(training, tmp_path / "t" / "checkpoint.pt", signal.SIGTERM) == (143, sentence)
    assert not [path.name for path in (tmp_path / "t").iterdir() if path.name.startswith(".")]


IN_THE_WRITER = """
import sys
from pathlib import Path
import torch
from gan2shape.core.files import write_state_atomic

def stopped(self, *rest):
    raise KeyboardInterrupt

torch.serialization._open_zipfile_writer_buffer.__exit__ = stopped  # before the archive's last bytes
try:
    write_state_atomic(Path(sys.argv[1]), {"a": torch.zeros(1000)})
except KeyboardInterrupt:
    print("interrupted")
"""


def test_a_stop_within_torch_save_does_not_abort_the_process(tmp_path) -> None:
    known = {**os.environ, "PYTHONPATH": str(Path(gan2shape.__file__).parent.parent)}
    command = [sys.executable, "-c", IN_THE_WRITER, str(tmp_path / "state.pt")]
    ended = subprocess.run(command, env=known, capture_output=True, text=True, check=False, timeout=120)
    assert (ended.returncode, ended.stdout) == (0, "interrupted\n"), ended.stderr
    assert not list(tmp_path.iterdir())
