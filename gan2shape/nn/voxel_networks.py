"""3D-GAN (Wu et al. 2016): random vectors to volumes by transposed convolutions, and the network that judges them.

Volumes are [B, 1, S, S, S], axes (z, y, x), occupancy in [0, 1]. Published: 200 numbers uniform in [0, 1], 512 to 64
channels, 64^3 voxels; here normal numbers, fewer channels, 32^3.
"""

import itertools
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gan2shape.core.seeding import seeded

FIRST_SIZE = 4  # of the volume that the vector becomes
SLOPE = 0.2  # of the critic's leaky rectifiers


@dataclass(frozen=True)
class VoxelGanConfig:
    """Sizes of both networks."""

    resolution: int = 32  # a power of two
    z_dim: int = 64
    channels: tuple[int, ...] = (96, 48, 16)  # at 4, 8, ... half the resolution; the critic's in reverse

    def __post_init__(self) -> None:
        if FIRST_SIZE * 2 ** len(self.channels) != self.resolution:
            raise ValueError(f"{len(self.channels)} widths do not lead from {FIRST_SIZE} to {self.resolution} voxels")


def config_at(resolution: int) -> VoxelGanConfig:
    """The usual networks for volumes of 8, 16 or 32 voxels along each side."""
    n_widths = (resolution // FIRST_SIZE).bit_length() - 1
    return VoxelGanConfig(resolution, channels=VoxelGanConfig.channels[:n_widths])


class VoxelGenerator(nn.Module):
    """`generator(z)` -> occupancy; `generator.logits(z)` before the sigmoid."""

    def __init__(self, config: VoxelGanConfig) -> None:
        super().__init__()
        self.config, widths = config, config.channels
        self.first = nn.Linear(config.z_dim, widths[0] * FIRST_SIZE**3, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm3d(width) for width in widths)
        pairs = zip(widths, (*widths[1:], 1), strict=True)
        self.grow = nn.ModuleList(nn.ConvTranspose3d(a, b, 4, 2, 1, bias=b == 1) for a, b in pairs)
        self.register_buffer("mean_shape", torch.zeros(1, 1, *[config.resolution] * 3))  # of what it learnt from

    def logits(self, z: Float[Tensor, "B Z"]) -> Float[Tensor, "B 1 S S S"]:
        """Of being filled."""
        x = self.first(z).view(len(z), -1, *[FIRST_SIZE] * 3)
        for norm, layer in zip(self.norms, self.grow, strict=True):
            x = layer(torch.relu(norm(x)))
        return x

    def forward(self, z: Float[Tensor, "B Z"]) -> Float[Tensor, "B 1 S S S"]:
        """Occupancy in [0, 1]."""
        return torch.sigmoid(self.logits(z))


class VoxelCritic(nn.Module):
    """`critic(volume)` -> logit [B, 1]: positive for real."""

    def __init__(self, config: VoxelGanConfig) -> None:
        super().__init__()
        widths = (1, *reversed(config.channels))
        layers: list[nn.Module] = []
        for index, (a, b) in enumerate(itertools.pairwise(widths)):
            layers += [nn.Conv3d(a, b, 4, 2, 1), *([nn.BatchNorm3d(b)] if index else []), nn.LeakyReLU(SLOPE)]
        self.body = nn.Sequential(*layers)
        self.last = nn.Linear(widths[-1] * FIRST_SIZE**3, 1)
        self.register_buffer("accuracy", torch.zeros(()))  # on the last batch: what the gate of its training asks

    def forward(self, volume: Float[Tensor, "B 1 S S S"]) -> Float[Tensor, "B 1"]:
        return self.last(self.body(volume).flatten(1))


def build_voxel_generator(config: VoxelGanConfig, seed: int = 0) -> VoxelGenerator:
    """An untrained one, its weights from `seed`."""
    with seeded(seed):
        return VoxelGenerator(config)


def build_voxel_critic(config: VoxelGanConfig, seed: int = 0) -> VoxelCritic:
    """An untrained one, its weights from `seed`."""
    with seeded(seed):
        return VoxelCritic(config)
