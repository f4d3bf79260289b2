"""Networks that restore without a prior (`nn.picture_networks`), from files, used like methods of restoration.

    restorer = open_picture_restorer(picture_file("srgan", damage, prior), damage, 64)
    solved = restorer.solved(problem)                 what `invert.solver.solve` gives of an optimiser
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

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
from gan2shape.nn.picture_networks import PictureConfig, build_picture_network
from gan2shape.prior.identity import trained_file, training_command
from gan2shape.prior.packs import Prior
from gan2shape.restoration.tasks import Damage

FORMAT = "gan2shape-picture-network-1"
SUFFIX = ".safetensors"
AT_ONCE = 32  # pictures in a batch
TITLES = {  # name on the card -> (title, source)
    "srresnet": ("SRResNet, in one pass", "Ledig et al., CVPR 2017: squared error alone"),
    "srgan": ("SRGAN, in one pass", "Ledig et al., CVPR 2017"),
    "inpaintgan": ("Patch and global inpainting GAN, in one pass", "Demir and Unal 2018"),
}
TRAINED_AS = {"srresnet": "srgan"}  # the kind of training that leaves a network, where it has another name
KIND_OF = {"superres": "srgan", "inpaint": "inpaintgan"}  # kind of training, of a task
TASK = {"srresnet": "superres", "inpainter": "inpaint"}  # of a kind of network


@dataclass(frozen=True)
class PictureRestorer:
    """A network that is ready, and what its card says."""

    network: nn.Module
    card: Mapping[str, Any]

    @property
    def config(self) -> PictureConfig:
        """What it is."""
        return self.network.config

    @property
    def method(self) -> MethodConfig:
        """It, as a method of no steps."""
        title, source = TITLES.get(self.card.get("network", ""), ("A network, in one pass", ""))
        return MethodConfig(title, source, stages=(StageConfig(0, name="one pass"),))

    @torch.no_grad()
    def solved(self, problem: Problem) -> Solved:
        """The restored pictures; the data term is the mean absolute difference from what was seen."""
        inputs = [problem.observed]
        size = self.network.config.resolution
        if self.network.config.kind == "inpainter":
            ones = torch.ones(len(problem.observed), 1, size, size).to(problem.observed)
            inputs.append(problem.degradation.known(ones))
        batches = zip(*(x.split(AT_ONCE) for x in inputs), strict=True)
        image = torch.cat([self.network(*batch) for batch in batches]).clamp(-1, 1)
        seen = problem.degradation(image)
        data = (seen - problem.observed).abs().mean((1, 2, 3))
        return Solved(image, seen, None, data, [{} for _ in image], 0)


def save_picture_network(path: Path, network: nn.Module, card: Mapping[str, Any]) -> Path:
    """Write a network in half precision with its card, whole or not at all. Returns the path."""
    return save_network(path, network, network.config, FORMAT, card)


def is_picture_restorer(method: str) -> bool:
    """Whether a method's name is that of such a network: its own, or the path of its file."""
    return method in TITLES or (method.endswith(SUFFIX) and network_format(Path(method)) == FORMAT)


def picture_file(method: str, damage: Damage, prior: Prior) -> Path:
    """The file of a network: the one that is named, or where `train-restorer` leaves it for a prior."""
    if method.endswith(SUFFIX):
        return Path(method)

    def fits(path: Path) -> bool:
        return network_format(path) == FORMAT and _does(PictureConfig(**read_network_config(path))) == damage.named

    file = f"{method}{SUFFIX}"
    return trained_file(TRAINED_AS.get(method, method), prior, file, fits, file)


def picture_training(path: Path, damage: Damage, prior: Prior) -> str | None:
    """The command that trains a network for this damage and prior; None where no kind does it."""
    if damage.task not in KIND_OF:
        return None
    further = f" --task {damage.named}" + ("" if prior.origin.generator is None else " --data IMAGES")
    return training_command("train-restorer", KIND_OF[damage.task], prior, path, further)


def open_picture_restorer(
    path: Path, damage: Damage, resolution: int, device: torch.device | str = "cpu", command: str | None = None
) -> PictureRestorer:
    """The network in a file. command: makes one for this damage (`picture_training`), for refusals.

    Raises UserError where it is missing or damaged, or was trained for something else.
    """
    if command is None and damage.task in KIND_OF:
        command = f"gan2shape train-restorer --kind {KIND_OF[damage.task]} --task {damage.named}"
    remedy = "name another --method" if command is None else f"train one with `{command}`"
    network = load_network(path, _built, FORMAT, "restorer", command or "gan2shape train-restorer --kind srgan")
    config = network.config
    if _does(config) != damage.named:
        raise UserError(f"{path} was trained for {_does(config)}, not for {damage.named}: {remedy}.")
    if config.resolution != resolution:
        raise UserError(
            f"{path} restores pictures of {config.resolution} x {config.resolution} pixels, not of {resolution} x "
            f"{resolution}: {remedy}."
        )
    return PictureRestorer(network.to(device), read_network_card(path))


def _does(config: PictureConfig) -> str:
    task = TASK[config.kind]
    return f"{task}:{config.factor}" if config.factor > 1 else task


def _built(fields: dict[str, Any]) -> nn.Module:
    return build_picture_network(PictureConfig(**fields))
