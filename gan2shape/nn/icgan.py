"""The two encoders of IcGAN (Perarnau et al. 2016, section 3): picture -> z, and picture -> class.

Each is four convolutions (5 x 5, stride 2, batch normalisation, ReLU) and a linear layer, as published; there is no
hidden layer before z.
"""

import itertools
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gan2shape.core.seeding import seeded
from gan2shape.nn.layers import normalize_second_moment


@dataclass(frozen=True)
class IcganConfig:
    """Sizes of both encoders."""

    resolution: int = 64
    z_dim: int = 128
    n_classes: int = 5
    widths: tuple[int, ...] = (32, 64, 128, 256)
    generator_hash: str = ""  # of the conditional generator (prior.identity): z of another one means nothing


class IcganEncoders(nn.Module):
    """`encoders(images)` -> (z, logits of the classes). z has the length that the mapping network gives it."""

    def __init__(self, config: IcganConfig) -> None:
        super().__init__()
        self.config = config
        self.z = _encoder(config, config.z_dim)
        self.y = _encoder(config, config.n_classes)

    def forward(self, images: Float[Tensor, "B 3 S S"]) -> tuple[Float[Tensor, "B Z"], Float[Tensor, "B C"]]:
        return self.z_of(images), self.y(images)

    def z_of(self, images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B Z"]:
        """z alone."""
        return normalize_second_moment(self.z(images))


def _encoder(config: IcganConfig, n_out: int) -> nn.Module:
    layers: list[nn.Module] = []
    for before, width in itertools.pairwise((3, *config.widths)):
        layers += [nn.Conv2d(before, width, 5, 2, 2, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    side = config.resolution // 2 ** len(config.widths)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(config.widths[-1] * side**2, n_out))


def build_icgan(config: IcganConfig, seed: int = 0) -> IcganEncoders:
    """Untrained encoders, their weights from `seed`."""
    with seeded(seed):
        return IcganEncoders(config)


def z_error(found: Float[Tensor, "B Z"], z: Float[Tensor, "B Z"]) -> Float[Tensor, ""]:
    """Mean squared error of z, of which the mapping network sees the direction alone."""
    return (found - normalize_second_moment(z)).square().mean()


@torch.no_grad()
def accuracy(logits: Float[Tensor, "B C"], labels: Tensor) -> Float[Tensor, ""]:
    """Share of the pictures whose class is the likeliest one."""
    return (logits.argmax(1) == labels).float().mean()
