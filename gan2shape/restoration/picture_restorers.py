"""Networks that restore without a prior (`nn.picture_networks`), from files, used like methods of restoration.

    restorer = open_picture_restorer(picture_file("srgan", "car"), Damage("superres", 4), 64)
    solved = restorer.solved(problem)                 what `invert.solver.solve` gives of an optimiser
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gan2shape.core.errors import UserError
from gan2shape.core.network_files import load_network, network_format, read_network_card, save_network
from gan2shape.invert.method import MethodConfig, StageConfig
from gan2shape.invert.solver import Problem, Solved
from gan2shape.nn.picture_networks import PictureConfig, build_picture_network
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


def picture_file(method: str, category: str | None) -> Path:
    """The file of a network: the one that is named, or where `train-restorer` leaves it for a category."""
    if method.endswith(SUFFIX):
        return Path(method)
    kind = TRAINED_AS.get(method, method)
    return Path("runs") / f"{kind}-{category or 'car'}" / f"{method}{SUFFIX}"


def open_picture_restorer(
    path: Path, damage: Damage, resolution: int, device: torch.device | str = "cpu"
) -> PictureRestorer:
    """The network in a file. Raises UserError where it is missing or damaged, or was trained for something else."""
    kind = "srgan" if damage.task == "superres" else "inpaintgan"
    command = f"gan2shape train-restorer --kind {kind}"
    network = load_network(path, _built, FORMAT, "restorer", command)
    config = network.config
    if TASK[config.kind] != damage.task or config.factor != damage.factor:
        does = f"{TASK[config.kind]}:{config.factor}" if config.factor > 1 else TASK[config.kind]
        wanted = f"{damage.task}:{damage.factor}" if damage.factor > 1 else damage.task
        raise UserError(f"{path} was trained for {does}, not for {wanted}: train one with `{command}`.")
    if config.resolution != resolution:
        raise UserError(
            f"{path} restores pictures of {config.resolution} x {config.resolution} pixels, not of {resolution} x "
            f"{resolution}: train one with `{command}`."
        )
    return PictureRestorer(network.to(device), read_network_card(path))


def _built(fields: dict[str, Any]) -> nn.Module:
    return build_picture_network(PictureConfig(**fields))
