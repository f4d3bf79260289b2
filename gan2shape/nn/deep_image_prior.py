"""The small network of the Deep Image Prior: a random code in, a picture out (Ulyanov et al. 2018).

An hourglass with skip connections, as published but four octaves deep and 32 channels wide, for pictures of 64 to 128
pixels.
"""

import itertools

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

CODE_CHANNELS = 16  # of the random input (published: 32)
CODE_SCALE = 0.1  # it is uniform in [0, this]
WIDTH = 32  # channels of every octave (published: 128)
SKIP_WIDTH = 4  # channels that pass by
N_OCTAVES = 4


def code_of(size: int) -> Float[Tensor, "1 C S S"]:
    """A random code, by torch's own random numbers."""
    return torch.rand(1, CODE_CHANNELS, size, size) * CODE_SCALE


def _convolved(n_in: int, n_out: int, stride: int = 1) -> nn.Sequential:
    """3 x 3 convolution, each channel's own mean and deviation over the picture, leaky ReLU.

    That is batch normalisation of one picture. With one mean for all channels some pictures are never fitted.
    """
    convolution = nn.Conv2d(n_in, n_out, 3, stride, padding=1, padding_mode="reflect")
    return nn.Sequential(convolution, nn.GroupNorm(n_out, n_out), nn.LeakyReLU(0.2))


class ImageNet(nn.Module):
    """code [1, C, S, S] -> picture [1, 3, S, S] in [-1, 1]; S is a multiple of 16."""

    def __init__(self) -> None:
        super().__init__()
        widths = [CODE_CHANNELS, *[WIDTH] * N_OCTAVES]
        pairs = list(itertools.pairwise(widths))
        self.down = nn.ModuleList(nn.Sequential(_convolved(a, b, 2), _convolved(b, b)) for a, b in pairs)
        self.skip = nn.ModuleList(nn.Conv2d(a, SKIP_WIDTH, 1) for a, _ in pairs)
        self.up = nn.ModuleList(_convolved(WIDTH + SKIP_WIDTH, WIDTH) for _ in pairs)
        self.colour = nn.Conv2d(WIDTH, 3, 1)

    def forward(self, code: Float[Tensor, "1 C S S"]) -> Float[Tensor, "1 3 S S"]:
        """The picture."""
        passed, x = [], code
        for down, skip in zip(self.down, self.skip, strict=True):
            passed.append(skip(x))
            x = down(x)
        for up, by in zip(reversed(self.up), reversed(passed), strict=True):
            x = up(torch.cat([F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False), by], 1))
        return torch.tanh(self.colour(x))
