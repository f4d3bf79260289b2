"""Updates of the players that judge what feed-forward networks make (logistic losses; Karras et al. 2020)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gan2shape.train.objectives import discriminator_loss, generator_loss, gradient_penalty, set_requires_grad


def judge_step(
    judge: nn.Module,
    optimizer: torch.optim.Optimizer,
    real: Float[Tensor, "B C H W"],
    fake: Float[Tensor, "B C H W"],
    r1_gamma: float = 0.0,
) -> Float[Tensor, ""]:
    """One update of a player that tells real from made, with R1 of this weight (gamma / 2); 0 leaves it out. Returns
    the loss, detached.
    """
    optimizer.zero_grad(set_to_none=True)
    loss = discriminator_loss(judge(real), judge(fake.detach()))
    loss.backward()
    if r1_gamma > 0:
        (gradient_penalty(judge, real) * (0.5 * r1_gamma)).backward()
    optimizer.step()
    return loss.detach()


def judged(judge: nn.Module, made: Float[Tensor, "B C H W"]) -> Float[Tensor, ""]:
    """The loss of whoever made it; the judge itself learns nothing from this."""
    set_requires_grad(judge, False)
    loss = generator_loss(judge(made))
    set_requires_grad(judge, True)
    return loss
