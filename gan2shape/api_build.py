"""Making priors: packs of categories and of custom generators, trainings on images and on folders of photos."""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gan2shape.core.compose import compose
from gan2shape.core.progress import Reporter, silent
from gan2shape.core.requests import RunResult, refuse_options

if TYPE_CHECKING:
    from gan2shape.build.generator_plan import GeneratorBuildRequest
    from gan2shape.build.pack import BuildResult
    from gan2shape.build.plan import BuildRequest


@dataclass(frozen=True)
class TrainRequest:
    """One training of a generator."""

    data: Path | None = None  # folder of shards
    out: Path = Path("training")  # folder of checkpoints and contact sheets
    kimg: float = 300.0  # thousands of images to show
    device: str = "auto"
    resume: bool = True  # go on from the checkpoint in `out`
    start_from: Path | None = None  # a pack that a new training begins with
    labels: bool = False  # learn the classes that stand beside the images: a class-conditional generator
    overrides: tuple[str, ...] = ()  # key=value of `TrainConfig`


def train(request: TrainRequest, report: Reporter = silent) -> RunResult:
    """Train a generator, or go on with it. `metrics["kimg"]`: thousands of images shown so far.

    Raises UserError for settings, images and checkpoints that cannot be used.
    """
    from gan2shape.train.loop import TrainConfig
    from gan2shape.train.loop import train as train_gan

    began = time.perf_counter()
    refuse_options(request.overrides)
    config = compose(TrainConfig, overrides=request.overrides)
    labels = config.labels or request.labels
    config = replace(config, kimg=request.kimg, device=request.device, labels=labels)
    state = train_gan(request.data, request.out, config, request.resume, request.start_from, report)
    return RunResult(request.out, metrics={"kimg": state.n_images / 1000}, seconds=time.perf_counter() - began)


def build(request: "BuildRequest", report: Reporter = silent) -> "BuildResult":
    """A pack of a category from nothing, or what is missing of one. Raises UserError as `build_pack` does."""
    from gan2shape.build.pack import build_pack

    return build_pack(request, report)


def build_generator(request: "GeneratorBuildRequest", report: Reporter = silent) -> "BuildResult":
    """The pack of a custom generator, or what is missing of it. Raises UserError as `build.generator_pack` does."""
    from gan2shape.build.generator_pack import build_generator as build_pack

    return build_pack(request, report)


def remove_pack(generator: Path, class_index: int | None = None) -> list[Path]:
    """Forget the pack of a custom generator; returns what was removed. Raises UserError where there is none."""
    from gan2shape.build.generator_pack import remove_pack as remove

    return remove(generator, class_index)
