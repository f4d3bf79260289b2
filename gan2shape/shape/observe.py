"""From an image to an Observation: its inversion and its object mask."""

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.core.config import ShapeConfig
from gan2shape.core.errors import UserError
from gan2shape.core.progress import Reporter, silent
from gan2shape.core.records import Observation
from gan2shape.invert.w_space import invert
from gan2shape.prior.masked_generator import MaskedGenerator, require_mask


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
    mask = None if mask is None else mask.to(image.device)
    found = invert(image, generator.prior, config.invert, config.seed, mask, report)
    if mask is None:
        with torch.no_grad():
            _, mask = generator(found.latent)
    if float(mask.max()) < 0.7:
        raise UserError("No object was found in the image: give its mask with --mask.")
    return Observation(image, mask, found.latent)
