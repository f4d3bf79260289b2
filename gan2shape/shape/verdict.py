"""Whether a result can be trusted: how near the generator comes to the image, and what to say where it does not.

The shape is learnt from what the generator makes of the image. Where that is another picture, the shape is one as well.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.core.errors import UserError
from gan2shape.core.records import Observation
from gan2shape.measure.metrics import psnr_db
from gan2shape.prior.masked_generator import MaskedGenerator

OUTSIDE_PSNR_DB = 20.0  # of the inversion inside the mask: images that the bundled priors know reach more
FLAT_SD = 0.01  # of an image's values in [-1, 1]: less is one flat colour


def require_picture(image: Float[Tensor, "1 3 S S"]) -> None:
    """Raises UserError for an image in which nothing can be seen: not finite, or of one colour."""
    if not bool(image.isfinite().all()):
        raise UserError("The image holds values that are not finite (NaN or infinite): save it again.")
    if float(image.std((2, 3)).max()) < FLAT_SD:
        raise UserError("The image is one flat colour, without an object in it: give another one.")


@torch.no_grad()
def inversion_psnr_db(observation: Observation, generator: MaskedGenerator) -> float | None:
    """PSNR of the generator's image of the latent against the input, inside the mask; None for a sample or a latent."""
    if not observation.is_inverted:
        return None
    made = generator(observation.latent)[0]
    return psnr_db(made, observation.image, observation.mask > 0.5).item()


def warnings_about(psnr: float | None, generator: MaskedGenerator) -> tuple[str, ...]:
    """What a reader has to know before trusting the shape, in sentences; nothing for custom generators, of which no
    limit was measured.
    """
    if psnr is None or psnr >= OUTSIDE_PSNR_DB or "checkpoint" in generator.prior.card:
        return ()
    return (
        f"Warning: the generator does not know this image: it comes within {psnr:.1f} dB on the object, less than the "
        f"{OUTSIDE_PSNR_DB:g} dB of images that it knows. The shape is the generator's guess, not that of the image.",
    )
