"""How learning rates, loss weights and beta1 change over a stage, and when it ends early.

A schedule is a function (step from 0, n_steps of the stage) -> value.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

Schedule = Callable[[int, int], float]


def value_at(schedule: float | Schedule, step: int, n_steps: int) -> float:
    """The value at a step; a plain number is constant."""
    return schedule(step, n_steps) if callable(schedule) else schedule


def linear_fall(value: float, start: float = 0.0) -> Schedule:
    """`value`, which falls in a line from the fraction `start` of the stage on, to 0 at its end."""

    def at(step: int, n_steps: int) -> float:
        first = start * n_steps
        return value * (1.0 if step < first else max(0.0, (n_steps - step) / max(1.0, n_steps - first)))

    return at


def cosine_fall(value: float, start: float = 0.0) -> Schedule:
    """`value`, which falls along half a cosine from the fraction `start` (below 1) of the stage on, to 0 at its end."""

    def at(step: int, n_steps: int) -> float:
        first = start * n_steps
        return value * (1.0 if step < first else 0.5 * (1 + math.cos(math.pi * (step - first) / (n_steps - first))))

    return at


def ramp(before: float, after: float, fraction: float = 1.0) -> Schedule:
    """In a line from `before` at the first step to `after` at `fraction` of the stage, and `after` from there on."""

    def at(step: int, n_steps: int) -> float:
        return before + (after - before) * min(1.0, step / max(1.0, fraction * n_steps))

    return at


def one_cycle(first: float, peak: float, last: float, rise: float = 0.3) -> Schedule:
    """Along half cosines from `first` to `peak` over the fraction `rise`, then to `last` (Smith and Topin 2017).

    Step for step what `torch.optim.lr_scheduler.OneCycleLR` gives.
    """

    def at(step: int, n_steps: int) -> float:
        top = rise * n_steps - 1
        a, b, share = (first, peak, step / top) if step <= top else (peak, last, (step - top) / (n_steps - 1 - top))
        return b + (a - b) / 2.0 * (math.cos(math.pi * share) + 1)

    return at


def projector_ramp(value: float, rise: float = 0.05, fall: float = 0.25) -> Schedule:
    """`value`, reached in a line over the fraction `rise`, and left along half a cosine over the last `fall` (Karras
    et al. 2020, projector).
    """

    def at(step: int, n_steps: int) -> float:
        t = step / n_steps
        left = min(1.0, (1.0 - t) / fall)
        return value * (0.5 - 0.5 * math.cos(math.pi * left)) * min(1.0, t / rise)

    return at


def one_cycle_drop(value: float) -> Schedule:
    """In lines from a tenth of `value` up to it and down again over 90 %, then to a thousandth (Menon et al. 2020)."""

    def at(step: int, n_steps: int) -> float:
        t = step / n_steps
        if t < 0.9:
            return value * (0.1 + 0.9 * (1.0 - abs(t - 0.45) / 0.45))
        return value * (0.1 + (t - 0.9) / 0.1 * (0.001 - 0.1))

    return at


@dataclass(frozen=True)
class Plateau:
    """Stop where the least value so far is above `ratio` times what that was `every` steps before.

    Never in the first `after` (a fraction of the stage). `every` is a multiple of ten.
    """

    ratio: float = 0.98
    every: int = 50
    after: float = 0.0

    def is_met(self, index: int, n_steps: int, value: Tensor, least: Tensor, previous: Tensor | None) -> bool:
        """After step `index`: its value, the least one so far, and the least one at the check before."""
        if previous is None or index <= self.after * n_steps:
            return False
        return float(least) > self.ratio * float(previous)


@dataclass(frozen=True)
class Threshold:
    """Stop where the value (the greatest of a batch) is at most `value`. `every` is a multiple of ten."""

    value: float
    every: int = 10

    def is_met(self, index: int, n_steps: int, value: Tensor, least: Tensor, previous: Tensor | None) -> bool:
        """As `Plateau.is_met`."""
        return float(value.max()) <= self.value
