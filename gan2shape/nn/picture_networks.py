"""Networks that restore pictures without any prior: SRResNet, a dilated inpainter, and a discriminator of two heads.

    srresnet     small picture -> large one (Ledig et al. 2017, section 2.1.1): residual blocks at the small resolution,
                 then pixel shuffles. It gives what is to be added to the bicubic enlargement
    inpainter    picture with a hole -> whole picture (Demir and Unal 2018): two halvings, residual blocks with growing
                 dilation, convolutions after interpolation; what is known comes back as it was
    patch + global   one discriminator; its first blocks also serve a map of logits, one for each patch

Conventions: pictures [B, 3, H, W] in [-1, 1]; `kept` [B, 1, H, W] is 1 where a picture is known.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from gan2shape.core.seeding import seeded
from gan2shape.nn.discriminator import Discriminator, DiscriminatorConfig
from gan2shape.nn.layers import Conv

HEADS = ("global", "patch", "both")
DILATIONS = (1, 2, 4, 8)  # of the inpainter's residual blocks, again and again
N_SHARED = 1  # blocks of the discriminator below both heads: a patch is some 24 pixels wide


@dataclass(frozen=True)
class PictureConfig:
    """What a network does, and how large it is. Published: 16 blocks of width 64 (SRResNet)."""

    kind: str  # "srresnet" or "inpainter"
    resolution: int = 64  # of the restored picture
    width: int = 48
    n_blocks: int = 8
    factor: int = 1  # by how much the given picture is smaller: a power of two


class SRResNet(nn.Module):
    """`network(small)` -> the enlarged picture."""

    def __init__(self, config: PictureConfig) -> None:
        super().__init__()
        self.config, width = config, config.width
        self.head = nn.Sequential(nn.Conv2d(3, width, 9, padding=4), nn.PReLU())
        self.blocks = nn.Sequential(*(_NormalisedBlock(width) for _ in range(config.n_blocks)))
        self.join = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width))
        doublings = config.factor.bit_length() - 1
        self.grow = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(width, 4 * width, 3, padding=1), nn.PixelShuffle(2), nn.PReLU())
                for _ in range(doublings)
            )
        )
        self.last = nn.Conv2d(width, 3, 9, padding=4)

    def forward(self, small: Float[Tensor, "B 3 h w"]) -> Float[Tensor, "B 3 H W"]:
        """At `factor` times the resolution; the values are not clipped."""
        x = self.head(small)
        x = self.grow(x + self.join(self.blocks(x)))
        enlarged = F.interpolate(small, scale_factor=self.config.factor, mode="bicubic", align_corners=False)
        return enlarged + self.last(x)


class _NormalisedBlock(nn.Module):
    """Convolution, batch normalisation, PReLU; convolution, batch normalisation; added to what came in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        convolutions = [nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(2)]
        norms = [nn.BatchNorm2d(width) for _ in range(2)]
        self.body = nn.Sequential(convolutions[0], norms[0], nn.PReLU(), convolutions[1], norms[1])

    def forward(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        return x + self.body(x)


class DilatedInpainter(nn.Module):
    """`network(given, kept)` -> the whole picture, known pixels as given."""

    def __init__(self, config: PictureConfig) -> None:
        super().__init__()
        self.config, width = config, config.width
        halves = [nn.Conv2d(4, width // 2, 3, padding=1), nn.ReLU(), nn.Conv2d(width // 2, width, 3, 2, 1), nn.ReLU()]
        self.down = nn.Sequential(*halves, nn.Conv2d(width, width, 3, 2, 1), nn.ReLU())
        dilations = [DILATIONS[i % len(DILATIONS)] for i in range(config.n_blocks)]
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 3, padding=d, dilation=d), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)
            )
            for d in dilations
        )
        self.up = nn.ModuleList(
            nn.Conv2d(a, b, 3, padding=1) for a, b in ((width, width // 2), (width // 2, width // 2))
        )
        self.last = nn.Conv2d(width // 2, 3, 3, padding=1)

    def forward(self, given: Float[Tensor, "B 3 S S"], kept: Float[Tensor, "B 1 S S"]) -> Float[Tensor, "B 3 S S"]:
        """What `given` shows where `kept` is 0 does not matter."""
        known = given * kept
        x = self.down(torch.cat([known, kept], 1))
        for block in self.blocks:
            x = x + block(x)
        for layer in self.up:
            x = F.relu(layer(F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)))
        return known + (1.0 - kept) * torch.tanh(self.last(x))


class PatchGlobalDiscriminator(nn.Module):
    """`critic(image)` -> logits of each head in use: "global" [B, 1], "patch" [B, 1, h, w]."""

    def __init__(self, config: DiscriminatorConfig, heads: str = "both") -> None:
        super().__init__()
        if heads not in HEADS:
            raise ValueError(f"unknown heads {heads!r}")
        self.heads = heads
        self.trunk = Discriminator(config)
        self.n_shared = min(N_SHARED, len(self.trunk.block_names))
        width = config.channels[len(self.trunk.block_names) - self.n_shared]
        self.patch = nn.ModuleList([Conv(width, width, 3), Conv(width, 1, 1, activate=False)])

    def forward(self, image: Float[Tensor, "B 3 S S"]) -> dict[str, Tensor]:
        """Positive for real."""
        names = self.trunk.block_names
        features = self.trunk.features(image, len(names) if self.heads != "patch" else self.n_shared)
        found = {} if self.heads == "patch" else {"global": self.trunk.b4(features[-1])}
        if self.heads != "global":
            found["patch"] = self.patch[1](self.patch[0](features[self.n_shared - 1]))
        return found


def build_picture_network(config: PictureConfig, seed: int = 0) -> SRResNet | DilatedInpainter:
    """An untrained network, its weights from `seed`. Raises ValueError for an unknown kind."""
    kinds = {"srresnet": SRResNet, "inpainter": DilatedInpainter}
    if config.kind not in kinds:
        raise ValueError(f"unknown kind {config.kind!r}")
    with seeded(seed):
        return kinds[config.kind](config)
