"""The networks that hold a scene (depth, albedo, view, light) and the projector E.

GAN2Shape section 3.1 and its appendix fix ranges. Widths of the small kind are a quarter of the published ones, which
are in `published_scene_networks`. Every network sees images in [-1, 1]. The canonical frame IS the input's frame: V is
read relative to the input, which fixes the gauge instead of regularising it.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from gan2shape.core.config import AblationConfig, NetworkConfig, ShapeConfig
from gan2shape.core.devices import upload
from gan2shape.core.errors import UserError
from gan2shape.nn.layers import bfloat16_if, full_precision
from gan2shape.nn.published_scene_networks import (
    BORDER_FRACTION,
    LIGHT_OUTPUTS,
    VIEW_OUTPUTS,
    PublishedAutoEncoder,
    PublishedProjector,
    PublishedVectorEncoder,
)

LEAKY_SLOPE = 0.2  # as published
LEAST_SHADING = 0.1  # divisor of the quotient albedo; darker pixels carry no colour
GREATEST_ALBEDO = 1.5  # in [0, 1] units; above 1 where the light's guess is too dark
DEPTH_LAST_SCALE = 0.01  # of the depth network's last weights: a shape begins at its initial depth
BASE_RESOLUTION = 64  # that the configured widths are of
GROUP_CHANNELS = 4  # channels per normalisation group, as published


def _norm(channels: int) -> nn.Module:
    return nn.GroupNorm(max(1, channels // GROUP_CHANNELS), channels)


class AutoEncoder(nn.Module):
    """Image [B,3,S,S] -> map [B,C,S,S] without output activation. S must be a multiple of 2^(number of widths)."""

    is_bfloat16 = False  # whether convolutions work in bfloat16; what comes out never is

    def __init__(self, out_channels: int, size: int, config: NetworkConfig):
        super().__init__()
        widths = widths_for(config.autoencoder_channels, size)
        coarse = size // 2 ** len(widths)
        down: list[nn.Module] = []
        before = 3
        for width in widths:
            down += [nn.Conv2d(before, width, 4, 2, 1), _norm(width), nn.LeakyReLU(LEAKY_SLOPE)]
            before = width
        down += [nn.Conv2d(before, config.code_dim, coarse), nn.LeakyReLU(LEAKY_SLOPE)]
        up: list[nn.Module] = [nn.ConvTranspose2d(config.code_dim, widths[-1], coarse), nn.LeakyReLU(LEAKY_SLOPE)]
        before = widths[-1]
        for width in reversed((widths[0], *widths[:-1])):
            up += [
                nn.Upsample(scale_factor=2),
                nn.Conv2d(before, width, 3, 1, 1),
                _norm(width),
                nn.LeakyReLU(LEAKY_SLOPE),
            ]
            before = width
        up += [nn.Conv2d(before, before, 3, 1, 1), nn.LeakyReLU(LEAKY_SLOPE), nn.Conv2d(before, out_channels, 5, 1, 2)]
        self.body = nn.Sequential(*down, *up)

    def forward(self, image: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B C S S"]:
        with bfloat16_if(self.is_bfloat16, image.device):
            found = self.body(image)
        return full_precision(found) if self.is_bfloat16 else found


class DepthPyramid(nn.Module):
    """Free grids of growing resolution, enlarged bilinearly and summed: [1,1,S,S] whatever the image. Zero at first.

    One step of Adam moves all grids alike, so that coarse form comes first and detail is added to it.
    """

    def __init__(self, size: int, config: AblationConfig):
        super().__init__()
        sizes = [one for one in config.pyramid_resolutions if one <= size]
        self.grids = nn.ParameterList(nn.Parameter(torch.zeros(1, 1, one, one)) for one in sizes)
        self.size, self.gain = size, config.pyramid_gain

    def forward(self, image: Float[Tensor, "1 3 S S"]) -> Float[Tensor, "1 1 S S"]:
        shape = (self.size, self.size)
        grown = [functional.interpolate(g, shape, mode="bilinear", align_corners=False) for g in self.grids]
        return self.gain * torch.stack(grown).sum(0)


def widths_for(widths: tuple[int, ...], size: int) -> tuple[int, ...]:
    """The widths of a resolution: above 64, one more of the last for each doubling, so that the bottleneck stays."""
    return widths + widths[-1:] * max(0, (size // BASE_RESOLUTION).bit_length() - 1)


def check_sizes(size: int, config: NetworkConfig, ablation: AblationConfig) -> None:
    """Raises UserError where the networks halve an image of this resolution more often than they can."""
    for name in ("autoencoder_channels", "encoder_channels"):
        n = len(widths_for(getattr(config, name), size))
        if size % 2**n:
            raise UserError(f"networks.{name} has {n} widths, too many for a resolution of {size}: give fewer.")
    if ablation.depth == "pyramid" and min(ablation.pyramid_resolutions) > size:
        raise UserError(f"ablation.pyramid_resolutions are all above {size}: give smaller ones.")


def depth_parameters(size: int, config: NetworkConfig, ablation: AblationConfig) -> nn.Module:
    """What the depth is added up from, at or near zero."""
    if ablation.depth == "pyramid":
        return DepthPyramid(size, ablation)
    network = AutoEncoder(1, size, config)
    with torch.no_grad():
        network.body[-1].weight.mul_(DEPTH_LAST_SCALE)
        network.body[-1].bias.zero_()
    return network


def as_depth(raw: Float[Tensor, "B 1 S S"], half_range: float) -> Float[Tensor, "B 1 S S"]:
    """1 + half_range tanh(raw - mean raw): the mean distance is a gauge."""
    return 1.0 + half_range * torch.tanh(raw - raw.mean((1, 2, 3), keepdim=True))


class VectorEncoder(nn.Module):
    """Image [B,3,S,S] -> vector [B,D], nearly zero at first, so that every scene begins at its prior."""

    is_bfloat16 = False  # as of AutoEncoder

    def __init__(self, out_dim: int, size: int, config: NetworkConfig, last_scale: float = 0.1):
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        widths = widths_for(config.encoder_channels, size)
        for width in widths:
            layers += [nn.Conv2d(before, width, 4, 2, 1), nn.LeakyReLU(LEAKY_SLOPE)]
            before = width
        coarse = size // 2 ** len(widths)
        layers += [nn.Conv2d(before, config.encoder_dim, coarse), nn.LeakyReLU(LEAKY_SLOPE), nn.Flatten()]
        self.body = nn.Sequential(*layers)
        self.last = nn.Linear(config.encoder_dim, out_dim)
        with torch.no_grad():
            self.last.weight.mul_(last_scale)
            self.last.bias.zero_()

    def forward(self, image: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B D"]:
        with bfloat16_if(self.is_bfloat16, image.device):
            found = self.body(image)
        return self.last(full_precision(found) if self.is_bfloat16 else found)


def work_in_bfloat16(networks: nn.Module, is_wanted: bool) -> None:
    """Let the convolutions of all small networks in a module work in bfloat16, or in full precision again."""
    for part in networks.modules():
        if isinstance(part, AutoEncoder | VectorEncoder):
            part.is_bfloat16 = is_wanted


def projector(w_dim: int, config: ShapeConfig) -> nn.Module:
    """E, with fresh weights: image [B,3,S,S] -> [B,w_dim]. The small kind moves nothing yet."""
    size = config.render.resolution
    if config.networks.kind == "published":
        return PublishedProjector(w_dim, size)
    return VectorEncoder(w_dim, size, config.networks, last_scale=0.0)


class SceneNetworks(nn.Module):
    """D, A, V, L of the paper with their output ranges (section 3.1). Only parameters and ranges live here.

    `networks.kind` chooses between small networks and the published ones. Ranges are the same for both: depth
    1 +- half-range, angles and shifts tanh times their range, ambient and diffuse +- .5 and direction +- 1 about the
    mean light.
    """

    def __init__(self, config: ShapeConfig):
        super().__init__()
        render, networks = config.render, config.networks
        size, has_albedo = render.resolution, networks.albedo == "network"
        self.border_depth: float | None = None  # of the left and right border columns, where they are fixed
        if networks.kind == "published":
            self.depth_net = PublishedAutoEncoder(1, size)
            self.albedo_net = PublishedAutoEncoder(3, size) if has_albedo else None
            self.view_net = PublishedVectorEncoder(VIEW_OUTPUTS, size)
            self.light_net = PublishedVectorEncoder(LIGHT_OUTPUTS, size)
            self.border_depth = 1.0 + BORDER_FRACTION * render.depth_half_range
        else:
            check_sizes(size, networks, config.ablation)
            self.depth_net = depth_parameters(size, networks, config.ablation)
            self.albedo_net = AutoEncoder(3, size, networks) if has_albedo else None
            self.view_net = VectorEncoder(5, size, networks)
            self.light_net = VectorEncoder(4, size, networks)
        self.depth_half_range = render.depth_half_range
        angle = math.radians(networks.angle_range_deg)
        ranges = [angle] * 3 + [networks.shift_range] * 2 + [0.0] * (networks.kind == "published")  # tz stays 0
        self.register_buffer("view_range", torch.tensor(ranges), persistent=False)
        self.register_buffer("light_mean", torch.tensor(config.lights.mean), persistent=False)

    @property
    def explains_input(self) -> bool:
        """Whether the albedo reproduces the input by construction, so that no step has to learn it."""
        return self.albedo_net is None

    def albedo(self, image: Float[Tensor, "B 3 S S"], shading: Float[Tensor, "B 1 S S"]) -> Float[Tensor, "B 3 S S"]:
        """Canonical albedo, about [-1, 1].

        As published, an autoencoder's (-1, 1). As a quotient, what `scene.light.apply_light` turns back into the input
        under the input's own `shading`: the canonical frame is the input's, every canonical pixel is seen there, and
        nothing is left for a network to learn. Relit colour is then a ratio image, and its whole gradient goes into
        depth and light.
        """
        if self.albedo_net is not None:
            return torch.tanh(self.albedo_net(image))
        return ((image / 2 + 0.5) / shading.clamp_min(LEAST_SHADING)).clamp(0, GREATEST_ALBEDO) * 2 - 1

    def views(self, images: Float[Tensor, "B 3 S S"], reference: Float[Tensor, "1 3 S S"]) -> Float[Tensor, "B 6"]:
        """Views of `images` relative to the input `reference`, whose own view is zero by construction; tz is 0."""
        raw = self.view_net(torch.cat([images, reference]))
        return self.relative_views(raw[:-1], raw[-1:])

    def relative_views(self, raw: Float[Tensor, "B N"], raw_reference: Float[Tensor, "#B N"]) -> Float[Tensor, "B 6"]:
        """Views from the view network's outputs for images and their references; N is 5, or 6 with tz."""
        views = torch.tanh(raw - raw_reference) * self.view_range
        return functional.pad(views, (0, 6 - len(self.view_range)))

    def lights(self, images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B 4"]:
        """(ambient, diffuse, lx, ly) about the category's mean; half the tanh range for the two strengths
        (published).
        """
        reach = upload(torch.tensor([0.5, 0.5, 1.0, 1.0]), self.light_mean.device)
        offset = torch.tanh(self.light_net(images)) * reach
        return self.light_mean + offset
