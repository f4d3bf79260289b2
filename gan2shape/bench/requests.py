"""Requests to the benchmarks. Plain paths and numbers: importing this is instant."""

from dataclasses import dataclass, replace
from pathlib import Path

from gan2shape.core.errors import UserError

NATURAL, CROSS = "natural", "cross"
SPLITS = "val", "test", f"{NATURAL}-val", f"{NATURAL}-test", f"{CROSS}-val", f"{CROSS}-test"  # of an exam


@dataclass(frozen=True)
class BenchRequest:
    """A category's own generator, or a custom one in its place, measured with the category's exam."""

    category: str | None = None  # None: what `gan2shape prior` noted about the generator; without a generator, car
    preset: str = "draft"  # names a YAML
    count: int | None = None  # objects, always the first ones; None: as many as the benchmark usually takes
    device: str = "auto"  # auto, cpu, cuda, cuda:0, mps
    overrides: tuple[str, ...] = ()  # key=value of the typed configuration
    generator: Path | None = None  # a StyleGAN2 checkpoint in the place of the category's pack
    class_index: int | None = None  # of a class-conditional `generator`


def named_split(request: BenchRequest, split: str) -> tuple[BenchRequest, str]:
    """`face-test` is split `test` of the category face. Raises UserError where another category is named beside it."""
    category, _, own = split.partition("-")
    if split in SPLITS or own not in SPLITS:
        return request, split
    if request.category not in (None, category):
        raise UserError(f"The split {split} belongs to {category}, not to {request.category}: give one of the two.")
    return replace(request, category=category), own
