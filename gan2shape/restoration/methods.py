"""Methods by name: configs/restore/NAME.yaml, or NAME_TASK.yaml where a method differs by task."""

from dataclasses import replace
from pathlib import Path

from gan2shape.core.compose import from_yaml, nearest
from gan2shape.core.errors import UserError
from gan2shape.core.resources import configs_dir
from gan2shape.invert.method import MethodConfig, StageConfig
from gan2shape.invert.spaces import parse_space

EMBEDDING_LR = 0.01  # of the class vector, beside z
NOISE_LR, THETA_LR = 0.05, 1e-3  # of the second stage of an inversion; the latent is found first (Image2StyleGAN++)

STEP_MS = {"Pixels": 2.0, "Net": 21.0, "latent": 24.0, "Theta": 33.0}  # of a 64 x 64 image on one core, by what learns


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


def expected_seconds(method: MethodConfig, size: int) -> float:
    """About how long one core works on an image of `size` pixels a side."""
    space, n_steps = parse_space(method.space), sum(stage.n_steps for stage in method.stages) * method.steps_factor
    each = STEP_MS.get(space.latent, STEP_MS["Theta" if space.theta else "latent"])
    return each / 1000 * n_steps * (size / 64) ** 2


def inversion_in(space: str) -> MethodConfig:
    """The plain inversion in a space: the latent first, then what is added to it. Raises UserError for unknown ones."""
    parts, plain = parse_space(space), load_method("w", "reconstruct")
    first = plain.stages[0]
    further = {} if parts.n_noise == 0 else {"noise": NOISE_LR}
    further |= {"theta": THETA_LR} if parts.theta or parts.latent == "Net" else {}
    if parts.embedding:
        first = replace(first, lr={**first.lr, "embedding": EMBEDDING_LR})
    added = (StageConfig(first.n_steps, further),) if further else ()
    stages = added if parts.latent == "Net" else (first, *added)
    return replace(plain, title=f"Inversion in {space}", space=space, stages=stages)
