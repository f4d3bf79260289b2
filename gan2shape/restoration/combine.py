"""Two pictures and a mask: crossover, local style transfer, scribble edits (Image2StyleGAN++, Abdal et al. 2020).

First W+ alone: the generator's answer, of which a part is wanted, while the rest is only near the given pictures. Then
noise alone: it holds the answer where it is wanted and brings the given pictures back around it, one fading into the
other.
"""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from gan2shape.core.compose import nearest
from gan2shape.core.errors import UserError
from gan2shape.core.progress import Reporter, silent
from gan2shape.degrade.degradations import Blur
from gan2shape.invert.solver import Problem, Solved, solve
from gan2shape.prior.packs import Prior
from gan2shape.restoration.methods import load_method

KINDS = ("crossover", "style", "scribble")
SEAM_PX = 2  # a band of so many pixels on either side of the mask's edge is left to the generator
FADE_PX = 1.5  # standard deviation of what fades from the generator's answer to the given pictures


def combine(
    first: Float[Tensor, "1 3 S S"],
    second: Float[Tensor, "1 3 S S"],
    mask: Float[Tensor, "1 1 S S"],
    kind: str,
    prior: Prior,
    *,
    seed: int = 0,
    report: Reporter = silent,
) -> Solved:
    """One picture of the generator from two.

    crossover: `first` inside the mask, `second` around it. style: `first`, with the texture of `second` inside the
    mask. scribble: `first` is `second` with colours painted where the mask is; they become a part of it.
    Raises UserError for another kind, and for a mask that marks nothing or everything.
    """
    if kind not in KINDS:
        raise UserError(f"unknown way to combine {kind!r}{nearest(kind, KINDS)}")
    share = float(mask.mean())
    if not 0 < share < 1:
        raise UserError(f"the mask marks {'everything' if share else 'nothing'}: mark in white a part of the picture.")
    given = {"crossover": mask * first + (1.0 - mask) * second, "style": first, "scribble": second}[kind]
    kept = shrunk_region(mask) + shrunk_region(1.0 - mask)
    wanted = 1.0 - kept if kind == "crossover" else mask  # where the generator's own answer stays
    regions = {"inside": shrunk_region(mask), "outside": shrunk_region(1.0 - mask), "kept": kept}
    problem = Problem(first if kind == "scribble" else given, regions=regions, targets={"other": second})
    found = solve(problem, load_method("combine", kind), prior, seed=seed, report=report)
    share_found = Blur(FADE_PX)(wanted)
    joined = share_found * found.image.clamp(-1, 1) + (1.0 - share_found) * given
    steps = load_method("combine", "join")
    return solve(replace(problem, observed=joined), steps, prior, seed=seed, start_w=found.w, report=report)


def shrunk_region(region: Float[Tensor, "1 1 S S"], width_px: int = SEAM_PX) -> Float[Tensor, "1 1 S S"]:
    """A region without the band along its edge; as it is where nothing would be left of it."""
    less = 1.0 - F.max_pool2d(1.0 - region, 2 * width_px + 1, 1, width_px)
    return less if bool(torch.any(less > 0)) else region
