"""A depth network learns from mirror images, after pre-training (`shape.pretrain`): for symmetric objects.

The mirror image of a picture is a second view of a symmetric object (scene/mirror.py), and unlike a projection it is
no generator's guess. What is not known is where the plane of symmetry lies, and the light. So each round

    planes    finds, for each image, the plane and the light by which its present depth explains its mirror image best,
              beginning at what the view and light networks read
    learn     teaches the depth network to explain the mirror images by these planes and lights

The depth of one object alone would explain its mirror image by a wrong form (docs/trials.md); what a network learns
from thousands is what they have in common. Views and lights stay as they are. No label takes part.
"""

from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.core.config import ShapeConfig, need_training
from gan2shape.core.devices import upload
from gan2shape.core.progress import Reporter, silent
from gan2shape.invert.loop import Plan, Stage, Step, optimise
from gan2shape.invert.schedules import linear_fall
from gan2shape.nn.scene_networks import SceneNetworks
from gan2shape.prior.masked_generator import MaskedGenerator
from gan2shape.scene.canvas import unmix_background
from gan2shape.scene.mirror import (
    MirrorPlanes,
    colours_by_mirror,
    looked_up,
    mirror_motion,
    mirror_places,
    mirrored_lights,
    seen_in_mirror,
)
from gan2shape.shape.initialize import category_depth, mirror_mean_depth, read_pitch_yaw_rad
from gan2shape.shape.lessons import learnt_average
from gan2shape.shape.losses import PULL_UNIT_RAD, resolution_factor, smoothness
from gan2shape.shape.outlines import agreement_error, mean_image
from gan2shape.shape.pool import POOL_BATCH, Pool

GREATEST_YAW_RAD = 0.75  # 43 degrees; beyond 45 a front shows nothing that its mirror image shows
OFFSET_UNIT = 0.1  # scene units in which offsets are descended on, so that one rate suits them and angles


@dataclass(frozen=True)
class SymmetryPlan:
    """How much, and of what."""

    n_objects: int = 1500  # images that are learnt from
    n_rounds: int = 2
    n_plane_steps: int = 40  # of the descent on planes and lights
    plane_lr: float = 0.02  # falls to 0 from half of them on
    form_weight: float = 0.5  # of the depth that the plane reflects being the depth, while planes are found
    pose_pull: float = 0.01  # towards the view network's yaw and pitch, and offset 0, squared in units of 10 degrees
    light_pull: float = 0.02  # towards what the light network reads
    n_steps: int = 300  # of each round
    batch: int = 16
    lr: float = 3e-4  # falls to 0 from `lr_decay_from` of a round's steps on
    lr_decay_from: float = 0.5
    average_decay: float = 0.99  # a step, of the average of weights that is a round's result
    greatest_error: float = 0.3  # of a colour in [0, 1]; hair, print and cast shadows have no mirror image
    stay_weight: float = 0.02  # of the depth that the first network sees
    smooth_weight: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        need_training(self)


def learn_symmetry(
    networks: SceneNetworks,
    pool: Pool,
    generator: MaskedGenerator,
    config: ShapeConfig,
    plan: SymmetryPlan,
    report: Reporter = silent,
) -> SceneNetworks:
    """Networks whose depth goes on from these.

    pool: with the originals of its images, where there are any. Raises UserError for a loss that is not finite.
    """
    pool = of_originals(pool)
    first, read = networks, read_planes(networks, pool, generator)
    planes = read
    for index in range(plan.n_rounds):
        name = f"symmetry {index + 1}/{plan.n_rounds}"
        planes = find_planes(networks, pool, read, planes, config, plan, name, report)
        networks = learn_round(networks, first, pool, planes, config, plan, index, name, report)
    return networks


@torch.no_grad()
def read_planes(networks: SceneNetworks, pool: Pool, generator: MaskedGenerator) -> MirrorPlanes:
    """What the view and light networks read: half of the turn to the mirror image, which ends at half of the view
    network's range, and the pitch against the mean image, which is taken as level.
    """
    upright, rows = mean_image(generator), []
    for images in pool.images.split(POOL_BATCH):
        both = torch.cat([images, images.flip(-1)])
        own, other = networks.view_net(both).chunk(2)
        yaw_rad = -networks.relative_views(other, own)[:, 1] / 2
        pitch_rad = read_pitch_yaw_rad(networks, images, upright)[:, 0]
        lights, mirrored = networks.lights(both).chunk(2)
        rows.append((yaw_rad, pitch_rad, torch.zeros_like(yaw_rad), (lights + mirrored_lights(mirrored)) / 2))
    return MirrorPlanes(*(torch.cat(column) for column in zip(*rows, strict=True)))


def find_planes(
    networks: SceneNetworks,
    pool: Pool,
    read: MirrorPlanes,
    last: MirrorPlanes,
    config: ShapeConfig,
    plan: SymmetryPlan,
    name: str,
    report: Reporter = silent,
) -> MirrorPlanes:
    """Planes and lights of all images, from the last ones on and near those that were read, by which the depth that
    the networks see explains mirror images best.
    """
    found, n = [], len(pool.images)
    for rows in torch.arange(n).split(POOL_BATCH):
        some = pool.pick(rows)
        with torch.no_grad():
            depth = mirror_mean_depth(networks, some.images)
        rows = upload(rows, depth.device)
        found.append(planes_near(some, depth, read.pick(rows), last.pick(rows), config, plan))
        report(f"{name}, planes", sum(len(one.offset) for one in found), n)
    return MirrorPlanes(*(torch.cat([getattr(one, part.name) for one in found]) for part in fields(MirrorPlanes)))


def planes_near(
    some: Pool,
    depth: Float[Tensor, "B 1 S S"],
    read: MirrorPlanes,
    last: MirrorPlanes,
    config: ShapeConfig,
    plan: SymmetryPlan,
) -> MirrorPlanes:
    """The same of a few images, by descent."""
    poses, lights = poses_of(last).requires_grad_(True), last.lights.clone().requires_grad_(True)

    def planes() -> MirrorPlanes:
        yaw_rad, pitch_rad, offset = poses.unbind(1)
        return MirrorPlanes(yaw_rad.clamp(-GREATEST_YAW_RAD, GREATEST_YAW_RAD), pitch_rad, OFFSET_UNIT * offset, lights)

    def loss_of(step: Step) -> Float[Tensor, ""]:
        now = planes()
        errors = mirror_errors(some, depth, depth, now, config, plan)
        errors = errors + plan.form_weight * reflected_differences(some, depth, now, config)
        errors = errors + plan.pose_pull * ((poses - poses_of(read)) / PULL_UNIT_RAD).square().sum(1)
        return (errors + plan.light_pull * (lights - read.lights).square().sum(1)).sum()

    stage = Stage("planes", plan.n_plane_steps, linear_fall(plan.plane_lr, 0.5))
    optimise([poses, lights], loss_of, Plan((stage,), betas=(0.8, 0.95), remedy="try a lower plane_lr"))
    found = planes()
    return MirrorPlanes(*(getattr(found, part.name).detach() for part in fields(MirrorPlanes)))


def poses_of(planes: MirrorPlanes) -> Float[Tensor, "B 3"]:
    """Yaw, pitch and offset in units that suit one learning rate."""
    return torch.stack([planes.yaw_rad, planes.pitch_rad, planes.offset / OFFSET_UNIT], 1)


def mirror_errors(
    some: Pool,
    depth: Float[Tensor, "B 1 S S"],
    seen_by: Float[Tensor, "B 1 S S"],
    planes: MirrorPlanes,
    config: ShapeConfig,
    plan: SymmetryPlan,
) -> Float[Tensor, " B"]:
    """Of each image, the |difference| of its colours in [0, 1] and those that its mirror image says, summed over what
    the depth `seen_by` lets both show, per pixel of the object, which points that are not shown count as well.
    """
    fov_deg = config.render.fov_deg
    weights = seen_in_mirror(seen_by, some.masks, planes, fov_deg)
    said = colours_by_mirror(some.surfaces, depth, planes, fov_deg)
    error = ((said - some.surfaces).abs().mean(1, keepdim=True) / 2).clamp(max=plan.greatest_error)
    return (weights * error).sum((1, 2, 3)) / some.masks.sum((1, 2, 3)).clamp_min(1.0)


def reflected_differences(
    some: Pool, depth: Float[Tensor, "B 1 S S"], planes: MirrorPlanes, config: ShapeConfig
) -> Float[Tensor, " B"]:
    """Mean |difference| of each depth and its mirror image where its points appear there, in half-ranges."""
    places, z = mirror_places(depth, mirror_motion(planes)[1], config.render.fov_deg)
    apart = (z - looked_up(depth.flip(-1), places)).abs() / config.render.depth_half_range
    return (some.masks * apart).sum((1, 2, 3)) / some.masks.sum((1, 2, 3)).clamp_min(1.0)


def learn_round(
    networks: SceneNetworks,
    first: SceneNetworks,
    pool: Pool,
    planes: MirrorPlanes,
    config: ShapeConfig,
    plan: SymmetryPlan,
    index: int,
    name: str,
    report: Reporter = silent,
) -> SceneNetworks:
    """Networks whose depth has learnt to explain the mirror images."""

    def loss_of(student: SceneNetworks, average: SceneNetworks, step: Step) -> Float[Tensor, ""]:
        rng = torch.Generator().manual_seed(1_000_003 * plan.seed + 100_003 * index + step.index)
        rows = torch.randint(len(pool.images), (plan.batch,), generator=rng)
        some, known = pool.pick(rows), planes.pick(upload(rows, pool.images.device))
        if step.index % 2:  # every other batch mirrored
            some, known = mirrored_pool(some), known.of_mirror_images()
        return symmetry_loss(student, average, first, some, known, config, plan)

    stage = Stage(name, plan.n_steps, linear_fall(plan.lr, plan.lr_decay_from))
    return learnt_average(networks, loss_of, stage, config.steps.betas, plan.average_decay, report)


def of_originals(pool: Pool) -> Pool:
    """The given images in the place of their reproductions, which are not as symmetric, where they are kept."""
    if pool.originals is None:
        return pool
    surfaces = unmix_background(pool.originals, pool.masks, pool.backgrounds)
    return replace(pool, images=pool.originals, surfaces=surfaces)


def mirrored_pool(some: Pool) -> Pool:
    """The mirror images, which have no latents: for those who read images, masks and colours."""
    flipped = {name: getattr(some, name).flip(-1) for name in ("images", "masks", "surfaces", "backgrounds")}
    return replace(some, **flipped)


def symmetry_loss(
    student: SceneNetworks,
    average: SceneNetworks,
    first: SceneNetworks,
    some: Pool,
    planes: MirrorPlanes,
    config: ShapeConfig,
    plan: SymmetryPlan,
) -> Float[Tensor, ""]:
    """How badly the student's depths explain mirror images; and what it leaves of the first network's depth, and
    smoothness. The average of the students so far says what is seen.
    """
    depth, unit = category_depth(student, some.images), config.render.depth_half_range
    with torch.no_grad():
        before, settled = mirror_mean_depth(first, some.images), mirror_mean_depth(average, some.images)
    return (
        mirror_errors(some, depth, settled, planes, config, plan).mean()
        + plan.stay_weight * agreement_error(depth, before, some.masks, 0.0) / unit
        + plan.smooth_weight * resolution_factor(config) * smoothness(depth, unit)
    )
