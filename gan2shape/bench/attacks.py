"""Attacks on a classifier: images that look the same and are read as something else.

Both know the network and its gradients, and nothing of what may be done to the image before it is read. Images are in
[-1, 1], so that an epsilon of 8/255 of the range [0, 1] is 16/255 here.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

EPSILON = 16 / 255  # greatest change of a value: 8/255 of [0, 1]
PGD_STEPS = 20
PGD_REACH = 2.5  # length of all steps together, in epsilons (Madry et al. 2018)
Classifier = Callable[[Float[Tensor, "B 3 S S"]], Float[Tensor, "B K"]]  # images -> logits


def fgsm(
    classifier: Classifier, images: Float[Tensor, "B 3 S S"], labels: Int[Tensor, " B"], epsilon: float = EPSILON
) -> Float[Tensor, "B 3 S S"]:
    """One step of length epsilon along the sign of the loss's gradient (Goodfellow et al. 2015)."""
    return _climbed(classifier, images, images, labels, epsilon, epsilon)


def pgd(
    classifier: Classifier,
    images: Float[Tensor, "B 3 S S"],
    labels: Int[Tensor, " B"],
    epsilon: float = EPSILON,
    n_steps: int = PGD_STEPS,
    seed: int = 0,
) -> Float[Tensor, "B 3 S S"]:
    """Projected gradient ascent from a random start within epsilon (Madry et al. 2018). Every image has the same start,
    so that a batch is attacked as each of its images would be alone.
    """
    rng = torch.Generator().manual_seed(seed)
    offset = epsilon * (2 * torch.rand(images.shape[1:], generator=rng) - 1)
    attacked = (images + offset.to(images)).clamp(-1, 1)
    for _ in range(n_steps):
        attacked = _climbed(classifier, attacked, images, labels, PGD_REACH * epsilon / n_steps, epsilon)
    return attacked


def _climbed(
    classifier: Classifier, at: Tensor, images: Tensor, labels: Tensor, length: float, epsilon: float
) -> Float[Tensor, "B 3 S S"]:
    """One step up the cross entropy from `at`, back within epsilon of the images, and within [-1, 1]."""
    at = at.detach().requires_grad_(True)
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(F.cross_entropy(classifier(at), labels, reduction="sum"), at)
    moved = at.detach() + length * gradient.sign()
    return torch.minimum(torch.maximum(moved, images - epsilon), images + epsilon).clamp(-1, 1)
