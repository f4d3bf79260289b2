"""Which way does the object recede? Left or right cannot be told from a mask, so a few slanted ellipsoids are tried.

An object that is turned about the right slanted shape looks like the object turned; about the wrong one it looks like
nothing the GAN has seen. A pack's encoder says so at once: its reproduction of the turned drawings is nearer to them
(61 of 64 validation cars right, `benchmarks/slant_choice.py`). Without an encoder, one projector learns the drawings
of all candidates together, and the residual of its projections decides.
"""

import copy
import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.core.config import ShapeConfig
from gan2shape.core.progress import Reporter
from gan2shape.core.records import Scene
from gan2shape.nn.scene_networks import OffsetEncoder, SceneNetworks
from gan2shape.prior.masked_generator import MaskedGenerator
from gan2shape.scene.pseudo import Drawing, draw_scene
from gan2shape.shape.ellipsoid import ellipsoid_depth
from gan2shape.shape.losses import feature_distance, masked_l1
from gan2shape.shape.projection import (
    draw_pseudo,
    prior_features,
    project,
    train_encoder,
)
from gan2shape.shape.stages import Target, current_scene

N_STEPS = 60  # of the shared projector
N_JUDGED = 4  # batches that judge each candidate
TURNS_DEG = (6.0, 10.0, 15.0, 20.0)  # yaws, to both sides, whose drawings the encoder judges


def choose_slant(
    networks: SceneNetworks,
    encoder: OffsetEncoder,
    target: Target,
    latent: Float[Tensor, "1 *L D"],
    generator: MaskedGenerator,
    config: ShapeConfig,
    report: Reporter,
) -> float:
    """The slant in degrees, out of `config.prior_shape.slants_deg`, whose pseudo samples the GAN explains best.

    `encoder`, where it is needed, keeps what it learnt: it is a warm start for the first projection step.
    """
    if generator.prior.encoder is not None:
        return most_reproducible_slant(copy.deepcopy(networks), target, generator, config)
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
    return least(config.prior_shape.slants_deg, residuals)


def most_reproducible_slant(
    networks: SceneNetworks, target: Target, generator: MaskedGenerator, config: ShapeConfig
) -> float:
    """The slant whose turned drawings the pack's encoder reproduces best; `networks` is left at the last one tried."""
    residuals = []
    for slant_deg in config.prior_shape.slants_deg:
        networks.start_from(ellipsoid_depth(target.canvas.mask, config.prior_shape, config.render.fov_deg, slant_deg))
        scene = current_scene(networks, target, config.render)
        residuals.append(reproduction_residual(scene, target, generator, config))
    return least(config.prior_shape.slants_deg, residuals)


def least(slants_deg: Sequence[float], residuals: Sequence[float]) -> float:
    """The slant with the least residual."""
    return min(zip(residuals, slants_deg, strict=True))[1]


@torch.no_grad()
def reproduction_residual(scene: Scene, target: Target, generator: MaskedGenerator, config: ShapeConfig) -> float:
    """Mean |difference|, inside the object, between drawings at small yaws and what the pack's encoder makes of them.

    Pixels told more than discriminator features when this was chosen (58 of 64 validation cars right against 37 to 53),
    and small turns more than large ones, which look strange whatever the slant.
    """
    views = torch.zeros(2 * len(TURNS_DEG), 6, device=scene.depth.device)
    views[:, 1] = views.new_tensor([side * math.radians(turn) for turn in TURNS_DEG for side in (1.0, -1.0)])
    drawn = draw_scene(scene, target.canvas, views, scene.light.expand(len(views), -1), config.render)
    made, _ = generator(generator.prior.guess_latent(drawn.image))
    return float(masked_l1(made, drawn.image, drawn.mask))


@torch.no_grad()
def judge(
    networks: SceneNetworks,
    encoder: OffsetEncoder,
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
