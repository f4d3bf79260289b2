"""What the package leaves alone: heavy imports until they are needed, stdout, and the caller's random numbers."""

import ast
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import gan2shape
from gan2shape.api import reconstruct
from gan2shape.core.progress import PlainReporter
from gan2shape.synth.dataset import prerender
from gan2shape.train.loop import train
from tests.tiny_pack import FEW_STEPS, SMALL, write_tiny_pack
from tests.train.test_training import CONFIG, write_shard

HEAVY = ("torch", "numpy", "hydra", "omegaconf", "trimesh", "kornia", "PIL", "jinja2", "jaxtyping", "safetensors")


def imported_by(code: str) -> list[str]:
    """The heavy modules that a fresh interpreter has imported after `code`."""
    ending = f"\nimport sys\nprint([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code + ending], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return eval(done.stdout.splitlines()[-1])


def helped(*arguments: str) -> str:
    """Code that asks the command for help."""
    lines = ("from gan2shape.cli import app", "try:", f"    app({list(arguments)!r})", "except SystemExit as stop:")
    return "\n".join((*lines, "    assert not stop.code"))


LIGHT = {
    "package": "import gan2shape",
    "errors": "import gan2shape.core.errors",
    "command": "import gan2shape.cli",
    "help": helped("--help"),
    "help of run": helped("run", "--help"),
    "help of bench": helped("bench", "--help"),
    "version": helped("--version"),
}


@pytest.mark.parametrize("code", LIGHT.values(), ids=LIGHT)
def test_nothing_heavy_is_imported_before_it_is_needed(code: str) -> None:
    assert imported_by(code) == []


def test_a_heavy_import_would_be_noticed() -> None:
    assert "torch" in imported_by("import gan2shape\ngan2shape.reconstruct")


def calls_of(tree: ast.AST, name: str, inside: str = "") -> list[tuple[int, str]]:
    """(line, innermost `with`) of each call whose name ends in `name`."""
    found = []
    for node in ast.iter_child_nodes(tree):
        entered = node.items if isinstance(node, ast.With) else ()
        within = ", ".join(ast.unparse(item.context_expr) for item in entered) or inside
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(name):
            found.append((node.lineno, inside))
        found += calls_of(node, name, within)
    return found


def test_global_random_numbers_are_seeded_within_a_fork_and_those_of_other_devices_never() -> None:
    """`torch.manual_seed` seeds every GPU too, which a fork of the CPU's random numbers does not put back."""
    n_seeded = 0
    for path in Path(gan2shape.__file__).parent.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert calls_of(tree, "torch.manual_seed") == [], path
        assert calls_of(tree, "random.seed") == [], path
        seeded = calls_of(tree, "default_generator.manual_seed")
        assert all("torch.random.fork_rng(" in within for _, within in seeded), (path, seeded)
        n_seeded += len(seeded)
    assert n_seeded == 1  # in core.seeding


@pytest.mark.parametrize("preset", ["draft", "full"])
def test_a_run_leaves_stdout_and_the_caller_s_seed_alone(preset: str, tmp_path: Path, monkeypatch, capfd) -> None:
    monkeypatch.setenv("GAN2SHAPE_WEIGHTS", str(tmp_path))
    write_tiny_pack(tmp_path, "car", 32)
    capfd.readouterr()
    torch.manual_seed(77)
    image = torch.rand(1, 3, 32, 32)
    made = reconstruct(image=image, mask=image[:, :1] + 1, preset=preset, overrides=(*SMALL, *FEW_STEPS), device="cpu")
    made.export(tmp_path / "run")
    assert capfd.readouterr().out == ""
    assert torch.initial_seed() == 77


def test_a_training_writes_its_progress_to_stderr(tmp_path: Path, capfd) -> None:
    write_shard(tmp_path / "images_000.npy", 24, 0)
    train(tmp_path, tmp_path / "out", replace(CONFIG, kimg=0.016))
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "")  # a library is silent unless it is given a reporter
    train(tmp_path, tmp_path / "again", replace(CONFIG, kimg=0.016), report=PlainReporter(sys.stderr))
    printed = capfd.readouterr()
    assert printed.out == ""
    assert "training: 16/16" in printed.err


def test_a_data_set_writes_its_progress_to_stderr(tmp_path: Path, capfd) -> None:
    prerender("car", 2, 0, tmp_path, workers=1, size=16, report=PlainReporter(sys.stderr))
    printed = capfd.readouterr()
    assert printed.out == ""
    assert "images: 2/2" in printed.err
