"""What pre-training fits first: ellipsoids, or what the networks of a teacher see (a pack of half the resolution, or of
a related category).
"""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.core.config import ShapeConfig
from gan2shape.core.errors import UserError
from gan2shape.core.images import resized
from gan2shape.core.progress import Reporter, silent
from gan2shape.core.seeding import seeded
from gan2shape.nn.scene_networks import SceneNetworks
from gan2shape.prior.masked_generator import MaskedGenerator
from gan2shape.prior.scene import load_learnt, pretrained_networks, settings
from gan2shape.scene.canvas import Canvas
from gan2shape.shape.ellipsoid import best_slant, ellipsoid_depth, ellipsoid_model, reproduction_residual
from gan2shape.shape.gauge import flat_base
from gan2shape.shape.initialize import category_depth, mirror_mean_depth, tilted_by_view
from gan2shape.shape.pool import POOL_BATCH, Pool, PretrainConfig
from gan2shape.shape.state import SceneModel, Target, current_scene

BESIDE_WEIGHT = 0.1  # of pixels beside the object when depths are fitted; inside it is 1 more


@torch.no_grad()
def with_ellipsoids(
    pool: Pool, generator: MaskedGenerator, config: ShapeConfig, n: int, report: Reporter = silent
) -> Pool:
    """The first `n` images, as far as there are so many, with their initial ellipsoids."""
    n = min(n, len(pool.images))
    with seeded(config.seed):
        networks = SceneNetworks(config).to(pool.images.device)
    model = SceneModel(networks, flat_base(config.render.resolution, pool.images.device))
    slants_deg, fov_deg = config.initial.slants_deg, config.render.fov_deg
    some, ellipsoids = pool.pick(torch.arange(n)), []
    for row in range(n):
        canvas = Canvas(some.masks[row : row + 1], some.backgrounds[row : row + 1])
        target = Target(some.images[row : row + 1], canvas, some.surfaces[row : row + 1])
        models = [ellipsoid_model(model, canvas.mask, config, slant_deg) for slant_deg in slants_deg]
        scenes = [current_scene(one, target, fov_deg) for one in models]
        residuals = [reproduction_residual(scene, target, generator, config) for scene in scenes]
        slant_deg = best_slant(slants_deg, residuals)
        ellipsoids.append(ellipsoid_depth(canvas.mask, config.initial, fov_deg, slant_deg))
        report("slants", row + 1, n)
    return replace(some, depths=torch.cat(ellipsoids))


def begin_as(networks: SceneNetworks, config: ShapeConfig, teacher: MaskedGenerator, taught: ShapeConfig) -> None:
    """Take over the weights of the teacher's scene networks where those have the same sizes and resolution: the fit has
    its scale and tilt to learn then, and no form. Others stay as they are.
    """
    known = pretrained_networks(teacher.prior, taught)
    if known is not None and settings(taught) == settings(config):
        load_learnt(networks, dict(known.named_parameters()))


@torch.no_grad()
def with_teacher(pool: Pool, teacher: MaskedGenerator, config: ShapeConfig) -> Pool:
    """All images with what the scene networks of a teacher see in them; a smaller one's depth is enlarged bilinearly.

    config: the teacher's own. Raises UserError where it has no scene networks.
    """
    known = pretrained_networks(teacher.prior, config)
    if known is None:
        raise UserError("The teaching pack has no depth network: finish it with `gan2shape build` first.")
    size, (large, _) = config.render.resolution, pool.images.shape[-2:]
    depths, raw_views, lights = [], [], []
    for part in pool.images.split(POOL_BATCH):
        small = resized(part, size)
        depth = mirror_mean_depth(known, small, config.initial.network_depth_scale)
        depths.append(resized(tilted_by_view(depth, small, known, teacher.prior, config.initial.network_tilt), large))
        raw_views.append(known.view_net(small))
        lights.append(known.lights(small))
    return replace(pool, depths=torch.cat(depths), raw_views=torch.cat(raw_views), lights=torch.cat(lights))


def fit_loss(
    networks: SceneNetworks,
    pool: Pool,
    config: ShapeConfig,
    plan: PretrainConfig,
    step: int,
    rng: torch.Generator,
) -> Float[Tensor, ""]:
    """Squared difference of a batch's first depths and the network's, in units of the half-range, up to the mean
    distance; and of views and lights where those are fitted.
    """
    some = pool.pick(torch.randint(len(pool.images), (plan.fit_batch,), generator=rng))
    images, masks, depths = some.images, some.masks, some.depths
    loss = images.new_zeros(())
    if some.raw_views is not None:
        loss = (networks.view_net(images) - some.raw_views).square().mean()
        loss = loss + (networks.lights(images) - some.lights).square().mean()
    if step % 2:  # every other batch mirrored, which an image can be and a latent cannot
        images, masks, depths = images.flip(-1), masks.flip(-1), depths.flip(-1)
    error = (category_depth(networks, images) - depths) / config.render.depth_half_range
    weight = masks + BESIDE_WEIGHT
    error = error - (weight * error).sum((1, 2, 3), keepdim=True) / weight.sum((1, 2, 3), keepdim=True)
    return loss + (weight * error.square()).mean()
