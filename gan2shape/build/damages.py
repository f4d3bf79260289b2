"""What training pictures of feed-forward networks go through: a task's own damage, drawn where it is a family."""

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.degrade.degradations import Mask, stroke_mask
from gan2shape.invert.method import MethodConfig
from gan2shape.restoration.blind import BLIND
from gan2shape.restoration.blind import damaged as damaged_blindly
from gan2shape.restoration.tasks import degradations, parse_damage

HOLES = "inpaint"  # the task whose holes are drawn: random strokes


def require_task(task: str, size: int) -> None:
    """Raises UserError for a task that is unknown, or does not fit pictures of `size` pixels."""
    if task != BLIND:
        degradations(parse_damage(task), MethodConfig(), size)


def damaged(images: Float[Tensor, "B 3 S S"], task: str, rng: torch.Generator) -> Float[Tensor, "B 3 h w"]:
    """What a network sees of clean pictures. Raises UserError for an unknown task."""
    size = images.shape[-1]
    if task == BLIND:
        return damaged_blindly(images, rng)
    damage = parse_damage(task)
    if damage.task == HOLES:
        return torch.cat([Mask(stroke_mask(size, rng))(image[None]) for image in images])
    return degradations(damage, MethodConfig(), size)[0].observe(images, rng)
