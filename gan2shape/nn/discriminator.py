"""StyleGAN2 discriminator (Karras et al. 2020), whose block outputs also serve as a perceptual distance.

Conventions: images float in [-1, 1]; parameter names are the published PyTorch ones (`b32.conv0.weight`).
With `unshuffle`, the image's 2 x 2 pixel blocks become channels first, and the blocks start at half the resolution.
A discriminator that was grown (`train.grow`) sees the image at two resolutions: what a coarser block sees of it is
added to the features of the finer one (the paper's "skip" architecture, at these blocks only).
A class-conditional discriminator adds to the logit the product of its last hidden layer with a vector of the class
(projection: Miyato and Koyama 2018, equation 3), which is zero at first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from gan2shape.nn.layers import (
    RESIDUAL_GAIN,
    Conv,
    FullyConnected,
    full_precision,
    minibatch_stddev,
)

FINAL_RESOLUTION = 4  # resolution at which the convolutions end
PROJECTION_NAME, LOGIT_NAME = "b4.embed", "b4.out.weight"  # in a state dict


@dataclass(frozen=True)
class DiscriminatorConfig:
    """The small default: 64 x 64 seen as 12 x 32 x 32, about 1 M parameters, .15 GFLOP an image."""

    resolution: int = 64  # of the image, a power of two
    channels: tuple[int, ...] = (128, 128, 96, 48)  # channels at 4, 8, ..., the first block's resolution
    architecture: str = "resnet"  # "resnet" or "orig"
    resample: str = "fast"  # "fir": published blur and strided convolution; "fast": average pooling, then convolution
    unshuffle: bool = True  # 2 x 2 pixels to channels before the first block
    stddev_group: int = 4  # samples per group of the minibatch standard deviation
    clamp: float | None = None  # clamp of activations (published for half precision: 256)
    image_channels: int = 3  # RGB
    n_classes: int = 0  # of a class-conditional discriminator
    n_from_rgb: int = 1  # finest blocks that see the image, each at its own resolution

    def __post_init__(self) -> None:
        if self.architecture not in ("resnet", "orig"):
            raise ValueError(f"unknown discriminator architecture {self.architecture!r}")
        if len(self.resolutions) != len(self.channels):
            raise ValueError(f"{len(self.channels)} widths do not fit the resolutions {self.resolutions}")
        if not 1 <= self.n_from_rgb <= max(1, len(self.channels) - 1):
            raise ValueError(f"{self.n_from_rgb} of {len(self.channels) - 1} blocks cannot see the image")

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Resolutions of the blocks, coarse to fine: 4, 8, ..., first block."""
        first = self.resolution // 2 if self.unshuffle else self.resolution
        return tuple(FINAL_RESOLUTION * 2**i for i in range(first.bit_length() - 2))


class DiscriminatorBlock(nn.Module):
    """Two convolutions and a halving of the resolution."""

    def __init__(self, config: DiscriminatorConfig, index: int) -> None:
        super().__init__()
        width, out = config.channels[index], config.channels[index - 1]
        down, is_residual = f"down_{config.resample}", config.architecture == "resnet"
        gain = RESIDUAL_GAIN if is_residual else 1.0
        self.has_fromrgb = index >= len(config.channels) - config.n_from_rgb
        self.has_residual, self.unshuffle = is_residual, config.unshuffle
        if self.has_fromrgb:
            in_channels = config.image_channels * (4 if config.unshuffle else 1)
            self.fromrgb = Conv(in_channels, width, 1, clamp=config.clamp)
        self.conv0 = Conv(width, width, 3, clamp=config.clamp)
        self.conv1 = Conv(width, out, 3, resample=down, gain=gain, clamp=config.clamp)
        if is_residual:
            self.skip = Conv(width, out, 1, bias=False, activate=False, resample=down, gain=gain)

    def forward(
        self, x: Float[Tensor, "B I H W"] | None, image: Float[Tensor, "B C _H _W"]
    ) -> Float[Tensor, "B O h w"]:
        """Features at half the resolution, of those of the finer block and of the image at this block's resolution."""
        if self.has_fromrgb:
            seen = self.fromrgb(F.pixel_unshuffle(image, 2) if self.unshuffle else image)
            x = seen if x is None else x + seen
        y = self.conv1(self.conv0(x))
        return y + self.skip(x) if self.has_residual else y


def trunk_features(blocks: Sequence[DiscriminatorBlock], image: Float[Tensor, "B C H W"]) -> list[Tensor]:
    """Outputs of the blocks, fine to coarse; any resolution that halves evenly is accepted."""
    outputs: list[Tensor] = []
    for number, block in enumerate(blocks):
        if number > 0 and block.has_fromrgb:
            image = F.avg_pool2d(image, 2)
        outputs.append(block(outputs[-1] if outputs else None, image))
    return outputs


class DiscriminatorEpilogue(nn.Module):
    """Minibatch statistics, one convolution, two linear layers: the logit."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        width = config.channels[0]
        self.stddev_group = config.stddev_group
        self.conv = Conv(width + 1, width, 3, clamp=config.clamp)
        self.fc = FullyConnected(width * FINAL_RESOLUTION**2, width, activate=True)
        self.out = FullyConnected(width, 1, activate=False)
        self.embed = nn.Parameter(torch.zeros(config.n_classes, width)) if config.n_classes else None

    def forward(self, x: Float[Tensor, "B C 4 4"], labels: Int[Tensor, " B"] | None = None) -> Float[Tensor, "B 1"]:
        """Logit: positive for real, and of the class where `labels` are given."""
        return self.judge(x, labels)[0]

    def judge(
        self, x: Float[Tensor, "B C 4 4"], labels: Int[Tensor, " B"] | None = None
    ) -> tuple[Float[Tensor, "B 1"], Float[Tensor, "B K"] | None]:
        """(logit, how much the image is of each class: the products with the class vectors; None without classes)."""
        x = self.conv(minibatch_stddev(x, self.stddev_group))
        hidden = self.fc(full_precision(x.flatten(1)))
        logit = self.out(hidden)
        if self.embed is None:
            return logit, None
        of_each = hidden @ self.embed.t() * self.out.weight_gain
        return (logit if labels is None else logit + of_each.gather(1, labels[:, None])), of_each


class Discriminator(nn.Module):
    """`discriminator(image)` -> logit [B, 1]; `discriminator.features(image, n_blocks)` -> block outputs."""

    def __init__(self, config: DiscriminatorConfig | None = None) -> None:
        super().__init__()
        self.config = config or DiscriminatorConfig()
        self.block_names = tuple(f"b{resolution}" for resolution in reversed(self.config.resolutions[1:]))
        for offset, name in enumerate(self.block_names):
            self.add_module(name, DiscriminatorBlock(self.config, len(self.block_names) - offset))
        self.b4 = DiscriminatorEpilogue(self.config)

    def n_blocks_at(self, size: int) -> int:
        """How many blocks an image of `size` pixels a side can pass: each halves it."""
        return min(len(self.block_names), (size // 2 if self.config.unshuffle else size).bit_length() - 1)

    def features(self, image: Float[Tensor, "B C H W"], n_blocks: int = 3) -> list[Tensor]:
        """Outputs of the first `n_blocks` blocks, fine to coarse; any resolution that halves evenly is accepted."""
        if n_blocks > len(self.block_names):
            raise ValueError(f"the discriminator has {len(self.block_names)} blocks, not {n_blocks}")
        return trunk_features([getattr(self, name) for name in self.block_names[:n_blocks]], image)

    def forward(self, image: Float[Tensor, "B C S S"], labels: Int[Tensor, " B"] | None = None) -> Float[Tensor, "B 1"]:
        """Logit of each image: positive for real. Samples of a batch interact through the minibatch statistics."""
        return self.judge(image, labels)[0]

    def judge(
        self, image: Float[Tensor, "B C S S"], labels: Int[Tensor, " B"] | None = None
    ) -> tuple[Float[Tensor, "B 1"], Float[Tensor, "B K"] | None]:
        """(logit, how much each image is of each class; None without classes)."""
        return self.b4.judge(self.features(image, len(self.block_names))[-1], labels)


def critic_of_class(state: Mapping[str, Tensor], class_index: int) -> dict[str, Tensor]:
    """The state dict of the ordinary discriminator that one class of a class-conditional one is."""
    fixed = {name: tensor for name, tensor in state.items() if name != PROJECTION_NAME}
    fixed[LOGIT_NAME] = state[LOGIT_NAME] + state[PROJECTION_NAME][class_index]
    return fixed
