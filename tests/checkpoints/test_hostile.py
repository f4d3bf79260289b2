"""Every hostile file ends in one sentence; nothing is executed, and memory stays bounded. Mutated files as well."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from gan2shape.checkpoints.errors import AS_PUBLISHED, DOWNLOAD_AGAIN
from gan2shape.checkpoints.open import REMEDY, inspect
from gan2shape.checkpoints.wrong_files import UNPACK
from gan2shape.cli import app
from gan2shape.core.errors import UserError
from gan2shape.prior.checkpoint import load_generator
from tests.checkpoints import hostile, hostile_parts, lookalike

ROOT = Path(__file__).parents[2]
MAX_PEAK_MB = 100  # of opening all; the largest file unpacks to 100 MB and claims ten thousand
FEW_MUTANTS, MANY_MUTANTS = 60, 2000  # `python -m tests.checkpoints.fuzz` takes any number
# What to do, in every message.
REMEDIES = tuple(f"{remedy}." for remedy in (REMEDY, DOWNLOAD_AGAIN, UNPACK, AS_PUBLISHED))


def assert_sentence(message: str) -> None:
    """One line that ends like a sentence."""
    assert message.endswith(".")
    assert "\n" not in message
    assert message.isprintable()
    assert len(message) < 500


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What happened when a child process opened every hostile file."""
    if sys.platform != "linux":
        pytest.skip("limits of a process are set the Unix way")
    command = [sys.executable, "-m", "tests.checkpoints.open_hostile", str(tmp_path_factory.mktemp("hostile"))]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.parametrize("name", [make.__name__ for make in hostile.FILES])
def test_hostile_file(name: str, opened: dict) -> None:
    for reader, (kind, message) in opened["results"][name].items():
        assert kind == "UserError", (reader, message)
        assert_sentence(message)
    assert opened["results"][name]["generator"][1].endswith(REMEDIES)


def test_nothing_was_executed_and_memory_stayed_bounded(opened: dict) -> None:
    assert opened["executed"] == []
    assert opened["peak_mb"] < MAX_PEAK_MB


def test_source_text_is_not_executed_where_the_weights_are_fine(tmp_path: Path) -> None:
    """The published loader runs `module_src`; here a network with hostile source text simply loads."""
    from tests.checkpoints.test_checkpoints import state_dicts

    marker, path = tmp_path / "marker", tmp_path / "a.pkl"
    network = lookalike.nvidia_network(state_dicts()["G_ema"], "Generator", {}, hostile_parts.writes(marker))
    path.write_bytes(lookalike.nvidia_pickle({"G_ema": network}))
    assert load_generator(path).generator.config.resolution == 32
    assert not marker.exists()


def test_the_hostile_files_would_work_elsewhere(tmp_path: Path) -> None:
    """Some of them, opened as torch or pickle would: the tests above refuse something real."""
    import io
    import pickle

    for make in (hostile.evaluate, hostile.memo_swap, hostile.storage_blob):
        marker = tmp_path / make.__name__
        try:
            pickle.load(io.BytesIO(make(marker)))
        except Exception:
            assert marker.exists()
        assert marker.exists()


@pytest.mark.parametrize("verb", ["inspect", "convert"])
def test_command_exits_with_2_and_one_sentence(verb: str, tmp_path: Path) -> None:
    path, out = tmp_path / "file.pkl", tmp_path / "out.safetensors"
    path.write_bytes(hostile.system(tmp_path / "marker"))
    result = CliRunner().invoke(app, [verb, str(path), *([str(out)] if verb == "convert" else [])])
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert "os.system" in result.stderr
    assert list(tmp_path.iterdir()) == [path]


def test_paths(tmp_path: Path) -> None:
    """No file, a folder, an empty file, links: to a file (fine), to nothing, to themselves, to a device; a pipe."""
    good, link = tmp_path / "good.pt", tmp_path / "link.pt"
    torch.save(lookalike.rosinality_state(*hostile_parts.SMALL), good)
    link.symlink_to(good)
    assert inspect(link)["generator"]["resolution"] == 8
    (tmp_path / "empty.pt").touch()
    (tmp_path / "dangling.pt").symlink_to(tmp_path / "nowhere")
    (tmp_path / "circle.pt").symlink_to(tmp_path / "circle.pt")
    (tmp_path / "device.pt").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe.pt")
    names = ("none.pt", ".", "empty.pt", "dangling.pt", "circle.pt", "device.pt", "pipe.pt", "good.pt/inside", "a\0b")
    for name in names:
        with pytest.raises(UserError, match="download it again" if name == "empty.pt" else "check the path"):
            load_generator(tmp_path / name)


def test_output_that_is_a_link_does_not_change_its_target(tmp_path: Path) -> None:
    from gan2shape.prior.checkpoint import convert

    good, precious, out = tmp_path / "good.pt", tmp_path / "precious", tmp_path / "out.safetensors"
    torch.save(lookalike.rosinality_state(*hostile_parts.SMALL), good)
    precious.write_text("precious")
    out.symlink_to(precious)
    convert(good, out)
    assert precious.read_text() == "precious"
    assert not out.is_symlink()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("synthesis.L3_52_512.weight", "StyleGAN3"),
        ("backbone.synthesis.b4.conv0.weight", "EG3D"),
        ("generator.progression.0.conv1.weight", "first version"),
        ("shared.weight", "BigGAN"),
        ("model.diffusion_model.out.weight", "diffusion"),
    ],
)
def test_other_networks_are_refused_by_name(name: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    if "L3" in name:
        network = lookalike.nvidia_network({name: torch.zeros(2)}, "Generator", {})
        path.write_bytes(lookalike.nvidia_pickle({"G_ema": network}))
    else:
        torch.save({"state_dict": {name: torch.zeros(2)}}, path)
    with pytest.raises(UserError, match=kind):
        load_generator(path)


@pytest.mark.skipif(sys.platform != "linux", reason="limits of a process are set the Unix way")
@pytest.mark.parametrize("count", [FEW_MUTANTS, pytest.param(MANY_MUTANTS, marks=pytest.mark.slow)])
def test_mutants_neither_crash_nor_hang_nor_execute(count: int) -> None:
    """In a child with limits of memory and time and an audit hook: see fuzz.py."""
    command = [sys.executable, "-m", "tests.checkpoints.fuzz", "--count", str(count), "--seed", "1"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=900, cwd=ROOT)
    assert result.returncode == 0, result.stdout + result.stderr
