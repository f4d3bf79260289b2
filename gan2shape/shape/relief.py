"""A depth network learns the fine form that relit pictures tell, after pre-training (`shape.pretrain`).

What relit pictures of one object tell (`shape.relit`) is noisy. A network that learns it from many objects keeps what
they have in common; its depth relights better, and the next round begins at it. So each round finds normals for every
image of the pool, and teaches the depth network these normals beside the depth that has them: fine form from normals,
coarse form as it was (scene/photometric.py). No label takes part.
"""

from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.core.config import ShapeConfig, need_training
from gan2shape.core.devices import upload
from gan2shape.core.progress import Reporter, silent
from gan2shape.invert.loop import Stage, Step
from gan2shape.invert.schedules import linear_fall
from gan2shape.nn.scene_networks import SceneNetworks
from gan2shape.prior.masked_generator import MaskedGenerator
from gan2shape.scene.light import normals_from_depth
from gan2shape.scene.photometric import depth_with_normals
from gan2shape.shape.initialize import category_depth, mirror_mean_depth, tilted_by_view
from gan2shape.shape.lessons import learnt_average
from gan2shape.shape.outlines import agreement_error
from gan2shape.shape.pool import Pool
from gan2shape.shape.relit import mean_relit_normals, mirrored_normals
from gan2shape.shape.state import target_from


@dataclass(frozen=True)
class ReliefPlan:
    """How much, and of what."""

    n_objects: int = 1200  # images whose normals are found
    n_rounds: int = 2
    n_steps: int = 500  # of each round
    batch: int = 16
    lr: float = 7e-4  # falls to 0 from `lr_decay_from` of a round's steps on
    lr_decay_from: float = 0.2
    average_decay: float = 0.99  # a step, of the average of weights that is a round's result
    cutoff: float = 0.2  # of the width: form that is coarser stays
    normal_weight: float = 1.0  # of the mean distance of normals, beside depth
    seed: int = 0

    def __post_init__(self) -> None:
        need_training(self)


@dataclass(frozen=True)
class Lesson:
    """Images, with what is to be seen in them; rows belong together."""

    images: Float[Tensor, "N 3 S S"]
    masks: Float[Tensor, "N 1 S S"]
    depths: Float[Tensor, "N 1 S S"]  # as the network gives it: neither scaled nor tilted
    normals: Float[Tensor, "N 3 S S"]  # of the depth as it is used

    def pick(self, rows: Tensor, is_mirrored: bool) -> "Lesson":
        """Some of them, perhaps mirrored."""
        rows = upload(rows, self.images.device)
        some = [getattr(self, one.name)[rows] for one in fields(self)]
        if is_mirrored:
            *maps, normals = some
            some = [*(one.flip(-1) for one in maps), mirrored_normals(normals)]
        return Lesson(*some)


def learn_relief(
    networks: SceneNetworks,
    pool: Pool,
    generator: MaskedGenerator,
    config: ShapeConfig,
    plan: ReliefPlan,
    report: Reporter = silent,
) -> SceneNetworks:
    """Networks whose depth goes on from these. Views and lights stay. Needs the pack's image encoder.

    Raises UserError for a loss that is not finite.
    """
    for index in range(plan.n_rounds):
        name = f"relief {index + 1}/{plan.n_rounds}"
        lesson = relit_lesson(networks, pool, generator, config, plan, name, report)
        networks = learn_round(networks, lesson, config, plan, index, name, report)
    return networks


@torch.no_grad()
def relit_lesson(
    networks: SceneNetworks,
    pool: Pool,
    generator: MaskedGenerator,
    config: ShapeConfig,
    plan: ReliefPlan,
    name: str,
    report: Reporter,
) -> Lesson:
    """What relit pictures tell of the pool's images, beginning at the depth of these networks."""
    shape, fov_deg, n = config.initial, config.render.fov_deg, len(pool.images)
    depths, normals = [], []
    for row in range(n):
        image, mask = pool.images[row : row + 1], pool.masks[row : row + 1]
        raw = mirror_mean_depth(networks, image)
        used = 1 + shape.network_depth_scale * (raw - 1)
        used = tilted_by_view(used, image, networks, generator.prior, shape.network_tilt)
        found = mean_relit_normals(used, target_from(image, mask), networks, generator, config)
        finer = depth_with_normals(used, found, mask, plan.cutoff * mask.shape[-1], fov_deg)
        depths.append(raw + (finer - used) / shape.network_depth_scale)
        normals.append(found)
        report(f"{name}, relit", row + 1, n)
    return Lesson(pool.images, pool.masks, torch.cat(depths), torch.cat(normals))


def learn_round(
    networks: SceneNetworks,
    lesson: Lesson,
    config: ShapeConfig,
    plan: ReliefPlan,
    index: int,
    name: str,
    report: Reporter,
) -> SceneNetworks:
    """Networks whose depth has learnt the lesson."""

    def loss_of(student: SceneNetworks, average: SceneNetworks, step: Step) -> Float[Tensor, ""]:
        rng = torch.Generator().manual_seed(1_000_003 * plan.seed + 100_003 * index + step.index)
        rows = torch.randint(len(lesson.images), (plan.batch,), generator=rng)
        return relief_loss(student, lesson.pick(rows, bool(step.index % 2)), config, plan)

    stage = Stage(name, plan.n_steps, linear_fall(plan.lr, plan.lr_decay_from))
    return learnt_average(networks, loss_of, stage, config.steps.betas, plan.average_decay, report)


def relief_loss(student: SceneNetworks, some: Lesson, config: ShapeConfig, plan: ReliefPlan) -> Float[Tensor, ""]:
    """How far the student's depth is from the lesson's up to its mean, in half-ranges, and its normals.

    Normals are of the depth as it is used but for its tilt, which is small.
    """
    depth = category_depth(student, some.images)
    used = 1 + config.initial.network_depth_scale * (depth - 1)
    distance = (normals_from_depth(used, config.render.fov_deg) - some.normals).norm(dim=1, keepdim=True)
    depth_error = agreement_error(depth, some.depths, some.masks, 0.0) / config.render.depth_half_range
    return depth_error + plan.normal_weight * (distance * some.masks).sum() / some.masks.sum().clamp_min(1.0)
