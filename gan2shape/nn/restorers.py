"""Feed-forward restorers: a damaged picture -> a restored one in one pass, with a generator inside or without one.

    glean    encoder, bank, decoder: the frozen generator, fused with the encoder's features below the observation's
             resolution, is a bank of features that a decoder draws on (Chan et al. 2021)
    gfpgan   a U-Net steers the frozen generator: scale and shift of half of the channels (Wang et al. 2021)
    gpen     features beside the generator's noise, and all of it learns (Yang et al. 2021)
    unet     no generator: what the prior is worth is measured against it

All stand on `latent_encoder.Pyramid` and, with a prior, on the generator's one hook. What conditions the generator is
zero at first. `restorer(given, generator)` -> (picture, side pictures for a pyramid loss). Conventions: pictures
[B, 3, S, S] in [-1, 1]; GLEAN's observation is smaller by its factor.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from gan2shape.core.seeding import seeded
from gan2shape.nn.discriminator import FINAL_RESOLUTION, DiscriminatorConfig
from gan2shape.nn.generator import Generator, GeneratorConfig, Hook
from gan2shape.nn.latent_encoder import Pyramid, VectorHead
from gan2shape.nn.layers import Conv, n_parameters, upsample_bilinear

RESTORERS = ("glean", "gfpgan", "gpen", "unet")
HIDDEN = 128  # of the vector that rows of W+ are read from
BANK_HIDDEN = 64  # of the same in GLEAN, whose rows steer a bank of features alone
Z_HIDDEN = 256  # of the one that z is read from: a pack's encoder has as many
COARSE = 8  # GPEN, GLEAN: up to this resolution features are mixed pixel by pixel
N_EXTRACTED = 2  # residual convolutions of GLEAN's extractor (published: 23 dense blocks)
Pictures = tuple[Tensor, list[Tensor]]


@dataclass(frozen=True)
class RestorerConfig:
    """What a restorer is, and what it was trained for."""

    kind: str  # of RESTORERS
    trunk: DiscriminatorConfig  # of its pyramid
    generator: GeneratorConfig  # of the prior; its widths serve the U-Nets too
    factor: int = 1  # by how much the observation is smaller (GLEAN)
    width: float = 1.0  # of the U-Net without a prior, times the widths above
    task: str = "blind"  # that it was trained for
    generator_hash: str = ""  # of the prior (prior.identity); empty where it needs none


class Descent(nn.Module):
    """A picture -> maps by their resolution: convolutions of its pixels, then the pyramid's maps."""

    def __init__(self, trunk: DiscriminatorConfig, width_at: Mapping[int, int]) -> None:
        super().__init__()
        self.pyramid = Pyramid(trunk)
        self.size = trunk.resolution
        sizes = {self.size, trunk.resolutions[-1]}
        self.stems = nn.ModuleDict(
            {str(r): Conv(trunk.image_channels * (self.size // r) ** 2, width_at[r], 3) for r in sorted(sizes)}
        )
        self.channels = {r: width_at[r] for r in sizes} | dict(
            zip(trunk.resolutions[:-1], trunk.channels[:-1], strict=True)
        )

    def forward(self, images: Float[Tensor, "B C S S"]) -> dict[int, Tensor]:
        """Maps of resolutions 4 to S."""
        maps = {int(r): stem(F.pixel_unshuffle(images, self.size // int(r))) for r, stem in self.stems.items()}
        return maps | {one.shape[-1]: one for one in self.pyramid(images)}


class Ascent(nn.Module):
    """The other half of a U-Net: maps -> features from coarse to fine, each with a small picture of its own."""

    def __init__(self, channels: Mapping[int, int], width_at: Mapping[int, int]) -> None:
        super().__init__()
        sizes = sorted(channels)
        self.first = Conv(channels[sizes[0]], width_at[sizes[0]], 3)
        self.grow = nn.ModuleDict({str(b): Conv(width_at[a], width_at[b], 3) for a, b in itertools.pairwise(sizes)})
        self.join = nn.ModuleDict(
            {str(r): Conv(width_at[r] + channels[r], width_at[r], 3) for r in sizes if r > sizes[0]}
        )
        self.colour = nn.ModuleDict({str(r): Conv(width_at[r], 3, 1, activate=False) for r in sizes})

    def forward(self, maps: Mapping[int, Tensor]) -> tuple[dict[int, Tensor], list[Tensor]]:
        """(features by resolution, a picture of each resolution from coarse to fine)."""
        sizes = sorted(maps)
        features = {sizes[0]: self.first(maps[sizes[0]])}
        for a, b in itertools.pairwise(sizes):
            grown = upsample_bilinear(self.grow[str(b)](features[a]))
            features[b] = self.join[str(b)](torch.cat([grown, maps[b]], 1))
        return features, [self.colour[str(r)](features[r]) for r in sizes]


def widths(config: GeneratorConfig, times: float = 1.0) -> dict[int, int]:
    """Channels by resolution, as the generator's, in multiples of 4."""
    return dict(zip(config.resolutions, (scaled(width, times) for width in config.channels), strict=True))


def scaled(width: int, times: float) -> int:
    """A multiple of 4 near `times` the width."""
    return max(4, 4 * round(width * times / 4))


def silent_conv(n_in: int, n_out: int, kernel: int = 3) -> Conv:
    """A convolution that gives zero until it has learnt."""
    layer = Conv(n_in, n_out, kernel, activate=False)
    nn.init.zeros_(layer.weight)
    return layer


class UNet(nn.Module):
    """The restorer without a prior: what is to be added to the picture."""

    def __init__(self, config: RestorerConfig) -> None:
        super().__init__()
        self.config = config
        own = widths(config.generator, config.width)
        trunk = replace(config.trunk, channels=tuple(scaled(c, config.width) for c in config.trunk.channels))
        self.descent = Descent(trunk, own)
        self.ascent = Ascent(self.descent.channels, own)
        nn.init.zeros_(self.ascent.colour[str(self.descent.size)].weight)

    def forward(self, given: Float[Tensor, "B 3 S S"], generator: Generator | None = None) -> Pictures:
        """(restored, small pictures of the coarser levels)."""
        *sides, added = self.ascent(self.descent(given))[1]
        return given + added, sides


class GFPGAN(nn.Module):
    """Channel-split spatial feature transforms: half of the generator's channels pass, half are scaled and shifted."""

    def __init__(self, config: RestorerConfig) -> None:
        super().__init__()
        self.config = config
        own, n_rows = widths(config.generator), n_rows_of(config.generator)
        self.descent = Descent(config.trunk, own)
        self.ascent = Ascent(self.descent.channels, own)
        self.rows = VectorHead(config.trunk.channels[0], HIDDEN, n_rows, config.generator.w_dim)
        self.register_buffer("w_mean", torch.zeros(config.generator.w_dim))
        sizes = [r for r in own if r > FINAL_RESOLUTION]
        self.before = nn.ModuleDict({str(r): Conv(own[r], own[r], 3) for r in sizes})
        half = {r: width // 2 for r, width in zip(config.generator.resolutions, config.generator.channels, strict=True)}
        self.transform = nn.ModuleDict({str(r): silent_conv(own[r], 2 * half[r]) for r in sizes})

    def forward(self, given: Float[Tensor, "B 3 S S"], generator: Generator) -> Pictures:
        """(the steered generator's picture, small pictures of the U-Net)."""
        maps = self.descent(given)
        features, sides = self.ascent(maps)
        rows = self.w_mean + self.rows([maps[FINAL_RESOLUTION]])
        hooks = {}
        for r, transform in self.transform.items():
            scale, shift = transform(self.before[r](features[int(r)])).chunk(2, 1)
            hooks[int(r)] = Hook(mid=partial(split_transform, scale=scale, shift=shift))
        return generator.synthesis(rows, hooks=hooks), sides


def split_transform(
    x: Float[Tensor, "B C h w"], scale: Float[Tensor, "B c h w"], shift: Float[Tensor, "B c h w"]
) -> Float[Tensor, "B C h w"]:
    """The last c channels times 1 + scale, plus shift; the others as they are (Wang et al. 2021, equation 4)."""
    n_kept = x.shape[1] - scale.shape[1]
    return torch.cat([x[:, :n_kept], x[:, n_kept:] * (1.0 + scale).to(x.dtype) + shift.to(x.dtype)], 1)


class GPEN(nn.Module):
    """A generator of its own, which learns too, with features beside its noise at every resolution.

    Published: joined to the activations as further channels. A convolution of joined channels is the sum of two; the
    second one is written out here, without modulation, so that the generator keeps its shape.
    """

    def __init__(self, config: RestorerConfig) -> None:
        super().__init__()
        self.config = config
        self.descent = Descent(config.trunk, widths(config.generator))
        self.z = VectorHead(config.trunk.channels[0], Z_HIDDEN, 1, config.generator.z_dim)
        self.generator = Generator(config.generator)
        n_convs = {int(name[1:]): block.n_convs for name, block in self._blocks()}
        width_at = dict(zip(config.generator.resolutions, config.generator.channels, strict=True))
        self.beside = nn.ModuleDict(
            {
                str(r): nn.ModuleList(
                    silent_conv(self.descent.channels[r], width_at[r], 1 if r <= COARSE else 3) for _ in range(n)
                )
                for r, n in n_convs.items()
            }
        )

    def _blocks(self) -> list[tuple[str, nn.Module]]:
        synthesis = self.generator.synthesis
        return list(zip(synthesis.block_names, synthesis.blocks(), strict=True))

    def forward(self, given: Float[Tensor, "B 3 S S"], generator: Generator | None = None) -> Pictures:
        """(its own generator's picture, nothing)."""
        maps = self.descent(given)
        w = self.generator.mapping(self.z([maps[FINAL_RESOLUTION]])[:, 0])
        hooks = {int(r): Hook(noise=[layer(maps[int(r)]) for layer in layers]) for r, layers in self.beside.items()}
        return self.generator.synthesis(w, hooks=hooks), []


class Fusion(nn.Module):
    """A generator's features, and an encoder's beside them -> as many channels as before; at first they pass as they
    are.
    """

    def __init__(self, n_own: int, n_beside: int, kernel: int = 3) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(n_own + n_beside, n_own, kernel, padding=kernel // 2)
        nn.init.zeros_(self.convolution.weight)
        nn.init.zeros_(self.convolution.bias)
        nn.init.dirac_(self.convolution.weight[:, :n_own])

    def forward(self, own: Float[Tensor, "B C h w"], beside: Float[Tensor, "B E h w"]) -> Float[Tensor, "B C h w"]:
        """The joined channels, mixed."""
        return self.convolution(torch.cat([own, beside.to(own.dtype)], 1))


class GLEAN(nn.Module):
    """Encoder, bank and decoder, for an observation that is smaller by `factor`. The bank's own picture is discarded,
    as published, and therefore not fused either.
    """

    def __init__(self, config: RestorerConfig) -> None:
        super().__init__()
        self.config = config
        own, size = widths(config.generator), config.generator.resolution // config.factor
        width_at = dict(zip(config.generator.resolutions, config.generator.channels, strict=True))
        self.size = size
        self.first = Conv(3, own[size], 3)
        self.extract = nn.ModuleList(Conv(own[size], own[size], 3) for _ in range(N_EXTRACTED))
        trunk = replace(config.trunk, image_channels=own[size])
        self.pyramid = Pyramid(trunk)
        self.rows = VectorHead(trunk.channels[0], BANK_HIDDEN, n_rows_of(config.generator), config.generator.w_dim)
        self.register_buffer("w_mean", torch.zeros(config.generator.w_dim))
        channels = {size: own[size]} | dict(zip(trunk.resolutions[:-1], trunk.channels[:-1], strict=True))
        self.fuse = nn.ModuleDict(
            {str(r): Fusion(width_at[r], n, 1 if r <= COARSE else 3) for r, n in channels.items()}
        )
        finer = [r for r in own if r > size]
        pairs = list(itertools.pairwise([size, *finer]))
        self.grow = nn.ModuleDict({str(b): Conv(own[a], 4 * own[b], 3) for a, b in pairs})
        self.draw = nn.ModuleDict({str(r): Conv(own[r] + width_at[r], own[r], 3) for r in finer})
        self.out = silent_conv(own[finer[-1]], 3)

    def forward(self, given: Float[Tensor, "B 3 s s"], generator: Generator) -> Pictures:
        """(restored, nothing)."""
        x = self.first(given)
        for layer in self.extract:
            x = x + layer(x)
        maps = {self.size: x} | {one.shape[-1]: one for one in self.pyramid(x)}
        rows = self.w_mean + self.rows([maps[FINAL_RESOLUTION]])
        fusions = {r: partial(self._fused, r, own) for r, own in maps.items()}
        hooks = {2 * r: Hook(pre=fusion) for r, fusion in fusions.items()}
        _, bank = generator.synthesis(rows, return_features=True, hooks=hooks)
        drawn = {features.shape[-1]: features for features in bank}
        for r, grow in self.grow.items():
            x = self.draw[r](torch.cat([F.pixel_shuffle(grow(x), 2), drawn[int(r)].to(x.dtype)], 1))
        enlarged = F.interpolate(given, scale_factor=float(self.config.factor), mode="bicubic", align_corners=False)
        return enlarged + self.out(x), []

    def _fused(self, r: int, own: Tensor, h: Tensor, image: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return self.fuse[str(r)](h, own), image


CLASSES: dict[str, type[nn.Module]] = {"glean": GLEAN, "gfpgan": GFPGAN, "gpen": GPEN, "unet": UNet}


def n_rows_of(config: GeneratorConfig) -> int:
    """Rows of W+ of a generator of this configuration."""
    with seeded(0), torch.device("meta"):
        return Generator(config).n_layers


def build_restorer(config: RestorerConfig, seed: int = 0) -> nn.Module:
    """An untrained restorer."""
    with seeded(seed):
        return CLASSES[config.kind](config)


def width_for(config: RestorerConfig, n_wanted: int) -> float:
    """The width of the U-Net without a prior that gives it the nearest number of parameters, in steps of .02."""

    def found(step: int) -> int:
        with torch.device("meta"):
            return n_parameters(UNet(replace(config, kind="unet", width=step / 50)))

    low, high = 5, 200
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if found(middle) < n_wanted else (low, middle)
    return min((low - 1, low), key=lambda step: abs(found(step) - n_wanted)) / 50
