"""Making priors: packs of categories and of custom generators, trainings on images and on folders of photos."""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gan2shape.core.compose import compose
from gan2shape.core.errors import UserError
from gan2shape.core.progress import Reporter, say, silent
from gan2shape.core.requests import RunResult, refuse_options

if TYPE_CHECKING:
    from gan2shape.build.generator_plan import GeneratorBuildRequest
    from gan2shape.build.pack import BuildResult
    from gan2shape.build.requests import BuildRequest

PHOTOS_NAME = "images"  # of the shards, in a training's folder
LEAST_SIZE, GREATEST_SIZE = 16, 512  # of photos
MIRRORED = "flips=true"


@dataclass(frozen=True)
class TrainRequest:
    """One training of a generator, on shards or on photos."""

    data: tuple[Path, ...] = ()  # folders of shards
    out: Path = Path("training")  # folder of checkpoints, contact sheets and, at the end, the pack
    kimg: float = 300.0  # thousands of images to show
    device: str = "auto"
    resume: bool = True  # go on from the checkpoint in `out`
    start_from: Path | None = None  # a pack that a new training begins with
    grow: Path | None = None  # a pack that a new training of twice its resolution begins with
    labels: bool = False  # learn the classes that stand beside the images: a class-conditional generator
    overrides: tuple[str, ...] = ()  # key=value of `TrainConfig`
    photos: Path | None = None  # folder of pictures, in the place of `data`
    masks: Path | None = None  # folder of their masks
    size: int = 64  # resolution at which photos are learnt, a power of two


def train(request: TrainRequest, report: Reporter = silent) -> RunResult:
    """Train a generator, or go on with it, and write its pack. `metrics["kimg"]`: thousands of images shown so far.

    Raises UserError for settings, images and checkpoints that cannot be used.
    """
    from gan2shape.core.devices import process_rank
    from gan2shape.prior.packs import save_pack, update_card
    from gan2shape.synth.dataset import CLASSES_KEY
    from gan2shape.train.dataset import class_names
    from gan2shape.train.grow import grown_settings
    from gan2shape.train.loop import TrainConfig
    from gan2shape.train.loop import train as train_gan
    from gan2shape.train.state import CHECKPOINT_NAME, trained_prior

    began = time.perf_counter()
    refuse_options(request.overrides, ("kimg", "device", "size", "images"))
    if request.grow is not None and request.start_from is not None:
        raise UserError("--grow and --start-from both name the pack to begin with: leave one of them out.")
    values = {} if request.grow is None else grown_settings(request.grow)
    of_photos = () if request.photos is None else photo_settings(request.size, request.grow is not None)
    config = compose(TrainConfig, overrides=(*of_photos, *request.overrides), calibration=values)
    labels = config.labels or request.labels
    config = replace(config, kimg=request.kimg, device=request.device, labels=labels)
    data, card = request.data, {"training_images": f"images of {', '.join(path.name for path in request.data)}"}
    if request.photos is not None:
        data, card = photo_shards(request, config.generator.resolution, report)
    if not data:
        raise UserError(
            "There is nothing to learn from: name shards with --data, or photos with --images; see "
            "`gan2shape train --help`."
        )
    state = train_gan(data, request.out, config, request.resume, request.grow or request.start_from, report)
    kimg = state.n_images / 1000
    if not (request.out / CHECKPOINT_NAME).is_file():
        raise UserError(
            f"{request.grow or request.start_from} has seen {kimg:.0f} thousand images already, which count: ask for "
            "more than that with --kimg."
        )
    if process_rank() == 0:
        card = {**card, "training": {"kimg": kimg}, "licence": "that of the training images"}
        card |= {CLASSES_KEY: list(class_names(data[0]))} if labels else {}
        update_card(request.out, card)
        save_pack(request.out, trained_prior(request.out, card))
    return RunResult(request.out, metrics={"kimg": kimg}, seconds=time.perf_counter() - began)


def photo_settings(size: int, grows: bool = False) -> tuple[str, ...]:
    """Settings of a training on photos of this size: mirror images and, unless a pack `grows`, the small networks.

    Raises UserError for sizes that no generator has.
    """
    from gan2shape.nn.small_networks import small_discriminator, small_generator

    if grows:
        return (MIRRORED,)
    if not (LEAST_SIZE <= size <= GREATEST_SIZE and size & (size - 1) == 0):
        raise UserError(f"--size {size} does not work: give a power of two from {LEAST_SIZE} to {GREATEST_SIZE}.")
    widths = {"generator": small_generator(size).channels, "discriminator": small_discriminator(size).channels}
    channels = {name: f"[{','.join(map(str, some))}]" for name, some in widths.items()}
    return (MIRRORED, *(f"{name}={{resolution: {size}, channels: {some}}}" for name, some in channels.items()))


def photo_shards(request: TrainRequest, size: int, report: Reporter) -> tuple[tuple[Path, ...], dict]:
    """The folders (one) of shards that the photos become, and what the card says of them."""
    from gan2shape.train.photos import photo_lines, shards_of_photos

    if request.data:
        raise UserError("--data and --images exclude each other: name shards or photos.")
    if request.labels:
        raise UserError("--labels belongs to shards of `gan2shape synth`: photos have no classes.")
    found = shards_of_photos(request.photos, request.out / PHOTOS_NAME, size, request.masks, report)
    for line in photo_lines(found):
        say(line)
    return (found.folder,), {"training_images": f"{found.n_images} photos, {found.n_masked} of them cut out by a mask"}


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
