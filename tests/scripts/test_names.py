"""What scripts and benchmarks name of the package exists: nothing else runs most of them."""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(path for folder in ("scripts", "benchmarks") for path in (ROOT / folder).glob("*.py"))


def taken(module: str, name: str) -> object:
    """What `from module import name` gives. Raises AttributeError or ImportError where there is no such thing."""
    found = importlib.import_module(module)
    return getattr(found, name) if hasattr(found, name) else importlib.import_module(f"{module}.{name}")


def missing(source: str) -> Iterator[str]:
    """Names of the package that a file uses and that are not there."""
    tree, modules = ast.parse(source), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gan2shape"):
            for alias in node.names:
                try:
                    found = taken(node.module, alias.name)
                except ImportError:
                    yield f"{node.module}.{alias.name}"
                    continue
                if isinstance(found, ModuleType):
                    modules[alias.asname or alias.name] = found
    for node in ast.walk(tree):
        owner = modules.get(getattr(getattr(node, "value", None), "id", None))
        if isinstance(node, ast.Attribute) and owner is not None and not hasattr(owner, node.attr):
            yield f"{node.value.id}.{node.attr}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_what_a_script_names_exists(path: Path) -> None:
    assert not list(missing(path.read_text(encoding="utf-8")))


def test_what_is_missing_would_be_found() -> None:
    gone = ("from gan2shape.train import objectives", "from gan2shape.train.loop import nothing", "objectives.gone()")
    assert list(missing("\n".join(gone))) == ["gan2shape.train.loop.nothing", "objectives.gone"]
