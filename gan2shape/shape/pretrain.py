"""Joint pre-training: one depth, view and light network for many images of a generator (GAN2Shape, experiments).

    pool      images that the generator learnt from, as it reproduces them (without any: its samples), and their masks
    fit       the depth network learns their initial ellipsoids (with their slants), whose errors average out; or all
              three learn what the networks of a teacher see, at whose weights they begin if they can
              (`shape.pretrain_fit`)
    joint     steps 2 and 3 of the loop for a new batch of images at every step: render the FIT under other views and
              lights, project the renders by the pack's encoder, explain the projections by depth, view and light
    rounds    the same again, rendering the result of the round before (`initial.pretraining_depth_scales`: one each);
              the result is the weights at the end of the last one

No label and no exam image enters: single images and the generator are the only teachers. Pseudo samples are rendered
from the same depth throughout a round. Rendered from the depth that is being learnt, they would flatten it: a flatter
shape rotates less, is projected onto a smaller view change, and becomes flatter still. Rendered under the lights that
are being learnt, they drift with them. Renders have the target views; projections respond to a part of the view change,
so the depth scale is calibrated afterwards (`initial.network_depth_scale`). The depth that the network sees in a
projection has to be the rendered depth, rotated: a car's side shows the length that its front does not.

Images are first passed through the pack's encoder: other latents lose colour and form when rotated.

Where the processor has bfloat16, convolutions of the rounds work in it (a step takes three quarters of the time, its
gradient has a cosine of .998 with the exact one); what is returned works in full precision.
"""

import copy
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.core.config import ShapeConfig
from gan2shape.core.devices import has_fast_bfloat16, upload
from gan2shape.core.errors import UserError
from gan2shape.core.files import write_state_atomic
from gan2shape.core.progress import Reporter, silent
from gan2shape.core.records import Render
from gan2shape.core.seeding import seeded
from gan2shape.invert.loop import Plan, Stage, Step, optimise
from gan2shape.invert.schedules import linear_fall
from gan2shape.nn.scene_networks import SceneNetworks, work_in_bfloat16
from gan2shape.nn.sized_generator import SizedSynthesis
from gan2shape.prior.masked_generator import MaskedGenerator
from gan2shape.prior.open import at_resolution
from gan2shape.prior.packs import freeze
from gan2shape.prior.scene import category_networks, load_learnt
from gan2shape.scene.canvas import Canvas, over_background
from gan2shape.scene.light import normals_from_depth, shade
from gan2shape.scene.render import render
from gan2shape.shape.initialize import category_depth
from gan2shape.shape.losses import compared_pixels, resolution_factor, smoothness, view_error, visible_difference
from gan2shape.shape.pool import Pool, PretrainConfig, make_pool
from gan2shape.shape.pretrain_fit import begin_as, fit_loss, with_ellipsoids, with_teacher
from gan2shape.shape.sampling import sample_lights, sample_views
from gan2shape.train.state import read_checkpoint


@dataclass(frozen=True)
class PseudoSource:
    """Which shapes are rendered for projection."""

    networks: SceneNetworks  # as they were when the round began
    depth_scale: float = 1.0  # of their depth about distance 1
    is_depth: bool = False  # whether those shapes serve as the depth too, while views and lights warm up


def pretrain(
    generator: MaskedGenerator,
    config: ShapeConfig,
    plan: PretrainConfig,
    state_path: Path,
    report: Reporter = silent,
    images: Float[Tensor, "M 3 S S"] | None = None,
    teacher: tuple[MaskedGenerator, ShapeConfig] | None = None,
) -> SceneNetworks:
    """Fit, then learn jointly, going on from `state_path` where that exists.

    `images` in [-1, 1] are single images of the category, those that the generator learnt from; without, its samples
    serve. A `teacher`, a pack of half the resolution or of a related category with its settings, takes the place of the
    ellipsoids and of all rounds but one. Raises UserError where the generator has no encoder, too few images show an
    object, the state is another generator's, and where the loss is not finite.
    """
    if generator.prior.encoder is None:
        raise UserError("This generator has no image encoder: pre-training needs one that was trained beside it.")
    device = generator.prior.w_mean.device
    with seeded(plan.seed):
        networks = category_networks(config)
    networks = networks.to(device, memory_format=torch.channels_last)
    saved = read_checkpoint(state_path, device) if state_path.is_file() else {"round": 0, "step": 0}
    if not torch.equal(saved.get("w_mean", generator.prior.w_mean), generator.prior.w_mean):
        raise UserError(f"{state_path} was learnt from another generator: delete it to learn anew.")
    pool = make_pool(generator, plan.n_objects, plan.seed, images)
    is_bfloat16 = has_fast_bfloat16(device)
    work_in_bfloat16(networks, is_bfloat16)
    quick = quicker(generator) if is_bfloat16 else generator
    if teacher is not None:
        if saved["round"] == saved["step"] == 0:
            begin_as(networks, config, *teacher)
        config = replace(config, initial=replace(config.initial, pretraining_depth_scales=()))
    for index in range(saved["round"], 2 + len(config.initial.pretraining_depth_scales)):
        learnt_from = pool
        if index == 0 and teacher is None:
            learnt_from = with_ellipsoids(pool, generator, config, plan.n_fit_objects, report)
        elif index == 0:
            learnt_from = with_teacher(pool, *teacher)
        learn_round(index, networks, learnt_from, quick, config, plan, saved, state_path, report)
        saved = {"step": 0}
    work_in_bfloat16(networks, False)
    return freeze(networks)


def quicker(generator: MaskedGenerator) -> MaskedGenerator:
    """The generator with convolutions in bfloat16; itself where that was decided when it was opened."""
    if isinstance(generator.prior.generator.synthesis, SizedSynthesis):
        return generator
    return replace(generator, prior=at_resolution(generator.prior, generator.resolution, is_bfloat16=True))


def learn_round(
    index: int,
    networks: SceneNetworks,
    pool: Pool,
    generator: MaskedGenerator,
    config: ShapeConfig,
    plan: PretrainConfig,
    saved: dict,
    state_path: Path,
    report: Reporter,
) -> None:
    """The fit (round 0) or a joint round, from the step of a `saved` state to the end; `networks` learn in place."""
    before = freeze(copy.deepcopy(networks))  # what this round renders
    if saved["step"] > 0:
        load_learnt(networks, saved["networks"])
        load_learnt(before, saved["before"])
    scales = (1.0, *config.initial.pretraining_depth_scales)
    name, n_steps = (f"joint {index}/{len(scales)}", plan.n_joint) if index else ("fit", plan.n_fit)

    def loss_of(step: Step) -> Float[Tensor, ""]:
        rng = torch.Generator().manual_seed(1_000_003 * plan.seed + 100_003 * index + step.index)
        if index == 0:
            return fit_loss(networks, pool, config, plan, step.index, rng)
        source = PseudoSource(before, scales[index - 1], is_depth=index == 1 and step.index < plan.n_warm)
        return joint_pretraining_loss(networks, source, pool, generator, config, plan, rng)

    def keep(step: Step, loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
        if (step.index + 1) % plan.keep_every == 0:
            modules = {"networks": networks, "before": before, "optimizer": optimizer}
            save_training(state_path, modules, index, step.index + 1, generator)

    steps = config.steps
    stage = Stage(name, n_steps, linear_fall(steps.lr, steps.lr_decay_from))
    optimise(
        networks.parameters(),
        loss_of,
        Plan((stage,), betas=steps.betas, remedy="try a lower steps.lr"),
        report=report,
        after_step=keep,
        span=(saved["step"], n_steps),
        optimizer_state=saved.get("optimizer"),
    )


def save_training(path: Path, modules: dict, index: int, step: int, generator: MaskedGenerator) -> None:
    """Write what a restart needs under a temporary name, then replace the old file. Round 0 is the fit."""
    state = {name: module.state_dict() for name, module in modules.items()}
    state |= {"round": index, "step": step, "w_mean": generator.prior.w_mean}  # the last tells generators apart
    write_state_atomic(path, state)


def joint_pretraining_loss(
    networks: SceneNetworks,
    source: PseudoSource,
    pool: Pool,
    generator: MaskedGenerator,
    config: ShapeConfig,
    plan: PretrainConfig,
    rng: torch.Generator,
) -> Float[Tensor, ""]:
    """How badly depths, views and lights of a batch of images explain projections of renders of another shape.

    Renders take the category's mean light for every image's own light. Lights that the light network estimates while it
    learns make renders drift with it (docs/trials.md).
    """
    some = pool.pick(torch.randint(len(pool.images), (plan.batch,), generator=rng))
    with torch.no_grad():
        rendered_depth = category_depth(source.networks, some.images, source.depth_scale)
    depth = rendered_depth if source.is_depth else category_depth(networks, some.images)
    own_lights, mean_lights = networks.lights(some.images), networks.light_mean.expand(plan.batch, -1)
    target_views = upload(sample_views(plan.batch * plan.n_views, config.views, rng), depth.device)
    target_lights = sample_lights(len(target_views), config.lights, networks.light_mean, rng)
    with torch.no_grad():
        pseudo = render_pool(some, rendered_depth, mean_lights, target_views, target_lights, networks, config)
        projected, projected_masks = project_pseudo(some, pseudo, generator, plan.n_views)
    seen = torch.cat([projected, pseudo.image])
    raw = networks.view_net(torch.cat([seen, some.images]))
    views = networks.relative_views(raw[: len(seen)], repeated(raw[len(seen) :], plan.n_views).repeat(2, 1))
    lights = networks.lights(projected)
    count = len(projected)
    made = render_pool(some, depth, own_lights, target_views, lights, networks, config)
    agreement = 0.0
    if not source.is_depth:
        agreement = disagreement(category_depth(networks, projected), projected_masks, made, config)
    shown = over_background(repeated(some.backgrounds, plan.n_views), projected, projected_masks)
    view_errors = view_error(views, target_views.repeat(2, 1)).square().mean(1)
    return (
        visible_difference(made, shown, projected_masks, config.steps)
        + plan.smooth_weight * resolution_factor(config) * smoothness(depth, config.render.depth_half_range)
        + plan.view_pull * view_errors[:count].mean()
        + plan.light_pull * (lights - target_lights).square().mean()
        + plan.own_light_pull * (own_lights - mean_lights).square().mean()
        + plan.self_weight * view_errors[count:].mean()
        + plan.agreement_weight * agreement
    )


def project_pseudo(
    some: Pool, pseudo: Render, generator: MaskedGenerator, n_views: int
) -> tuple[Float[Tensor, "N 3 S S"], Float[Tensor, "N 1 S S"]]:
    """Images and masks of pseudo samples as the generator draws them: each image's own latent, moved by as much as the
    encoder sees its pseudo sample move.
    """
    guesses = generator.prior.guess_latent(pseudo.image)
    return generator(repeated(some.latents - some.guesses, n_views) + guesses)


def disagreement(
    seen: Float[Tensor, "N 1 S S"], masks: Float[Tensor, "N 1 S S"], made: Render, config: ShapeConfig
) -> Float[Tensor, ""]:
    """Mean |difference| of the depths seen in projections and the rendered depths where both have the object, up to
    their mean distance, in units of the half-range.
    """
    weight = made.mask.detach() * masks * compared_pixels(made, config.steps)
    error = (seen - made.depth) / config.render.depth_half_range
    error = error - (weight * error).sum((1, 2, 3), keepdim=True) / weight.sum((1, 2, 3), keepdim=True).clamp_min(1.0)
    return (weight * error.abs()).sum() / weight.sum().clamp_min(1.0)


def render_pool(
    some: Pool,
    depth: Float[Tensor, "B 1 S S"],
    own_lights: Float[Tensor, "B 4"],
    views: Float[Tensor, "N 6"],
    lights: Float[Tensor, "N 4"],
    networks: SceneNetworks,
    config: ShapeConfig,
) -> Render:
    """N/B renders of each of B samples."""
    n_views = len(views) // len(depth)
    camera = config.render
    normals = normals_from_depth(depth, camera.fov_deg)
    albedo = networks.albedo(some.surfaces, shade(normals, own_lights))
    canvas = Canvas(repeated(some.masks, n_views), repeated(some.backgrounds, n_views))
    shading = shade(repeated(normals, n_views), lights)
    depth, albedo = (repeated(one, n_views) for one in (depth, albedo))
    return render(depth, albedo, shading, views, camera.fov_deg, canvas, backend=camera.backend)


def repeated(rows: Tensor, n: int) -> Tensor:
    """Each row n times in a row."""
    return rows.repeat_interleave(n, 0)
