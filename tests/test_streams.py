"""Closed or full stdout and stderr, a reader that has gone, a full disk: one sentence or success, no traceback."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import gan2shape
from gan2shape.cli import app
from gan2shape.core import files, progress
from gan2shape.core.requests import OUTPUT_NAMES
from tests.tiny_pack import FEW_STEPS, SMALL, write_tiny_pack

COMMAND = f'"{sys.executable}" -m gan2shape run --device cpu --preset smoke'
runner = CliRunner()
needs_shell = pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")


def shell(line: str, folder: Path) -> subprocess.CompletedProcess:
    """A line for bash whose exit code is the command's own, also in a pipe."""
    package = Path(gan2shape.__file__).parent.parent
    environment = {**os.environ, "GAN2SHAPE_WEIGHTS": str(folder), "PYTHONPATH": str(package)}
    command = ["bash", "-c", f"{line}; exit ${{PIPESTATUS[0]}}"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=180)


@needs_shell
@pytest.mark.parametrize(("after", "code", "said"), [
    pytest.param("2>&-", 0, "", marks=pytest.mark.slow), pytest.param(">&-", 0, "", marks=pytest.mark.slow),
    (">&- 2>&-", 0, ""), pytest.param("| true", 0, "", marks=pytest.mark.slow), ("2>&1 | true", 0, ""),
    ("> /dev/full", 2, "gan2shape: the system refused to write or read: no space left on device.\n"),
])  # fmt: skip
def test_streams_that_cannot_be_written_to(after: str, code: int, said: str, tmp_path) -> None:
    write_tiny_pack(tmp_path, "car", 32, bare=True)
    done = shell(f"{COMMAND} --dry-run {after}", tmp_path)
    assert (done.returncode, done.stderr) == (code, said)


@needs_shell
def test_a_whole_run_with_stderr_closed_and_without_a_reader(tmp_path) -> None:
    write_tiny_pack(tmp_path, "car", 32)
    settings = " ".join((*SMALL, *FEW_STEPS))
    done = shell(
        f"{COMMAND} --out run --seed 1 n_stages=0 {settings.replace('[', chr(92) + '[')} 2>&- | true", tmp_path
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert {path.name for path in (tmp_path / "run").iterdir()} == set(OUTPUT_NAMES)


def test_a_sentence_never_goes_to_stdout_instead(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    progress.say("a note")
    with progress.open_reporter() as report:
        report("invert", 1, 2)
    assert capsys.readouterr().out == ""


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("full_at", ["config.yaml", "request.json", "state.safetensors", "mesh.glb"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_full_disk_is_one_sentence_and_the_earlier_state_stays(full_at, code, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("GAN2SHAPE_WEIGHTS", str(tmp_path))
    write_tiny_pack(tmp_path, "car", 32)
    run = tmp_path / "run"
    arguments = ["run", "--device", "cpu", "--preset", "smoke", "--out", str(run), "n_stages=0", *SMALL, *FEW_STEPS]
    assert runner.invoke(app, [*arguments, "--seed", "1"]).exit_code == 0
    before, whole, failures = contents(run), files.write_atomic, []

    def write_atomic(path: Path, write) -> Path:
        if path.name == full_at and not failures:
            failures.append(path)
            raise OSError(code, os.strerror(code), str(path))
        return whole(path, write)

    monkeypatch.setattr(files, "write_atomic", write_atomic)
    result = runner.invoke(app, [*arguments, "--seed", "2"])
    assert result.exit_code == 2, (result.output, result.exception)
    line = result.stderr.splitlines()[-1]
    assert line == f"gan2shape: the system refused to write or read ({run / full_at}): {os.strerror(code).lower()}."
    if full_at == "mesh.glb":  # a newer whole state is there: the run can go on
        assert contents(run)["state.safetensors"] != before["state.safetensors"]
        again = runner.invoke(app, ["run", "--resume", str(run), "--device", "cpu"])
        assert again.exit_code == 0, again.output
    else:
        assert contents(run) == before
