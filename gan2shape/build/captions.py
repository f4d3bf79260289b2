"""Sentences about synthetic objects, made from their parameters: colour, style, and where the light is.

A colour's name is that of the nearest one of a palette in CIE Lab. Whole combinations of the three are held out of
training, so that what is measured on them was never said before.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gan2shape.build.attribute_images import LAB_ENDING, AttributePairs, trait_sizes
from gan2shape.core.errors import UserError
from gan2shape.synth.objects import CategorySpec

PALETTE_LAB = {  # name -> L, a, b (D65)
    "red": (42.0, 58.0, 40.0), "orange": (62.0, 40.0, 62.0), "yellow": (80.0, 5.0, 75.0),
    "green": (42.0, -40.0, 30.0), "blue": (35.0, 20.0, -54.0), "purple": (36.0, 52.0, -38.0),
    "brown": (35.0, 18.0, 25.0), "white": (92.0, 0.0, 0.0), "silver": (72.0, 0.0, 0.0), "grey": (48.0, 0.0, 0.0),
    "black": (15.0, 0.0, 0.0),
}  # fmt: skip
LIGHTS = ("left", "right", "above", "below", "front")
FRONTAL = 0.25  # a light whose direction leans less than this (tangent) comes from the front
FILLING = ("a", "an", "the", "lit", "from", "of", "in", "with", "light")
HELD_OUT_EVERY = 8  # combinations
FEWEST_HELD_OUT = 5  # combinations, of a category that sentences are made for
NOTHING = -1  # a fact that a category does not have


@dataclass(frozen=True)
class Facts:
    """What sentences may say of N pictures, as numbers of names."""

    colour: Int[Tensor, " N"]
    style: Int[Tensor, " N"]
    light: Int[Tensor, " N"]
    styles: tuple[str, ...]
    subject: str  # what an object of the category is called

    @property
    def table(self) -> Int[Tensor, "N 3"]:
        """The three side by side."""
        return torch.stack([self.colour, self.style, self.light], 1)

    @property
    def is_held_out(self) -> Bool[Tensor, " N"]:
        """Pictures whose combination is kept for measuring."""
        colour, style, light = self.table.unbind(1)
        return (3 * colour + 5 * style + light) % HELD_OUT_EVERY == 0

    def words(self) -> tuple[str, ...]:
        """Every word that sentences may hold, sorted."""
        names = {word for style in self.styles for word in style.lower().split()}
        return tuple(sorted({*FILLING, *PALETTE_LAB, *LIGHTS, *names, self.subject}))


def require_enough_to_say(spec: CategorySpec) -> None:
    """Raises UserError for a category of whose combinations too few would be held out to measure a pair on them; where
    the light is all that can be said, the side that is held out would never be learnt either.
    """
    has_colour = any(name.endswith(LAB_ENDING) for name in trait_sizes(spec))
    ranges = [torch.arange(n) if n else torch.tensor([NOTHING]) for n in (len(PALETTE_LAB) * has_colour,
                                                                         len(spec.styles), len(LIGHTS))]  # fmt: skip
    every = torch.cartesian_prod(*ranges)
    n_held_out = int(Facts(*every.unbind(1), spec.styles, spec.subject).is_held_out.sum())
    if n_held_out < FEWEST_HELD_OUT:
        raise UserError(
            f"Sentences about objects of {spec.name} make {len(every)} combinations, of which {n_held_out} would be "
            "held out: too few to learn and to measure; train with --category car, or relight with `gan2shape edit "
            "--light-from left`."
        )


def facts_of(spec: CategorySpec, pairs: AttributePairs) -> Facts:
    """The facts of all pictures, the first ones of all objects and then the second ones."""
    start, colour = 0, torch.full((2 * len(pairs.style),), NOTHING)
    for name, size in trait_sizes(spec).items():
        if name.endswith(LAB_ENDING):
            colour = named_colour(pairs.traits[:, start : start + size]).repeat(2)
            break
        start += size
    style = pairs.style.repeat(2) if spec.styles else torch.full_like(colour, NOTHING)
    light = named_light(pairs.light.transpose(0, 1).flatten(0, 1))
    return Facts(colour, style.long(), light, tuple(spec.styles), spec.subject)


def named_colour(lab: Float[Tensor, "N 3"]) -> Int[Tensor, " N"]:
    """The number of the nearest colour of the palette."""
    return torch.cdist(lab, torch.tensor(list(PALETTE_LAB.values()))).argmin(1)


def named_light(light: Float[Tensor, "N 4"]) -> Int[Tensor, " N"]:
    """The number of the side that the light comes from."""
    lx, ly = light[:, 2], light[:, 3]
    sideways = torch.where(lx < 0, LIGHTS.index("left"), LIGHTS.index("right"))
    upright = torch.where(ly < 0, LIGHTS.index("above"), LIGHTS.index("below"))
    side = torch.where(lx.abs() > ly.abs(), sideways, upright)
    return torch.where(torch.hypot(lx, ly) < FRONTAL, LIGHTS.index("front"), side)


def sentence(facts: Facts, row: Int[Tensor, " 3"], said: tuple[bool, bool, bool] = (True, True, True)) -> str:
    """`a red pickup lit from the left`; only what is `said`."""
    pairs = zip(row.tolist(), said, strict=True)
    colour, style, light = (value if flag else NOTHING for value, flag in pairs)
    what = facts.subject if style == NOTHING else facts.styles[style].lower()
    parts = ["a", *([] if colour == NOTHING else [list(PALETTE_LAB)[colour]]), what]
    parts += [] if light == NOTHING else ["lit", "from", "the", LIGHTS[light]]
    return " ".join(parts)


def random_subset(rng: np.random.Generator, is_known: tuple[bool, bool, bool]) -> tuple[bool, bool, bool]:
    """Which facts a sentence says: some of those that are known, at least one."""
    known = [i for i in range(3) if is_known[i]]
    kept = [i for i in known if rng.random() < 0.7] or [int(rng.choice(known))]
    return tuple(i in kept for i in range(3))
