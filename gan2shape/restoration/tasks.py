"""Tasks: what a picture went through, which method mends it unless one is named, and what of the observation stays."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.core.compose import nearest
from gan2shape.core.errors import UserError
from gan2shape.degrade.degradations import (
    Blur,
    Degradation,
    Down,
    Gray,
    Identity,
    Mask,
    Noise,
    Up,
    box_mask,
)
from gan2shape.invert.method import MethodConfig
from gan2shape.restoration.blind import of_severity

HYBRID_FACTOR = 2  # of the hybrid task (DGP)
WIDEST_BLUR = 0.25  # standard deviation of a blur, of the side; kernels of more would take minutes


@dataclass(frozen=True)
class Task:
    """One kind of restoration."""

    summary: str  # for people
    method: str  # unless one is named
    restorer: str = ""  # kind of one that is better, where it comes with the prior's pack
    compose: str = "none"  # restoration/composition.py
    # Its number unless one is given: factor, blur in pixels, noise of values in [-1, 1], severity of restoration.blind
    strength: float | None = None
    has_hole: bool = False
    is_learnt: bool = False  # no damage explains the given picture: an encoder that was trained on pairs alone does it


TASKS: dict[str, Task] = {
    "reconstruct": Task("the picture itself", "dgp"),
    "colorize": Task("a grey picture", "dgp", compose="lab"),
    "inpaint": Task("a picture with a hole", "brgm", compose="mask", has_hole=True),
    "superres": Task("a small picture", "dgp", strength=4.0),
    "denoise": Task("a noisy picture", "brgm", strength=0.2),
    "deblur": Task("a blurred picture", "tv", strength=2.0),
    "hybrid": Task("half the resolution, grey, and a hole", "brgm", has_hole=True),
    "blind": Task("a blurred, small, noisy picture, compressed by JPEG", "brgm", restorer="gpen", strength=2.0),
    "frontal": Task("the object from its category's standard view", "", is_learnt=True),
    "silhouette": Task("an object that fills a mask", "", is_learnt=True),
}


@dataclass(frozen=True, eq=False)
class Damage:
    """A task with its number and its hole."""

    task: str
    strength: float | None = None  # the task's own unless given
    kept: Float[Tensor, "b 1 S S"] | None = None  # 1 where the picture is known; a square in the middle is lost if None

    @property
    def kind(self) -> Task:
        """What the task is."""
        return TASKS[self.task]

    @property
    def amount(self) -> float:
        """The number in force."""
        return self.kind.strength if self.strength is None else self.strength

    @property
    def factor(self) -> int:
        """By how much the observation is smaller; 1 where it is not."""
        if self.task != "superres":
            return 1
        if self.amount != int(self.amount) or self.amount < 2:
            raise UserError(f"the factor {self.amount:g} is no whole number from 2 on: use 2, 4 or 8.")
        return int(self.amount)

    @property
    def named(self) -> str:
        """The task as a training is asked for it: with its factor, if it has one."""
        return f"{self.task}:{self.factor}" if self.factor > 1 else self.task


def parse_damage(text: str) -> Damage:
    """`colorize`, `superres:4`, `deblur:1.5`. Raises UserError for an unknown task, or a number that is none."""
    name, colon, number = text.partition(":")
    task = {"gray": "colorize", "grey": "colorize", "mask": "inpaint"}.get(name, name)
    if task not in TASKS:
        raise UserError(f"unknown task {name!r}{nearest(name, TASKS)}")
    try:
        strength = float(number) if colon else None
    except ValueError as error:
        raise UserError(f"{number!r} after {name}: is no number.") from error
    if strength is not None and (TASKS[task].strength is None or not 0 < strength < math.inf):
        raise UserError(f"{text!r}: {name} takes no such number.")
    return Damage(task, strength)


def degradations(damage: Damage, method: MethodConfig, size: int) -> tuple[Degradation, Degradation]:
    """(what a clean picture of `size` pixels goes through, what a candidate and the observation go through after it).

    The second does nothing but for methods that compare enlarged pictures. Raises UserError where the number of the
    task does not fit the size.
    """
    factor = damage.factor
    if size % factor:
        raise UserError(f"the factor {factor} does not divide the prior's {size} x {size} pixels: use 2, 4 or 8.")
    widest = size * WIDEST_BLUR
    if damage.task == "deblur" and damage.amount > widest:
        raise UserError(f"a blur of {damage.amount:g} of {size} pixels leaves nothing: give at most {widest:g}.")
    kept = box_mask(size) if damage.kept is None else damage.kept
    by_task = {
        **{name: Identity for name, task in TASKS.items() if task.is_learnt},
        "reconstruct": Identity,
        "colorize": Gray,
        "inpaint": lambda: Mask(kept),
        "superres": lambda: Down(factor, method.kernel, method.observed_by),
        "denoise": lambda: Noise(damage.amount),
        "deblur": lambda: Blur(damage.amount),
        "blind": lambda: of_severity(damage.amount),
        "hybrid": lambda: (
            Down(HYBRID_FACTOR, method.kernel, method.observed_by) >> Up(HYBRID_FACTOR) >> Gray() >> Mask(kept)
        ),
    }
    after = Up(factor) if method.enlarges and factor > 1 else Identity()
    return by_task[damage.task](), after


def hole_of(damage: Damage, size: int) -> Float[Tensor, "b 1 S S"] | None:
    """1 where the picture is lost; None for tasks without a hole. Raises UserError for one that is empty or full."""
    if not damage.kind.has_hole:
        return None
    hole = 1.0 - (box_mask(size) if damage.kept is None else damage.kept).round()
    if not bool(torch.all(hole.amax((1, 2, 3)) > 0)):
        raise UserError("the mask marks nothing: mark in white what is to be filled in.")
    if not bool(torch.all(hole.amin((1, 2, 3)) < 1)):
        raise UserError("the mask marks everything: leave something of the picture.")
    return hole
