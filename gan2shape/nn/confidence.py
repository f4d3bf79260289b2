"""How far a recovered depth may be off at each pixel, predicted from what a run has at hand (`shape.confidence`).

A small U-Net learns |log depth - log true depth|, up to the mean, on synthetic objects (`build.confidence`). It lies
beside a pack as `confidence.safetensors`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from gan2shape.core.network_files import load_network, save_network

CONFIDENCE_NAME = "confidence.safetensors"  # beside a category's pack
FORMAT = "gan2shape-confidence-1"
COMMAND = "gan2shape build CATEGORY --only confidence"  # makes it
GROUP = 8  # channels of a normalisation group


@dataclass(frozen=True)
class ConfidenceConfig:
    """Size of the network: 0.14 M parameters, 40 million multiplications an image."""

    n_evidence: int = 15  # maps that it sees
    resolution: int = 64  # of these maps
    widths: tuple[int, ...] = (32, 40, 56)  # channels at 1/2, 1/4, 1/8 of the resolution


class ConfidenceNetwork(nn.Module):
    """`network(evidence)` -> log of the expected error; `network.confidence(evidence)` -> [0, 1].

    `unit`: the error at which confidence is one half.
    """

    def __init__(self, config: ConfidenceConfig) -> None:
        super().__init__()
        self.config = config
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        before = 4 * config.n_evidence
        for width in config.widths:
            self.down.append(_level(before, width))
            before = width
        self.middle = _level(before, before)
        for width in reversed(config.widths[:-1]):
            self.up.append(_level(before + width, width))
            before = width
        self.last = nn.Conv2d(before, 4, 3, padding=1)
        self.register_buffer("unit", torch.ones(()))

    def forward(self, evidence: Float[Tensor, "B C S S"]) -> Float[Tensor, "B 1 S S"]:
        """Log of the expected |difference of log depths|, in units of `unit`."""
        x, kept = F.pixel_unshuffle(evidence, 2), []
        for number, level in enumerate(self.down):
            x = level(F.avg_pool2d(x, 2) if number else x)
            kept.append(x)
        x = self.middle(x)
        for level, across in zip(self.up, reversed(kept[:-1]), strict=True):
            x = level(torch.cat([F.interpolate(x, scale_factor=2.0), across], 1))
        return F.pixel_shuffle(self.last(x), 2)

    def confidence(self, evidence: Float[Tensor, "B C S S"]) -> Float[Tensor, "B 1 S S"]:
        """u / (u + e), where e is the expected error and u the category's usual one: 1 is sure, .5 as usual."""
        return torch.sigmoid(-self(evidence))


def _level(before: int, width: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(before, width, 3, padding=1), nn.GroupNorm(max(1, width // GROUP), width), nn.SiLU())


def save_confidence(path: Path, network: ConfidenceNetwork) -> Path:
    """Write a network in half precision, whole or not at all. Returns the path."""
    return save_network(path, network, network.config, FORMAT)


def load_confidence(path: Path, device: torch.device | str = "cpu") -> ConfidenceNetwork:
    """The network in a file, frozen. Raises UserError for a file that is missing, damaged or of another version."""

    def build(fields: dict[str, Any]) -> ConfidenceNetwork:
        return ConfidenceNetwork(ConfidenceConfig(**fields))

    return load_network(path, build, FORMAT, "confidence network", COMMAND).to(device)


def confidence_beside(folder: Path, device: torch.device | str = "cpu") -> ConfidenceNetwork | None:
    """The network in a pack's folder; None where there is none."""
    path = folder / CONFIDENCE_NAME
    return load_confidence(path, device) if path.is_file() else None
