"""The object mask of anything the generator draws, read off its own features.

The paper uses supervised parsers for its categories; our packs do the same on a small scale: a few-layer segmenter
learns masks of synthetic renders, labels samples of the generator, and a tiny head on generator features learns those
labels. After that a mask costs nothing: it comes with the image. Images in [-1, 1], masks in [0, 1].
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gan2shape.gan.generator import Generator

COARSEST_FEATURES = 8  # generator features below this resolution say nothing about outlines


@dataclass(frozen=True)
class MaskHeadConfig:
    """Size of the head: about 6 k parameters on the small default generator."""

    feature_channels: tuple[int, ...] = (128, 96, 48, 16)  # of the generator's blocks, coarse to fine
    width: int = 8  # channels that every resolution is brought to
    size: int = 64  # side of the mask, pixels


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


class Segmenter(nn.Module):
    """Image -> mask logits: the teacher, used while a pack is built and then thrown away."""

    def __init__(self, width: int = 16):
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1), nn.LeakyReLU(0.2)]
        for dilation in (1, 2, 4, 8):
            layers += [nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation), nn.LeakyReLU(0.2)]
        self.body = nn.Sequential(*layers, nn.Conv2d(width, 1, 1))

    def forward(self, images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B 1 S S"]:
        return self.body(images)


def head_config(generator: Generator) -> MaskHeadConfig:
    """The head that fits this generator."""
    pairs = zip(generator.config.resolutions, generator.config.channels, strict=True)
    channels = tuple(width for resolution, width in pairs if resolution >= COARSEST_FEATURES)
    return MaskHeadConfig(channels, size=generator.config.resolution)


def train_segmenter(
    images: Float[Tensor, "N 3 S S"], masks: Float[Tensor, "N 1 S S"], n_steps: int = 400, seed: int = 0
) -> Segmenter:
    """Fit the teacher to synthetic renders (soft masks: binary cross-entropy)."""
    torch.manual_seed(seed)
    segmenter = Segmenter()
    optimizer = torch.optim.Adam(segmenter.parameters(), lr=3e-3)
    rng = torch.Generator().manual_seed(seed)
    for _ in range(n_steps):
        chosen = torch.randint(len(images), (16,), generator=rng)
        loss = F.binary_cross_entropy_with_logits(segmenter(images[chosen]), masks[chosen])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return segmenter.eval()


def train_mask_head(generator: Generator, segmenter: Segmenter, n_steps: int = 300, seed: int = 0) -> MaskHead:
    """Distil the teacher's masks of generator samples into a head on generator features."""
    torch.manual_seed(seed)
    head = MaskHead(head_config(generator))
    optimizer = torch.optim.Adam(head.parameters(), lr=3e-3)
    rng = torch.Generator().manual_seed(seed)
    for _ in range(n_steps):
        with torch.no_grad():
            w = generator.mapping(torch.randn(16, generator.config.z_dim, generator=rng))
            images, features = generator.synthesis(w, return_features=True)
            labels = torch.sigmoid(segmenter(images.clamp(-1, 1)))
        loss = F.binary_cross_entropy(head(features), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return head.eval()
