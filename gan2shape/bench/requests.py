"""Requests to the benchmarks. Plain paths and numbers: importing this is instant."""

from dataclasses import dataclass
from pathlib import Path


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
