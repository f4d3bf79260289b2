"""IcGAN: training its encoders for a class-conditional pack, and giving pictures another class."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.api_feedforward import FeedForwardRequest, plan_of
from gan2shape.api_restore import require_kept
from gan2shape.api_restore_files import folders_of
from gan2shape.build import icgan
from gan2shape.core.devices import choose_device
from gan2shape.core.errors import UserError
from gan2shape.core.files import to_json, write_text_atomic
from gan2shape.core.images import contact_sheet, resized, to_uint8, write_png
from gan2shape.core.locks import locked
from gan2shape.core.many import find_images
from gan2shape.core.progress import Reporter, say, silent
from gan2shape.core.requests import RunResult
from gan2shape.core.resources import pack_dir
from gan2shape.edit.icgan import Swapped, load_icgan, require_classes, swapped
from gan2shape.export.inputs import read_image
from gan2shape.prior.packs import Origin, Prior, load_pack
from gan2shape.train.image_source import LABELLED, image_source, n_unrendered
from gan2shape.train.session import announce

TILE_PX = 192  # of a picture on the sheet
AT_ONCE = 32  # pictures in a batch
OUTPUTS = ("swapped.png", "before_after.png", "metrics.json")


@dataclass(frozen=True)
class SwapRequest:
    """Pictures that are to become another class."""

    images: tuple[Path, ...]  # files, folders, patterns
    out: Path
    to: str  # number or name of the class
    generator: Path | None = None  # a class-conditional pack; the bundled cars unless given
    network: Path | None = None  # file or folder of the encoders; runs/icgan-NAME unless given
    device: str = "auto"


def conditional_pack(path: Path | None, device: str) -> Prior:
    """The whole conditional generator of a pack. Raises UserError for a file that is none, or has no classes."""
    if path is not None and not path.exists():
        raise UserError(
            f"--generator {path} does not exist: give a pack with classes, which `gan2shape train --labels` and then "
            "`gan2shape build --only gan labels=true` make."
        )
    prior = load_pack(path or pack_dir("car"), choose_device(device))
    prior = replace(prior, origin=Origin("car" if path is None else None, path))
    require_classes(prior)
    return prior


def train_icgan(request: FeedForwardRequest, report: Reporter = silent) -> RunResult:
    """Train the encoders into the request's folder, or go on. Raises UserError as `build.icgan.train_icgan` does, and
    for a class of its own.
    """
    if request.class_index is not None:
        raise UserError("IcGAN learns all classes of the generator at once: leave out --class.")
    began, plan = time.perf_counter(), plan_of(icgan.KINDS, request.kind, request.overrides)
    prior = conditional_pack(request.generator, request.device)
    category = request.category or prior.card.get("category", "car")
    with locked(request.out):
        size = prior.generator.config.resolution
        n = n_unrendered(category, plan.n_images, size, request.out, request.data, ending=LABELLED)
        announce("icgan", n, size, plan.seconds(size), report)
        source = image_source(category, plan.n_images, size, request.out, request.data, labelled=True, report=report)
        path = icgan.train_icgan(prior, source, plan, request.out, resume=request.resume, report=report)
    return RunResult(request.out, {"encoder": path}, seconds=time.perf_counter() - began)


def swap(request: SwapRequest) -> RunResult:
    """Draw pictures as another class: `swapped.png`, and a sheet with what was read of it and all classes; of several
    pictures in a folder each, where those that cannot be read are passed over.

    Raises UserError for an unknown class, for files that cannot be used, and where one would replace an input.
    """
    began, prior = time.perf_counter(), conditional_pack(request.generator, request.device)
    classes = require_classes(prior)
    to = _class_index(request.to, classes)
    name = request.generator.stem if request.generator else "car"
    encoders = load_icgan(request.network or Path("runs") / f"icgan-{name}", prior)
    paths = find_images(request.images)
    folders = folders_of(paths, request.out)
    for path, folder in zip(paths, folders, strict=True):
        require_kept((path,), folder, OUTPUTS)
    files: dict[str, Path] = {}
    numbers: dict[str, float] = {}
    with locked(request.out):
        given = _read(paths, folders, prior)
        while some := list(islice(given, AT_ONCE)):
            images = torch.cat([image for _, image in some]).to(prior.w_mean.device)
            made = swapped(images, encoders, prior)
            for i, (folder, _) in enumerate(some):
                written = _write(folder, images[i], made, i, classes, to)
                files |= {what if len(paths) == 1 else f"{folder.name}/{what}": at for what, at in written.items()}
                numbers = {"class_read": float(made.read[i])}
    return RunResult(request.out, files, numbers if len(paths) == 1 else {}, time.perf_counter() - began)


def _read(paths: list[Path], folders: list[Path], prior: Prior) -> Iterator[tuple[Path, Float[Tensor, "1 3 S S"]]]:
    """(folder of its result, picture), as they are wanted."""
    for path, folder in zip(paths, folders, strict=True):
        try:
            yield folder, read_image(path, prior.generator.config.resolution).image
        except UserError as error:
            if len(paths) == 1:
                raise
            say(f"Passed over: {error}")


def _write(
    folder: Path, image: Float[Tensor, "3 S S"], made: Swapped, i: int, classes: tuple[str, ...], to: int
) -> dict[str, Path]:
    """The files of one picture by name."""
    read = classes[int(made.read[i])]
    tiles = [image, made.same[i], *made.each[i]]
    pixels = [to_uint8(resized(tile[None], TILE_PX, "bicubic").clamp(-1, 1))[0] for tile in tiles]
    metrics = to_json({"read": read, "to": classes[to]}, indent=1) + "\n"
    sheet = contact_sheet(pixels, ["given", f"read as {read}", *classes])
    swapped_name, sheet_name, metrics_name = OUTPUTS
    return {
        "swapped": write_png(folder / swapped_name, to_uint8(made.each[i, to][None])[0]),
        "sheet": write_png(folder / sheet_name, sheet),
        "metrics": write_text_atomic(folder / metrics_name, metrics),
    }


def _class_index(text: str, classes: tuple[str, ...]) -> int:
    if text in classes:
        return classes.index(text)
    if text.isdecimal() and int(text) < len(classes):
        return int(text)
    raise UserError(f"there is no class {text!r}: give one of {', '.join(classes)}, or its number.")
