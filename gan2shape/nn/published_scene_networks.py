"""The published networks of a scene, D, A, V, L, and the projector E (Pan et al. 2021, appendix; after Wu et al. 2020).

S is the resolution, a power of two from 32. nf = max(4096 / S, 16) is the first width, and log2(S) - 2 strided
convolutions lead to 4 x 4. Convolutions have no bias unless stated. Images are in [-1, 1]. Output ranges (tanh) are
applied by `scene_networks.SceneNetworks`, which treats both kinds of networks alike.
"""

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from gan2shape.core.errors import UserError

LEAKY_SLOPE = 0.2
GROUP_CHANNELS = 4  # channels of a normalisation group
CODE_DIM = 256  # bottleneck of D and A ("z")
ENCODER_WIDTH = 32  # first width of E
VIEW_OUTPUTS = 6  # pitch, yaw, roll, tx, ty, tz; the range of tz is 0
LIGHT_OUTPUTS = 4
BORDER_PX = 2  # columns at the left and right border whose depth is fixed
BORDER_FRACTION = 0.4  # of the half-range beyond distance 1: .7 x 1.1 + .3 x .9 = 1.04


def first_width(size: int) -> int:
    """nf: 64 at S = 64, 32 at S = 128. Raises UserError where S is no power of two of at least 32."""
    if size < 32 or size & (size - 1):
        raise UserError(f"networks.kind=published needs a resolution of 32, 64, 128 ..., not {size}.")
    return max(4096 // size, 16)


def n_levels(size: int) -> int:
    """Strided convolutions from S to 4 x 4."""
    return size.bit_length() - 3


def _conv(before: int, after: int, kernel: int, stride: int = 1, padding: int = 0) -> nn.Module:
    return nn.Conv2d(before, after, kernel, stride, padding, bias=False)


def _deconv(before: int, after: int, stride: int, padding: int) -> nn.Module:
    return nn.ConvTranspose2d(before, after, 4, stride, padding, bias=False)


def _norm_relu(channels: int) -> list[nn.Module]:
    return [nn.GroupNorm(channels // GROUP_CHANNELS, channels), nn.ReLU()]


class PublishedAutoEncoder(nn.Module):
    """D (C = 1) or A (C = 3): image [B,3,S,S] -> map [B,C,S,S], without output activation."""

    def __init__(self, out_channels: int, size: int):
        super().__init__()
        widths = [first_width(size) * 2**i for i in range(n_levels(size))]
        layers: list[nn.Module] = []
        for before, width in zip([3, *widths], widths, strict=False):
            layers.append(_conv(before, width, 4, 2, 1))
            if width != widths[-1]:
                layers.append(nn.GroupNorm(width // GROUP_CHANNELS, width))
            layers.append(nn.LeakyReLU(LEAKY_SLOPE))
        layers += [_conv(widths[-1], CODE_DIM, 4), nn.ReLU()]
        layers += [_deconv(CODE_DIM, widths[-1], 1, 0), nn.ReLU(), _conv(widths[-1], widths[-1], 3, 1, 1), nn.ReLU()]
        for before, width in zip(widths[:0:-1], widths[-2::-1], strict=True):
            layers += [_deconv(before, width, 2, 1), *_norm_relu(width)]
            layers += [_conv(width, width, 3, 1, 1), *_norm_relu(width)]
        last = widths[0]
        layers += [nn.Upsample(scale_factor=2, mode="nearest"), _conv(last, last, 3, 1, 1), *_norm_relu(last)]
        layers += [_conv(last, last, 5, 1, 2), *_norm_relu(last), _conv(last, out_channels, 5, 1, 2)]
        self.body = nn.Sequential(*layers)

    def forward(self, image: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B C S S"]:
        return self.body(image)


class PublishedVectorEncoder(nn.Module):
    """V (D = 6) or L (D = 4): image [B,3,S,S] -> vector [B,D], before tanh."""

    def __init__(self, out_dim: int, size: int):
        super().__init__()
        widths = [first_width(size) * 2**i for i in range(n_levels(size))]
        layers: list[nn.Module] = []
        for before, width in zip([3, *widths], widths, strict=False):
            layers += [_conv(before, width, 4, 2, 1), nn.ReLU()]
        layers += [_conv(widths[-1], widths[-1], 4), nn.ReLU(), _conv(widths[-1], out_dim, 1), nn.Flatten()]
        self.body = nn.Sequential(*layers)

    def forward(self, image: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B D"]:
        return self.body(image)


class ResBlockDown(nn.Module):
    """Pre-activation residual block that halves the resolution; its shortcut has a bias."""

    def __init__(self, before: int, after: int):
        super().__init__()
        self.residual = nn.Sequential(nn.ReLU(), _conv(before, after, 3, 2, 1), nn.ReLU(), _conv(after, after, 3, 1, 1))
        self.shortcut = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(before, after, 1))

    def forward(self, x: Float[Tensor, "B I H W"]) -> Float[Tensor, "B O h w"]:
        return self.residual(x) + self.shortcut(x)


class PublishedProjector(nn.Module):
    """E: image [B,3,S,S] -> offset of a hidden layer of the mapping network [B,D]."""

    def __init__(self, out_dim: int, size: int):
        super().__init__()
        first_width(size)  # checks the resolution
        widths = [ENCODER_WIDTH * 2**i for i in range(n_levels(size))]
        layers: list[nn.Module] = [_conv(3, widths[0], 4, 2, 1)]
        layers += [ResBlockDown(before, after) for before, after in pairwise(widths)]
        layers += [nn.ReLU(), _conv(widths[-1], 2 * widths[-1], 4), nn.ReLU()]
        layers += [_conv(2 * widths[-1], out_dim, 1), nn.Flatten()]
        self.body = nn.Sequential(*layers)

    def forward(self, image: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B D"]:
        return self.body(image)
