"""Losses and updates of the adversarial game: objectives, penalties of the gradient, path length, weight averaging.

Conventions: logits are positive for real. Each `*_gradients` function leaves its result in the parameters' `.grad`,
replacing what was there (the mean over all ranks), and returns plain numbers to log. The optimisers step outside.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from gan2shape.nn.discriminator import Discriminator
from gan2shape.nn.generator import Generator
from gan2shape.train.ranks import ALONE, Ranks

WASSERSTEIN_DRIFT = 1e-3


@dataclass(frozen=True)
class Objective:
    """What both players want, as functions of logits; what has to be small."""

    name: str
    generator: Callable[[Tensor], Tensor]  # of the fakes' logits
    discriminator: Callable[[Tensor, Tensor], Tensor]  # of the logits of real images and of fakes
    has_slope: bool = False  # the critic's gradient is held at length 1 between real images and fakes, not at 0 on real


def generator_loss(logit_fake: Float[Tensor, "*B"]) -> Float[Tensor, ""]:
    """Non-saturating logistic loss of the generator (Goodfellow et al. 2014)."""
    return F.softplus(-logit_fake).mean()


def discriminator_loss(logit_real: Float[Tensor, "*B"], logit_fake: Float[Tensor, "*B"]) -> Float[Tensor, ""]:
    """Logistic loss of the discriminator."""
    return F.softplus(logit_fake).mean() + F.softplus(-logit_real).mean()


def least_squares_generator_loss(logit_fake: Float[Tensor, "*B"]) -> Float[Tensor, ""]:
    """Half the squared distance of the fakes' logits from 1 (Mao et al. 2017, equation 9 with c = 1)."""
    return 0.5 * (logit_fake - 1.0).square().mean()


def least_squares_discriminator_loss(
    logit_real: Float[Tensor, "*B"], logit_fake: Float[Tensor, "*B"]
) -> Float[Tensor, ""]:
    """Half the squared distances from 1 (real) and 0 (fake; Mao et al. 2017, equation 9 with a = 0, b = 1)."""
    return 0.5 * ((logit_real - 1.0).square().mean() + logit_fake.square().mean())


def wasserstein_critic_loss(logit_real: Float[Tensor, "*B"], logit_fake: Float[Tensor, "*B"]) -> Float[Tensor, ""]:
    """Minus the estimate of the Wasserstein distance (Gulrajani et al. 2017), and a pull of real logits to 0 (Karras et
    al. 2018, appendix A.1).
    """
    return logit_fake.mean() - logit_real.mean() + WASSERSTEIN_DRIFT * logit_real.square().mean()


def wasserstein_generator_loss(logit_fake: Float[Tensor, "*B"]) -> Float[Tensor, ""]:
    """Minus the critic's mean on what is made."""
    return -logit_fake.mean()


LOGISTIC = Objective("logistic", generator_loss, discriminator_loss)
OBJECTIVES = {
    objective.name: objective
    for objective in (
        LOGISTIC,
        Objective("wgan-gp", wasserstein_generator_loss, wasserstein_critic_loss, has_slope=True),
        Objective("least-squares", least_squares_generator_loss, least_squares_discriminator_loss),
    )
}


def mix_styles(
    w: Float[Tensor, "B D"], w_other: Float[Tensor, "B D"], cutoff: Tensor, n_layers: int
) -> Float[Tensor, "B L D"]:
    """W+ that takes rows below `cutoff` [B, 1, 1] from `w`, the rest from `w_other` (Karras et al. 2019, 3.1)."""
    row = torch.arange(n_layers, device=w.device)[None, :, None]
    return torch.where(row < cutoff, w[:, None], w_other[:, None])


def gradient_penalty(
    discriminator: nn.Module, real: Float[Tensor, "B C H W"], labels: Int[Tensor, " B"] | None = None
) -> Float[Tensor, ""]:
    """R1: mean over samples of |dD/dx|^2 at real images (Mescheder et al. 2018, equation 9), differentiable."""
    real = real.detach().requires_grad_(True)
    logits = discriminator(real) if labels is None else discriminator(real, labels)
    (gradient,) = torch.autograd.grad(logits.sum(), real, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3)).mean()


def slope_penalty(
    critic: nn.Module,
    real: Float[Tensor, "B ..."],
    fake: Float[Tensor, "B ..."],
    share: Float[Tensor, " B"],
    labels: Int[Tensor, " B"] | None = None,
) -> Float[Tensor, ""]:
    """Mean of (|dD/dx| - 1)^2 where x is `share` of a real sample and the rest of a fake one (Gulrajani et al. 2017,
    equation 3), differentiable.
    """
    weight = share.view(-1, *[1] * (real.ndim - 1))
    between = torch.lerp(fake.detach(), real.detach(), weight).requires_grad_(True)
    logits = critic(between) if labels is None else critic(between, labels)
    (gradient,) = torch.autograd.grad(logits.sum(), between, create_graph=True)
    return (gradient.flatten(1).norm(dim=1) - 1.0).square().mean()


def path_length_penalty(
    generator: nn.Module,
    w: Float[Tensor, "B L D"],
    mean_length: Float[Tensor, ""],
    decay: float,
    noise: Tensor,
    ranks: Ranks = ALONE,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Penalty (|J^T y| - a)^2 and the new running mean a (Karras et al. 2020, section 3.2, equation 4).

    `generator` has `synthesis(w, noise)`; `noise` is y, standard normal, of the image's shape; |.| is the root of the
    mean over rows of the squared norm.
    """
    image = generator.synthesis(w, "none")
    scale = 1.0 / (image.shape[2] * image.shape[3]) ** 0.5
    (gradient,) = torch.autograd.grad((image * noise).sum() * scale, w, create_graph=True)
    lengths = gradient.square().sum(dim=2).mean(dim=1).sqrt()
    new_mean = mean_length.lerp(ranks.mean(lengths.detach().mean()), decay)
    return (lengths - new_mean).square().mean(), new_mean


def set_requires_grad(module: nn.Module, flag: bool) -> None:
    """Freeze or unfreeze every parameter."""
    for parameter in module.parameters():
        parameter.requires_grad_(flag)


def clear_gradients(module: nn.Module) -> None:
    """Forget every `.grad`."""
    for parameter in module.parameters():
        parameter.grad = None


def class_loss(of_each: Float[Tensor, "B K"] | None, labels: Int[Tensor, " B"] | None) -> Tensor | float:
    """Cross-entropy of what the discriminator takes images for (Odena et al. 2017); 0 where no classes are learnt."""
    return 0.0 if of_each is None or labels is None else F.cross_entropy(of_each, labels)


def generator_gradients(
    generator: Generator,
    discriminator: Discriminator,
    w: Float[Tensor, "B *L D"],
    instance_noise: Float[Tensor, "B C H W"] | float = 0.0,
    labels: Int[Tensor, " B"] | None = None,
    ranks: Ranks = ALONE,
    objective: Objective = LOGISTIC,
    class_weight: float = 0.0,
) -> Float[Tensor, ""]:
    """Gradient of the generator's loss; the discriminator is frozen meanwhile (saves its weight gradients).

    Instance noise is added to what the discriminator sees (Sønderby et al. 2017): without it a perfectly plain
    background betrays every fake, and the discriminator wins by that alone.
    """
    clear_gradients(generator)
    set_requires_grad(discriminator, False)
    logits, of_each = discriminator.judge(generator.synthesis(w, "random") + instance_noise, labels)
    loss = objective.generator(logits)
    (loss + class_weight * class_loss(of_each, labels)).backward()
    ranks.mean_gradients(generator)
    set_requires_grad(discriminator, True)
    return loss.detach()


def discriminator_gradients(
    discriminator: Discriminator,
    fake: Float[Tensor, "B C H W"],
    real: Float[Tensor, "B C H W"],
    fake_labels: Int[Tensor, " B"] | None = None,
    real_labels: Int[Tensor, " B"] | None = None,
    ranks: Ranks = ALONE,
    objective: Objective = LOGISTIC,
    penalty: Tensor | None = None,
    class_weight: float = 0.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradient of the discriminator's loss, of a `penalty` that is added to it, and of how wrongly it reads the classes
    of real images; returns loss (without these), mean real and mean fake logit. Both with instance noise.
    """
    clear_gradients(discriminator)
    if penalty is not None:
        penalty.backward()
    logit_fake = discriminator(fake.detach(), fake_labels)
    logit_real, of_each = discriminator.judge(real, real_labels)
    loss = objective.discriminator(logit_real, logit_fake)
    (loss + class_weight * class_loss(of_each, real_labels)).backward()
    ranks.mean_gradients(discriminator)
    return loss.detach(), logit_real.detach().mean(), logit_fake.detach().mean()


def ema_beta(batch: int, n_images: int, half_life_kimg: float, ramp: float) -> float:
    """Decay of the weight average per step: half-life `half_life_kimg`, at most `ramp` times the images seen so far."""
    half_life = min(half_life_kimg * 1000.0, max(n_images * ramp, batch))
    return 0.5 ** (batch / half_life)
