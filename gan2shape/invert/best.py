"""The iterate that explained the data best, kept beside an optimisation."""

import torch
from torch import Tensor


class BestIterate:
    """The iterate with the least value so far, problem by problem where the value is [B]; never waits for a device."""

    def __init__(self, parameters: list[Tensor]) -> None:
        self.parameters, self.kept = parameters, [p.detach().clone() for p in parameters]
        self.value: Tensor | None = None

    def look(self, value: Tensor) -> None:
        """Keep the present iterate where `value` ([] or [B]) is less than before."""
        if self.value is None:
            self.value = torch.full_like(value, float("inf"))
        better = value < self.value  # false where it is not a number
        self.value = torch.where(better, value, self.value)
        for kept, parameter in zip(self.kept, self.parameters, strict=True):
            rows = better.view(-1, *(1,) * (parameter.ndim - 1)) if better.ndim else better
            kept.copy_(torch.where(rows, parameter.detach(), kept))

    @torch.no_grad()
    def restore(self) -> None:
        """Put the kept iterate into the parameters."""
        for kept, parameter in zip(self.kept, self.parameters, strict=True):
            parameter.copy_(kept)
