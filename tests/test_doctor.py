"""`gan2shape doctor` tells a healthy installation from a broken one; shells complete; "auto" explains itself."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from gan2shape import api_doctor
from gan2shape.cli import app
from gan2shape.core import devices
from gan2shape.core.resources import weights_dir

runner = CliRunner()


def diagnosis() -> tuple[dict[str, dict], int]:
    """The lines by name, and the exit code."""
    result = runner.invoke(app, ["doctor", "--device", "cpu", "--json"])
    payload = json.loads(result.stdout.splitlines()[-1])
    assert payload["usable"] == (result.exit_code == 0)
    return {check["name"]: check for check in payload["checks"]}, result.exit_code


@pytest.fixture
def no_smoke(monkeypatch, tmp_path) -> Path:
    """An empty folder to work in, and no reconstruction, which one test has done."""
    monkeypatch.setattr(api_doctor, "_smoke", lambda category, device: category)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_healthy_installation_is_usable_and_nothing_is_kept(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    checks, code = diagnosis()
    assert code == 0
    assert all(checks[name]["status"] == "ok" for name in ("python", "torch", "device", "write", "run"))
    weights = (weights_dir() / "car" / "prior.safetensors").read_bytes()
    assert hashlib.sha256(weights).hexdigest()[:16] in checks["pack car"]["found"]
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_pack_is_named_and_the_next_one_is_tried(no_smoke, monkeypatch) -> None:
    for name in ("car", "head"):
        (no_smoke / "weights" / name).mkdir(parents=True)
    whole = (weights_dir() / "head" / "prior.safetensors").read_bytes()
    (no_smoke / "weights" / "car" / "prior.safetensors").write_bytes(whole[: len(whole) // 2])
    (no_smoke / "weights" / "head" / "prior.safetensors").write_bytes(whole)
    monkeypatch.setenv("GAN2SHAPE_WEIGHTS", str(no_smoke / "weights"))
    checks, code = diagnosis()
    assert code == 1
    assert checks["pack car"]["status"] == "failed"
    assert "damaged" in checks["pack car"]["found"]
    assert (checks["pack head"]["status"], checks["run"]["found"]) == ("ok", "head")


def test_no_packs_and_an_unwritable_place_are_failures(no_smoke, monkeypatch) -> None:
    monkeypatch.setenv("GAN2SHAPE_WEIGHTS", str(no_smoke / "nothing"))
    (no_smoke / "runs").write_text("a file stands where the folder of runs should be")
    checks, code = diagnosis()
    assert code == 1
    assert checks["packs"]["status"] == checks["write"]["status"] == "failed"
    assert "gan2shape build car" in checks["packs"]["remedy"]
    assert "run" not in checks


def test_a_mistake_in_a_reconstruction_is_a_line(no_smoke, monkeypatch) -> None:
    def broken(category: str, device: str) -> str:
        raise RuntimeError("no kernel image is available\nand more")

    monkeypatch.setattr(api_doctor, "_smoke", broken)
    checks, code = diagnosis()
    assert code == 1
    assert checks["run"]["found"] == "RuntimeError, no kernel image is available"


def test_extras_are_missing_broken_or_there_and_never_needed(no_smoke, monkeypatch) -> None:
    (no_smoke / "halfway.py").write_text("raise ImportError('libusb-1.0.so.0: cannot open shared object file')")
    monkeypatch.syspath_prepend(str(no_smoke))
    extras = {"one": ("pictures", ("not_installed_at_all",)), "two": ("sound", ("halfway",)), "three": ("", ("json",))}
    monkeypatch.setattr(api_doctor, "EXTRAS", extras)
    checks, code = diagnosis()
    assert code == 0
    assert (checks["one"]["status"], checks["one"]["remedy"]) == ("missing", 'pip install "gan2shape[one]"')
    assert checks["two"]["status"] == "failed"
    assert "libusb" in checks["two"]["found"]
    assert checks["three"]["status"] == "ok"


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("gan2shape doc", {"doctor"}),
        ("gan2shape bench lad", {"ladder"}),
        ("gan2shape run --category he", {"head"}),
        ("gan2shape run --preset sm", {"smoke"}),
        ("gan2shape run --see", {"--seed"}),
    ],
)
def test_a_shell_completes(typed: str, expected: set[str]) -> None:
    asked = {"_GAN2SHAPE_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}
    code = "import sys; sys.argv[0] = 'gan2shape'; from gan2shape.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **asked}, capture_output=True, timeout=60)
    assert set(done.stdout.decode().split()) == expected
    assert not done.stderr


def test_completion_imports_nothing_heavy() -> None:
    code = """
import sys
from gan2shape.cli_options import categories_like, presets_like
assert categories_like("ca")[0] == "car" and presets_like("dr") == ["draft"]
print([name for name in ("torch", "numpy", "hydra", "yaml") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr


MACHINES = {  # has CUDA, GPUs, driver, built for CUDA, hidden -> device, a word of the reason, is it expected
    "laptop": ((False, 0, False, None, None), ("cpu", "no NVIDIA driver", True)),
    "CUDA build on a laptop": ((False, 0, False, "13.0", None), ("cpu", "no NVIDIA driver", True)),
    "one GPU": ((True, 1, True, "13.0", None), ("cuda", "Card", True)),
    "four GPUs": ((True, 4, True, "13.0", None), ("cuda", "one of 4 GPUs", False)),
    "CPU build beside a GPU": ((False, 0, True, None, None), ("cpu", "without CUDA", False)),
    "old driver": ((False, 0, True, "13.0", None), ("cpu", "no GPU answers", False)),
    "hidden": ((False, 0, True, "13.0", ""), ("cpu", "CUDA_VISIBLE_DEVICES", True)),
}


@pytest.mark.parametrize("name", MACHINES)
def test_auto_says_why_where_it_may_be_a_surprise(name: str, monkeypatch, capsys) -> None:
    (has_cuda, n_gpus, has_driver, built_for, hidden), (device, word, is_expected) = MACHINES[name]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_cuda)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: n_gpus)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Card")
    monkeypatch.setattr(torch.version, "cuda", built_for)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(devices.shutil, "which", lambda program: "/usr/bin/nvidia-smi" if has_driver else None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if hidden is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    devices._say_once.cache_clear()
    assert {devices.choose_device("auto").type for _ in range(2)} == {device}
    said = capsys.readouterr().err.splitlines()
    assert len(said) == (not is_expected)  # once, though it was chosen twice
    assert word in devices.automatic_device().reason
    assert all(word in line for line in said)
