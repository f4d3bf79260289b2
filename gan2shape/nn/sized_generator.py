"""A large generator seen at the resolution that the method works at, within a laptop's memory.

Images are averaged over areas (as published); latents, names and weights stay the same. Large images are made a few at
a time. Where a gradient is wanted, each few are made a second time in the backward pass instead of being remembered.
"""

import copy
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gan2shape.core.images import resized
from gan2shape.nn.generator import Generator, Noise

PIXELS_AT_ONCE = 4 * 256**2  # about 2 GB of activations with the published widths


class SizedSynthesis(nn.Module):
    """A synthesis network whose images have another resolution."""

    def __init__(self, synthesis: nn.Module, size: int) -> None:
        super().__init__()
        self.synthesis, self.size = synthesis, size
        self.n_layers, self.noise_sizes = synthesis.n_layers, synthesis.noise_sizes
        self.n_at_once = max(1, PIXELS_AT_ONCE // synthesis.config.resolution**2)

    def blocks(self) -> list[nn.Module]:
        """Blocks from coarse to fine, those beyond `size` too."""
        return self.synthesis.blocks()

    def styles(self, w: Float[Tensor, "B *L D"]) -> list[Tensor]:
        """As `Synthesis.styles`."""
        return self.synthesis.styles(w)

    def from_styles(self, styles: Sequence[Tensor], noise: Noise = "const") -> Float[Tensor, "B C size size"]:
        """The image of `styles`, all at once."""
        return resized(self.synthesis.from_styles(styles, noise), self.size)

    def forward(
        self, w: Float[Tensor, "B *L D"], noise: Noise = "const", return_features: bool = False
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """Images [B, C, size, size]; with `return_features` also the features of resolutions up to `size`.

        With noise maps all images are made at once.
        """

        def synthesised(few: Tensor) -> tuple[Tensor, ...]:
            image, features = self.synthesis(few, noise, return_features=True)
            kept = [maps for maps in features if maps.shape[-1] <= self.size] if return_features else []
            return (resized(image, self.size), *kept)

        if len(w) <= self.n_at_once or not isinstance(noise, str):
            image, *features = synthesised(w)
        else:
            remembers = torch.is_grad_enabled() and w.requires_grad
            parts = [
                checkpoint(synthesised, few, use_reentrant=False) if remembers else synthesised(few)
                for few in w.split(self.n_at_once)
            ]
            image, *features = (torch.cat(column) for column in zip(*parts, strict=True))
        return (image, features) if return_features else image


def at_size(generator: Generator, size: int) -> Generator:
    """The same generator (shared weights) with images of resolution `size`; itself where that is its own."""
    if generator.config.resolution == size:
        return generator
    sized = copy.copy(generator)
    sized._modules = {**generator._modules, "synthesis": SizedSynthesis(generator.synthesis, size)}
    return sized.eval()
