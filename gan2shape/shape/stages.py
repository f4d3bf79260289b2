"""The three steps of a stage (GAN2Shape section 3.3), as functions of frozen inputs and trained networks.

    albedo step      the albedo network explains the input under the current shape
    projection step  E learns to pull pseudo samples (new view, new light) onto the GAN:  G(w + E(x))
    joint step       depth and albedo, shared, with each projected sample's own view and light, explain all of them

The canonical frame is the input's frame, so the input's own view is zero by construction
(networks.SceneNetworks.views).
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.core.config import (
    RenderConfig,
    ShapeConfig,
    StepConfig,
    ViewPriorConfig,
)
from gan2shape.core.devices import upload
from gan2shape.core.errors import UserError
from gan2shape.core.progress import Reporter
from gan2shape.core.records import Scene
from gan2shape.nn.scene_networks import SceneNetworks
from gan2shape.scene.light import normals_from_depth, shade
from gan2shape.scene.pseudo import (
    Canvas,
    Drawing,
    draw,
    draw_input,
    draw_scene,
    fill_background,
    unmixed,
    widened,
)
from gan2shape.scene.render import shown_area
from gan2shape.shape.losses import (
    FeatureMaps,
    feature_distance,
    masked_l1,
    smoothness,
)
from gan2shape.shape.sampling import sample_lights, sample_views, truncated_sd

LEAST_SPREAD = 1e-12  # of squared angles, where views do not spread at all
PULL_UNIT_RAD = 0.1745  # angles count in units of 10 degrees, so that pulls on views and lights have comparable sizes


@dataclass(frozen=True)
class Target:
    """The input as the steps use it."""

    image: Float[Tensor, "1 3 S S"]
    canvas: Canvas
    surface: Float[Tensor, "1 3 S S"]  # the object's own colours: the image without the background in its rim


def target_from(image: Float[Tensor, "1 3 S S"], mask: Float[Tensor, "1 1 S S"]) -> Target:
    """Image and mask as the steps use them."""
    background = fill_background(image, mask)
    return Target(image, Canvas(mask, background), unmixed(image, mask, background))


@dataclass(frozen=True)
class Samples:
    """Images of the object under other views and lights, as step 3 consumes them."""

    images: Float[Tensor, "N 3 S S"]
    masks: Float[Tensor, "N 1 S S"]
    views: Float[Tensor, "N 6"]  # asked (or, on the ladder's first rung, true) views
    lights: Float[Tensor, "N 4"]
    weights: Float[Tensor, " N"]  # how much each counts, mean 1


@dataclass(frozen=True)
class JointOptions:
    """How step 3 learns views and lights. The ladder's rungs differ here and nowhere else."""

    estimate_views: bool = True  # False: `Samples.views` are taken as true
    estimate_lights: bool = True  # False: `Samples.lights` are taken as true
    view_pull: float = 0.0
    light_pull: float = 0.0
    self_weight: float = 0.0  # of `self_view_loss`
    own_light: Float[Tensor, "1 4"] | None = None  # the input's, where it is known; None: what the light network sees

    @classmethod
    def of(cls, steps: StepConfig) -> "JointOptions":
        """As the loop is configured."""
        return cls(steps.find_views, True, steps.view_pull, steps.light_pull, steps.view_self_weight)


def decayed(optimizer: torch.optim.Optimizer, steps: StepConfig, step: int, n_steps: int) -> None:
    """Linear fall of the learning rate to 0 after `lr_decay_from` of the step."""
    start = steps.lr_decay_from * n_steps
    factor = 1.0 if step < start else max(0.0, (n_steps - step) / max(1.0, n_steps - start))
    for group in optimizer.param_groups:
        group["lr"] = steps.lr * factor


def guard(loss: Tensor, stage: str, step: int) -> float:
    """The loss as a number; raises UserError when it is not finite, so that no run writes a NaN mesh."""
    value = float(loss.detach())
    if value != value or value in (float("inf"), float("-inf")):
        raise UserError(f"The loss became {value} in {stage} at step {step}: try a lower steps.lr.")
    return value


def descend(optimizer: torch.optim.Optimizer, loss: Tensor, stage: str, step: int) -> None:
    """One update. Raises UserError before it where the loss is not finite (off the CPU, where looking waits for the
    device, at every tenth step): torch's backward of a warp at NaN coordinates ends the process.
    """
    if loss.device.type == "cpu" or step % 10 == 9:
        guard(loss, stage, step)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


def fit_depth(
    networks: SceneNetworks, target: Target, wanted: Float[Tensor, "1 1 S S"], config: ShapeConfig, report: Reporter
) -> float:
    """Fit the depth network to `wanted` (up to its mean, a gauge) until it stops improving; returns the rms error left.

    A start that is fitted badly is a wrong start: 200 steps were too few in the feasibility trial.
    """
    optimizer = torch.optim.Adam(networks.depth_net.parameters(), lr=config.steps.lr, betas=config.steps.betas)
    n_steps, check_every, least_gain = config.prior_shape.fit_steps, 50, 0.98
    half_range = config.render.depth_half_range
    best = previous = float("inf")
    for step in range(n_steps):
        decayed(optimizer, config.steps, step, n_steps)
        error = (networks.depth(target.image) - wanted) / half_range
        loss = (error - error.mean()).square().mean()
        descend(optimizer, loss, "fit", step)
        best = min(best, loss.item())
        if (step + 1) % check_every == 0:
            report("fit", step + 1, n_steps, loss=float(loss.detach()))
            if best > least_gain * previous and step > config.steps.lr_decay_from * n_steps:
                break
            previous = best
    return half_range * best**0.5


def albedo_step(
    networks: SceneNetworks, target: Target, features: FeatureMaps | None, config: ShapeConfig, report: Reporter
) -> None:
    """Step 1: explain the input by albedo alone; depth, view and light stay. Nothing to do for a quotient albedo."""
    if networks.explains_input:
        return
    steps = config.steps
    optimizer = torch.optim.Adam(networks.albedo_net.parameters(), lr=steps.lr, betas=steps.betas)
    with torch.no_grad():
        depth, light = networks.depth(target.image), networks.lights(target.image)
        shading = shade(normals_from_depth(depth, config.render.fov_deg), light)
    for step in range(steps.n_albedo):
        decayed(optimizer, steps, step, steps.n_albedo)
        image = draw_input(networks.albedo(target.surface, shading), shading, target.canvas)
        loss = _input_loss(image, target, features, steps)
        descend(optimizer, loss, "the albedo step", step)
        if step % 10 == 9:
            report("albedo", step + 1, steps.n_albedo, loss=float(loss.detach()))


def joint_step(
    networks: SceneNetworks,
    target: Target,
    samples: Samples,
    features: FeatureMaps | None,
    config: ShapeConfig,
    options: JointOptions,
    generator: torch.Generator,
    report: Reporter,
    n_steps: int | None = None,
) -> float:
    """Step 3: one depth and one albedo explain the input and every sample. Returns the mean sample loss of the last
    tenth.
    """
    steps, n_steps = config.steps, n_steps or config.steps.n_joint
    optimizer = torch.optim.Adam(networks.parameters(), lr=steps.lr, betas=steps.betas)
    count = len(samples.images)
    order = torch.randperm(count, generator=generator).to(target.image.device)
    residuals: list[float] = []
    for step in range(n_steps):
        decayed(optimizer, steps, step, n_steps)
        places = torch.arange(step * steps.batch, (step + 1) * steps.batch, device=order.device)
        chosen = order[places % count]
        pull = max(0.0, 1.0 - step / max(1.0, steps.pull_fraction * n_steps))
        loss, sample_loss = joint_loss(networks, target, samples, chosen, features, config, options, pull)
        if options.self_weight > 0:
            loss = loss + options.self_weight * self_view_loss(networks, target, config, generator)
        descend(optimizer, loss, "the joint step", step)
        if step >= 0.9 * n_steps:
            residuals.append(float(sample_loss.detach()))
        if step % 10 == 9:
            report("joint", step + 1, n_steps, loss=float(loss.detach()), samples=float(sample_loss.detach()))
    return sum(residuals) / max(1, len(residuals))


def joint_loss(
    networks: SceneNetworks,
    target: Target,
    samples: Samples,
    chosen: Tensor,
    features: FeatureMaps | None,
    config: ShapeConfig,
    options: JointOptions,
    pull: float,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """(whole loss, the samples' part of it) for one batch; `pull` in [0, 1] scales the anchors of views and lights."""
    steps, image = config.steps, target.image
    wanted, wanted_masks = samples.images[chosen], samples.masks[chosen]
    depth = networks.depth(image)
    normals = normals_from_depth(depth, config.render.fov_deg)
    lights = networks.lights(torch.cat([wanted, image]))
    shading = shade(normals, lights[-1:] if options.own_light is None else options.own_light)
    albedo = networks.albedo(target.surface, shading)
    views = networks.views(wanted, image) if options.estimate_views else samples.views[chosen]
    sample_lights = lights[:-1] if options.estimate_lights else samples.lights[chosen]
    drawn = draw(depth, albedo, shade(normals, sample_lights), target.canvas, views, config.render)
    shown = over(target.canvas.background, wanted, wanted_masks)
    sample_loss = difference(drawn, shown, wanted_masks, steps, samples.weights[chosen])
    if features is not None and steps.feature_weight > 0:
        sample_loss = sample_loss + steps.feature_weight * feature_distance(drawn.image, shown, features)
    loss = sample_loss
    if not networks.explains_input:
        loss = loss + _input_loss(draw_input(albedo, shading, target.canvas), target, features, steps)
    loss = loss + steps.smooth_weight * smoothness(depth, config.render.depth_half_range)
    if options.estimate_views and steps.view_spread_weight > 0:
        loss = loss + steps.view_spread_weight * spread_loss(views, config.views)
    if pull > 0:  # both are 0 where nothing is estimated
        view_error = (views[:, :3] - samples.views[chosen][:, :3]) / PULL_UNIT_RAD
        light_error = sample_lights - samples.lights[chosen]
        loss = loss + pull * options.view_pull * view_error.square().mean()
        loss = loss + pull * options.light_pull * light_error.square().mean()
    return loss, sample_loss


def over(
    background: Float[Tensor, "#B 3 S S"], images: Float[Tensor, "B 3 S S"], masks: Float[Tensor, "B 1 S S"]
) -> Float[Tensor, "B 3 S S"]:
    """The objects of `images` over one background: with it on both sides of a comparison, silhouettes that differ cost
    their contrast, and nothing else outside the object does.
    """
    cover = widened(masks)
    return cover * images + (1 - cover) * background


def difference(
    drawn: Drawing,
    shown: Float[Tensor, "B 3 S S"],
    masks: Float[Tensor, "B 1 S S"],
    steps: StepConfig,
    weights: Float[Tensor, " B"] | None = None,
) -> Float[Tensor, ""]:
    """Pixels where the drawing shows what the input shows of the object, and where its mask spills over the wanted one.

    A height field has no sides: turned, it stretches from its outline to the sheet behind it over what the input does
    not show. What a projection has there says nothing about the shape, and taken for evidence it pulls outlines in
    until the stretch is gone (true views, heads 5 and 7: SIDE .24 and .28 of flat with those pixels, .08 and .11
    without).
    """
    shows = drawn.mask.detach() * (shown_area(drawn.grid) > steps.least_area)
    loss = steps.pixel_weight * masked_l1(drawn.image, shown, shows, weights)
    if steps.mask_weight > 0:
        spilt = (drawn.mask - masks).clamp_min(0) * (shows > 0)
        loss = loss + steps.mask_weight * spilt.sum() / shows.sum().clamp_min(1.0)
    return loss


def self_view_loss(
    networks: SceneNetworks, target: Target, config: ShapeConfig, generator: torch.Generator
) -> Float[Tensor, ""]:
    """How well V reads the view of drawings of the CURRENT shape, whose views are known because we chose them.

    It keeps V a measuring instrument that is calibrated on the shape as it is, so that a sample's own turn is found,
    whatever turn was asked of it. Angles in units of 10 degrees; no gradient reaches the shape.
    """
    n = config.steps.batch // 2
    with torch.no_grad():
        scene = current_scene(networks, target, config.render)
        views = upload(sample_views(n, config.views, generator), scene.depth.device)
        lights = sample_lights(n, config.lights, scene.light[0], generator)
        drawn = draw_scene(scene, target.canvas, views, lights, config.render)
    found = networks.views(drawn.image, target.image)
    return ((found[:, :3] - views[:, :3]) / PULL_UNIT_RAD).square().mean()


def spread_loss(views: Float[Tensor, "B 6"], prior: ViewPriorConfig) -> Float[Tensor, ""]:
    """How far the spread of found yaws and pitches is from the one that was drawn: squared relative error of their rms.

    Relief and yaw are one gauge at a narrow field of view: a deeper shape that turns less looks the
    same. The spread of the views is known, because we drew them, even where no single one is; it fixes the gauge.
    """
    sd_deg = upload(torch.tensor([prior.pitch_sd_deg, prior.yaw_sd_deg], dtype=views.dtype), views.device)
    asked = truncated_sd(prior.limit_sd) * sd_deg * (math.pi / 180)
    found = views[:, :2].square().mean(0).clamp_min(LEAST_SPREAD).sqrt()  # sqrt has no gradient at 0
    return (found / asked.clamp_min(1e-3) - 1.0).square().sum()


def _input_loss(image: Tensor, target: Target, features: FeatureMaps | None, steps: StepConfig) -> Float[Tensor, ""]:
    loss = steps.pixel_weight * masked_l1(image, target.image, target.canvas.mask)
    if features is not None and steps.feature_weight > 0:
        loss = loss + steps.feature_weight * feature_distance(image, target.image, features)
    return loss


@torch.no_grad()
def current_scene(networks: SceneNetworks, target: Target, render: RenderConfig) -> Scene:
    """The scene that the networks hold for the input, in the input's view (zero) and light."""
    depth, light = networks.depth(target.image), networks.lights(target.image)
    shading = shade(normals_from_depth(depth, render.fov_deg), light)
    return Scene(depth, networks.albedo(target.surface, shading), light.new_zeros(1, 6), light)
