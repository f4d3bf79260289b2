"""A large generator seen at the resolution that the method works at, within a laptop's memory.

Images are averaged over areas (as published), or nearly so: with coarse last blocks (`nn/coarse_blocks.py`) images
beyond that resolution are never made. Latents, names and weights stay the same. What is large is made a few images at a
time. Where a gradient is wanted, each few are made a second time in the backward pass instead of being remembered.
Convolutions may work in bfloat16, which halves their time on processors that have it; styles never do.
"""

import copy
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gan2shape.core.images import resized
from gan2shape.nn.coarse_blocks import drawn_at
from gan2shape.nn.generator import Generator, Hooks, Noise, Rows, drawn, hooked
from gan2shape.nn.layers import bfloat16_if, full_precision

FEATURES_AT_ONCE = 72_000_000  # values in all blocks' features together: about 2 GB with what a gradient needs


class SizedSynthesis(nn.Module):
    """A synthesis network whose images have another resolution.

    is_coarse: its blocks beyond are run at `size`. is_bfloat16: its convolutions work in bfloat16; images are float32.
    """

    def __init__(self, synthesis: nn.Module, size: int, is_coarse: bool = False, is_bfloat16: bool = False) -> None:
        super().__init__()
        self.synthesis, self.size, self.is_coarse, self.is_bfloat16 = synthesis, size, is_coarse, is_bfloat16
        self.n_layers, self.noise_sizes = synthesis.n_layers, synthesis.noise_sizes
        config, largest = synthesis.config, size if is_coarse else synthesis.config.resolution
        pairs = zip(config.resolutions, config.channels, strict=True)
        self.n_at_once = max(1, FEATURES_AT_ONCE // sum(min(own, largest) ** 2 * width for own, width in pairs))

    def _made(
        self, by_block: Rows, noise: Noise, hooks: Hooks | None = None
    ) -> tuple[Float[Tensor, "B C size size"], list[Tensor]]:
        draw, device = drawn_at(self.size) if self.is_coarse else drawn, next(self.parameters()).device
        with bfloat16_if(self.is_bfloat16, device):
            image, features = self.synthesis.made(by_block, noise, hooked(hooks, draw) if hooks else draw)
        return resized(full_precision(image), self.size), [full_precision(maps) for maps in features]

    def _rows(self, w: Float[Tensor, "B *L D"]) -> Rows:
        """What blocks take of w. For bfloat16, styles: these are computed in full precision."""
        return self.synthesis.style_rows(self.synthesis.styles(w)) if self.is_bfloat16 else self.synthesis.rows(w)

    def blocks(self) -> list[nn.Module]:
        """Blocks from coarse to fine, those beyond `size` too."""
        return self.synthesis.blocks()

    def styles(self, w: Float[Tensor, "B *L D"]) -> list[Tensor]:
        """As `Synthesis.styles`."""
        return self.synthesis.styles(w)

    def from_styles(self, styles: Sequence[Tensor], noise: Noise = "const") -> Float[Tensor, "B C size size"]:
        """The image of `styles`, all at once."""
        return self._made(self.synthesis.style_rows(styles), noise)[0]

    def forward(
        self,
        w: Float[Tensor, "B *L D"],
        noise: Noise = "const",
        return_features: bool = False,
        hooks: Hooks | None = None,
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """Images [B, C, size, size]; with `return_features` also the features of resolutions up to `size`.

        With noise maps or hooks (of resolutions up to `size`) all images are made at once.
        """

        def synthesised(few: Tensor) -> tuple[Tensor, ...]:
            image, features = self._made(self._rows(few), noise, hooks)
            n_kept = sum(own <= self.size for own in self.synthesis.config.resolutions) if return_features else 0
            return (image, *features[:n_kept])

        if len(w) <= self.n_at_once or not isinstance(noise, str) or hooks:
            image, *features = synthesised(w)
        else:
            remembers = torch.is_grad_enabled() and w.requires_grad
            parts = [
                checkpoint(synthesised, few, use_reentrant=False) if remembers else synthesised(few)
                for few in w.split(self.n_at_once)
            ]
            image, *features = (torch.cat(column) for column in zip(*parts, strict=True))
        return (image, features) if return_features else image


def at_size(generator: Generator, size: int, is_coarse: bool = False, is_bfloat16: bool = False) -> Generator:
    """The same generator (shared weights) with images of resolution `size`; itself where nothing would change.

    is_coarse: the blocks beyond `size` are run at `size`, which is faster and nearly the same. is_bfloat16:
    convolutions work in bfloat16.
    """
    if generator.config.resolution == size and not is_bfloat16:
        return generator
    sized = copy.copy(generator)
    synthesis = SizedSynthesis(generator.synthesis, size, is_coarse, is_bfloat16)
    sized._modules = {**generator._modules, "synthesis": synthesis}
    return sized.eval()
