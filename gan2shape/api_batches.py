"""Many images where nothing is optimised for one (preset instant): the networks see batches, files are read and written
beside them.

While the networks see a batch, threads read the files of the next one and write those of the one before.
"""

import os
import time
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from gan2shape.api import metrics
from gan2shape.api_inputs import read_inputs
from gan2shape.core.config import ShapeConfig
from gan2shape.core.errors import UserError
from gan2shape.core.locks import locked
from gan2shape.core.many import Item, done_row, failed_row
from gan2shape.core.progress import Reporter
from gan2shape.core.requests import RunRequest, require_inputs_kept
from gan2shape.export.inputs import Framing
from gan2shape.export.photo import read_photo
from gan2shape.prior.masked_generator import MaskedGenerator
from gan2shape.shape.batch import BATCH, in_one_pass
from gan2shape.shape.reconstruct import Reconstruction, check_inputs
from gan2shape.shape.verdict import OUTSIDE

MOST_THREADS = 4  # that read and write files


@dataclass(frozen=True)
class _Read:
    """An image of a job, as the networks see it."""

    item: Item
    request: RunRequest  # of this image alone
    image: Float[Tensor, "1 3 S S"]
    mask: Float[Tensor, "1 1 S S"] | None
    framing: Framing  # what `image` shows of the file
    notes: tuple[str, ...] = ()  # what was assumed


@dataclass(frozen=True)
class _Work:
    """What all images of a job share."""

    request: RunRequest
    generator: MaskedGenerator
    config: ShapeConfig
    pool: Executor

    def reading(self, items: list[Item], find_object: bool = False) -> list[tuple[Item, Future]]:
        """Begin to read the files of some images."""
        return [(item, self.pool.submit(self._read, item, find_object)) for item in items]

    def _read(self, item: Item, find_object: bool) -> _Read:
        one = replace(self.request, image=item.image, mask=item.mask, out=Path(self.request.out) / item.folder)
        require_inputs_kept(one)
        given = read_inputs(one, self.config, self.generator, find_object)
        check_inputs(given["image"], given["mask"], None, 0, 1, 1)
        return _Read(item, one, **given)

    def made(self, read: list[_Read]) -> list[tuple[_Read, Reconstruction | UserError]]:
        """What the networks see in each. A picture without a mask that turns out to be strange is looked through for
        its object, and seen once more where there is one.
        """
        found = list(zip(read, self._pass(read), strict=True))
        strange = [i for i, (one, made) in enumerate(found) if one.mask is None and _is_strange(made)]
        cut: dict[int, _Read] = {}
        for i, (_, future) in zip(strange, self.reading([read[i].item for i in strange], True), strict=True):
            with suppress(UserError):  # a file that has gone since: it stays as it was seen
                again = future.result()
                cut |= {} if again.mask is None else {i: again}
        for (i, again), made in zip(cut.items(), self._pass(list(cut.values())), strict=True):
            found[i] = (again, made)
        return found

    def _pass(self, read: list[_Read]) -> list[Reconstruction | UserError]:
        images, masks = [one.image for one in read], [one.mask for one in read]
        return in_one_pass(images, masks, self.generator, self.config) if read else []

    def writing(
        self, made: list[tuple[_Read, Reconstruction | UserError]], shared_s: float
    ) -> list[tuple[_Read, Reconstruction | UserError, Future]]:
        """Begin to write what was made. `shared_s`: what each image has taken so far, seconds."""
        return [(read, result, self.pool.submit(self._write, read, result, shared_s)) for read, result in made]

    def _write(self, read: _Read, made: Reconstruction | UserError, shared_s: float) -> float:
        if isinstance(made, UserError):
            raise made
        began, one = time.perf_counter(), read.request
        with locked(Path(one.out)):
            photo = read_photo(one.image, read.framing, self.config.render.resolution, one.mask)
            replace(made, photo=photo, notes=read.notes).export(one.out)
        return shared_s + time.perf_counter() - began

    def rows(self, writing: list[tuple[_Read, Reconstruction | UserError, Future]]) -> Iterator[dict]:
        """The journal's lines of what is being written, as it is finished."""
        for read, made, future in writing:
            try:
                seconds = future.result()
            except UserError as error:
                yield failed_row(read.item, error)
            else:
                notes = (*made.warnings, *read.notes, *self.generator.notes)
                yield done_row(read.item, seconds, notes, metrics(made))


def _is_strange(made: Reconstruction | UserError) -> bool:
    return isinstance(made, UserError) or (made.verdict is not None and made.verdict.level == OUTSIDE)


def in_batches(
    request: RunRequest, items: list[Item], generator: MaskedGenerator, config: ShapeConfig, report: Reporter
) -> Iterator[dict]:
    """The journal's lines, as images are finished. `is_one_pass` holds for generator and configuration."""
    batches = [items[start : start + BATCH] for start in range(0, len(items), BATCH)]
    with ThreadPoolExecutor(min(MOST_THREADS, os.cpu_count() or 1)) as pool:
        work, writing = _Work(request, generator, config, pool), []
        reading = work.reading(batches[0]) if batches else []
        try:
            for following in (*batches[1:], []):
                began, read = time.perf_counter(), []
                for item, future in reading:
                    try:
                        read.append(future.result())
                    except UserError as error:
                        yield failed_row(item, error)
                reading = work.reading(following)
                made = work.made(read)
                shared_s = (time.perf_counter() - began) / max(len(read), 1)
                yield from work.rows(writing)
                writing = work.writing(made, shared_s)
            yield from work.rows(writing)
        finally:  # after an interrupt nothing new is begun
            for *_, future in (*reading, *writing):
                future.cancel()
