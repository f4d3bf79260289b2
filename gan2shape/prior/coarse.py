"""Whether a large generator's last blocks may be run at the working resolution: measured on its own samples.

`nn/coarse_blocks.py` says what is approximated. Near is a matter of images alone: what coarse blocks cost a shape has
not been measured (docs/custom-gan.md).
"""

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.core.config import COARSE, FULL
from gan2shape.core.errors import UserError
from gan2shape.nn.coarse_blocks import can_be_coarse
from gan2shape.nn.generator import Generator
from gan2shape.nn.sized_generator import at_size

MOST_DIFFERENCE = 0.035  # mean |difference| of images in [-1, 1] that counts as near
N_COMPARED = 4  # samples
COMPARED_SEED, TRUNCATION = 3, 0.7  # of those samples


@torch.no_grad()
def coarse_difference(generator: Generator, centre: Float[Tensor, " D"], size: int) -> float:
    """Mean |difference| between images with coarse last blocks and area averages of the full images, both in [-1, 1],
    over samples truncated about `centre`.
    """
    rng = torch.Generator().manual_seed(COMPARED_SEED)
    z = torch.randn(N_COMPARED, generator.config.z_dim, generator=rng).to(centre.device)
    latents = centre + TRUNCATION * (generator.mapping(z) - centre)
    full, coarse = (at_size(generator, size, is_coarse) for is_coarse in (False, True))
    differences = [  # one at a time, whatever the memory
        (full.synthesis(one).clamp(-1, 1) - coarse.synthesis(one).clamp(-1, 1)).abs().mean() for one in latents.split(1)
    ]
    return torch.stack(differences).mean().item()


def choose_last_blocks(generator: Generator, centre: Float[Tensor, " D"], size: int, wanted: str) -> tuple[bool, str]:
    """(whether blocks beyond `size` are run coarsely, a sentence for people, empty where there are none). `wanted`:
    as `render.last_blocks`. Raises UserError where coarse blocks are asked for and cannot be.
    """
    own = generator.config.resolution
    if own <= size:
        return False, ""
    n_beyond = sum(resolution > size for resolution in generator.config.resolutions)
    blocks = "block" if n_beyond == 1 else f"{n_beyond} blocks"
    if wanted == COARSE and not can_be_coarse(generator.config):
        raise UserError(f"The last {blocks} of this generator cannot be coarse: leave render.last_blocks away.")
    if wanted == FULL or not can_be_coarse(generator.config):
        return False, f"Last {blocks}: at full resolution, images averaged."
    difference = coarse_difference(generator, centre, size)
    measured = f"mean difference {difference:.3f} of a range of 2, on {N_COMPARED} samples"
    if wanted == COARSE or difference <= MOST_DIFFERENCE:
        return True, f"Last {blocks}: at {size} x {size} ({measured}; render.last_blocks=full is exact and slower)."
    return False, f"Last {blocks}: at full resolution, since {size} x {size} would not be near ({measured})."
