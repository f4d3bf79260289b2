"""Restoration and inversion of pictures in files: read, restored together where that can be, written one by one."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.api_align import read_aligned, warned
from gan2shape.api_restore import RestoreRequest, opened, require_kept
from gan2shape.core.errors import UserError
from gan2shape.core.locks import locked
from gan2shape.core.many import find_images
from gan2shape.core.progress import Reporter, format_seconds, say, silent
from gan2shape.core.requests import RunResult
from gan2shape.export.inputs import InputImage
from gan2shape.measure.faces import face_distance, has_faces
from gan2shape.measure.metrics import psnr_db
from gan2shape.prior.encoders import PREFIX
from gan2shape.prior.masked_generator import MaskedGenerator
from gan2shape.restoration.choice import Choice, chosen, started
from gan2shape.restoration.feedforward import shipped_restorer
from gan2shape.restoration.in_photo import pasted, read_hole
from gan2shape.restoration.methods import expected_seconds, inversion_in
from gan2shape.restoration.networks import seen_through
from gan2shape.restoration.output import METRICS_NAME, write_restored
from gan2shape.restoration.restore import Restored, restore_images
from gan2shape.restoration.tasks import Damage, parse_damage

PICTURES = ("restored.png", "given.png", "before_after.png", "photo.png", "draws.png")
OUTPUTS = (*PICTURES, "report.html", METRICS_NAME)  # of a restored picture, whose names an input may have


@dataclass(frozen=True, eq=False)
class Job:
    """A picture that was read, and where its result goes."""

    path: Path
    folder: Path
    picture: InputImage
    damage: Damage  # with the hole of this picture, if it has one of its own
    level: str | None = None  # of an inversion: whether the prior knows such a picture


def restore_files(request: RestoreRequest, report: Reporter = silent) -> RunResult:
    """Restore every picture into the request's folder: a single one there, several in a folder each.

    Pictures whose numbers are there already are passed over, and so are, among several, files that cannot be used.
    Raises UserError for bad input, where a file would replace an input, and where another job works in the folder.
    """
    began, damage = time.perf_counter(), parse_damage(request.task)
    request.alignment.check()
    if request.mask is not None and not damage.kind.has_hole:
        raise UserError(f"--mask belongs to inpaint and hybrid, not to {damage.task}: leave it away.")
    paths = find_images(request.images)
    choice = choice_of(request, damage)
    folders = folders_of(paths, request.out)
    for path, folder in zip(paths, folders, strict=True):
        require_kept((path, request.mask, request.alignment.mask), folder, OUTPUTS)
    generator = opened(request)
    named = (request.method, request.space, request.start, request.features, request.n_steps)
    if all(one is None for one in named) and (better := shipped_restorer(damage, generator.prior)):
        choice = Choice(better)
    encoder = choice.opened_encoder(generator.prior)
    pending = [(path, folder) for path, folder in zip(paths, folders, strict=True) if not _is_done(folder, len(paths))]
    if pending and generator.prior.w_mean.device.type == "cpu" and not isinstance(choice.method, str):
        seconds = expected_seconds(choice.method, generator.resolution) * len(pending)
        say(f"This will take about {format_seconds(seconds)} on this CPU.")
    files: dict[str, Path] = {}
    numbers: dict[str, float] = {}
    with locked(request.out):
        for jobs in batches(_read(request, pending, damage, generator), choice.at_once):
            images, shared = torch.cat([job.picture.image for job in jobs]), jobs[0].damage
            made = restore_images(
                images, shared, choice.method, generator.prior, degrade=request.degrade, seed=request.seed,
                encoder=encoder, n_mixed=request.n_mixed, report=report,
            )  # fmt: skip
            for i, job in enumerate(jobs):
                written, numbers = _write(request, job, made.one(i), generator)
                files |= {name if len(paths) == 1 else f"{job.folder.name}/{name}": at for name, at in written.items()}
    if len(pending) < len(paths):
        say(f"{len(paths) - len(pending)} of {len(paths)} pictures were restored before.")
    return RunResult(request.out, files, numbers if len(paths) == 1 else {}, time.perf_counter() - began)


def folders_of(paths: Sequence[Path], out: Path) -> list[Path]:
    """Where the results of pictures go: `out` of a single one, a folder each in it of several. Raises UserError for
    pictures of the same name.
    """
    folders = [out if len(paths) == 1 else out / path.stem for path in paths]
    if len(set(folders)) < len(folders):
        raise UserError("two pictures have the same name: give folders whose pictures have names of their own.")
    return folders


def batches(jobs: Iterator[Job], most: int) -> Iterator[list[Job]]:
    """Jobs that can be solved together, at most so many: their holes, if any, are the same."""
    some: list[Job] = []
    for job in jobs:
        if some and (len(some) == most or not _is_same_hole(some[0].damage.kept, job.damage.kept)):
            yield some
            some = []
        some.append(job)
    if some:
        yield some


def _is_same_hole(a: Float[Tensor, "1 1 S S"] | None, b: Float[Tensor, "1 1 S S"] | None) -> bool:
    return (a is None and b is None) or (a is not None and b is not None and torch.equal(a, b))


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


def _read(
    request: RestoreRequest, pending: list[tuple[Path, Path]], damage: Damage, generator: MaskedGenerator
) -> Iterator[Job]:
    """Pictures as they are wanted; what there is to say of them is said once."""
    size = generator.resolution if request.degrade else generator.resolution // damage.factor
    told: set[str] = set()
    for path, folder in pending:
        try:
            picture = read_aligned(path, size, generator, request.alignment)
        except UserError as error:
            if len(pending) == 1:
                raise
            say(f"Passed over: {error}")
            continue
        for note in (*picture.notes, *_resized_note(picture, size)):
            if note not in told:
                say(note)
                told.add(note)
        level = warned(picture, generator) if is_inversion(request, damage) else None
        own = damage
        if request.mask is not None:
            hole = read_hole(request.mask, generator.resolution, picture.original_size, picture.framing)
            own = replace(damage, kept=1.0 - hole)
        yield Job(path, folder, picture, own, level)


def is_inversion(request: RestoreRequest, damage: Damage) -> bool:
    """Whether a picture is only explained, and nothing about it mended."""
    return damage.task == "reconstruct" and not request.degrade


def _write(
    request: RestoreRequest, job: Job, made: Restored, generator: MaskedGenerator
) -> tuple[dict[str, Path], dict[str, float]]:
    """The files of one picture by name, and its numbers."""
    picture, damage = job.picture, job.damage
    if is_inversion(request, damage):
        made.numbers.update(inversion_numbers(made, picture, generator))
    photo = None
    is_cut_out = picture.is_turned or (is_inversion(request, damage) and picture.mask is not None)  # other background
    if not request.degrade and damage.factor == 1 and not is_cut_out and not damage.kind.is_learnt:
        lost = made.hole if damage.kept is None else 1.0 - damage.kept
        photo = pasted(job.path, picture.framing, made.solved.image, damage.kind.compose, lost, request.mask)
    files = write_restored(made, damage, job.folder, photo, job.level)
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
