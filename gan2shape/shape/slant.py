"""Which way does the object recede? Left or right cannot be told from a mask, so a few slanted ellipsoids are tried.

One projector learns pseudo samples of all candidates together; the candidate whose pseudo samples then lie nearest to
what the GAN can draw is kept. An object that is turned about the right slanted shape looks like the object turned;
about the wrong one it looks like nothing the GAN has seen.
"""

import copy

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.config import ShapeConfig
from gan2shape.progress import Reporter
from gan2shape.shape.draw import Drawing
from gan2shape.shape.losses import feature_distance
from gan2shape.shape.networks import Encoder, SceneNetworks
from gan2shape.shape.observe import MaskedGenerator
from gan2shape.shape.prior_shape import ellipsoid_depth
from gan2shape.shape.projection import draw_pseudo, prior_features, project, train_encoder
from gan2shape.shape.stages import Target

N_STEPS = 60  # of the shared projector
N_JUDGED = 4  # batches that judge each candidate


def choose_slant(
    networks: SceneNetworks,
    encoder: Encoder,
    target: Target,
    latent: Float[Tensor, "1 *L D"],
    generator: MaskedGenerator,
    config: ShapeConfig,
    report: Reporter,
) -> float:
    """The slant in degrees, out of `config.prior_shape.slants_deg`, whose pseudo samples project with the least
    residual.

    `encoder` keeps what it learnt: it is a warm start for the first projection step.
    """
    candidates = []
    for slant_deg in config.prior_shape.slants_deg:
        candidate = copy.deepcopy(networks)
        candidate.start_from(ellipsoid_depth(target.canvas.mask, config.prior_shape, config.render.fov_deg, slant_deg))
        candidates.append(candidate)
    random = torch.Generator().manual_seed(config.seed + 17)

    def next_batch(step: int) -> Drawing:
        return draw_pseudo(candidates[step % len(candidates)], target, config, config.steps.batch, random)[0]

    def as_slant(stage: str, step: int, n_steps: int, **figures: float) -> None:
        report("slant", step, n_steps, **figures)

    train_encoder(encoder, next_batch, target, latent, generator.prior, config, N_STEPS, as_slant)
    residuals = [judge(candidate, encoder, target, latent, generator, config) for candidate in candidates]
    best = min(range(len(residuals)), key=residuals.__getitem__)
    return config.prior_shape.slants_deg[best]


@torch.no_grad()
def judge(
    networks: SceneNetworks,
    encoder: Encoder,
    target: Target,
    latent: Float[Tensor, "1 *L D"],
    generator: MaskedGenerator,
    config: ShapeConfig,
) -> float:
    """Mean feature distance between pseudo samples and their projections; the same views and lights for every
    candidate.
    """
    random = torch.Generator().manual_seed(config.seed + 18)
    total = 0.0
    for _ in range(N_JUDGED):
        drawn, _, _ = draw_pseudo(networks, target, config, config.steps.batch, random)
        latents, _ = project(encoder, generator.prior, latent, drawn.image, target.image, config.steps)
        made = generator.prior.generator.synthesis(latents)
        total += float(feature_distance(made, drawn.image, prior_features(generator.prior)))
    return total / N_JUDGED
