"""Many images as one job: a folder for each, a page with all, and a journal that lets a repeated call go on.

Images that cannot be used are listed with their reason and stop nothing. Where nothing is optimised for an image
(preset instant), the networks see a batch at a time.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from gan2shape.api import announce, opened, reconstruct, run
from gan2shape.api_batches import in_batches
from gan2shape.core.compose import to_yaml
from gan2shape.core.config import ShapeConfig
from gan2shape.core.devices import one_thread_after_fork
from gan2shape.core.errors import UserError
from gan2shape.core.files import append_lines, write_text_atomic
from gan2shape.core.images import resized
from gan2shape.core.locks import locked
from gan2shape.core.many import (
    DONE,
    FAILED,
    INDEX_NAME,
    JOB_NAME,
    JOURNAL_NAME,
    SETTINGS_NAME,
    Item,
    ManyRequest,
    ManyResult,
    done_row,
    failed_row,
    items_of,
    read_journal,
    require_own,
)
from gan2shape.core.progress import Reporter, say, silent
from gan2shape.core.requests import RunRequest
from gan2shape.core.resources import pack_dir
from gan2shape.export.index import render_index
from gan2shape.prior.cache import content_hash
from gan2shape.prior.made import weights_hash
from gan2shape.prior.masked_generator import MaskedGenerator
from gan2shape.prior.opened import OpenPrior
from gan2shape.prior.whereabouts import noted
from gan2shape.shape.batch import BATCH, in_one_pass, is_one_pass
from gan2shape.shape.reconstruct import Reconstruction, check_inputs

INDEX_INTERVAL_S = 60.0  # between two versions of the page while the job works


# From settings, images, generator, configuration and reporter to the rows of the journal, as images are finished.
Works = Callable[[RunRequest, list[Item], MaskedGenerator, ShapeConfig, Reporter], Iterator[dict]]


def works_of(generator: MaskedGenerator, config: ShapeConfig) -> Works:
    """How images are run under this configuration, here."""
    return in_batches if is_one_pass(generator, config) else _one_by_one


def run_many(request: ManyRequest, report: Reporter = silent, works: Works | None = None) -> ManyResult:
    """Run every image that is not done yet, and list all of them in `index.html`.

    An image is done where an earlier call with the same picture, mask, weights and settings has finished it; what has
    changed is done anew. Interrupted, the job loses the image it works on. `works`: where another than this process
    does the work. Raises UserError for settings, weights and folders that cannot be used, and where another job works
    in the folder.
    """
    began, folder = time.perf_counter(), Path(request.run.out)
    if request.run.degraded is not None:
        raise UserError("A job of many images restores none of them: restore them first, with `gan2shape restore`.")
    generator, config = opened(request.run)
    items = items_of(request, _settings(request.run, config))
    require_own(folder)
    with locked(folder):
        rows = read_journal(folder)
        run_one = noted(request.run)
        pending = [item for item in items if not _is_done(item, rows.get(item.folder), folder)]
        _say_what_is_done(items, pending, rows)
        if pending and request.run.generator is not None:
            announce(request.run, generator, config, has_mask=all(item.mask for item in pending))
        append_lines(folder / JOURNAL_NAME, [])
        write_text_atomic(folder / SETTINGS_NAME, to_yaml(config))
        write_text_atomic(folder / JOB_NAME, run_one.to_json())
        works = works or works_of(generator, config)
        tried, shown_at = [], time.perf_counter()
        try:
            for row in works(run_one, pending, generator, config, report):
                append_lines(folder / JOURNAL_NAME, [row])
                rows[row["folder"]] = row
                tried.append(row)
                report("images", len(tried), len(pending), failed=float(_n_failed(tried)))
                if time.perf_counter() - shown_at > INDEX_INTERVAL_S:
                    _write_index(folder, items, rows, config)
                    shown_at = time.perf_counter()
        finally:
            _write_index(folder, items, rows, config)
    failures = {item.image.name: rows[item.folder]["error"] for item in items if rows[item.folder]["status"] == FAILED}
    n_done, n_skipped = len(tried) - _n_failed(tried), len(items) - len(pending)
    return ManyResult(folder, folder / INDEX_NAME, n_done, n_skipped, failures, time.perf_counter() - began)


def reconstruct_batch(
    images: Float[Tensor, "B 3 S S"],
    prior: OpenPrior,
    masks: Float[Tensor, "M 1 N N"] | None = None,
    *,
    preset: str = "instant",
    overrides: tuple[str, ...] = (),
) -> tuple[Reconstruction, ...]:
    """What `reconstruct` gives for each image, of any size; where nothing is optimised, the networks see batches.

    images: in [-1, 1]. masks: their objects, in [0, 1]; predicted unless given. Raises UserError, which names the
    image's number, for what cannot be used.
    """
    config, size = prior.config(preset, overrides), prior.resolution
    single = [None] * len(images) if masks is None else list(masks.split(1))
    if len(single) != len(images):
        raise UserError(f"{len(single)} masks for {len(images)} images: give one for each.")
    pairs = []
    for index, (image, mask) in enumerate(zip(images.split(1), single, strict=True)):
        with _naming(index):
            check_inputs(image, mask, None, 0, 1, 1)
        pairs.append((resized(image, size), None if mask is None else resized(mask, size)))
    if not is_one_pass(prior.generator, config):
        made = []
        for index, (image, mask) in enumerate(pairs):
            with _naming(index):
                made.append(reconstruct(image, mask=mask, prior=prior, config=config))
        return tuple(made)
    one_thread_after_fork()
    found: list[Reconstruction | UserError] = []
    for start in range(0, len(pairs), BATCH):
        found += in_one_pass(*zip(*pairs[start : start + BATCH], strict=True), prior.generator, config)
    for index, one in enumerate(found):
        with _naming(index):
            if isinstance(one, UserError):
                raise one
    return tuple(found)


@contextmanager
def _naming(index: int) -> Iterator[None]:
    """UserErrors say which image of a batch they are about."""
    try:
        yield
    except UserError as error:
        raise UserError(f"Image {index}: {error}") from error


def _settings(request: RunRequest, config: ShapeConfig) -> str:
    """What decides, beside the picture and its mask, what is written."""
    weights = weights_hash(request.generator or pack_dir(config.category), request.class_index)
    features = "" if request.features is None else content_hash(request.features)
    further = f"class: {request.class_index}\nfeatures: {features}\nauto_mask: {request.auto_mask}\n"
    return f"{to_yaml(config)}weights: {weights}\n{further}"


def _is_done(item: Item, row: dict | None, folder: Path) -> bool:
    is_same = row is not None and row.get("key") == item.key and row.get("status") == DONE
    return is_same and (folder / item.folder / "mesh.glb").is_file()


def _n_failed(rows: list[dict]) -> int:
    return sum(row["status"] == FAILED for row in rows)


def _say_what_is_done(items: list[Item], pending: list[Item], rows: dict[str, dict]) -> None:
    n_skipped = len(items) - len(pending)
    changed = [i for i in pending if i.folder in rows and rows[i.folder].get("key") != i.key]
    if n_skipped:
        say(f"{n_skipped} of {len(items)} images are done already.")
    if changed:
        say(f"{len(changed)} are done anew: their picture, their mask, the weights or the settings have changed.")


def _one_by_one(
    request: RunRequest, items: list[Item], generator: MaskedGenerator, config: ShapeConfig, report: Reporter
) -> Iterator[dict]:
    for item in items:
        began = time.perf_counter()
        one = replace(request, image=item.image, mask=item.mask, out=Path(request.out) / item.folder)
        try:
            result = run(one, report, (generator, config))
        except UserError as error:
            yield failed_row(item, error)
        else:
            yield done_row(item, time.perf_counter() - began, result.notes, result.metrics)


def _write_index(folder: Path, items: list[Item], rows: dict[str, dict], config: ShapeConfig) -> None:
    """The page with all images of this call, in their order; those that wait are left out."""
    shown = [rows[item.folder] for item in items if item.folder in rows]
    write_text_atomic(folder / INDEX_NAME, render_index(shown, folder, config.category, config.preset, len(items)))
