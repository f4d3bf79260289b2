"""Samples of a generator with their features, within a laptop's memory.

Published widths are 512 channels at 64 x 64 pixels: 160 samples are 2.7 GB. Features of many channels are kept as their
leading principal components, in half precision. A head that has learnt from those is turned into one for the features
themselves (`for_features`), which is exact: both are linear maps.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.core.images import resized
from gan2shape.core.progress import Reporter
from gan2shape.nn.generator import Generator
from gan2shape.nn.mask_head import MaskHead

MOST_CHANNELS = 128  # that are kept of a level
DRAWN_AT_ONCE = 4  # samples


@dataclass(frozen=True)
class Level:
    """Features of one resolution, or leading components of them."""

    maps: Float[Tensor, "N _K _H _W"]  # half precision
    n_channels: int  # of the generator's features
    basis: Float[Tensor, "_C _K"] | None = None  # maps = features times this; None: the features themselves


@dataclass(frozen=True)
class FeatureSamples:
    """Samples of the generator."""

    levels: tuple[Level, ...]  # coarse to fine
    images: Float[Tensor, "N 3 G G"]  # half precision

    def some(self, chosen: slice | Tensor) -> list[Tensor]:
        """What is kept of some samples' features."""
        return [level.maps[chosen].float() for level in self.levels]


def leading_components(maps: Float[Tensor, "N C H W"], n_kept: int) -> Float[Tensor, "C K"] | None:
    """A basis of the leading principal components of features whose channels have unit variance; None where all
    channels can be kept.
    """
    if maps.shape[1] <= n_kept:
        return None
    pixels = maps.movedim(1, -1).flatten(0, 2)
    spread = pixels.std(0).clamp_min(1e-6)
    _, axes = torch.linalg.eigh((pixels / spread).T.cov())
    return axes.flip(1)[:, :n_kept] / spread[:, None]


def in_basis(maps: Float[Tensor, "N C H W"], basis: Float[Tensor, "C K"] | None) -> Float[Tensor, "N K H W"]:
    """Features in a basis."""
    return maps if basis is None else torch.einsum("nchw,ck->nkhw", maps, basis)


@torch.no_grad()
def make_samples(
    generator: Generator,
    latents: Float[Tensor, "N D"],
    coarsest: int,
    grid: int,
    report: Reporter,
    n_kept: int = MOST_CHANNELS,
) -> FeatureSamples:
    """Images of latents at the resolution `grid`, with features of resolutions from `coarsest` to `grid`."""
    n, parts, bases = len(latents), [], None
    for few in latents.split(DRAWN_AT_ONCE):
        image, features = generator.synthesis(few, return_features=True)
        used = [maps for maps in features if coarsest <= maps.shape[-1] <= grid]
        if bases is None:
            widths = [maps.shape[1] for maps in used]
            bases = [leading_components(maps, n_kept) for maps in used]
        kept = [in_basis(maps, basis).half() for maps, basis in zip(used, bases, strict=True)]
        parts.append([*kept, resized(image.clamp(-1, 1), grid).half()])
        report("samples", min(n, DRAWN_AT_ONCE * len(parts)), n)
    *levels, images = (torch.cat(column) for column in zip(*parts, strict=True))
    return FeatureSamples(tuple(map(Level, levels, widths, bases)), images)


def for_features(head: MaskHead, samples: FeatureSamples) -> MaskHead:
    """The head that gives for the generator's features what `head` gives for what is kept of them."""
    config = replace(head.config, feature_channels=tuple(level.n_channels for level in samples.levels))
    whole, state = MaskHead(config), head.state_dict()
    for i, level in enumerate(samples.levels):
        if level.basis is not None:
            name = f"reduce.{i}.weight"
            state[name] = (state[name][:, :, 0, 0] @ level.basis.T)[:, :, None, None]
    whole.load_state_dict(state)
    return whole.to(samples.images.device).eval().requires_grad_(False)
