"""Encoders: a picture -> a row of W+ for each layer of a generator, in one pass. One residual pyramid, several heads.

    flat      one w for all rows
    flat+     all rows from one vector (the plain W+ encoder that pSp is compared with; IDInvert's)
    fpn       rows from three octaves, coarse rows from coarse maps (pSp: Richardson et al. 2021, section 3)
    delta     the first row, and offsets of the others from it, set free one by one (e4e: Tov et al. 2021, section 4)
    residual  offsets from the present rows, seen in the picture beside its present reconstruction, all from the
              coarsest map (ReStyle: Alaluf et al. 2021)

Heads begin at zero. An untrained encoder gives what the pack's own encoder gives, which reads z, or without one (and
always for `residual`, as published) the mean of w. Conventions: pictures in [-1, 1].
"""

import itertools
import math
from collections.abc import Callable
from collections.abc import Mapping as Named
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from gan2shape.nn.discriminator import FINAL_RESOLUTION, DiscriminatorBlock, DiscriminatorConfig, trunk_features
from gan2shape.nn.generator import GeneratorConfig, Mapping
from gan2shape.nn.layers import Conv, FullyConnected, full_precision, upsample_bilinear

HEADS = ("flat", "flat+", "fpn", "delta", "residual")
COARSE_ROWS, MEDIUM_ROWS = 3, 7  # rows below the first see the coarsest map, those below the second the next (pSp)
OF_IMAGE_ENCODER = {  # names in a head of one vector -> in `image_encoder.ImageEncoder`
    "hidden.weight": "hidden.weight",
    "hidden.bias": "hidden.bias",
    "out.weight": "mean.weight",
    "out.bias": "mean.bias",
}
TRUNK_CHANNELS = (128, 128, 96, 48, 24, 12, 8)  # at 4, 8, 16 ... where no other network gives them


@dataclass(frozen=True)
class LatentEncoderConfig:
    """The default sizes: 1.3 to 1.7 M parameters by head, 2 ms a picture of 64 x 64 on one core."""

    trunk: DiscriminatorConfig  # resolution, widths and resampling of the pyramid
    n_rows: int  # of W+
    w_dim: int
    head: str = "fpn"
    width: int = 24  # channels of the maps that rows are read from
    hidden: int = 256  # of the vector that z and flat heads are read from; a quarter of it in each row's own head
    origin: GeneratorConfig | None = None  # of the mapping network behind z, that rows begin at; None: at the mean of w
    generator: str = ""  # hash of the generator whose rows these are (prior.identity)

    def __post_init__(self) -> None:
        if self.head not in HEADS:
            raise ValueError(f"unknown head {self.head!r}: {', '.join(HEADS)}")


class Pyramid(nn.Module):
    """The discriminator's residual blocks as an encoder: a picture -> maps, each half the size of the one before."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        self.block_names = tuple(f"b{resolution}" for resolution in reversed(config.resolutions[1:]))
        for offset, name in enumerate(self.block_names):
            self.add_module(name, DiscriminatorBlock(config, len(self.block_names) - offset))

    def forward(self, images: Float[Tensor, "B C S S"]) -> list[Tensor]:
        """Maps from fine to coarse, down to 4 x 4."""
        return trunk_features([getattr(self, name) for name in self.block_names], images)


def trunk_of(resolution: int) -> DiscriminatorConfig:
    """The default trunk for pictures of a resolution."""
    n_blocks = (resolution // 2).bit_length() - 2
    return DiscriminatorConfig(resolution=resolution, channels=TRUNK_CHANNELS[:n_blocks])


def take_trunk_weights(pyramid: Pyramid, state: Named[str, Tensor]) -> None:
    """Begin with another network's weights where names and shapes agree. A first layer that sees more channels than
    the other's sees nothing in them yet.
    """
    wanted = pyramid.state_dict()
    for name, own in wanted.items():
        theirs = state.get(name)
        if theirs is None:
            continue
        if own.shape == theirs.shape:
            wanted[name] = theirs
        elif name.endswith("fromrgb.weight") and own.shape[1] > theirs.shape[1]:
            gain = math.sqrt(own.shape[1] / theirs.shape[1])  # weights are divided by the root of the fan-in when used
            wanted[name] = F.pad(theirs * gain, (0, 0, 0, 0, 0, own.shape[1] - theirs.shape[1]))
    pyramid.load_state_dict(wanted)


def zeroed(layer: FullyConnected) -> FullyConnected:
    """The layer with weights of zero."""
    nn.init.zeros_(layer.weight)
    return layer


class VectorHead(nn.Module):
    """`n` vectors from the coarsest map at once."""

    def __init__(self, channels: int, hidden: int, n: int, w_dim: int) -> None:
        super().__init__()
        self.n = n
        self.hidden = FullyConnected(channels * FINAL_RESOLUTION**2, hidden, activate=True)
        self.out = zeroed(FullyConnected(hidden, n * w_dim, activate=False))

    def forward(self, maps: list[Tensor]) -> Float[Tensor, "B n D"]:
        """The vectors."""
        return self.out(self.hidden(full_precision(maps[-1].flatten(1)))).unflatten(1, (self.n, -1))

    def take_z(self, state: Named[str, Tensor]) -> None:
        """Begin with the linear layers by which a pack's encoder reads z, where they have the same shapes."""
        wanted = self.state_dict()
        for name, source in OF_IMAGE_ENCODER.items():
            if source in state and state[source].shape == wanted[name].shape:
                wanted[name] = state[source]
        self.load_state_dict(wanted)


class RowHead(nn.Module):
    """One row from one map: strided convolutions down to 4 x 4, then two linear layers (pSp's map2style)."""

    def __init__(self, width: int, resolution: int, hidden: int, w_dim: int) -> None:
        super().__init__()
        n_halvings = (resolution // FINAL_RESOLUTION).bit_length() - 1
        self.convolutions = nn.Sequential(*[Conv(width, width, 3, resample="down_fast") for _ in range(n_halvings)])
        self.hidden = FullyConnected(width * FINAL_RESOLUTION**2, hidden, activate=True)
        self.out = zeroed(FullyConnected(hidden, w_dim, activate=False))

    def forward(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B D"]:
        """The row."""
        return self.out(self.hidden(full_precision(self.convolutions(x).flatten(1))))


class FeaturePyramidHead(nn.Module):
    """Each row from the map of its octave: what coarser maps know is added to finer ones (Lin et al. 2017)."""

    def __init__(self, config: LatentEncoderConfig) -> None:
        super().__init__()
        channels = config.trunk.channels[:-1]  # of the maps, coarse to fine
        n_levels = 1 if config.head == "residual" else min(3, len(channels))
        self.lateral = nn.ModuleList(
            Conv(channels[i], config.width, 1, activate=False, bias=False) for i in range(n_levels)
        )
        self.level_of = [min(n_levels - 1, (row >= COARSE_ROWS) + (row >= MEDIUM_ROWS)) for row in range(config.n_rows)]
        self.rows = nn.ModuleList(
            RowHead(config.width, FINAL_RESOLUTION << level, config.hidden // 4, config.w_dim)
            for level in self.level_of
        )

    def forward(self, maps: list[Tensor]) -> Float[Tensor, "B L D"]:
        """A vector for each row."""
        levels: list[Tensor] = []
        for lateral, own in zip(self.lateral, reversed(maps), strict=False):
            seen = lateral(own)
            levels.append(seen + upsample_bilinear(levels[-1]) if levels else seen)
        return torch.stack([row(levels[level]) for row, level in zip(self.rows, self.level_of, strict=True)], 1)


class LatentEncoder(nn.Module):
    """`encoder(images)` -> rows of W+; `encoder.encode(images, synthesis)` for any head."""

    def __init__(self, config: LatentEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.pyramid = Pyramid(config.trunk)
        channels = config.trunk.channels[0]
        if config.head in ("flat", "flat+"):
            n_vectors = 1 if config.head == "flat" else config.n_rows
            self.head: nn.Module = VectorHead(channels, config.hidden, n_vectors, config.w_dim)
        else:
            self.head = FeaturePyramidHead(config)
        self.register_buffer("w_mean", torch.zeros(config.w_dim))
        self.z = self.mapping = None
        if config.origin is not None:
            self.z = VectorHead(channels, config.hidden, 1, config.origin.z_dim)
            self.mapping = Mapping(config.origin).requires_grad_(False)

    def forward(
        self, images: Float[Tensor, "B C S S"], start: Float[Tensor, "B L D"] | None = None, n_free: int | None = None
    ) -> Float[Tensor, "B L D"]:
        """Rows of W+: what the head reads, on top of `start` (where rows begin, unless given).

        n_free: of the delta head, how many rows have offsets of their own from the first one; all of them unless given.
        """
        maps = self.pyramid(images)
        found = self.head(maps)
        if self.config.head == "delta":
            n_free = self.config.n_rows - 1 if n_free is None else n_free
            free = torch.arange(1, self.config.n_rows, device=found.device)[:, None] <= n_free
            found = torch.cat([found[:, :1], found[:, :1] + found[:, 1:] * free], 1)
        if start is None:
            start = self.w_mean if self.z is None else self.mapping(self.z(maps)[:, 0])[:, None]
        return start + found.expand(-1, self.config.n_rows, -1)

    def encode(
        self, images: Float[Tensor, "B 3 S S"], synthesis: Callable[[Tensor], Tensor], n_passes: int = 5
    ) -> Float[Tensor, "B L D"]:
        """Rows of W+ in one pass or, of the residual head, in `n_passes` from the mean of w on; without gradient."""
        with torch.no_grad():
            if self.config.head != "residual":
                return self(images)
            rows = self.w_mean.expand(len(images), self.config.n_rows, -1)
            for _ in range(n_passes):
                rows = self(torch.cat([images, synthesis(rows)], 1), rows)
            return rows


class LatentCritic(nn.Module):
    """Whether a single w is one of the mapping network's: four linear layers (e4e's latent discriminator)."""

    def __init__(self, w_dim: int, hidden: int = 128) -> None:
        super().__init__()
        sizes = [w_dim, hidden, hidden, hidden]
        layers = [FullyConnected(a, b, activate=True) for a, b in itertools.pairwise(sizes)]
        self.layers = nn.Sequential(*layers, FullyConnected(hidden, 1, activate=False))

    def forward(self, w: Float[Tensor, "B D 1 1"]) -> Float[Tensor, "B 1"]:
        """Logit: positive for the mapping network's. A w counts as a picture of one pixel."""
        return self.layers(w.flatten(1))
