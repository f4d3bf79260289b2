"""Restorers that need one pass: opened from files for the generator that they were trained for, and used like methods.

    restorer = open_restorer("gpen", Damage("blind", 2.0), prior)       a kind, or the path of a file
    solved = restorer.solved(problem)                                   as the optimisers' `solve` gives it
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gan2shape.core.errors import UserError
from gan2shape.core.network_files import (
    load_network,
    network_format,
    read_network_card,
    read_network_config,
    save_network,
)
from gan2shape.invert.method import MethodConfig, StageConfig
from gan2shape.invert.solver import Problem, Solved
from gan2shape.invert.start import naive
from gan2shape.nn.discriminator import DiscriminatorConfig
from gan2shape.nn.generator import GeneratorConfig
from gan2shape.nn.restorers import RESTORERS, RestorerConfig, build_restorer
from gan2shape.prior.identity import generator_hash, pack_folder, trained_file, training_command
from gan2shape.prior.packs import Prior
from gan2shape.restoration.blind import BLIND
from gan2shape.restoration.picture_restorers import TITLES as PICTURE_RESTORERS
from gan2shape.restoration.picture_restorers import (
    PictureRestorer,
    is_picture_restorer,
    open_picture_restorer,
    picture_file,
    picture_training,
)
from gan2shape.restoration.tasks import Damage, parse_damage

FORMAT = "gan2shape-restorer-1"
SUFFIX = ".safetensors"
SERVED_BLINDLY = (BLIND, "denoise", "deblur", "superres", "reconstruct")
AT_ONCE = 32  # pictures in a batch
TITLES = {  # kind -> (title, source)
    "glean": ("GLEAN, in one pass", "Chan et al., CVPR 2021"),
    "gfpgan": ("GFPGAN without facial components, in one pass", "Wang et al., CVPR 2021"),
    "gpen": ("GPEN, in one pass", "Yang et al., CVPR 2021"),
    "unet": ("U-Net without a prior, in one pass", "the reference of the other restorers"),
}


def is_restorer(method: str) -> bool:
    """Whether a method's name is that of a network: a kind, or the path of its file."""
    return method in (*RESTORERS, *PICTURE_RESTORERS) or method.endswith(SUFFIX)


@dataclass(frozen=True)
class OpenRestorer:
    """A restorer that is ready for one prior."""

    network: nn.Module
    prior: Prior

    @property
    def config(self) -> RestorerConfig:
        """What it was trained for."""
        return self.network.config

    @property
    def method(self) -> MethodConfig:
        """It, as a method of no steps."""
        title, source = TITLES[self.config.kind]
        return MethodConfig(title, source, stages=(StageConfig(0, name="one pass"),), kernel="bicubic")

    @torch.no_grad()
    def __call__(self, observed: Float[Tensor, "B 3 h w"]) -> Float[Tensor, "B 3 S S"]:
        """The restored pictures, in [-1, 1]."""
        size = self.prior.resolution // self.config.factor
        parts = [self.network(part, self.prior.generator)[0] for part in naive(observed, size).split(AT_ONCE)]
        return torch.cat(parts).clamp(-1, 1)

    def solved(self, problem: Problem) -> Solved:
        """What `invert.solver.solve` would give; the data term is the mean absolute difference from what was seen."""
        image = self(problem.observed)
        seen = problem.degradation(image)
        data = (seen - problem.observed).abs().mean((1, 2, 3))
        return Solved(image, seen, None, data, [{} for _ in image], 0)


def save_restorer(path: Path, network: nn.Module, card: Mapping[str, Any]) -> Path:
    """Write a restorer in half precision with its card, whole or not at all. Returns the path."""
    return save_network(path, network, network.config, FORMAT, card)


def open_restorer(method: str, damage: Damage, prior: Prior) -> OpenRestorer | PictureRestorer:
    """The restorer of that kind beside the bundled pack or where it was trained, or in a file; on the prior's device.

    Raises UserError for a file that is missing or damaged, and for a restorer of another generator or another task.
    """
    if is_picture_restorer(method):
        path = picture_file(method, damage, prior)
        command = picture_training(path, damage, prior)
        return open_picture_restorer(path, damage, prior.resolution, prior.w_mean.device, command)
    own = generator_hash(prior.generator)
    path, kind = _located(method, damage, prior, own)
    command = training_command("train-restorer", kind, prior, path, _trained_with(kind, damage, prior))
    network = load_network(path, _built, FORMAT, "restorer", command).to(prior.w_mean.device)
    config = network.config
    if config.generator_hash not in ("", own):
        raise UserError(
            f"{path} was trained for another generator ({config.generator_hash}; this one is {own}): train one for it "
            f"with `{command}`."
        )
    if config.generator.resolution != prior.resolution:
        size = config.generator.resolution
        raise UserError(f"{path} restores pictures of {size} x {size} pixels: train one with `{command}`.")
    if not serves(config.task, damage):
        raise UserError(f"{path} was trained for {config.task}, not for {damage.named}: train one with `{command}`.")
    return OpenRestorer(network, prior)


def _located(method: str, damage: Damage, prior: Prior, own: str) -> tuple[Path, str]:
    """(file of a restorer, its kind)."""
    if method.endswith(SUFFIX):
        path = Path(method)
        kind = read_network_config(path).get("kind") if network_format(path) == FORMAT else path.stem
        return path, kind if kind in RESTORERS else "gpen"

    def fits(path: Path) -> bool:
        config = read_network_config(path) if network_format(path) == FORMAT else {}
        return config.get("generator_hash") in ("", own) and serves(config["task"], damage)

    return trained_file(method, prior, shipped_name(method), fits), method


def _trained_with(kind: str, damage: Damage, prior: Prior) -> str:
    """Further words of the command that trains a kind for this damage. Raises UserError for a kind that cannot."""
    if kind == "glean" and damage.task != "superres":
        raise UserError(f"GLEAN enlarges pictures, and does nothing about {damage.task}: name another --method.")
    images = "" if prior.origin.generator is None else " --data IMAGES"
    return ("" if damage.task in SERVED_BLINDLY and damage.factor == 1 else f" --task {damage.named}") + images


def shipped_name(kind: str) -> str:
    """The file of a restorer beside the bundled pack that it was trained for."""
    return f"restorer-{kind}{SUFFIX}"


def shipped_restorer(damage: Damage, prior: Prior) -> str | None:
    """The kind of the restorer that this task has unless a method is named, where one comes with the prior's pack and
    was trained for its generator; None elsewhere.
    """
    kind, folder = damage.kind.restorer, pack_folder(prior)
    path = None if folder is None or not kind else folder / shipped_name(kind)
    if path is None or not path.is_file():
        return None
    return kind if read_network_card(path).get("generator") == generator_hash(prior.generator) else None


def serves(trained_for: str, damage: Damage) -> bool:
    """Whether a restorer that was trained for one task can do another."""
    if trained_for == BLIND:
        return damage.task in SERVED_BLINDLY
    known = parse_damage(trained_for)
    return known.task == damage.task and (not known.factor > 1 or known.factor == damage.factor)


def _built(fields: dict[str, Any]) -> nn.Module:
    nested = {"trunk": DiscriminatorConfig, "generator": GeneratorConfig}
    made = {}
    for name, kind in nested.items():
        own = {key: tuple(value) if isinstance(value, list) else value for key, value in fields.pop(name).items()}
        made[name] = kind(**own)
    return build_restorer(RestorerConfig(**made, **fields))
