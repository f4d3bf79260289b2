"""From what a caller gives (an image, a latent, or a seed) to an Observation: image, object mask, latent."""

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.core.config import ShapeConfig
from gan2shape.core.errors import UserError
from gan2shape.core.progress import Reporter, silent
from gan2shape.core.records import Observation
from gan2shape.prior.masked_generator import MaskedGenerator, observe_latent, observe_seed, require_mask
from gan2shape.shape.inversion import invert

MIN_MASK_LEVEL = 0.7  # of the mask's brightest pixel: the method's own level of "object" (published)


def observe(
    generator: MaskedGenerator,
    config: ShapeConfig,
    image: Float[Tensor, "1 3 S S"] | None = None,
    latent: Float[Tensor, "1 *L D"] | None = None,
    seed: int = 0,
    mask: Float[Tensor, "1 1 S S"] | None = None,
    report: Reporter = silent,
) -> Observation:
    """The latent's image, the image's latent, or (with neither) the generator's sample `seed`."""
    if latent is not None:
        return observe_latent(latent.to(generator.prior.w_mean.device), generator, mask)
    if image is not None:
        return observe_image(image, generator, config, mask, report)
    return observe_seed(seed, generator, mask)


def observe_image(
    image: Float[Tensor, "1 3 S S"],
    generator: MaskedGenerator,
    config: ShapeConfig,
    mask: Float[Tensor, "1 1 S S"] | None = None,
    report: Reporter = silent,
) -> Observation:
    """Invert an image; its mask is the one given, else the one that the generator's features show through the
    inversion.

    Raises UserError when no object is found.
    """
    if mask is None:
        require_mask(generator)
    image = image.to(generator.prior.w_mean.device)
    is_given = mask is not None
    mask = mask.to(image.device) if is_given else None
    found = invert(image, generator.prior, config.invert, config.seed, mask, report)
    if not is_given:
        with torch.no_grad():
            _, mask = generator(found.latent)
    require_object(mask)
    return Observation(image, mask, found.latent, is_inverted=True, has_given_mask=is_given)


def require_object(mask: Float[Tensor, "1 1 S S"]) -> None:
    """Raises UserError where a mask shows no object."""
    if float(mask.max()) < MIN_MASK_LEVEL:
        raise UserError("No object was found in the image: give its mask with --mask.")
