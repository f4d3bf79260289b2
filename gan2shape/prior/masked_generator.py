"""From what the user gives (an image, a latent, or nothing) to an Observation: image, object mask, latent."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.core.errors import UserError
from gan2shape.core.images import resized
from gan2shape.core.records import Observation
from gan2shape.core.seeding import seeded
from gan2shape.nn.mask_head import MaskHead, MaskHeadConfig
from gan2shape.prior.packs import Prior

SAMPLE_TRUNCATION = 0.7  # psi of samples that serve as input (published)


@dataclass(frozen=True)
class MaskedGenerator:
    """The frozen generator with its mask head: latents -> images and object masks."""

    prior: Prior
    head: MaskHead | None
    centre: Float[Tensor, " D"] | None = None  # what samples are truncated towards; the measured mean of w unless given
    needs_mask: bool = False  # without a head, the user has to give a mask
    notes: tuple[str, ...] = ()  # sentences for the user and the report

    @property
    def resolution(self) -> int:
        """Of the images, pixels a side."""
        return self.prior.resolution

    def __call__(
        self, latents: Float[Tensor, "B *L D"]
    ) -> tuple[Float[Tensor, "B 3 S S"], Float[Tensor, "B 1 S S"] | None]:
        """Images in [-1, 1] and masks in [0, 1].

        Without a head the mask is all ones or, where the user has to give one, None.
        """
        if self.head is None:
            images = self.prior.generator.synthesis(latents).clamp(-1, 1)
            return images, None if self.needs_mask else torch.ones_like(images[:, :1])
        images, features = self.prior.generator.synthesis(latents, return_features=True)
        used = [maps for maps in features if maps.shape[-1] <= self.head.config.size]
        return images.clamp(-1, 1), resized(self.head(used), images.shape[-1])


@torch.no_grad()
def full_image(generator: MaskedGenerator, latent: Float[Tensor, "1 *L D"]) -> Float[Tensor, "1 3 P P"] | None:
    """The image at the generator's own resolution, in [-1, 1]; None where that is the working resolution."""
    whole = generator.prior.generator
    is_larger = whole.config.resolution > generator.resolution
    return whole.synthesis.synthesis(latent).clamp(-1, 1) if is_larger else None


def masked_generator(prior: Prior) -> MaskedGenerator:
    """Generator and mask head of a pack."""
    if "mask" not in prior.networks:
        return MaskedGenerator(prior, None)
    return MaskedGenerator(prior, build_head(prior.network_configs["mask"], prior.networks["mask"]))


def build_head(settings: dict, state: dict[str, Tensor]) -> MaskHead:
    """A frozen mask head from what a pack or a cache holds, on the device of its weights."""
    with seeded(0):  # replaced at once
        head = MaskHead(MaskHeadConfig(**{**settings, "feature_channels": tuple(settings["feature_channels"])}))
    head.load_state_dict(state)
    return head.to(next(iter(state.values())).device).eval().requires_grad_(False)


def require_fitting_head(generator: MaskedGenerator) -> None:
    """Raises UserError where images are smaller than the head's masks: it would read other blocks than it learnt."""
    if generator.head is not None and generator.head.config.size > generator.resolution:
        least = generator.head.config.size
        raise UserError(
            f"Object masks of this generator were learnt at {least} x {least} and cannot be read at "
            f"render.resolution={generator.resolution}: give at least {least}."
        )


def require_mask(generator: MaskedGenerator) -> None:
    """Raises UserError where there is neither a head nor a mask of the user's."""
    if generator.head is None and generator.needs_mask:
        name = generator.prior.card.get("checkpoint", "CHECKPOINT")
        raise UserError(
            f"There is no object mask for images of {name}: "
            f"run `gan2shape prior {name} --category …` once, or give --mask (all white if everything is)."
        )


def observe_latent(
    latent: Float[Tensor, "1 *L D"], generator: MaskedGenerator, mask: Float[Tensor, "1 1 S S"] | None = None
) -> Observation:
    """The generator's image for a latent; its mask is the one given, else the head's."""
    if mask is None:
        require_mask(generator)
    with torch.no_grad():
        image, predicted = generator(latent)
    return Observation(image, predicted if mask is None else mask.to(image.device), latent)


def sample_latents(z: Float[Tensor, "N Z"], generator: MaskedGenerator) -> Float[Tensor, "N D"]:
    """w at truncation .7, as published samples are: towards the checkpoint's own mean, of a pack the measured one."""
    centre = generator.prior.w_mean if generator.centre is None else generator.centre
    with torch.no_grad():
        return centre + SAMPLE_TRUNCATION * (generator.prior.generator.mapping(z.to(centre.device)) - centre)


def observe_seed(seed: int, generator: MaskedGenerator, mask: Float[Tensor, "1 1 S S"] | None = None) -> Observation:
    """A sample of the generator."""
    z_dim = generator.prior.generator.config.z_dim
    rng = torch.Generator().manual_seed(seed)
    z = torch.randn(1, z_dim, generator=rng)
    return observe_latent(sample_latents(z, generator), generator, mask)
