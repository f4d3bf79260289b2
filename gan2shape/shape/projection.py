"""Step 2: pull pseudo samples onto the GAN's manifold, G(w + E(x)) (GAN2Shape section 3.3).

A pack's image encoder, which has only ever seen real images, says first how a pseudo sample's latent differs from the
input's: it follows the turn that was asked and knows nothing of the wrong shape. E adds what this one object needs.
Its offset is what makes a projection CORRECT the shape instead of copying the pseudo sample: it is kept small in units
of w's own spread, and, with `mapping_tail` > 0, in the range of the last mapping layers. Both are read relative to the
input (`relative_enc` of the published code), so that the input itself projects onto w exactly.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gan2shape.core.config import ShapeConfig, StepConfig
from gan2shape.core.devices import upload
from gan2shape.core.progress import Reporter
from gan2shape.nn.scene_networks import OffsetEncoder, SceneNetworks
from gan2shape.prior.packs import Prior
from gan2shape.scene.pseudo import Drawing, draw_scene
from gan2shape.shape.losses import feature_distance
from gan2shape.shape.sampling import sample_lights, sample_views
from gan2shape.shape.stages import (
    Samples,
    Target,
    current_scene,
    decayed,
    descend,
)

NEAR_SD = 0.3  # rms change of w, in its standard deviations, that counts as near: about 5 degrees of yaw
FEATURE_BLOCKS = 3  # first discriminator blocks that serve as perceptual metric (published: 4 of its 6-8)


def prior_features(prior: Prior):
    """The discriminator's first blocks as a function image -> feature maps."""
    return lambda images: prior.discriminator.features(images, FEATURE_BLOCKS)


def project(
    encoder: OffsetEncoder,
    prior: Prior,
    latent: Float[Tensor, "1 *L D"],
    images: Float[Tensor, "B 3 S S"],
    reference: Float[Tensor, "1 3 S S"],
    steps: StepConfig,
) -> tuple[Float[Tensor, "B *L D"], Float[Tensor, "B D"]]:
    """(latents of the projections, E's offsets in units of w's standard deviation).

    Every layer of W+ moves by the same.
    """
    both = torch.cat([images, reference])
    raw = encoder(both)
    relative = raw[:-1] - raw[-1:]
    if steps.mapping_tail > 0:
        offset = prior.generator.offset_through_mapping(relative, steps.mapping_tail)
        relative = offset / prior.w_std
    else:
        offset = relative * prior.w_std
    moved = latent + (offset if latent.ndim == 2 else offset[:, None])
    if steps.pack_encoder and prior.encoder is not None:
        guess = prior.guess_latent(both)
        moved = moved + seen_change(guess[:-1], guess[-1:], latent, prior, steps)
    return moved, relative


def seen_change(
    guess: Float[Tensor, "B D"],
    reference: Float[Tensor, "1 D"],
    latent: Float[Tensor, "1 *L D"],
    prior: Prior,
    steps: StepConfig,
) -> Float[Tensor, "B *L D"]:
    """What the pack's encoder says of images, as a change to the input's latent.

    What it misses in the input (latent less its guess) belongs to the input's own view: all of it is kept near that
    view, so that the input projects onto its latent, and `steps.residual_kept` of it far away, where more of it turned
    cars into other cars and their colours.
    """
    change, missed = guess - reference, latent - (reference if latent.ndim == 2 else reference[:, None])
    distance = (change / prior.w_std).square().mean(-1, keepdim=True).sqrt()
    kept = steps.residual_kept + (1 - steps.residual_kept) * torch.exp(-((distance / NEAR_SD) ** 2))
    if latent.ndim > 2:
        change, kept = change[:, None], kept[:, None]
    return change - (1 - kept) * missed


def projection_loss(
    made: Float[Tensor, "B 3 S S"], offset: Float[Tensor, "B *L D"], drawn: Drawing, prior: Prior, steps: StepConfig
) -> Float[Tensor, ""]:
    """Pixels inside the pseudo sample's mask, discriminator features of the whole, and |offset|^2 (GAN2Shape equation
    4).
    """
    error = (made - drawn.image).abs().mean(1, keepdim=True)
    pixel = (error * drawn.mask).sum() / drawn.mask.sum().clamp_min(1.0)
    features = feature_distance(made, drawn.image, prior_features(prior))
    return (
        steps.pixel_weight * pixel
        + steps.projection_feature_weight * features
        + steps.latent_weight * offset.square().mean()
    )


def draw_pseudo(
    networks: SceneNetworks, target: Target, config: ShapeConfig, n: int, generator: torch.Generator
) -> tuple[Drawing, Float[Tensor, "n 6"], Float[Tensor, "n 4"]]:
    """n pseudo samples of the current scene with their views and lights (no gradient)."""
    with torch.no_grad():
        scene = current_scene(networks, target, config.render)
        views = upload(sample_views(n, config.views, generator), scene.depth.device)
        lights = sample_lights(n, config.lights, scene.light[0], generator)
        return draw_scene(scene, target.canvas, views, lights, config.render), views, lights


def train_encoder(
    encoder: OffsetEncoder,
    next_batch: Callable[[int], Drawing],
    target: Target,
    latent: Float[Tensor, "1 *L D"],
    prior: Prior,
    config: ShapeConfig,
    n_steps: int,
    report: Reporter,
) -> None:
    """Train E to project what `next_batch(step)` draws; generator and discriminator stay frozen."""
    steps = config.steps
    optimizer = torch.optim.Adam(encoder.parameters(), lr=steps.lr, betas=steps.betas)
    for step in range(n_steps):
        decayed(optimizer, steps, step, n_steps)
        drawn = next_batch(step)
        latents, offset = project(encoder, prior, latent, drawn.image, target.image, steps)
        loss = projection_loss(prior.generator.synthesis(latents), offset, drawn, prior, steps)
        descend(optimizer, loss, "the projection step", step)
        if step % 10 == 9:
            report("projection", step + 1, n_steps, loss=float(loss.detach()))


def projection_step(
    encoder: OffsetEncoder,
    networks: SceneNetworks,
    target: Target,
    latent: Float[Tensor, "1 *L D"],
    prior: Prior,
    config: ShapeConfig,
    n_steps: int,
    generator: torch.Generator,
    report: Reporter,
) -> None:
    """Train E on pseudo samples of the current scene."""

    def next_batch(step: int) -> Drawing:
        return draw_pseudo(networks, target, config, config.steps.batch, generator)[0]

    train_encoder(encoder, next_batch, target, latent, prior, config, n_steps, report)


def refine(
    latents: Float[Tensor, "B *L D"], drawn: Drawing, prior: Prior, steps: StepConfig
) -> Float[Tensor, "B *L D"]:
    """A few Adam steps on each latent after E, near where E left it. Helps where the pseudo samples are right (rung
    O3), may copy them where not.
    """
    free = nn.Parameter(latents.detach().clone())
    optimizer = torch.optim.Adam([free], lr=0.02)
    for _ in range(steps.refine_steps):
        loss = projection_loss(prior.generator.synthesis(free), (free - latents) / prior.w_std, drawn, prior, steps)
        optimizer.zero_grad(set_to_none=True)
        (loss * len(latents)).backward()
        optimizer.step()
    return free.detach()


def collect(
    encoder: OffsetEncoder,
    networks: SceneNetworks,
    target: Target,
    latent: Float[Tensor, "1 *L D"],
    prior: Prior,
    mask_of,
    config: ShapeConfig,
    generator: torch.Generator,
) -> Samples:
    """Projected samples of the current scene for step 3. `mask_of(latents) -> (images, masks)` draws and masks them."""
    batches = []
    for start in range(0, config.steps.n_collect, config.steps.batch):
        n = min(config.steps.batch, config.steps.n_collect - start)
        drawn, views, lights = draw_pseudo(networks, target, config, n, generator)
        batches.append((*project_drawn(encoder, drawn, target, latent, prior, mask_of, config.steps), views, lights))
    images, masks, views, lights = (torch.cat(parts) for parts in zip(*batches, strict=True))
    return Samples(images, masks, views, lights, torch.ones(len(images), device=images.device))


def project_drawn(
    encoder: OffsetEncoder, drawn: Drawing, target: Target, latent: Tensor, prior: Prior, mask_of, steps: StepConfig
) -> tuple[Float[Tensor, "B 3 S S"], Float[Tensor, "B 1 S S"]]:
    """(images, masks) of the projections of one batch of drawings. Where nothing reads masks off the generator, the
    drawings' own ones are taken: a projection stays near what was drawn.
    """
    with torch.no_grad():
        latents, _ = project(encoder, prior, latent, drawn.image, target.image, steps)
    if steps.refine_steps > 0:
        latents = refine(latents, drawn, prior, steps)
    with torch.no_grad():
        images, masks = mask_of(latents)
    return images, drawn.mask if masks is None else masks
