"""The object mask of any image of the generator, read off its own features.

The paper uses supervised parsers for its categories; our packs do the same on a small scale: a few-layer segmenter
learns masks of synthetic renders, labels samples of the generator, and a tiny head on generator features learns those
labels. After that a mask costs nothing: it comes with the image. Images in [-1, 1], masks in [0, 1].
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gan2shape.nn.generator import Generator

COARSEST_FEATURES = 8  # generator features below this resolution say nothing about outlines


@dataclass(frozen=True)
class MaskHeadConfig:
    """Size of the head: about 6 k parameters on the small default generator."""

    feature_channels: tuple[int, ...] = (128, 96, 48, 16)  # of the generator's blocks, coarse to fine
    width: int = 8  # channels that every resolution is brought to
    size: int = 64  # resolution of the mask


class MaskHead(nn.Module):
    """Generator features (coarse to fine) -> object mask in (0, 1)."""

    def __init__(self, config: MaskHeadConfig):
        super().__init__()
        self.config = config
        self.reduce = nn.ModuleList(nn.Conv2d(channels, config.width, 1) for channels in config.feature_channels)
        self.mix = nn.Conv2d(config.width, config.width, 3, padding=1)
        self.last = nn.Conv2d(config.width, 1, 3, padding=1)

    def forward(self, features: list[Tensor]) -> Float[Tensor, "B 1 S S"]:
        size = (self.config.size, self.config.size)
        used = features[-len(self.reduce) :]
        parts = [F.interpolate(conv(x), size, mode="bilinear") for conv, x in zip(self.reduce, used, strict=True)]
        return torch.sigmoid(self.last(F.leaky_relu(self.mix(F.leaky_relu(sum(parts), 0.2)), 0.2)))


def head_config(generator: Generator) -> MaskHeadConfig:
    """The head that fits this generator."""
    pairs = zip(generator.config.resolutions, generator.config.channels, strict=True)
    channels = tuple(width for resolution, width in pairs if resolution >= COARSEST_FEATURES)
    return MaskHeadConfig(channels, size=generator.config.resolution)
