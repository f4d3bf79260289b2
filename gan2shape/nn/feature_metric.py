"""What measures "looks alike": feature maps of a frozen network.

The method compares images by a discriminator's first blocks. A checkpoint without one borrows another network: the
discriminator of a bundled pack, or a TorchScript module (a VGG or LPIPS network) that the user names. Images in
[-1, 1].
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gan2shape.core.errors import UserError
from gan2shape.core.images import resized
from gan2shape.nn.discriminator import Discriminator
from gan2shape.nn.layers import bfloat16_if, full_precision

FEATURE_FLOOR = 1e-6  # smallest mean magnitude that features are measured against
LPIPS_FLAG = "return_lpips"  # argument of NVIDIA's vgg16 module, which takes images in [0, 255]


def relative_distance(
    maps: Sequence[Tensor], targets: Sequence[Tensor], gather: Callable[[Tensor], Tensor] = lambda mean: mean
) -> Float[Tensor, ""]:
    """Mean over feature maps of mean |f - f'| / mean |f'|: maps of different scale count about the same. `gather`
    makes the scale mean |f'| of a part of the batch that of the whole batch.
    """
    total = maps[0].new_zeros(())
    for ours, theirs in zip(maps, targets, strict=True):
        total = total + (ours - theirs).abs().mean() / gather(theirs.abs().mean()).clamp_min(FEATURE_FLOOR)
    return total / len(targets)


class FeatureMetric(nn.Module):
    """`features(image, n_blocks)` -> feature maps, as `Discriminator.features` gives them."""

    block_names: tuple[str, ...] = ("features",)  # of what `features` gives

    def n_blocks_at(self, size: int) -> int:
        """How many of them an image of `size` pixels a side has."""
        return len(self.block_names)

    def features(self, image: Float[Tensor, "B C H W"], n_blocks: int = 3) -> list[Tensor]:
        """At most `n_blocks` feature maps."""
        raise NotImplementedError


class DiscriminatorMetric(FeatureMetric):
    """First blocks of a discriminator, as many as it has; `size` is the resolution that it sees, None for any.

    is_bfloat16: convolutions work in bfloat16; feature maps are float32.
    """

    def __init__(self, discriminator: Discriminator, size: int | None = None, is_bfloat16: bool = False) -> None:
        super().__init__()
        self.discriminator, self.size, self.is_bfloat16 = discriminator, size, is_bfloat16
        self.block_names = discriminator.block_names

    def n_blocks_at(self, size: int) -> int:
        return self.discriminator.n_blocks_at(self.size or size)

    def features(self, image: Float[Tensor, "B C H W"], n_blocks: int = 3) -> list[Tensor]:
        seen = image if self.size is None else resized(image, self.size)
        with bfloat16_if(self.is_bfloat16, image.device):
            found = self.discriminator.features(seen, min(n_blocks, len(self.block_names)))
        return [full_precision(maps) for maps in found]


class ScriptMetric(FeatureMetric):
    """A TorchScript module: images [B, 3, S, S] in [-1, 1] -> a tensor, or several, with B first.

    NVIDIA's vgg16 is known by its `return_lpips` argument and gets images in [0, 255], not resized.
    """

    def __init__(self, module: torch.jit.ScriptModule) -> None:
        super().__init__()
        self.module = module
        self.is_lpips = LPIPS_FLAG in str(module.forward.schema)

    def features(self, image: Float[Tensor, "B C H W"], n_blocks: int = 3) -> list[Tensor]:
        if self.is_lpips:
            return [self.module(image * 127.5 + 127.5, resize_images=False, return_lpips=True)]
        found = self.module(image)
        return [found] if isinstance(found, Tensor) else list(found)


def load_script(path: Path, size: int, device: torch.device | str = "cpu") -> ScriptMetric:
    """The TorchScript module at `path`, tried on images of resolution `size`.

    A TorchScript file holds CODE, which runs: load only one that you trust. Raises UserError for what cannot be used.
    """
    remedy = "give a TorchScript module that maps images [B, 3, S, S] to features"
    if not Path(path).is_file():
        raise UserError(f"--features {path} is not a file: {remedy}, or leave it away.")
    try:
        module = torch.jit.load(str(path), map_location=device).eval()
    except (RuntimeError, ValueError, OSError) as error:
        raise UserError(f"{path} is no TorchScript module: {remedy}.") from error
    for parameter in module.parameters():  # script modules refuse to be frozen as a whole
        parameter.requires_grad_(False)
    metric = ScriptMetric(module)
    try:
        with torch.no_grad():
            found = metric.features(torch.zeros(2, 3, size, size, device=device))
    except Exception as error:  # whatever somebody else's module raises
        raise UserError(f"{path} fails on images of {size} x {size} pixels: {remedy}.") from error
    if not found or not all(isinstance(maps, Tensor) and maps.ndim >= 2 and len(maps) == 2 for maps in found):
        raise UserError(f"{path} gives no features of each image: {remedy}.")
    return metric
