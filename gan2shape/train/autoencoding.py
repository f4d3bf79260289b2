"""One update of both players where part of the batch reproduces real images (Larsen et al. 2016, VAE-GAN).

Plain adversarial training of a small generator needs millions of images before it can reproduce a given one. Here the
first `share` of each batch is encoded, and generator, mapping and encoder learn to give it back, in pixels and in the
discriminator's features; the rest of the batch comes from random latents. All of it is judged by the
discriminator. A divergence and an even coverage of directions keep its latents normally distributed, so that latents
of real images and random latents are of one kind. The same images teach both; no label is used but the class, in a
class-conditional training.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from gan2shape.nn.discriminator import Discriminator
from gan2shape.nn.feature_metric import relative_distance
from gan2shape.nn.generator import Generator
from gan2shape.nn.image_encoder import (
    ImageEncoder,
    coverage,
    divergence,
    sample_posterior,
)
from gan2shape.train import objectives
from gan2shape.train.ranks import ALONE, Ranks

SMALL_ERROR = 0.1  # images in [-1, 1]: below it the pixel loss is quadratic, or a background would outweigh the object


@dataclass(frozen=True)
class AutoencodingWeights:
    """How much each part counts beside the generator's adversarial loss."""

    pixel: float  # smooth L1 of images in [-1, 1]
    feature: float  # mean |difference| of discriminator features, relative
    divergence: float  # nats
    coverage: float  # evenness of the latents' directions (`encoder.coverage`)
    classes: float = 0.0  # what the discriminator takes an image for, where classes are learnt


@dataclass(frozen=True)
class Reproduction:
    """What a step made and measured, detached; the discriminator's update judges the same images."""

    made: Float[Tensor, "N C H W"]
    pixel: Float[Tensor, ""]
    feature: Float[Tensor, ""]
    divergence: Float[Tensor, ""]
    coverage: Float[Tensor, ""]  # log det of the latents' second moment a dimension; 0: as random ones


def generator_gradients(
    generator: Generator,
    discriminator: Discriminator,
    encoder: ImageEncoder,
    w: Float[Tensor, "B L D"],
    clean: Float[Tensor, "A C H W"],
    noise: Float[Tensor, "A Z"],
    instance_noise: Float[Tensor, "N C H W"],
    weights: AutoencodingWeights,
    labels: Int[Tensor, " N"] | None = None,
    ranks: Ranks = ALONE,
    objective: objectives.Objective = objectives.LOGISTIC,
) -> tuple[Float[Tensor, ""], Reproduction]:
    """Gradients of generator and encoder, over A reproduced and B generated images (N = A + B; noise and, where classes
    are learnt, labels in that order).

    The encoder sees the noisy images, the pixel loss the clean ones; the features of both carry the same noise.
    """
    objectives.clear_gradients(generator)
    objectives.clear_gradients(encoder)
    objectives.set_requires_grad(discriminator, False)
    n = len(clean)
    noisy = clean + instance_noise[:n]
    mean, log_variance = encoder(noisy)
    z_real = sample_posterior(mean, log_variance, noise)
    w_real = generator.mapping(z_real, labels=None if labels is None else labels[:n])
    both = torch.cat([w_real[:, None].expand(-1, w.shape[1], -1), w])
    made = generator.synthesis(both, "random")
    features = discriminator.features(made + instance_noise, len(discriminator.block_names))
    with torch.no_grad():
        wanted = discriminator.features(noisy, len(discriminator.block_names))
    logits, of_each = discriminator.b4.judge(features[-1], labels)
    adversarial = objective.generator(logits)
    pixel = F.smooth_l1_loss(made[:n], clean, beta=SMALL_ERROR)
    feature = relative_distance([f[:n] for f in features], wanted, ranks.mean)
    nats = divergence(mean, log_variance)
    crowding, covered = coverage(encoder, z_real, ranks.mean)
    likeness = weights.pixel * pixel + weights.feature * feature
    loss = adversarial + likeness + weights.divergence * nats + weights.coverage * crowding
    loss = loss + weights.classes * objectives.class_loss(of_each, labels)
    loss.backward()
    ranks.mean_gradients(generator, encoder)
    objectives.set_requires_grad(discriminator, True)
    measured = (x.detach() for x in (made, pixel, feature, nats, covered))
    return adversarial.detach(), Reproduction(*measured)
