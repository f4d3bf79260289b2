"""Methods by name: configs/restore/NAME.yaml, or NAME_TASK.yaml where a method differs by task."""

from pathlib import Path

from gan2shape.core.compose import from_yaml, nearest
from gan2shape.core.errors import UserError
from gan2shape.core.resources import configs_dir
from gan2shape.invert.method import MethodConfig


def methods_dir() -> Path:
    """Folder with a YAML for each method."""
    return configs_dir() / "restore"


def known_methods(task: str | None = None) -> list[str]:
    """Names of methods, of those that can do a task where one is given, sorted."""
    stems = {path.stem for path in methods_dir().glob("*.yaml")}
    plain = {stem for stem in stems if "_" not in stem}
    special = {stem.partition("_")[0] for stem in stems if "_" in stem and stem.partition("_")[2] in (task or stem)}
    return sorted(plain | special)


def load_method(name: str, task: str) -> MethodConfig:
    """The method as it does `task`. Raises UserError for an unknown one, and for one that has no recipe for it."""
    for stem in (f"{name}_{task}", name):
        path = methods_dir() / f"{stem}.yaml"
        if path.is_file():
            return from_yaml(MethodConfig, path.read_text(encoding="utf-8"))
    known = known_methods(task)
    if name in known_methods():
        raise UserError(f"the method {name} has no recipe for {task}: use {', '.join(known)}.")
    raise UserError(f"unknown method {name!r}{nearest(name, known)}")
