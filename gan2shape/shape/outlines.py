"""Scene networks learn to read objects whose outline is cut off, after pre-training (`shape.pretrain`).

A depth network that has only seen whole objects reads a depth off their outline, and a wrong one where a mask ends at
the chin or along the hairline. So a student sees each image cut, scaled, shifted, on its background; a part of the
time as the generator reproduces it, else the training image itself. What the networks saw in the whole image, as they
were before, teaches it. Where both look, depths agree up to the mean distance, after the square that the cut image
shows was taken out of the whole one's depth (scene/reframe.py: the relief times the zoom, along the new axis). So do
the angles of the view, turned alike, and the lights. No true depth takes part.
"""

from dataclasses import dataclass, fields, replace

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
from gan2shape.scene.canvas import unmix_background
from gan2shape.scene.cutting import KINDS, cut_masks
from gan2shape.scene.reframe import boxes, reframed, reframed_depth, reframed_view, squares_around
from gan2shape.shape.initialize import category_depth, mirror_mean_depth
from gan2shape.shape.lessons import learnt_average
from gan2shape.shape.losses import view_error
from gan2shape.shape.pool import POOL_BATCH, Pool
from gan2shape.shape.pretrain_fit import BESIDE_WEIGHT

LEAST_VARIANCE = 1e-10  # of depths that agree: a square root has no gradient at 0
SIZE_JITTER, PLACE_JITTER = 0.1, 0.04  # of what is left: of its size, as a part; of its middle, in widths


@dataclass(frozen=True)
class OutlinePlan:
    """How much, and of what."""

    n_objects: int = 1900  # images that are cut
    n_steps: int = 3000
    batch: int = 16
    lr: float = 7e-4  # falls to 0 from `lr_decay_from` of the steps on
    lr_decay_from: float = 0.2
    average_decay: float = 0.99  # a step, of the average of weights that is the result
    whole_share: float = 0.6  # of images whose outline stays whole; every other of them is not moved either
    drawn_share: float = 0.5  # of images that are seen as the generator reproduces them
    gradient_weight: float = 2.0  # of the depth's steps between neighbours, beside depth
    view_weight: float = 0.1  # of the view's angles
    light_weight: float = 0.1  # of lights
    seed: int = 0

    def __post_init__(self) -> None:
        need_training(self)


@dataclass(frozen=True)
class Seen:
    """Whole images with what the teacher sees in them; rows belong together."""

    images: Float[Tensor, "N 3 S S"]  # the objects' own colours
    masks: Float[Tensor, "N 1 S S"]
    backgrounds: Float[Tensor, "N 3 S S"]
    depths: Float[Tensor, "N 1 S S"]
    views: Float[Tensor, "N 6"]  # relative to the mean image
    lights: Float[Tensor, "N 4"]

    def pick(self, rows: Tensor) -> "Seen":
        """Some of them."""
        rows = upload(rows, self.images.device)
        return Seen(*(getattr(self, one.name)[rows] for one in fields(self)))


@dataclass(frozen=True)
class Cuts:
    """Images that were cut and framed."""

    images: Float[Tensor, "B 3 S S"]
    masks: Float[Tensor, "B 1 S S"]
    squares: Float[Tensor, "B 3"]  # of the whole images (see scene/reframe.py)


def learn_outlines(
    networks: SceneNetworks,
    pool: Pool,
    generator: MaskedGenerator,
    config: ShapeConfig,
    plan: OutlinePlan,
    report: Reporter = silent,
) -> SceneNetworks:
    """Networks that go on from these and read cut objects as whole ones.

    pool: with the originals of its images, where there are any. Raises UserError for a loss that is not finite.
    """
    seen = seen_whole(networks, pool, generator)
    usual = boxes(pool.masks).median(0).values / pool.masks.shape[-1]
    upright = mean_image(generator)

    def loss_of(student: SceneNetworks, average: SceneNetworks, step: Step) -> Float[Tensor, ""]:
        rng = torch.Generator().manual_seed(1_000_003 * plan.seed + step.index)
        some = seen.pick(torch.randint(len(seen.images), (plan.batch,), generator=rng))
        cuts = cut_images(some, usual, plan, rng)
        return outline_loss(student, some, redrawn(cuts, generator, plan.drawn_share), upright, config, plan)

    stage = Stage("outlines", plan.n_steps, linear_fall(plan.lr, plan.lr_decay_from))
    return learnt_average(
        networks, loss_of, stage, config.steps.betas, plan.average_decay, report, learns=SceneNetworks.parameters
    )


@torch.no_grad()
def seen_whole(networks: SceneNetworks, pool: Pool, generator: MaskedGenerator) -> Seen:
    """What the networks see in the pool's images, beside the colours of their originals."""
    upright, rows = mean_image(generator), []
    for part in torch.arange(len(pool.images)).split(POOL_BATCH):
        images = pool.pick(part).images
        rows.append((mirror_mean_depth(networks, images), networks.views(images, upright), networks.lights(images)))
    depths, views, lights = (torch.cat(column) for column in zip(*rows, strict=True))
    colours = pool.surfaces
    if pool.originals is not None:
        colours = unmix_background(pool.originals, pool.masks, pool.backgrounds)
    return Seen(colours, pool.masks, pool.backgrounds, depths, views, lights)


@torch.no_grad()
def mean_image(generator: MaskedGenerator) -> Float[Tensor, "1 3 S S"]:
    """The generator's image of the mean w, which views are read relative to."""
    return generator.prior.generator.synthesis(generator.prior.w_mean[None]).clamp(-1, 1)


def cut_images(some: Seen, usual: Float[Tensor, " 3"], plan: OutlinePlan, rng: torch.Generator) -> Cuts:
    """The images cut at random, scaled and shifted so that what is left has about the usual place and size (middle x,
    middle y and longer side of its box, in parts of the width). A part of them stays whole; half of these are not moved
    either.
    """
    n, device, size = len(some.images), some.images.device, some.images.shape[-1]
    kinds = [KINDS[i] for i in torch.randint(len(KINDS), (n,), generator=rng).tolist()]
    amounts, jitter = (upload(torch.rand(n, 3, generator=rng), device) for _ in range(2))
    jitter = 2 * jitter - 1
    chance = upload(torch.rand(n, generator=rng), device)[:, None]
    is_whole = (chance < plan.whole_share).float()[..., None, None]
    cut = is_whole * some.masks + (1 - is_whole) * cut_masks(some.masks, kinds, amounts)
    shares = usual[2] * (1 + SIZE_JITTER * jitter[:, 2])
    squares = squares_around(boxes(cut), shares, usual[:2] + PLACE_JITTER * jitter[:, :2])
    still = torch.zeros_like(squares)
    still[:, 2] = size
    squares = torch.where(chance < plan.whole_share / 2, still, squares)
    images = reframed(cut * some.images + (1 - cut) * some.backgrounds, squares)
    return Cuts(images, reframed(cut, squares, "zeros"), squares)


@torch.no_grad()
def redrawn(cuts: Cuts, generator: MaskedGenerator, share: float) -> Cuts:
    """The cuts, the first `share` of their images as the generator reproduces them."""
    n = round(share * len(cuts.images))
    if n == 0:
        return cuts
    images, _ = generator(generator.prior.guess_latent(cuts.images[:n]))
    return replace(cuts, images=torch.cat([images, cuts.images[n:]]))


def outline_loss(
    student: SceneNetworks,
    some: Seen,
    cuts: Cuts,
    upright: Float[Tensor, "1 3 S S"],
    config: ShapeConfig,
    plan: OutlinePlan,
) -> Float[Tensor, ""]:
    """How differently the student reads cut images and the teacher whole ones."""
    fov_deg, size = config.render.fov_deg, cuts.images.shape[-1]
    depths = reframed_depth(some.depths, cuts.squares, fov_deg)
    views = reframed_view(some.views, cuts.squares, size, fov_deg)
    depth_error = agreement_error(category_depth(student, cuts.images), depths, cuts.masks, plan.gradient_weight)
    return (
        depth_error / config.render.depth_half_range
        + plan.view_weight * view_error(student.views(cuts.images, upright), views).square().mean()
        + plan.light_weight * (student.lights(cuts.images) - some.lights).square().mean()
    )


def agreement_error(
    depths: Float[Tensor, "B 1 S S"],
    targets: Float[Tensor, "B 1 S S"],
    masks: Float[Tensor, "B 1 S S"],
    gradient_weight: float,
) -> Float[Tensor, ""]:
    """Standard deviation of the difference of two depths inside each mask (beside it a tenth as heavy), and
    `gradient_weight` times the mean |difference| of their steps between neighbours that both lie inside.
    """
    error, weight = depths - targets, masks + BESIDE_WEIGHT
    total = weight.sum((1, 2, 3), keepdim=True)
    inside = masks.sum((1, 2, 3), keepdim=True).clamp_min(1.0)
    error = error - (masks * error).sum((1, 2, 3), keepdim=True) / inside
    variance = (weight * error.square() / total).sum((1, 2, 3))
    loss = variance.clamp_min(LEAST_VARIANCE).sqrt().mean()
    for dim in (2, 3):
        n = masks.shape[dim] - 1
        both = masks.narrow(dim, 1, n) * masks.narrow(dim, 0, n)
        loss = loss + gradient_weight * (both * error.diff(dim=dim).abs()).sum() / both.sum().clamp_min(1.0)
    return loss
