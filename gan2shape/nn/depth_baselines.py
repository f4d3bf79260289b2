"""Networks that recover depth in one pass, to which the method is compared.

    taught     the depth network that packs carry, or one with connections as in a U-Net; it is taught true depth
    unsup3d    Wu, Rupprecht and Vedaldi, CVPR 2020: depth and albedo in a frame of their own, in which objects are
               symmetric, the view and the light of the image, and how well either side explains it

Conventions are those of `scene`: angles in radians, a light's ly < 0 from above. Ranges are the published ones, widths
those of our scene networks. What the exam scores is `bench.baselines.learn.depth_in_view`.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from gan2shape.core.config import NetworkConfig
from gan2shape.core.seeding import seeded
from gan2shape.nn.layers import bfloat16_if
from gan2shape.nn.published_scene_networks import BORDER_FRACTION, LIGHT_OUTPUTS, VIEW_OUTPUTS
from gan2shape.nn.scene_networks import AutoEncoder, VectorEncoder, as_depth

TAUGHT, UNSUP3D = "supervised", "unsup3d"
HALF_RANGE = 0.1  # of depth about 1
BORDER_PX = 2  # columns at the left and at the right whose depth is fixed, at 64 pixels a side
ANGLE_RANGE_RAD = math.radians(60.0)
SHIFT_RANGE = 0.1  # of tx and ty, scene units; tz stays 0
LEAST_SCALE = 1e-3  # of a confidence's distribution, beside the published 1e-7: a scale of 0 explains a black pixel
GROUP_CHANNELS = 8  # a normalisation group of the U-Net
FEATURE_STRIDE = 4  # of the maps that `scales` gives for features


@dataclass(frozen=True)
class BaselineConfig:
    """Which network, and how large."""

    kind: str = UNSUP3D
    resolution: int = 64
    width: float = 1.0  # times the widths of the packs' depth network
    skips: bool = False  # `supervised` alone: connections as in a U-Net


class _Baseline(nn.Module):
    """What both kinds are. is_bfloat16: convolutions work in bfloat16; what they give is float32."""

    def __init__(self, config: BaselineConfig) -> None:
        super().__init__()
        self.config, self.is_bfloat16 = config, False

    def run(self, part: nn.Module, image: Float[Tensor, "B 3 S S"]) -> Tensor:
        """The output of one of the networks, float32."""
        with bfloat16_if(self.is_bfloat16, image.device):
            return part(image).float()


class TaughtDepth(_Baseline):
    """One autoencoder; the canonical frame is the image's own."""

    def __init__(self, config: BaselineConfig) -> None:
        super().__init__(config)
        networks = networks_of(config)
        widths = networks.autoencoder_channels
        self.depth_net = DepthUNet((16, *widths)) if config.skips else AutoEncoder(1, config.resolution, networks)

    def canonical_depth(self, image: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B 1 S S"]:
        """Depth about 1; the canonical frame is the image's own."""
        return as_depth(self.run(self.depth_net, image), HALF_RANGE)


class DepthUNet(nn.Module):
    """Levels of two convolutions each with connections across: [B,3,S,S] -> [B,1,S,S]."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        before = 3
        for width in widths:
            self.down.append(nn.Sequential(_level(before, width), _level(width, width)))
            before = width
        for width in reversed(widths[:-1]):
            self.up.append(nn.Sequential(_level(before + width, width), _level(width, width)))
            before = width
        self.last = nn.Conv2d(before, 1, 3, padding=1)

    def forward(self, x: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B 1 S S"]:
        kept = []
        for i, level in enumerate(self.down):
            x = level(x if i == 0 else F.avg_pool2d(x, 2))
            kept.append(x)
        for level, across in zip(self.up, reversed(kept[:-1]), strict=True):
            x = level(torch.cat([F.interpolate(x, scale_factor=2), across], 1))
        return self.last(x)


def _level(before: int, width: int) -> nn.Module:
    groups = max(1, width // GROUP_CHANNELS)
    return nn.Sequential(nn.Conv2d(before, width, 3, padding=1), nn.GroupNorm(groups, width), nn.SiLU())


class Unsup3d(_Baseline):
    """Depth, albedo, view, light and scales of one image each."""

    def __init__(self, config: BaselineConfig) -> None:
        super().__init__(config)
        networks, size = networks_of(config), config.resolution
        self.depth_net, self.albedo_net = AutoEncoder(1, size, networks), AutoEncoder(3, size, networks)
        self.view_net, self.light_net = (VectorEncoder(n, size, networks) for n in (VIEW_OUTPUTS - 1, LIGHT_OUTPUTS))
        self.scale_net = AutoEncoder(4, size, networks)

    def canonical_depth(self, image: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B 1 S S"]:
        """In the frame in which objects are symmetric; the outermost columns lie at a fixed distance."""
        depth = as_depth(self.run(self.depth_net, image), HALF_RANGE)
        n = max(1, BORDER_PX * self.config.resolution // 64)
        border = 1.0 + BORDER_FRACTION * HALF_RANGE
        return F.pad(depth[..., n:-n], (n, n), value=border)

    def albedo(self, image: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B 3 S S"]:
        """In the same frame, (-1, 1)."""
        return torch.tanh(self.run(self.albedo_net, image))

    def view(self, image: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B 6"]:
        """From that frame to the image's camera; tz is 0."""
        raw = torch.tanh(self.run(self.view_net, image))
        return torch.cat([raw[:, :3] * ANGLE_RANGE_RAD, raw[:, 3:] * SHIFT_RANGE, torch.zeros_like(raw[:, :1])], 1)

    def light(self, image: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B 4"]:
        """In that frame: ambient and diffuse in (0, 1), direction (-1, 1)."""
        raw = torch.tanh(self.run(self.light_net, image))
        return torch.cat([raw[:, :2] / 2 + 0.5, raw[:, 2:]], 1)

    def scales(self, image: Float[Tensor, "B 3 S S"]) -> tuple[Float[Tensor, "B 2 S S"], Float[Tensor, "B 2 h w"]]:
        """How far each pixel, and each place of the feature maps, may be off: for the object, for its mirror image."""
        found = F.softplus(self.run(self.scale_net, image)) + LEAST_SCALE
        return found[:, :2], F.avg_pool2d(found[:, 2:], FEATURE_STRIDE)


def networks_of(config: BaselineConfig) -> NetworkConfig:
    """Widths of our scene networks times `config.width`, in multiples of 8."""
    base = NetworkConfig()
    wide = {name: tuple(8 * max(1, round(config.width * n / 8)) for n in getattr(base, name))
            for name in ("autoencoder_channels", "encoder_channels")}  # fmt: skip
    return NetworkConfig(**wide)


def build_baseline(config: BaselineConfig, seed: int = 0) -> TaughtDepth | Unsup3d:
    """An untrained one. Raises ValueError for an unknown kind."""
    if config.kind not in (TAUGHT, UNSUP3D):
        raise ValueError(f"unknown kind {config.kind}")
    with seeded(seed):
        return TaughtDepth(config) if config.kind == TAUGHT else Unsup3d(config)
