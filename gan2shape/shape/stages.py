"""One stage of the method: three steps in order (GAN2Shape section 3.3), as functions of fixed inputs and networks.

    albedo step      the albedo network explains the input under the current shape
    projection step  E learns to pull pseudo samples (new view, new light) onto the GAN, G(w + E(x)); then projected
                     samples are collected
    joint step       depth and albedo, shared, with each projected sample's own view and light, explain all of them;
                     then the gauges are restored

The canonical frame is the input's frame, so the input's own view is zero by construction
(`nn.scene_networks.SceneNetworks.views`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gan2shape.core.config import ShapeConfig, StepConfig
from gan2shape.core.devices import upload
from gan2shape.core.progress import Reporter
from gan2shape.core.records import Render
from gan2shape.invert.loop import Plan, Stage, Step, optimise
from gan2shape.invert.schedules import Schedule, linear_fall, ramp
from gan2shape.prior.masked_generator import MaskedGenerator
from gan2shape.scene.light import diffuse_cosine, normals_from_depth, shade
from gan2shape.scene.render import render, render_input_view, render_scene
from gan2shape.shape import published_losses
from gan2shape.shape.comparison import input_difference, mirrored, samples_difference
from gan2shape.shape.gauge import keep_high_pass, restore_gauge
from gan2shape.shape.losses import (
    FeatureMaps,
    projection_loss,
    resolution_factor,
    smoothness,
    view_error,
    view_spread_loss,
)
from gan2shape.shape.projection import prior_features, project, project_images
from gan2shape.shape.sampling import sample_lights, sample_views
from gan2shape.shape.state import ObjectState, Samples, SceneModel, Target, current_scene, step_rng

STEP_NAMES = ("albedo", "projection", "joint")
JUDGED_FROM = 0.9  # part of the joint step after which its sample loss counts as its residual


@dataclass(frozen=True)
class JointOptions:
    """How the joint step learns views and lights. The ladder's rungs differ here and nowhere else."""

    estimate_views: bool = True  # False: `Samples.views` are taken as true
    estimate_lights: bool = True  # False: `Samples.lights` are taken as true
    view_pull: float = 0.0
    light_pull: float = 0.0
    self_weight: float = 0.0  # of `self_view_loss`
    own_light: Float[Tensor, "1 4"] | None = None  # the input's, where it is known; None: the light network's estimate
    flip_weight: float = 0.0  # of reconstructing the samples with mirrored depth and albedo too

    @classmethod
    def of(cls, config: ShapeConfig, stage: int = 0) -> "JointOptions":
        """As the method is configured for a stage, counted from 0."""
        steps, ablation = config.steps, config.ablation
        return cls(
            ablation.estimate_views,
            True,
            steps.view_pull,
            steps.light_pull,
            ablation.view_self_weight,
            flip_weight=steps.flip_weight if stage == 0 else 0.0,
        )


def run_step(
    state: ObjectState,
    target: Target,
    latent: Float[Tensor, "1 *L D"],
    generator: MaskedGenerator,
    config: ShapeConfig,
    index: int,
    report: Reporter,
    from_network: bool,
) -> ObjectState:
    """Step number `index` of the whole run. from_network: whether the initial depth is a depth network's."""
    stage, step = divmod(index, len(STEP_NAMES))
    rng, features = step_rng(config, index), prior_features(generator.prior, config.steps.n_feature_blocks)
    if STEP_NAMES[step] == "albedo":
        albedo_step(state.model, target, features, config, report, stage)
        return state
    if STEP_NAMES[step] == "projection":
        n_steps = config.steps.count("projection", stage)
        projection_step(state, target, latent, generator, config, n_steps, rng, report)
        return replace(state, samples=collect(state, target, latent, generator, config, rng))
    joint_step(
        state.model,
        target,
        state.samples,
        features,
        config,
        JointOptions.of(config, stage),
        rng,
        report,
        config.steps.count("joint", stage),
    )
    return replace(state, model=restore_gauges(state.model, target, config, from_network))


def step_plan(
    name: str, n_steps: int, steps: StepConfig, weights: Mapping[str, float | Schedule] | None = None
) -> Plan:
    """One step's descent: the learning rate falls linearly to 0 after `lr_decay_from` of it. Every step has an
    optimiser of its own.
    """
    stage = Stage(name, n_steps, linear_fall(steps.lr, steps.lr_decay_from), weights or {})
    return Plan((stage,), betas=steps.betas, coupled_decay=steps.weight_decay, remedy="try a lower steps.lr")


# ------------------------------------------------------------------------------------------------------- albedo step


def albedo_step(
    model: SceneModel,
    target: Target,
    features: FeatureMaps | None,
    config: ShapeConfig,
    report: Reporter,
    stage: int = 0,
) -> None:
    """Step 1: explain the input by albedo alone; depth, view and light stay. Nothing to do for a quotient albedo."""
    networks, steps = model.networks, config.steps
    if networks.explains_input:
        return
    with torch.no_grad():
        depth, light = model.depth(target.image), networks.lights(target.image)
        shading = shade(normals_from_depth(depth, config.render.fov_deg), light)

    def loss_of(step: Step) -> Tensor:
        image = render_input_view(networks.albedo(target.surface, shading), shading, target.canvas)
        return input_difference(image, target, features, config)

    optimise(
        networks.albedo_net.parameters(),
        loss_of,
        step_plan("albedo", steps.count("albedo", stage), steps),
        report=report,
    )


# --------------------------------------------------------------------------------------------------- projection step


def pseudo_samples(
    model: SceneModel, target: Target, config: ShapeConfig, n: int, rng: torch.Generator
) -> tuple[Render, Float[Tensor, "n 6"], Float[Tensor, "n 4"]]:
    """n renders of the current scene under random views and lights about the input's, with both (no gradient)."""
    with torch.no_grad():
        scene = current_scene(model, target, config.render.fov_deg)
        views = upload(sample_views(n, config.views, rng), scene.depth.device)
        lights = sample_lights(n, config.lights, scene.light[0], rng)
        camera = config.render
        rendered = render_scene(scene, views, lights, camera.fov_deg, target.canvas, backend=camera.backend)
        return rendered, views, lights


def projection_step(
    state: ObjectState,
    target: Target,
    latent: Float[Tensor, "1 *L D"],
    generator: MaskedGenerator,
    config: ShapeConfig,
    n_steps: int,
    rng: torch.Generator,
    report: Reporter,
) -> None:
    """Step 2: train E on pseudo samples of the current scene."""

    def next_batch(step: int) -> Render:
        return pseudo_samples(state.model, target, config, config.steps.learnt_at_once, rng)[0]

    train_encoder(state.encoder, next_batch, target, latent, generator, config, n_steps, report)


def train_encoder(
    encoder: nn.Module,
    next_batch: Callable[[int], Render],
    target: Target,
    latent: Float[Tensor, "1 *L D"],
    generator: MaskedGenerator,
    config: ShapeConfig,
    n_steps: int,
    report: Reporter,
) -> None:
    """Train E to project what `next_batch(step)` renders; generator and discriminator stay frozen."""
    steps, prior = config.steps, generator.prior
    features = prior_features(prior, steps.n_feature_blocks)

    def loss_of(step: Step) -> Tensor:
        pseudo = next_batch(step.index)
        latents, offset = project(encoder, prior, latent, pseudo.image, target.image, config)
        if config.ablation.losses == "published":
            images = prior.generator.synthesis(latents)
            return published_losses.projection_loss(images, offset * prior.w_std, pseudo, features, steps)
        return projection_loss(prior.generator.synthesis(latents), offset, pseudo, features, steps)

    optimise(encoder.parameters(), loss_of, step_plan("projection", n_steps, steps), report=report)


def collect(
    state: ObjectState,
    target: Target,
    latent: Float[Tensor, "1 *L D"],
    generator: MaskedGenerator,
    config: ShapeConfig,
    rng: torch.Generator,
) -> Samples:
    """Projected samples of the current scene for the joint step."""
    batches = []
    for start in range(0, config.steps.n_collect, config.steps.batch):
        n = min(config.steps.batch, config.steps.n_collect - start)
        pseudo, views, lights = pseudo_samples(state.model, target, config, n, rng)
        projected = project_images(state.encoder, pseudo, target.image, latent, generator, config)
        batches.append((*projected, views, lights))
    return Samples(*(torch.cat(parts) for parts in zip(*batches, strict=True)))


# -------------------------------------------------------------------------------------------------------- joint step


def joint_step(
    model: SceneModel,
    target: Target,
    samples: Samples,
    features: FeatureMaps | None,
    config: ShapeConfig,
    options: JointOptions,
    rng: torch.Generator,
    report: Reporter,
    n_steps: int,
) -> float:
    """Step 3: one depth and one albedo explain the input and every sample. Returns the mean sample loss of the last
    tenth.
    """
    steps = config.steps
    count, device = len(samples.images), target.image.device
    order = torch.randperm(count, generator=rng).to(device)
    residuals: list[Tensor] = []

    def loss_of(step: Step) -> tuple[Tensor, dict[str, Tensor]]:
        first = step.index * steps.batch
        chosen = order[torch.arange(first, first + steps.batch, device=device) % count]
        loss, sample_loss = joint_loss(model, target, samples, chosen, features, config, options, step.weights["pull"])
        if options.self_weight > 0:
            loss = loss + options.self_weight * self_view_loss(model, target, config, rng)
        if step.index >= JUDGED_FROM * n_steps:
            residuals.append(sample_loss.detach())
        return loss, {"samples": sample_loss}

    plan = step_plan("joint", n_steps, steps, {"pull": ramp(1.0, 0.0, steps.pull_fraction)})
    optimise(model.networks.parameters(), loss_of, plan, report=report)
    return float(torch.stack(residuals).mean()) if residuals else 0.0


def joint_loss(
    model: SceneModel,
    target: Target,
    samples: Samples,
    chosen: Tensor,
    features: FeatureMaps | None,
    config: ShapeConfig,
    options: JointOptions,
    pull: float,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """(whole loss, the samples' part of it) for one batch; `pull` in [0, 1] scales the anchors of views and lights."""
    steps, networks, image = config.steps, model.networks, target.image
    fov_deg, backend = config.render.fov_deg, config.render.backend
    images, canvas = samples.images[chosen], target.canvas
    depth = model.depth(image)
    normals = normals_from_depth(depth, fov_deg)
    lights = networks.lights(torch.cat([images, image]))
    shading = shade(normals, lights[-1:] if options.own_light is None else options.own_light)
    albedo = networks.albedo(target.surface, shading)
    views = networks.views(images, image) if options.estimate_views else samples.views[chosen]
    sample_lights = lights[:-1] if options.estimate_lights else samples.lights[chosen]
    rendered = render(depth, albedo, shade(normals, sample_lights), views, fov_deg, canvas, backend=backend)
    sample_loss = samples_difference(rendered, samples, chosen, canvas, features, config)
    loss = sample_loss
    if options.flip_weight > 0:
        flipped = mirrored(depth, albedo, sample_lights, views, canvas, config.render)
        loss = loss + options.flip_weight * samples_difference(flipped, samples, chosen, canvas, features, config)
    if not networks.explains_input:
        loss = loss + input_difference(render_input_view(albedo, shading, canvas), target, features, config)
    loss = loss + steps.smooth_weight * resolution_factor(config) * smoothness(depth, config.render.depth_half_range)
    if steps.shading_smooth_weight > 0:
        diffuse = diffuse_cosine(normals, lights[-1:] if options.own_light is None else options.own_light)
        loss = loss + steps.shading_smooth_weight * resolution_factor(config) * smoothness(diffuse, 1.0)
    if options.estimate_views and steps.view_spread_weight > 0:
        loss = loss + steps.view_spread_weight * view_spread_loss(views, config.views)
    if pull > 0:  # both are 0 where nothing is estimated
        light_error = sample_lights - samples.lights[chosen]
        loss = loss + pull * options.view_pull * view_error(views, samples.views[chosen]).square().mean()
        loss = loss + pull * options.light_pull * light_error.square().mean()
    return loss, sample_loss


def self_view_loss(model: SceneModel, target: Target, config: ShapeConfig, rng: torch.Generator) -> Float[Tensor, ""]:
    """How well V reads the view of pseudo samples of the CURRENT shape, whose views are known because we chose them.

    It keeps V calibrated on the shape as it is, so that a sample's own view is estimated, whatever its target view.
    Angles in units of 10 degrees; no gradient reaches the shape.
    """
    pseudo, views, _ = pseudo_samples(model, target, config, config.steps.batch // 2, rng)
    return view_error(model.networks.views(pseudo.image, target.image), views).square().mean()


@torch.no_grad()
def restore_gauges(model: SceneModel, target: Target, config: ShapeConfig, from_network: bool) -> SceneModel:
    """The model with its initial depth scale and sideways tilt; where a depth network gave the initial depth, with its
    coarse form too.
    """
    mask, initial = target.canvas.mask, config.initial
    if config.ablation.restore_gauge:
        model = replace(model, base=restore_gauge(model.base, model.depth(target.image), mask))
    if from_network and initial.highpass_cutoff > 0:
        depth = model.depth(target.image)
        model = replace(
            model, base=keep_high_pass(model.base, depth, mask, initial.highpass_cutoff, initial.highpass_share)
        )
    return model
