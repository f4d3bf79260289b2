"""Pulling pseudo samples onto the GAN's manifold, G(w + E(x)) (GAN2Shape section 3.3).

A pack's image encoder, which has only ever seen real images, estimates first how a pseudo sample's latent differs from
the input's: it responds to the view change and knows nothing of the wrong shape. E adds what this one object needs. Its
offset makes a projection CORRECT the shape instead of copying the pseudo sample: it is kept small in units of w's own
spread, and, with `mapping_tail` > 0, in the range of the last mapping layers. Both are read relative to the input
(`steps.relative_encoder`, as published for faces), so that the input itself projects onto w exactly.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gan2shape.core.config import ShapeConfig, StepConfig
from gan2shape.core.records import Render
from gan2shape.invert.loop import Plan, Stage, Step, optimise
from gan2shape.prior.masked_generator import MaskedGenerator
from gan2shape.prior.packs import Prior
from gan2shape.shape.losses import FeatureMaps, projection_loss

NEAR_SD = 0.3  # rms change of w, in its standard deviations, that counts as near: about 5 degrees of yaw
REFINE_LR = 0.02  # Adam on latents


def prior_features(prior: Prior, n_blocks: int = StepConfig.n_feature_blocks) -> FeatureMaps:
    """The discriminator's first blocks, at most `n_blocks`, as a function image -> feature maps."""
    discriminator = prior.discriminator
    return lambda images: discriminator.features(images, min(n_blocks, len(discriminator.block_names)))


def project(
    encoder: nn.Module,
    prior: Prior,
    latent: Float[Tensor, "1 *L D"],
    images: Float[Tensor, "B 3 S S"],
    reference: Float[Tensor, "1 3 S S"],
    config: ShapeConfig,
) -> tuple[Float[Tensor, "B *L D"], Float[Tensor, "B D"]]:
    """(latents of the projections, E's offsets in units of w's standard deviation).

    E is read relative to `reference`, the input; as published, to the input's reproduction G(w). Every layer of W+
    moves by the same. With `mapping_tail`, E's output enters a hidden layer of the mapping network.
    """
    if config.ablation.losses == "published":
        with torch.no_grad():
            reference = prior.generator.synthesis(latent)
    both = torch.cat([images, reference])
    if config.steps.relative_encoder:
        raw = encoder(both)
        relative = raw[:-1] - raw[-1:]
    else:
        relative = encoder(images)
    if config.steps.mapping_tail > 0:
        n_last = min(config.steps.mapping_tail, prior.generator.config.n_mapping)
        offset = prior.generator.offset_through_mapping(relative, n_last)
        relative = offset / prior.w_std
    else:
        offset = relative * prior.w_std
    moved = latent + (offset if latent.ndim == 2 else offset[:, None])
    if config.ablation.pack_encoder and prior.encoder is not None:
        guess = prior.guess_latent(both)
        moved = moved + guessed_change(guess[:-1], guess[-1:], latent, prior, config.steps)
    return moved, relative


def guessed_change(
    guess: Float[Tensor, "B D"],
    reference: Float[Tensor, "1 D"],
    latent: Float[Tensor, "1 *L D"],
    prior: Prior,
    steps: StepConfig,
) -> Float[Tensor, "B *L D"]:
    """The pack's encoder's estimates of images, as a change to the input's latent.

    Its residual in the input (latent less its guess) belongs to the input's own view: all of it is kept near that view,
    so that the input projects onto its latent, and `steps.residual_kept` of it far away, where more of it changes the
    identity.
    """
    change, residual = guess - reference, latent - (reference if latent.ndim == 2 else reference[:, None])
    distance = (change / prior.w_std).square().mean(-1, keepdim=True).sqrt()
    kept = steps.residual_kept + (1 - steps.residual_kept) * torch.exp(-((distance / NEAR_SD) ** 2))
    if latent.ndim > 2:
        change, kept = change[:, None], kept[:, None]
    return change - (1 - kept) * residual


def refine(
    latents: Float[Tensor, "B *L D"], pseudo: Render, prior: Prior, config: ShapeConfig
) -> Float[Tensor, "B *L D"]:
    """A few Adam steps on each latent after E, near where E left it. Helps where the pseudo samples are right (rung
    O3), may copy them where not.
    """
    free, features = nn.Parameter(latents.detach().clone()), prior_features(prior)

    def loss_of(step: Step) -> Tensor:
        offset = (free - latents) / prior.w_std
        return len(latents) * projection_loss(prior.generator.synthesis(free), offset, pseudo, features, config.steps)

    optimise([free], loss_of, Plan((Stage("refinement", config.ablation.refine_steps, REFINE_LR),)))
    return free.detach()


def project_images(
    encoder: nn.Module,
    pseudo: Render,
    reference: Float[Tensor, "1 3 S S"],
    latent: Float[Tensor, "1 *L D"],
    generator: MaskedGenerator,
    config: ShapeConfig,
) -> tuple[Float[Tensor, "B 3 S S"], Float[Tensor, "B 1 S S"]]:
    """(images, masks) of the projections of pseudo samples.

    Where nothing reads masks off the generator, and with the published losses, the pseudo samples' own masks are taken:
    a projection stays near them.
    """
    prior = generator.prior
    with torch.no_grad():
        latents, _ = project(encoder, prior, latent, pseudo.image, reference, config)
    if config.ablation.refine_steps > 0:
        latents = refine(latents, pseudo, prior, config)
    with torch.no_grad():
        images, masks = generator(latents)
    takes_pseudo_masks = masks is None or config.ablation.losses == "published"
    return images, pseudo.mask if takes_pseudo_masks else masks
