"""The images that pre-training learns from, and how much of what (`shape.pretrain`)."""

from collections.abc import Iterator
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.core.devices import upload
from gan2shape.core.errors import UserError
from gan2shape.prior.masked_generator import MaskedGenerator
from gan2shape.shape.state import target_from

LEAST_MASK, LEAST_SHARE = 0.9, 0.03  # of a sample's mask: its greatest value, and the share of the image above half
POOL_BATCH = 50  # images at once
MOST_SAMPLED = 4  # times as many samples as are wanted, until it is given up


@dataclass(frozen=True)
class PretrainConfig:
    """Counts and weights. Ranges, learning rate and the weights of pixels and masks are `ShapeConfig`'s."""

    n_objects: int = 3000  # images that depth, view and light are learnt from (published: 200)
    n_fit_objects: int = 400  # the first of them, whose ellipsoids are fitted: choosing a slant takes long
    n_fit: int = 500  # steps of the fit
    n_warm: int = 50  # first joint steps, in which depth stays: view and light networks know nothing yet
    n_joint: int = 1500  # joint steps of a round, the first's warm ones included
    fit_batch: int = 16  # samples a fitting step, every other one mirrored
    batch: int = 6  # images a joint step
    n_views: int = 2  # renders of each of them
    view_pull: float = 0.1  # weight of |V(projection) - target view|^2
    light_pull: float = 0.1  # the same for light
    own_light_pull: float = 0.1  # the same of an image's own light, towards the category's mean
    self_weight: float = 0.3  # of estimating the views of renders, which are known exactly
    agreement_weight: float = 0.5  # of the depth of a projection being the rendered depth
    smooth_weight: float = 0.02  # as `steps.smooth_weight`; thousands of images need less than one
    keep_every: int = 250  # steps between states on disk
    seed: int = 0


@dataclass(frozen=True)
class Pool:
    """Images to learn from; rows belong together."""

    images: Float[Tensor, "N 3 S S"]
    masks: Float[Tensor, "N 1 S S"]
    latents: Float[Tensor, "N D"]
    guesses: Float[Tensor, "N D"]  # latents by the pack's encoder
    backgrounds: Float[Tensor, "N 3 S S"]
    surfaces: Float[Tensor, "N 3 S S"]
    depths: Float[Tensor, "N 1 S S"] | None = None  # that are fitted first
    raw_views: Float[Tensor, "N V"] | None = None  # the same, of the view network's outputs; None: not fitted
    lights: Float[Tensor, "N 4"] | None = None  # the same
    originals: Float[Tensor, "N 3 S S"] | None = None  # the images that were given, where they are kept

    def pick(self, rows: Tensor) -> "Pool":
        """Some of the images."""
        rows = upload(rows, self.images.device)
        values = (getattr(self, f.name) for f in fields(self))
        return Pool(*(None if value is None else value[rows] for value in values))


@torch.no_grad()
def make_pool(
    generator: MaskedGenerator,
    n_objects: int,
    seed: int,
    images: Float[Tensor, "M 3 S S"] | None = None,
    keeps_originals: bool = False,
) -> Pool:
    """Images whose object is seen, as the generator reproduces them. Raises UserError where too few show an object."""
    prior, rows, n_seen, n_found = generator.prior, [], 0, 0
    source = generator_samples(generator, n_objects, seed) if images is None else images.split(POOL_BATCH)
    for some in source:
        latents = prior.guess_latent(some.to(prior.w_mean.device))
        shown, masks = generator(latents)
        seen = (masks.amax((1, 2, 3)) >= LEAST_MASK) & ((masks > 0.5).float().mean((1, 2, 3)) >= LEAST_SHARE)
        if seen.any():
            kept = some.to(shown.device)[seen] if keeps_originals else shown[:0]
            rows.append((shown[seen], masks[seen], latents[seen], prior.guess_latent(shown[seen]), kept))
        n_seen, n_found = n_seen + len(some), n_found + int(seen.sum())
        if n_found >= n_objects:
            break
    else:
        raise UserError(f"Only {n_found} of {n_seen} images show an object: look at the pack's samples.")
    shown, masks, latents, guesses, kept = (torch.cat(column)[:n_objects] for column in zip(*rows, strict=True))
    targets = [target_from(image[None], mask[None]) for image, mask in zip(shown, masks, strict=True)]
    backgrounds = torch.cat([target.canvas.background for target in targets])
    surfaces = torch.cat([target.surface for target in targets])
    originals = kept if keeps_originals else None
    return Pool(shown, masks, latents, guesses, backgrounds, surfaces, originals=originals)


def generator_samples(generator: MaskedGenerator, n_objects: int, seed: int) -> Iterator[Float[Tensor, "B 3 S S"]]:
    """The generator's samples, in batches; at most `MOST_SAMPLED` times as many as are wanted."""
    network, rng = generator.prior.generator, torch.Generator().manual_seed(seed)
    for _ in range(0, MOST_SAMPLED * n_objects, POOL_BATCH):
        z = torch.randn(POOL_BATCH, network.config.z_dim, generator=rng).to(generator.prior.w_mean.device)
        yield network.synthesis(network.mapping(z))
