"""W inversion as the shape half uses it: find w with G(w) close to an image (Karras et al. 2020, section 5, without
noise optimisation).

A pack that carries an encoder starts from its guess. Otherwise many random starts are ranked in one batch, the best
few descend together, and half-way only the best one goes on.
Loss: L1 of pixels and of the discriminator's first blocks (no VGG exists offline). Images in [-1, 1]; masks in [0, 1].
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.core.config import InvertConfig
from gan2shape.core.progress import Reporter, silent
from gan2shape.invert.method import MethodConfig, StageConfig, StartConfig, TermConfig
from gan2shape.invert.solver import Problem, ranked_starts, solve
from gan2shape.prior.encoders import open_encoder
from gan2shape.prior.packs import Prior

FEATURE_BLOCKS = 3  # first discriminator blocks that serve as perceptual metric
TRUNCATION = 0.7  # psi of random starts, as samples are published
OUTSIDE_WEIGHT = 0.1  # of pixels outside the object
OBJECT = "object"  # the region whose weights these are


@dataclass(frozen=True)
class Inversion:
    """The latent of each image and what the generator makes of it."""

    latent: Float[Tensor, "B D"]
    image: Float[Tensor, "B 3 S S"]
    loss: Float[Tensor, " B"]


def inversion_method(config: InvertConfig) -> MethodConfig:
    """The shape half's inversion as a method of the solver."""
    return MethodConfig(
        space="W",
        start=StartConfig("encoder", config.n_starts, TRUNCATION),
        terms=(
            TermConfig("pixel_l1", (config.pixel_weight,), region=OBJECT),
            TermConfig("features", (config.feature_weight,), region="all", n_blocks=FEATURE_BLOCKS),
        ),
        stages=(StageConfig(config.n_steps, {"latent": config.lr}, schedule="cosine", name="invert"),),
        betas=(0.9, 0.99),
        keeps_best=False,  # the rate falls to 0: the last iterate is as good
        remedy="try a lower invert.lr",
    )


def invert(
    images: Float[Tensor, "B 3 S S"],
    prior: Prior,
    config: InvertConfig,
    seed: int = 0,
    masks: Float[Tensor, "B 1 S S"] | None = None,
    report: Reporter = silent,
) -> Inversion:
    """Invert every image of a batch. Pixels outside `masks`, where given, count a tenth.

    Deterministic with `seed` on one machine. Cost: about 3 x n_steps / 2 x (n_tracks + 1) forward passes of G and D an
    image; one track where the pack has an encoder. Raises UserError where a loss is not finite.
    """
    weight = torch.ones_like(images[:, :1]) if masks is None else OUTSIDE_WEIGHT + (1 - OUTSIDE_WEIGHT) * masks
    method, problem = inversion_method(config), Problem(images, regions={OBJECT: weight})
    has_encoder = bool(config.encoder) or prior.encoder is not None
    half, n_tracks = config.n_steps // 2, 1 if has_encoder else config.n_tracks
    if config.encoder:
        reader = open_encoder(config.encoder, prior)
        starts = reader.encode(images, prior.generator.synthesis).mean(1)  # one w for all rows
    else:
        starts = ranked_starts(problem, method, prior, seed, n_tracks)
    tracks = solve(problem.repeated(n_tracks), method, prior, start_w=starts, span=(0, half), report=report)
    best = tracks.data.view(-1, n_tracks).argmin(1)
    chosen = tracks.w.view(len(images), n_tracks, -1)[torch.arange(len(images)), best]
    solved = solve(problem, method, prior, start_w=chosen, span=(half, config.n_steps), report=report)  # a new Adam
    return Inversion(solved.w, solved.image, solved.data)
