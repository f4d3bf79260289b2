"""How the scene networks of a pack learn more, once pre-training is over: a student, and the average of its weights.

`shape.outlines`, `shape.symmetry` and `shape.relief` say what is learnt.
"""

import copy
from collections.abc import Callable, Iterable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Parameter

from gan2shape.core.progress import Reporter
from gan2shape.invert.loop import Plan, Stage, Step, optimise
from gan2shape.nn.averages import average_weights
from gan2shape.nn.scene_networks import SceneNetworks
from gan2shape.prior.packs import freeze

WARM_STEPS = 10  # in which the average follows the student closely

LossOf = Callable[[SceneNetworks, SceneNetworks, Step], Float[Tensor, ""]]  # of the student, the average and the step
Learns = Callable[[SceneNetworks], Iterable[Parameter]]  # which of the student's weights


def depth_weights(student: SceneNetworks) -> Iterable[Parameter]:
    """Those of the depth network: views and lights stay."""
    return student.depth_net.parameters()


def learnt_average(
    networks: SceneNetworks,
    loss_of: LossOf,
    stage: Stage,
    betas: tuple[float, float],
    average_decay: float,
    report: Reporter,
    learns: Learns = depth_weights,
) -> SceneNetworks:
    """The average, frozen, of a student that begins as `networks`, which stay. Raises UserError for a loss that is not
    finite.
    """
    student, average = copy.deepcopy(networks).requires_grad_(True), copy.deepcopy(networks)

    def keep(step: Step, loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
        average_weights(average, student, min(average_decay, step.index / (step.index + WARM_STEPS)))

    shared = Plan((stage,), betas=betas, remedy="try a lower lr")
    optimise(learns(student), lambda step: loss_of(student, average, step), shared, report=report, after_step=keep)
    return freeze(average)
