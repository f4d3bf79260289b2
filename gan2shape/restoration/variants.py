"""Variants of a method, for ablations: `dgp+mse+progressive`, `brgm-colinearity`, `pulse+floor=0.002`.

After the name of a YAML come parts, from left to right: `-TERM` leaves a loss term away, `+WORD` changes what its word
says, `+KEY=NUMBER` sets a number.
"""

import re
from collections.abc import Callable
from dataclasses import replace

from gan2shape.core.compose import nearest
from gan2shape.core.errors import UserError
from gan2shape.invert.method import MethodConfig, TermConfig
from gan2shape.invert.spaces import FREE, parse_space
from gan2shape.invert.terms import DATA
from gan2shape.restoration.methods import load_method

PART = re.compile(r"([+-])([A-Za-z_][\w]*)(?:=([\w.]+))?")
MSE_FACTOR = 10.0  # of squared differences beside a feature term (DGP's MSE-biased recipes)
N_BLOCKS = 3  # of feature networks


def load_variant(text: str, task: str) -> MethodConfig:
    """The method of a name with its parts as it does `task`. Raises UserError for unknown names and parts."""
    name = re.split(r"[+-]", text, maxsplit=1)[0]
    method, parts = load_method(name, task), text[len(name) :]
    found = list(PART.finditer(parts))
    if "".join(one[0] for one in found) != parts:
        raise UserError(f"{text!r} is no variant of {name}: write {name}-TERM, {name}+WORD or {name}+KEY=NUMBER.")
    for sign, word, value in (one.groups() for one in found):
        method = _without(method, word) if sign == "-" else _changed(method, word, value)
    return replace(method, title=f"{method.title} ({parts})") if parts else method


def _without(method: MethodConfig, term: str) -> MethodConfig:
    left = tuple(one for one in method.terms if one.term != term)
    if len(left) == len(method.terms):
        raise UserError(f"{method.title} has no term {term!r}{nearest(term, [one.term for one in method.terms])}")
    if not left:
        raise UserError(f"{method.title} has no other term than {term}.")
    return replace(method, terms=left)


def _changed(method: MethodConfig, word: str, value: str | None) -> MethodConfig:
    known = WORDS if value is None else NUMBERS
    if word not in known:
        raise UserError(f"unknown variant {word!r}{nearest(word, known)}")
    if value is None:
        return WORDS[word](method)
    try:
        return NUMBERS[word](method, float(value))
    except ValueError as error:
        raise UserError(f"{value!r} after {word}= is no number.") from error


def compared_by(method: MethodConfig, term: TermConfig) -> MethodConfig:
    """The method with one data term in the place of all of its own."""
    return replace(method, terms=(term, *(one for one in method.terms if one.term not in DATA)))


def freed(method: MethodConfig, is_progressive: bool) -> MethodConfig:
    """The weights coarse blocks first, one more a stage, or all from the start (DGP)."""
    stages = tuple(replace(one, n_groups=i + 1 if is_progressive else 99) for i, one in enumerate(method.stages))
    return replace(method, stages=stages)


def in_w(method: MethodConfig) -> MethodConfig:
    """The method in W: stages in which its latent learns, and of them the latent alone. UserError where there is none.
    """
    stages = tuple(replace(one, lr={"latent": one.lr["latent"]}) for one in method.stages if "latent" in one.lr)
    if not stages or parse_space(method.space).latent in FREE:
        raise UserError(f"{method.title} has no latent that could be one of W: leave +w away.")
    return replace(method, space="W", stages=stages)


def floored(method: MethodConfig, epsilon: float) -> MethodConfig:
    """Terms that have a floor, with another one (PULSE's epsilon, of images in [0, 1])."""
    return replace(method, terms=tuple(replace(one, floor=4 * epsilon) if one.floor else one for one in method.terms))


def shrunk_by_box(method: MethodConfig) -> MethodConfig:
    """Super-resolution of what a plain average has shrunk, as BRGM's, so that a ladder sees the same small pictures."""
    return replace(method, kernel="box", observed_by=None)


WORDS: dict[str, Callable[[MethodConfig], MethodConfig]] = {
    "discriminator": lambda method: compared_by(method, TermConfig("features", n_blocks=N_BLOCKS)),
    "mse": lambda method: compared_by(method, TermConfig("pixel_l2", factor=MSE_FACTOR)),
    "efficientnet": lambda method: compared_by(
        method, TermConfig("features", n_blocks=N_BLOCKS, network="efficientnet")
    ),
    "progressive": lambda method: freed(method, True),
    "atonce": lambda method: freed(method, False),
    "w": in_w,
    "box": shrunk_by_box,
}
NUMBERS: dict[str, Callable[[MethodConfig, float], MethodConfig]] = {
    "steps": lambda method, share: replace(method, steps_factor=share * method.steps_factor),
    "floor": floored,
    "stop": lambda method, value: replace(method, stop_at=value),
}
