"""The ellipsoid as initial depth: a spherical cap on the mask's box, with a depth scale and a slant (GAN2Shape
section 3.2).

Published constants: sphere radius .4, near .91, far 1.02 (core.config.InitialShapeConfig). Two additions, both needed
by objects seen at three-quarter view: `depth_scale` scales the cap's height about the far plane, the slant shears the
cap along z, which makes an ellipsoid into the cap of a tilted ellipsoid. Depths are z in the camera frame.

A mask does not show the sign of the slant, so a few slants are tried. An object that is rotated about the right slanted
shape looks like the object rotated; about the wrong one it looks like nothing the GAN has seen. A pack's encoder
measures this at once: it reproduces renders about the right slant better. Without an encoder, one projector learns the
pseudo samples of all candidates together, and the residual of its projections decides.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gan2shape.core.config import InitialShapeConfig, ShapeConfig
from gan2shape.core.errors import UserError
from gan2shape.core.progress import Reporter
from gan2shape.core.records import Render, Scene
from gan2shape.invert.loop import Plan, Stage, Step, optimise
from gan2shape.invert.schedules import linear_fall
from gan2shape.prior.masked_generator import MaskedGenerator
from gan2shape.scene.camera import yaw_views
from gan2shape.scene.render import render_scene
from gan2shape.shape.gauge import depth_base
from gan2shape.shape.losses import feature_distance, masked_l1
from gan2shape.shape.projection import prior_features, project
from gan2shape.shape.stages import pseudo_samples, train_encoder
from gan2shape.shape.state import ObjectState, SceneModel, Target, current_scene

BOX_LEVEL = 0.7  # mask value that counts as object when the box is measured (published)
JUDGED_YAWS_DEG = (6.0, 10.0, 15.0, 20.0)  # to the left and right, whose renders the encoder judges
TRAINING_SEED, JUDGING_SEED = 17, 18  # offsets of the random numbers of projector and judge


def mask_box_px(mask: Float[Tensor, "1 1 S S"]) -> tuple[float, float, float, float]:
    """(left, top, right, bottom) pixel borders of the box of `mask` >= 0.7. Raises UserError for an empty mask."""
    inside = mask[0, 0] >= BOX_LEVEL
    if not bool(inside.any()):
        raise UserError("The object mask is empty: give a mask with --mask, or an image whose object is visible.")
    columns = torch.nonzero(inside.any(0)).flatten()
    rows = torch.nonzero(inside.any(1)).flatten()
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def grown_box(
    box_px: tuple[float, float, float, float], growth: tuple[float, float, float, float], size: int
) -> tuple[float, float, float, float]:
    """The box with its left, top, right and bottom moved outwards by parts of its width or height, inside the image."""
    left, top, right, bottom = box_px
    width, height = right - left, bottom - top
    moved = (left - growth[0] * width, top - growth[1] * height, right + growth[2] * width, bottom + growth[3] * height)
    return tuple(min(max(at, 0.0), float(size)) for at in moved)


def ellipsoid_depth(
    mask: Float[Tensor, "1 1 S S"], config: InitialShapeConfig, fov_deg: float, slant_deg: float = 0.0
) -> Float[Tensor, "1 1 S S"]:
    """Depth of the cap inside the mask's box and of the plane behind it.

    slant_deg > 0 brings the image-right side nearer (as a positive yaw does). The published code centres the cap
    wrongly for off-centre boxes (reference, quirk of c_y); here both axes are divided by their own half-width.
    """
    size = mask.shape[-1]
    left, top, right, bottom = grown_box(mask_box_px(mask), config.box_growth, size)
    centres = torch.arange(size, device=mask.device, dtype=mask.dtype) + 0.5
    u = (centres - (left + right) / 2) / ((right - left) / 2)
    v = (centres - (top + bottom) / 2) / ((bottom - top) / 2)
    distance = (u[None, :].square() + v[:, None].square()).clamp_max(1.0)  # squared, 1 at the outline
    height = config.far - config.near
    chord = config.radius**2 - (config.radius - height) ** 2  # squared half-width of the published cap on its sphere
    cap = config.near + config.radius - (config.radius**2 - distance * chord).sqrt()
    depth = config.far + config.depth_scale * (cap - config.far)
    x_scene = (centres - (left + right) / 2) * (2 * math.tan(math.radians(fov_deg) / 2) / size)
    depth = depth - math.tan(math.radians(slant_deg)) * x_scene[None, :]
    return depth[None, None]


def flat_depth(mask: Float[Tensor, "1 1 S S"]) -> Float[Tensor, "1 1 S S"]:
    """The null hypothesis of every table: a plane at distance 1."""
    return torch.ones_like(mask)


def ellipsoid_model(
    model: SceneModel, mask: Float[Tensor, "1 1 S S"], config: ShapeConfig, slant_deg: float
) -> SceneModel:
    """The model with its depth at an ellipsoid: the network learns what is added to it."""
    depth = ellipsoid_depth(mask, config.initial, config.render.fov_deg, slant_deg)
    return replace(model, base=depth_base(depth, config.render.depth_half_range))


def fit_to_ellipsoid(
    model: SceneModel, target: Target, config: ShapeConfig, slant_deg: float, report: Reporter
) -> SceneModel:
    """The model with its depth network fitted to an ellipsoid by mean squared error, `ablation.fit_steps` long
    (published).
    """
    steps = config.steps
    ellipsoid = ellipsoid_depth(target.canvas.mask, config.initial, config.render.fov_deg, slant_deg)

    def loss_of(step: Step) -> Tensor:
        return (model.free_depth(target.image) - ellipsoid).square().mean()

    stage = Stage("ellipsoid", config.ablation.fit_steps, linear_fall(steps.lr, steps.lr_decay_from))
    plan = Plan((stage,), betas=steps.betas, coupled_decay=steps.weight_decay, remedy="try a lower steps.lr")
    optimise(model.networks.depth_net.parameters(), loss_of, plan, report=report)
    with torch.no_grad():
        return replace(model, base=replace(model.base, initial=model.free_depth(target.image)))


def choose_slant(
    state: ObjectState,
    target: Target,
    latent: Float[Tensor, "1 *L D"],
    generator: MaskedGenerator,
    config: ShapeConfig,
    report: Reporter,
) -> float:
    """The slant in degrees, out of `config.initial.slants_deg`, whose pseudo samples the GAN explains best.

    E, where it is needed, keeps what it learnt: it is a warm start for the first projection step.
    """
    slants_deg = config.initial.slants_deg
    if len(slants_deg) == 1:
        return slants_deg[0]
    candidates = [ellipsoid_model(state.model, target.canvas.mask, config, slant_deg) for slant_deg in slants_deg]
    if generator.prior.encoder is not None:
        scenes = [current_scene(candidate, target, config.render.fov_deg) for candidate in candidates]
        return best_slant(slants_deg, [reproduction_residual(scene, target, generator, config) for scene in scenes])
    rng = torch.Generator().manual_seed(config.seed + TRAINING_SEED)

    def next_batch(step: int) -> Render:
        return pseudo_samples(candidates[step % len(candidates)], target, config, config.steps.learnt_at_once, rng)[0]

    def as_slant(stage: str, step: int, n_steps: int, **numbers: float) -> None:
        report("slant", step, n_steps, **numbers)

    train_encoder(state.encoder, next_batch, target, latent, generator, config, config.initial.slant_steps, as_slant)
    residuals = [
        projection_residual(candidate, state.encoder, target, latent, generator, config) for candidate in candidates
    ]
    return best_slant(slants_deg, residuals)


def best_slant(slants_deg: Sequence[float], residuals: Sequence[float]) -> float:
    """The slant with the least residual."""
    return min(zip(residuals, slants_deg, strict=True))[1]


@torch.no_grad()
def reproduction_residual(scene: Scene, target: Target, generator: MaskedGenerator, config: ShapeConfig) -> float:
    """Mean |difference|, inside the object, between renders at small yaws and what the pack's encoder makes of them.

    Pixels tell more than discriminator features, and small yaws more than large ones, which look strange whatever the
    slant (docs/trials.md).
    """
    views = yaw_views([sign * yaw_deg for yaw_deg in JUDGED_YAWS_DEG for sign in (1.0, -1.0)], scene.depth)
    lights = scene.light.expand(len(views), -1)
    camera = config.render
    rendered = render_scene(scene, views, lights, camera.fov_deg, target.canvas, backend=camera.backend)
    made, _ = generator(generator.prior.guess_latent(rendered.image))
    return float(masked_l1(made, rendered.image, rendered.mask))


@torch.no_grad()
def projection_residual(
    model: SceneModel,
    encoder: nn.Module,
    target: Target,
    latent: Float[Tensor, "1 *L D"],
    generator: MaskedGenerator,
    config: ShapeConfig,
) -> float:
    """Mean feature distance between pseudo samples and their projections; the same views and lights for every
    candidate.
    """
    rng = torch.Generator().manual_seed(config.seed + JUDGING_SEED)
    total, n_judged = 0.0, config.initial.slant_judged
    for start in range(0, n_judged, config.steps.batch):
        n = min(config.steps.batch, n_judged - start)
        pseudo, _, _ = pseudo_samples(model, target, config, n, rng)
        latents, _ = project(encoder, generator.prior, latent, pseudo.image, target.image, config)
        made = generator.prior.generator.synthesis(latents)
        total += n / n_judged * float(feature_distance(made, pseudo.image, prior_features(generator.prior)))
    return total
