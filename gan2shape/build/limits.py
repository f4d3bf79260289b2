"""Choosing the limits of a prior's verdicts (shape/verdict.py), and measuring how often they are right.

Each figure is measured in units of its own spread on known images: 0 at their median, 1 where the worst twentieth of
them begins. An image's score is its worst figure. The edge begins where the worst 1.5 % of known images lie; it ends
half-way (on a logarithmic scale) to where the unknown images begin. Even images of each kind choose, odd ones give the
rates; exam images and photographs choose nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.build.kinds import Kind, all_kinds
from gan2shape.core.progress import Reporter, silent
from gan2shape.prior.masked_generator import MaskedGenerator
from gan2shape.shape.verdict import EDGE, FALLING, INSIDE, OUTSIDE, excess, level_of, trust_figures

COUNT = 64  # images of each kind
BATCH = 32
SPREAD_QUANTILE = 0.95  # of known images: the unit of a figure's distance from their median
EDGE_QUANTILE = 0.985  # of the known images' scores
UNKNOWN_QUANTILE = 0.03  # of the unknown images' scores
LEAST_WIDTH = 1.05  # factor from the edge's beginning to its end, where known and unknown images overlap
LEAST_UNIT = 1e-3  # of any figure: known images that are all alike give no unit
DIGITS = 4

Figures = Mapping[str, Float[Tensor, " _N"]]  # by name, of all images of a kind


@dataclass(frozen=True)
class Limits:
    """What was chosen and how good it is."""

    limits: dict[str, tuple[float, float]] = field(default_factory=dict)  # by figure
    rates: dict[str, dict[str, float | int]] = field(default_factory=dict)  # by kind: n, and the share of each level


def choose_limits(category: str, generator: MaskedGenerator, count: int = COUNT, report: Reporter = silent) -> Limits:
    """Limits of each figure for this prior, with rates on other images; none for one without encoder or mask head."""
    if generator.head is None or generator.prior.encoder is None:
        return Limits()
    kinds = all_kinds(category, generator, count)
    figures = []
    for i, kind in enumerate(kinds):
        figures.append(figures_of(kind, generator))
        report("verdict", i + 1, len(kinds))
    choosing = [(kind, half(found, 0)) for kind, found in zip(kinds, figures, strict=True) if kind.serves]
    known = [found for kind, found in choosing if kind.is_known]
    unknown = [found for kind, found in choosing if not kind.is_known]
    limits = limits_from(known, unknown)
    rated = {
        kind.name: rates_of(half(found, 1) if kind.serves else found, limits)
        for kind, found in zip(kinds, figures, strict=True)
    }
    return Limits(limits, rated)


def figures_of(kind: Kind, generator: MaskedGenerator) -> dict[str, Float[Tensor, " N"]]:
    """The figures of all images of a kind."""
    parts = []
    for first in range(0, len(kind.images), BATCH):
        rows = slice(first, first + BATCH)
        parts.append(trust_figures(kind.images[rows], generator, None if kind.masks is None else kind.masks[rows]))
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def half(figures: Figures, first: int) -> dict[str, Float[Tensor, " N"]]:
    """Every second image, from the one numbered `first`."""
    return {name: values[first::2] for name, values in figures.items()}


def limits_from(known: list[Figures], unknown: list[Figures]) -> dict[str, tuple[float, float]]:
    """(where the edge begins, where it ends) of each figure, from those of known and unknown images."""
    names = {name: None for found in known for name in found}  # in order
    units = {name: unit_of(torch.cat([found[name] for found in known if name in found]), name) for name in names}

    def scores(kinds: list[Figures]) -> Float[Tensor, " N"]:
        each = [
            torch.stack([(values - units[name][0]) / units[name][1] for name, values in found.items()]).amax(0)
            for found in kinds
        ]
        return torch.cat(each)

    begins = scores(known).quantile(EDGE_QUANTILE).item()
    strange = scores(unknown).quantile(UNKNOWN_QUANTILE).item()
    ends = max((begins * max(strange, begins)) ** 0.5, LEAST_WIDTH * begins)
    return {
        name: (round(middle + begins * unit, DIGITS), round(middle + ends * unit, DIGITS))
        for name, (middle, unit) in units.items()
    }


def unit_of(values: Float[Tensor, " N"], name: str) -> tuple[float, float]:
    """(median, from there to where the worst twentieth begins) of known images; negative for a figure that falls."""
    worst = 1 - SPREAD_QUANTILE if name in FALLING else SPREAD_QUANTILE
    middle = values.median().item()
    least = -LEAST_UNIT if name in FALLING else LEAST_UNIT
    return middle, max(values.quantile(worst).item() - middle, least, key=abs)


def rates_of(figures: Figures, limits: Mapping[str, tuple[float, float]]) -> dict[str, float | int]:
    """Number of images, and the share of them at each level."""
    columns = [[excess(value, limits[name]) for value in values.tolist()] for name, values in figures.items()]
    levels = [level_of(max(row)) for row in zip(*columns, strict=True)]
    shares = {level: round(levels.count(level) / len(levels), DIGITS) for level in (INSIDE, EDGE, OUTSIDE)}
    return {"n": len(levels), **shares}
