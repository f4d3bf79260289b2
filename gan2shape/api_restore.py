"""Restoration, inversion and edits of pictures with a GAN prior: requests in, results out."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.api_align import Alignment, read_aligned, warned
from gan2shape.core.config import FP32, FULL
from gan2shape.core.errors import UserError
from gan2shape.core.images import contact_sheet, resized, to_uint8, write_png
from gan2shape.core.locks import locked
from gan2shape.core.many import find_images
from gan2shape.core.progress import Reporter, format_seconds, say, silent
from gan2shape.core.requests import RunResult
from gan2shape.export.inputs import InputImage, read_image
from gan2shape.invert.encoders import PREFIX
from gan2shape.invert.method import MethodConfig
from gan2shape.measure.faces import face_distance, has_faces
from gan2shape.measure.metrics import psnr_db
from gan2shape.nn.latent_encoder import LatentEncoder
from gan2shape.prior.masked_generator import MaskedGenerator
from gan2shape.prior.open import open_prior
from gan2shape.prior.opened import OpenPrior
from gan2shape.prior.packs import Prior
from gan2shape.restoration import edits
from gan2shape.restoration.choice import Choice, chosen, started
from gan2shape.restoration.combine import combine as combine_pictures
from gan2shape.restoration.in_photo import pasted, read_hole
from gan2shape.restoration.methods import expected_seconds, inversion_in, load_method
from gan2shape.restoration.networks import seen_through
from gan2shape.restoration.output import METRICS_NAME, SHEET_TILE_PX, write_restored
from gan2shape.restoration.restore import Restored, restore_images
from gan2shape.restoration.tasks import Damage, parse_damage

if TYPE_CHECKING:
    from gan2shape.bench.requests import BenchRequest

PICTURES = ("restored.png", "given.png", "before_after.png", "photo.png", "draws.png")
OUTPUTS = (*PICTURES, "report.html", METRICS_NAME)  # of a restored picture, whose names an input may have
MORPH_STEPS = 11  # pictures of a morph (published)
JITTER_SDS = (0.3, 0.5, 0.7)  # published
JITTER_COUNT = 8  # pictures of each
# The pictures are the result: nothing about them is approximated.
WHOLE = (f"render.last_blocks={FULL}", f"render.precision={FP32}")


@dataclass(frozen=True)
class RestoreRequest:
    """Pictures with one kind of damage."""

    images: tuple[Path, ...]  # files, folders or patterns
    out: Path
    task: str = "reconstruct"  # of restoration.tasks, with its number: superres:4
    method: str | None = None  # of configs/restore; the task's own unless given
    mask: Path | None = None  # white is what has to be filled in
    degrade: bool = False  # the pictures are clean: damage them first
    features: str | None = None  # network of feature terms: efficientnet or a file; the prior's discriminator if None
    alignment: Alignment = field(default_factory=Alignment)  # of an inversion
    space: str | None = None  # invert in this space (invert/spaces.py), or by `encoder:NAME`, and follow no method
    start: str | None = None  # mean, best, encoder, random, or `encoder:NAME`; the method's own unless given
    n_steps: int | None = None  # in all, instead of the method's own number
    n_mixed: int = 0  # further answers with random fine rows
    category: str | None = None
    generator: Path | None = None
    class_index: int | None = None
    seed: int = 0
    device: str = "auto"


def opened(request: RestoreRequest) -> MaskedGenerator:
    """The generator that a request names. Raises UserError as `open_prior` does."""
    further = {"device": request.device, "class_index": request.class_index}
    return open_prior(request.category, request.generator, overrides=WHOLE, **further)[0]


def restore(
    image: Float[Tensor, "B 3 h w"],
    task: str = "reconstruct",
    method: str | None = None,
    *,
    hole: Float[Tensor, "b 1 S S"] | None = None,
    degrade: bool = False,
    category: str = "car",
    prior: OpenPrior | Prior | None = None,
    seed: int = 0,
    device: str = "auto",
    report: Reporter = silent,
) -> Restored:
    """Restore pictures in [-1, 1] at the prior's resolution (smaller by the factor for `superres:4`).

    task: reconstruct, colorize, inpaint, superres:N, denoise:SD, deblur:PX or hybrid. hole: 1 where a picture is lost.
    degrade: the pictures are clean; they are damaged first, and the result is compared with them.
    prior: an opened one; the category's bundled one unless given. Raises UserError with cause and remedy.
    """
    if prior is None:
        prior = open_prior(category, device=device)[0].prior
    elif isinstance(prior, OpenPrior):
        prior = prior.generator.prior
    damage = replace(parse_damage(task), kept=None if hole is None else 1.0 - hole)
    return restore_images(image, damage, method, prior, degrade=degrade, seed=seed, report=report)


def restore_files(request: RestoreRequest, report: Reporter = silent) -> RunResult:
    """Restore every picture into the request's folder: a single one there, several in a folder each.

    Pictures whose numbers are there already are passed over. Raises UserError for bad input, where a file would replace
    an input, and where another job works in the folder.
    """
    began, damage = time.perf_counter(), parse_damage(request.task)
    request.alignment.check()
    paths = find_images(request.images)
    choice = choice_of(request, damage)
    folders = [request.out if len(paths) == 1 else request.out / path.stem for path in paths]
    if len(set(folders)) < len(folders):
        raise UserError("two pictures have the same name: give folders whose pictures have names of their own.")
    for path, folder in zip(paths, folders, strict=True):
        _require_kept((path, request.mask, request.alignment.mask), folder, OUTPUTS)
    generator = opened(request)
    encoder = choice.opened_encoder(generator.prior)
    pending = [(path, folder) for path, folder in zip(paths, folders, strict=True) if not _is_done(folder, len(paths))]
    if pending and generator.prior.w_mean.device.type == "cpu" and not isinstance(choice.method, str):
        seconds = expected_seconds(choice.method, generator.resolution) * len(pending)
        say(f"This will take about {format_seconds(seconds)} on this CPU.")
    files: dict[str, Path] = {}
    numbers: dict[str, float] = {}
    told: set[str] = set()
    with locked(request.out):
        for path, folder in pending:
            made = _restore_one(request, path, folder, damage, (choice.method, encoder), generator, report, told)
            files |= made[0] if len(paths) == 1 else {f"{folder.name}/{name}": file for name, file in made[0].items()}
            numbers = made[1] if len(paths) == 1 else {}
    if len(pending) < len(paths):
        say(f"{len(paths) - len(pending)} of {len(paths)} pictures were restored before.")
    return RunResult(request.out, files, numbers, time.perf_counter() - began)


def choice_of(request: RestoreRequest, damage: Damage) -> Choice:
    """The request's method, or the inversion in its space; with its own start, network and number of steps. Raises
    UserError for unknown ones.
    """
    if request.space is not None and request.method is not None:
        raise UserError("--space and --method exclude each other: a method has a space of its own.")
    is_space = request.space is not None and not request.space.startswith(PREFIX)
    choice = (
        Choice(inversion_in(request.space))
        if is_space
        else chosen(request.space or request.method or damage.kind.method, damage.task)
    )
    choice = started(choice, request.start)
    if isinstance(choice.method, str):
        if request.features is not None or request.n_steps is not None:
            raise UserError(f"{choice.method} is one pass: leave --features and --steps away.")
        return choice
    choice = replace(choice, method=seen_through(choice.method, request.features))
    if request.n_steps is None:
        return choice
    if request.n_steps < 0:
        raise UserError(f"{request.n_steps} steps are impossible: give 0 or more.")
    factor = request.n_steps / max(1, sum(stage.n_steps for stage in choice.method.stages))
    return replace(choice, method=replace(choice.method, steps_factor=factor))


def _is_done(folder: Path, n_images: int) -> bool:
    return n_images > 1 and (folder / METRICS_NAME).is_file()


def _require_kept(inputs: Sequence[Path | None], folder: Path, names: Sequence[str]) -> None:
    """Raises UserError where an output of one of these names would replace an input."""
    for name in names:
        for given in inputs:
            output = folder / name
            if given is not None and output.exists() and given.exists() and output.samefile(given):
                raise UserError(f"{given} would be replaced by the result: choose another folder with --out.")


def _restore_one(
    request: RestoreRequest,
    path: Path,
    folder: Path,
    damage: Damage,
    by: tuple[MethodConfig | str, LatentEncoder | None],
    generator: MaskedGenerator,
    report: Reporter,
    told: set[str],
) -> tuple[dict[str, Path], dict[str, float]]:
    """One picture; sentences in `told` are not said again."""
    method, encoder, prior = *by, generator.prior
    size = prior.resolution if request.degrade else prior.resolution // damage.factor
    picture = read_aligned(path, size, generator, request.alignment)
    for note in (*picture.notes, *_resized_note(picture, size)):
        if note not in told:
            say(note)
            told.add(note)
    is_inversion = damage.task == "reconstruct" and not request.degrade
    level = warned(picture, generator) if is_inversion else None
    hole = None
    if request.mask is not None:
        if not damage.kind.has_hole:
            raise UserError(f"--mask belongs to inpaint and hybrid, not to {damage.task}: leave it away.")
        hole = read_hole(request.mask, prior.resolution, picture.original_size, picture.framing)
        damage = replace(damage, kept=1.0 - hole)
    made = restore_images(
        picture.image, damage, method, prior, degrade=request.degrade, seed=request.seed, encoder=encoder,
        n_mixed=request.n_mixed, report=report,
    )  # fmt: skip
    if is_inversion:
        made.numbers.update(inversion_numbers(made, picture, generator))
    photo = None
    is_cut_out = picture.is_turned or (is_inversion and picture.mask is not None)  # on another background
    if not request.degrade and damage.factor == 1 and not is_cut_out and not damage.kind.is_learnt:
        lost = made.hole if hole is None else hole
        photo = pasted(path, picture.framing, made.solved.image, damage.kind.compose, lost, request.mask)
    files = write_restored(made, damage, folder, photo, level)
    return files, {name: values[0] for name, values in made.numbers.items()}


@torch.no_grad()
def inversion_numbers(made: Restored, picture: InputImage, generator: MaskedGenerator) -> dict[str, list[float]]:
    """What an inversion is compared with is the picture itself: PSNR inside the object (of the mask that was given, or
    that the generator shows), and for faces the distance of dlib's descriptors.
    """
    found, mask = {}, picture.mask
    if mask is None and made.solved.w is not None:
        mask = generator(made.solved.w)[1]
    if mask is not None and bool((mask > 0.5).any()):
        found["object_psnr_db"] = psnr_db(made.image, made.observed, mask.to(made.image) > 0.5).tolist()
    if has_faces() and (distance := face_distance(made.image, made.observed)) is not None:
        found["face_distance"] = [distance]
    return found


def _resized_note(picture: InputImage, size: int) -> tuple[str, ...]:
    width, height = picture.original_size
    if (width, height) == (size, size):
        return ()
    side, is_whole = round(picture.framing.size), picture.framing.size == min(width, height)
    used = "the middle square" if is_whole else f"a square of {side} pixels"
    note = f"The picture has {width} x {height} pixels; {used} of it is used at {size} x {size}."
    return () if picture.is_turned else (note,)



def morph(a: Path, b: Path, request: RestoreRequest, n: int = MORPH_STEPS, report: Reporter = silent) -> RunResult:
    """Solve two pictures with all weights free, and draw what lies between: every variable in a straight line (DGP).

    Writes `morph.png`, a strip. Raises UserError as `restore_files` does.
    """
    _require_kept((a, b), request.out, ("morph.png",))
    began, prior = time.perf_counter(), opened(request).prior
    method = load_method("dgp", "manipulate")
    images = torch.cat([read_image(path, prior.resolution).image for path in (a, b)])
    with locked(request.out):
        made = restore_images(images, Damage("reconstruct"), method, prior, seed=request.seed, report=report)
        pictures = edits.morphed(*made.solved.states, method.space, prior, n)
        return _strip_result(pictures, request.out, "morph", began)


def jitter(
    path: Path, request: RestoreRequest, sds: Sequence[float] = JITTER_SDS, report: Reporter = silent
) -> RunResult:
    """Solve a picture with all weights free, and draw its neighbours: noise on z, a row for each standard deviation.

    Writes `jitter.png`. Raises UserError as `restore_files` does.
    """
    _require_kept((path,), request.out, ("jitter.png",))
    began, prior = time.perf_counter(), opened(request).prior
    method = load_method("dgp", "manipulate")
    image = read_image(path, prior.resolution).image
    with locked(request.out):
        made = restore_images(image, Damage("reconstruct"), method, prior, seed=request.seed, report=report)
        state = made.solved.states[0]
        rows = [edits.jittered(state, method.space, prior, sd, JITTER_COUNT, request.seed) for sd in sds]
        return _strip_result(torch.cat(rows), request.out, "jitter", began, JITTER_COUNT)


def transfer(path: Path, request: RestoreRequest, to: int, report: Reporter = silent) -> RunResult:
    """Solve a picture as the request's class with all weights free, then draw it as class `to`: z and weights stay
    (DGP, category transfer). Writes `transferred.png` and a sheet.

    Raises UserError where the prior has no classes, or not these.
    """
    _require_kept((path,), request.out, ("transferred.png", "before_after.png"))
    began, prior = time.perf_counter(), opened(request).prior
    other = opened(replace(request, class_index=to)).prior
    method = load_method("dgp", "manipulate")
    image = read_image(path, prior.resolution).image
    with locked(request.out):
        made = restore_images(image, Damage("reconstruct"), method, prior, seed=request.seed, report=report)
        drawn = edits.drawn(made.solved.states[0], method.space, other)
        labels = ("given", f"as class {request.class_index}", f"as class {to}")
        sheet = _sheet(torch.cat([image.to(drawn), made.image, drawn]), 3, labels)
        files = {
            "transferred": write_png(request.out / "transferred.png", to_uint8(drawn)[0]),
            "sheet": write_png(request.out / "before_after.png", sheet),
        }
    return RunResult(request.out, files, seconds=time.perf_counter() - began)


def combine(
    first: Path, second: Path, mask: Path, kind: str, request: RestoreRequest, report: Reporter = silent
) -> RunResult:
    """One picture from two and a mask, by `kind` (restoration/combine.py). Writes `combined.png` and a sheet."""
    _require_kept((first, second, mask), request.out, ("combined.png", "before_after.png"))
    began, prior = time.perf_counter(), opened(request).prior
    pictures = [read_image(path, prior.resolution).image.to(prior.w_mean.device) for path in (first, second)]
    marked = read_hole(mask, prior.resolution).to(prior.w_mean.device)
    with locked(request.out):
        solved = combine_pictures(*pictures, marked, kind, prior, seed=request.seed, report=report)
        image = solved.image.clamp(-1, 1)
        sheet = _sheet(torch.cat([*pictures, image]), 3, ("first", "second", kind))
        files = {
            "combined": write_png(request.out / "combined.png", to_uint8(image)[0]),
            "sheet": write_png(request.out / "before_after.png", sheet),
        }
    return RunResult(request.out, files, seconds=time.perf_counter() - began)


def bench_restore(
    request: "BenchRequest", split: str, rows: tuple[str, ...], out: Path, report: Reporter = silent
) -> list[dict]:
    """Rows of tasks and methods on exam images. Raises UserError as `run_restorations` does."""
    from gan2shape.bench.restorations import run_restorations

    return run_restorations(request, split, rows, out, report)


def bench_defence(
    request: "BenchRequest",
    split: str,
    rows: tuple[str, ...],
    inputs: tuple[str, ...],
    out: Path,
    report: Reporter = silent,
) -> list[dict]:
    """Rows of defences against attacks on the style classifier. Raises UserError as `run_defence` does."""
    from gan2shape.bench.defence import run_defence

    return run_defence(request, split, rows, inputs, out, report)


def _sheet(pictures: Float[Tensor, "N 3 S S"], n_columns: int, labels: Sequence[str] = ()) -> np.ndarray:
    return contact_sheet(to_uint8(resized(pictures, SHEET_TILE_PX, "bicubic").clamp(-1, 1)), labels, n_columns)


def _strip_result(
    pictures: Float[Tensor, "N 3 S S"], out: Path, name: str, began: float, n_columns: int | None = None
) -> RunResult:
    path = write_png(out / f"{name}.png", _sheet(pictures, n_columns or len(pictures)))
    return RunResult(out, {name: path}, seconds=time.perf_counter() - began)
