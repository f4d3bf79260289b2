"""Losses and updates of the adversarial game: logistic losses, R1, path length, weight averaging.

Conventions: logits are positive for real. Each `*_gradients` function leaves its result in the parameters' `.grad`,
replacing what was there (the mean over all ranks), and returns plain numbers to log. The optimisers step outside.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from gan2shape.nn.discriminator import Discriminator
from gan2shape.nn.generator import Generator
from gan2shape.train.ranks import ALONE, Ranks


@dataclass(frozen=True)
class StepLosses:
    """What one adversarial step measured, as detached scalars."""

    generator: Tensor  # mean softplus(-D(G(z)))
    discriminator: Tensor  # mean softplus(D(G(z))) + softplus(-D(x))
    logit_real: Tensor  # mean D(x)
    logit_fake: Tensor  # mean D(G(z))


def generator_loss(logit_fake: Float[Tensor, "B 1"]) -> Float[Tensor, ""]:
    """Non-saturating logistic loss of the generator (Goodfellow et al. 2014)."""
    return F.softplus(-logit_fake).mean()


def discriminator_loss(logit_real: Float[Tensor, "B 1"], logit_fake: Float[Tensor, "B 1"]) -> Float[Tensor, ""]:
    """Logistic loss of the discriminator."""
    return F.softplus(logit_fake).mean() + F.softplus(-logit_real).mean()


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


def generator_gradients(
    generator: Generator,
    discriminator: Discriminator,
    w: Float[Tensor, "B *L D"],
    instance_noise: Float[Tensor, "B C H W"] | float = 0.0,
    labels: Int[Tensor, " B"] | None = None,
    ranks: Ranks = ALONE,
) -> Float[Tensor, ""]:
    """Gradient of the generator's loss; the discriminator is frozen meanwhile (saves its weight gradients).

    Instance noise is added to what the discriminator sees (Sønderby et al. 2017): without it a perfectly plain
    background betrays every fake, and the discriminator wins by that alone.
    """
    clear_gradients(generator)
    set_requires_grad(discriminator, False)
    loss = generator_loss(discriminator(generator.synthesis(w, "random") + instance_noise, labels))
    loss.backward()
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
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradient of the discriminator's loss; returns loss, mean real and mean fake logit. Both with instance noise."""
    clear_gradients(discriminator)
    logit_fake, logit_real = discriminator(fake.detach(), fake_labels), discriminator(real, real_labels)
    loss = discriminator_loss(logit_real, logit_fake)
    loss.backward()
    ranks.mean_gradients(discriminator)
    return loss.detach(), logit_real.detach().mean(), logit_fake.detach().mean()


def average_weights(average: nn.Module, module: nn.Module, beta: float) -> None:
    """average <- beta average + (1 - beta) module for parameters; buffers are copied."""
    with torch.no_grad():
        ours, theirs = list(average.parameters()), [p.detach() for p in module.parameters()]
        torch._foreach_lerp_(ours, theirs, 1.0 - beta)
        for target, source in zip(average.buffers(), module.buffers(), strict=True):
            target.copy_(source)


def ema_beta(batch: int, n_images: int, half_life_kimg: float, ramp: float) -> float:
    """Decay of the weight average per step: half-life `half_life_kimg`, at most `ramp` times the images seen so far."""
    half_life = min(half_life_kimg * 1000.0, max(n_images * ramp, batch))
    return 0.5 ** (batch / half_life)
