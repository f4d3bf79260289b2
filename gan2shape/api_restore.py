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

from gan2shape.api_align import Alignment
from gan2shape.core.config import FP32, FULL
from gan2shape.core.errors import UserError
from gan2shape.core.images import contact_sheet, resized, to_uint8, write_png
from gan2shape.core.locks import locked
from gan2shape.core.progress import Reporter, silent
from gan2shape.core.requests import RunResult
from gan2shape.export.inputs import read_image
from gan2shape.prior.masked_generator import MaskedGenerator
from gan2shape.prior.open import open_prior
from gan2shape.prior.opened import OpenPrior
from gan2shape.prior.packs import Prior
from gan2shape.restoration import edits
from gan2shape.restoration.combine import combine as combine_pictures
from gan2shape.restoration.in_photo import read_hole
from gan2shape.restoration.methods import load_method
from gan2shape.restoration.output import SHEET_TILE_PX
from gan2shape.restoration.restore import Restored, restore_images
from gan2shape.restoration.tasks import Damage, parse_damage

if TYPE_CHECKING:
    from gan2shape.bench.requests import BenchRequest

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


def require_kept(inputs: Sequence[Path | None], folder: Path, names: Sequence[str]) -> None:
    """Raises UserError where an output of one of these names would replace an input."""
    for name in names:
        for given in inputs:
            output = folder / name
            if given is not None and output.exists() and given.exists() and output.samefile(given):
                raise UserError(f"{given} would be replaced by the result: choose another folder with --out.")


def morph(a: Path, b: Path, request: RestoreRequest, n: int = MORPH_STEPS, report: Reporter = silent) -> RunResult:
    """Solve two pictures with all weights free, and draw what lies between: every variable in a straight line (DGP).

    Writes `morph.png`, a strip. Raises UserError as `api_restore_files.restore_files` does.
    """
    require_kept((a, b), request.out, ("morph.png",))
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

    Writes `jitter.png`. Raises UserError as `api_restore_files.restore_files` does.
    """
    require_kept((path,), request.out, ("jitter.png",))
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
    require_kept((path,), request.out, ("transferred.png", "before_after.png"))
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
    require_kept((first, second, mask), request.out, ("combined.png", "before_after.png"))
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
