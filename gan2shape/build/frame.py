"""How a prior's images show their object: size and place of the mask's box, and what surrounds it.

Measured on renders of the category and on the generator's own samples. Photos are framed like that
(export/framing.py).
"""

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.build.kinds import rendered
from gan2shape.core.records import UsualFrame
from gan2shape.export.framing import around, box_of
from gan2shape.prior.masked_generator import MaskedGenerator, sample_latents

COUNT = 128  # renders, and as many samples
SLACK = 0.1  # beyond the extremes that were seen, in parts of them
COLOUR_SLACK = 0.05  # of the background, in [-1, 1]
DIGITS = 4


def measure_frame(category: str, generator: MaskedGenerator, count: int = COUNT) -> UsualFrame | None:
    """The usual frame; None where the generator has no mask head, or shows objects without anything around them."""
    if generator.head is None:
        return None
    own = rendered(category, True, count, generator.resolution)
    z = torch.randn(count, generator.prior.generator.config.z_dim, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        samples, seen = generator(sample_latents(z, generator))
    return frame_of(torch.cat([own.images, samples.cpu()]), torch.cat([own.masks, seen.cpu()]))


def frame_of(images: Float[Tensor, "N 3 S S"], masks: Float[Tensor, "N 1 S S"]) -> UsualFrame | None:
    """The frame of these images, with slack; those without an object or without surroundings are left out."""
    width, boxes, colours, spreads = masks.shape[-1], [], [], []
    pairs = [(image[None], mask[None]) for image, mask in zip(images, masks, strict=True)]
    pairs = [(image, mask) for image, mask in pairs if box_of(mask) is not None and bool(around(mask).any())]
    if not pairs:
        return None
    for image, mask in pairs:
        boxes.append(box_of(mask))
        colours.append(image[around(mask).expand_as(image)].view(3, -1).mean(1))
    box, colour = torch.tensor(boxes) / width, torch.stack(colours).median(0).values
    for image, mask in pairs:
        spreads.append((image - colour[:, None, None]).abs()[around(mask).expand_as(image)].mean())
    size, centre = box[:, 2], box[:, :2].median(0).values
    shift = (box[:, :2] - centre).abs().max().item()
    return UsualFrame(
        size=(_short(size.min() * (1 - SLACK)), _short(size.median()), _short(size.max() * (1 + SLACK))),
        centre=(_short(centre[0]), _short(centre[1])),
        shift=_short(shift * (1 + SLACK)),
        background=tuple(map(_short, colour)),
        background_spread=_short(torch.stack(spreads).max() * (1 + SLACK) + COLOUR_SLACK),
    )


def _short(value: Tensor | float) -> float:
    return round(float(value), DIGITS)
