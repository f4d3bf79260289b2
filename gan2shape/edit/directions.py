"""Directions in w that change an image most, found in the generator's weights alone, and names for them.

Closed-form factorisation (Shen and Zhou, CVPR 2021, "SeFa", equations 4-6): a layer sees w through the weights A of its
style; the unit directions that move its styles most are the eigenvectors of A^T A with the largest eigenvalues. What a
direction does is then read in images with and without it by the pack's scene networks; it is named after the change
that stands out, or not at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.edit.latents import on_layers, with_offset
from gan2shape.nn.generator import Generator
from gan2shape.nn.scene_networks import SceneNetworks
from gan2shape.prior.masked_generator import MaskedGenerator, sample_latents

N_READ = 24  # samples that a direction is named by
READ_SEED = 4
READ_AMOUNT = 2.0  # standard deviations of w to either side
LEAST_CHANGE = 0.5  # of a quantity's own spread over samples, for READ_AMOUNT: less gives no name
LEAST_LEAD = 1.3  # by which the change has to exceed the next one
QUANTITIES = ("yaw_deg", "pitch_deg", "light_x", "light_y", "size", "brightness", "red", "blue")
OF_NETWORKS = 4  # of them are read by the scene networks


@dataclass(frozen=True)
class Direction:
    """One direction of w, for the rows of W+ that it was found in."""

    vector: Float[Tensor, " D"]  # of length 1
    sd: float  # standard deviation of w along it, over the latent distribution
    layers: tuple[int, ...]
    name: str = ""  # what it changes; empty where nothing stands out
    changes: dict[str, float] = field(default_factory=dict)  # of each quantity, mean for one sd

    def offset(self, amount: float, n_layers: int) -> Float[Tensor, "1 *L D"]:
        """The latent's change for `amount` standard deviations."""
        return on_layers(amount * self.sd * self.vector[None], self.layers, n_layers)


def style_weights(generator: Generator, layers: Sequence[int]) -> Float[Tensor, "N D"]:
    """What the styles of some rows of W+ depend on w by, one below the other (convolutions and to-RGB layers)."""
    found, start = [], 0
    synthesis = getattr(generator.synthesis, "synthesis", generator.synthesis)  # of a generator at another resolution
    for block in synthesis.blocks():
        rows = dict(block.named_children())
        names = [name for name in ("conv0", "conv1") if name in rows]
        parts = [(start + i, rows[name]) for i, name in enumerate(names)]
        parts += [(start + block.n_convs, rows["torgb"])] if "torgb" in rows else []
        found += [part.affine.weight * part.affine.weight_gain for row, part in parts if row in layers]
        start += block.n_convs
    return torch.cat(found)


@torch.no_grad()
def find_directions(generator: MaskedGenerator, layers: Sequence[int], count: int) -> list[Direction]:
    """The first directions for some rows of W+, strongest first, without names. Their signs make the largest component
    positive.
    """
    weights = style_weights(generator.prior.generator, layers)
    vectors = torch.linalg.eigh((weights.t() @ weights).double().cpu()).eigenvectors.flip(1)[:, :count].t()
    largest = vectors.gather(1, vectors.abs().argmax(1, keepdim=True))
    vectors = (vectors * largest.sign()).float().to(generator.prior.w_cov.device)
    spread = ((vectors @ generator.prior.w_cov) * vectors).sum(1).clamp_min(0).sqrt()
    return [Direction(vector, sd, tuple(layers)) for vector, sd in zip(vectors, spread.tolist(), strict=True)]


@torch.no_grad()
def read_quantities(
    images: Float[Tensor, "N 3 S S"],
    masks: Float[Tensor, "N 1 S S"] | None,
    networks: SceneNetworks | None,
    reference: Float[Tensor, "1 3 S S"],
) -> Float[Tensor, "N Q"]:
    """`QUANTITIES` of images; those of the scene networks are 0 without any."""
    if networks is None:
        seen = images.new_zeros(len(images), OF_NETWORKS)
    else:
        angles = torch.rad2deg(networks.views(images, reference)[:, :2]).flip(1)
        seen = torch.cat([angles, networks.lights(images)[:, 2:]], 1)
    cover = torch.ones_like(images[:, :1]) if masks is None else masks
    area = cover.mean((1, 2, 3))
    colour = (images * cover).sum((2, 3)) / cover.sum((2, 3)).clamp_min(1e-3)
    grey = colour.mean(1)
    return torch.cat([seen, torch.stack([area, grey, colour[:, 0] - grey, colour[:, 2] - grey], 1)], 1)


@torch.no_grad()
def named(direction: Direction, generator: MaskedGenerator, networks: SceneNetworks | None, n_layers: int) -> Direction:
    """The direction with its changes and, where one stands out, its name."""
    rng = torch.Generator().manual_seed(READ_SEED)
    latents = sample_latents(torch.randn(N_READ, generator.prior.generator.config.z_dim, generator=rng), generator)
    upright = generator(generator.prior.w_mean[None])[0]
    ends = []
    for amount in (-READ_AMOUNT, READ_AMOUNT):
        images, masks = generator(with_offset(latents, direction.offset(amount, n_layers)))
        ends.append(read_quantities(images, masks, networks, upright))
    spread = read_quantities(*generator(latents), networks, upright).std(0).clamp_min(1e-6)
    change = (ends[1] - ends[0]).mean(0) / 2
    strength = (change / spread).abs()
    first, second = strength.topk(2).values.tolist()
    best = int(strength.argmax())
    stands_out = first >= LEAST_CHANGE and first >= LEAST_LEAD * second
    name = QUANTITIES[best].removesuffix("_deg") if stands_out else ""
    sign = -1.0 if stands_out and float(change[best]) < 0 else 1.0  # more of what it is named after
    changes = dict(zip(QUANTITIES, (sign * change / READ_AMOUNT).tolist(), strict=True))
    return Direction(sign * direction.vector, direction.sd, direction.layers, name, changes)
