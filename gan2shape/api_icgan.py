"""IcGAN: training its encoders for a class-conditional pack, and giving pictures another class."""

import time
from dataclasses import dataclass, replace
from pathlib import Path

from gan2shape.api_feedforward import FeedForwardRequest, plan_of
from gan2shape.build import icgan
from gan2shape.core.devices import choose_device
from gan2shape.core.errors import UserError
from gan2shape.core.files import to_json, write_text_atomic
from gan2shape.core.images import contact_sheet, resized, to_uint8, write_png
from gan2shape.core.locks import locked
from gan2shape.core.progress import Reporter, silent
from gan2shape.core.requests import RunResult
from gan2shape.core.resources import pack_dir
from gan2shape.edit.icgan import load_icgan, require_classes, swapped
from gan2shape.export.inputs import read_image
from gan2shape.prior.packs import Origin, Prior, load_pack
from gan2shape.train.image_source import LABELLED, image_source, n_unrendered
from gan2shape.train.session import announce

TILE_PX = 192  # of a picture on the sheet


@dataclass(frozen=True)
class SwapRequest:
    """A picture that is to become another class."""

    image: Path
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
    """Draw a picture as another class: `swapped.png`, and a sheet with what was read of it and all classes.

    Raises UserError for an unknown class, and for files that cannot be used.
    """
    began, prior = time.perf_counter(), conditional_pack(request.generator, request.device)
    classes = require_classes(prior)
    to = _class_index(request.to, classes)
    name = request.generator.stem if request.generator else "car"
    encoders = load_icgan(request.network or Path("runs") / f"icgan-{name}", prior)
    image = read_image(request.image, prior.generator.config.resolution).image.to(prior.w_mean.device)
    with locked(request.out):
        made = swapped(image, encoders, prior)
        read = classes[int(made.read)]
        tiles = [image[0], made.same[0], *made.each[0]]
        pixels = [to_uint8(resized(tile[None], TILE_PX, "bicubic").clamp(-1, 1))[0] for tile in tiles]
        labels = ["given", f"read as {read}", *classes]
        files = {
            "swapped": write_png(request.out / "swapped.png", to_uint8(made.each[:, to])[0]),
            "sheet": write_png(request.out / "before_after.png", contact_sheet(pixels, labels)),
            "metrics": write_text_atomic(
                request.out / "metrics.json", to_json({"read": read, "to": classes[to]}, indent=1) + "\n"
            ),
        }
    return RunResult(request.out, files, {"class_read": float(made.read)}, time.perf_counter() - began)


def _class_index(text: str, classes: tuple[str, ...]) -> int:
    if text in classes:
        return classes.index(text)
    if text.isdecimal() and int(text) < len(classes):
        return int(text)
    raise UserError(f"there is no class {text!r}: give one of {', '.join(classes)}, or its number.")
