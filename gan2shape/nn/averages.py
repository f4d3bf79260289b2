"""Averages of weights over a training, which are better than the last ones."""

import torch
from torch import nn


@torch.no_grad()
def average_weights(average: nn.Module, module: nn.Module, beta: float) -> None:
    """average <- beta average + (1 - beta) module for parameters; buffers are copied."""
    torch._foreach_lerp_(list(average.parameters()), list(module.parameters()), 1.0 - beta)
    for target, source in zip(average.buffers(), module.buffers(), strict=True):
        target.copy_(source)
