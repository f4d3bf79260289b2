"""Jobs that are really killed, at a chosen moment: a helper process that forks a child for every attempt.

A moment is the n-th event of the job. Events are all tensor operations of the main thread, and five places in every
file that is written: before anything, with an empty file, with half of it, with all of it under its temporary name,
and under its own name. Nothing of the product knows of this: torch's dispatcher and `core.files.move` are wrapped.

    python -m tests.killed '{"kind": "run", "folder": …, "count": 9, "seed": 0, …}'    prints a row for each kill
"""

import importlib
import json
import os
import random
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch.utils._python_dispatch import TorchDispatchMode

from gan2shape.core import files
from gan2shape.core.many import ManyRequest
from gan2shape.core.requests import REQUEST_NAME, RunRequest, resumed

RUN_STEP, TRAIN_STEP = ("gan2shape.shape.reconstruct", "run_step"), ("gan2shape.train.loop", "train_step")


@dataclass
class Events:
    """How many there were, and which lie inside optimisation steps. Kills the process at number `kill_at`."""

    kill_at: int | None = None
    seen: int = 0
    steps: list[tuple[int, int]] = field(default_factory=list)  # [first, last) of each step

    def next(self) -> None:
        if self.seen == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.seen += 1


class Counted(TorchDispatchMode):
    """Every tensor operation is an event."""

    def __init__(self, events: Events) -> None:
        super().__init__()
        self.events = events

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.events.next()
        return function(*args, **(kwargs or {}))


@contextmanager
def counted(events: Events, step_name: tuple[str, str]) -> Iterator[None]:
    """Count within; the process is a child that ends soon, so that nothing is put back."""
    module = importlib.import_module(step_name[0])
    move, step = files.move, getattr(module, step_name[1])

    def moving(source: Path, target: Path) -> None:
        """The file is whole at this time: what a kill would have left at earlier moments is made."""
        whole = source.read_bytes()
        for size in (None, 0, len(whole) // 2, len(whole)):
            source.unlink() if size is None else source.write_bytes(whole[:size])
            events.next()
        move(source, target)
        events.next()

    def stepping(*arguments):
        first = events.seen
        made = step(*arguments)
        events.steps.append((first, events.seen))
        return made

    files.move = moving
    setattr(module, step_name[1], stepping)
    with Counted(events):
        yield


def forked(work: Callable[[], None]) -> int:
    """Do it in a child; returns how that ended: 0, its exit code, or minus the signal."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@dataclass(frozen=True)
class Job:
    """Something that is begun in a folder and, killed, gone on with there."""

    begin: Callable[[Path], None]
    go_on: Callable[[Path], None]
    step_name: tuple[str, str]  # module and name of the function that is one optimisation step (or holds many)

    def events(self, folder: Path) -> Events:
        """Those of the whole work, which a child does."""
        here, there = os.pipe()

        def counting() -> None:
            events = Events()
            with counted(events, self.step_name):
                self.begin(folder)
            os.write(there, json.dumps([events.seen, events.steps]).encode())

        assert forked(counting) == 0
        os.close(there)
        with os.fdopen(here) as stream:
            seen, steps = json.load(stream)
        return Events(None, seen, [tuple(step) for step in steps])

    def killed_at(self, moment: int, work: Callable[[], None]) -> None:
        """The work in a child that ends by SIGKILL at this event."""

        def dying() -> None:
            with counted(Events(moment), self.step_name):
                work()

        assert forked(dying) == -signal.SIGKILL, f"event {moment} did not come"


def kill(job: Job, folder: Path, count: int, seed: int, earlier: Path | None = None) -> list[dict]:
    """The whole job in `folder/whole`, and `count` in `folder/0` … that are killed at random moments, two of three
    inside optimisation steps, some of them again while they are gone on with, and then gone on with to the end.

    earlier: a finished folder of another job, which some begin in. Returns a row for each.
    """
    rng, rows = random.Random(seed), []
    job.begin(folder / "whole")  # here, so that no child has to import anything
    events = job.events(folder / "counted")
    inside = [moment for first, last in events.steps for moment in range(first, last)]
    for index in range(count):
        own, is_inside = folder / str(index), index % 3 != 0
        if earlier is not None and index % 2 == 0:
            shutil.copytree(earlier, own)
        moment = rng.choice(inside) if is_inside else rng.randrange(int(0.97 * events.seen))
        job.killed_at(moment, lambda own=own: job.begin(own))
        if index % 4 == 3:  # again, soon after the start
            job.killed_at(rng.randrange(50), lambda own=own: job.go_on(own))
        assert forked(lambda own=own: job.go_on(own)) == 0, f"event {moment} of {events.seen}: cannot be gone on with"
        rows.append({"folder": index, "event": moment, "of": events.seen, "inside": moment in inside})
    return rows


def run_job(request: RunRequest, photo: Path) -> Job:
    """`gan2shape run` of a photo, which has gone when it is resumed."""
    from gan2shape.api import run

    def begin(folder: Path) -> None:
        copy = folder.parent / f"{folder.name}-photo.png"
        shutil.copy(photo, copy)
        run(replace(request, image=copy, out=folder))

    def go_on(folder: Path) -> None:
        """As a user does: resume, or begin anew where the run had not come so far as to be one."""
        copy = folder.parent / f"{folder.name}-photo.png"
        stored = folder / REQUEST_NAME
        if stored.is_file() and json.loads(stored.read_text())["image"] == copy.name:
            copy.unlink(missing_ok=True)
            run(resumed(folder, request.device))
        else:
            begin(folder)

    return Job(begin, go_on, RUN_STEP)


def many_job(request: RunRequest, photos: Path) -> Job:
    """`gan2shape run` of a folder of photos: the same command goes on."""
    from gan2shape.api_many import run_many

    images = tuple(sorted(photos.iterdir()))

    def begin(folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        run_many(ManyRequest(replace(request, out=folder), images))

    return Job(begin, begin, RUN_STEP)


def train_job(data: Path, overrides: tuple[str, ...]) -> Job:
    """`gan2shape train`: the same command goes on."""
    from gan2shape.api_build import TrainRequest, train

    def begin(folder: Path) -> None:
        train(TrainRequest((data,), folder, 0.064, "cpu", overrides=overrides))

    return Job(begin, begin, TRAIN_STEP)


def main() -> None:
    """One job, as a test asks for it."""
    plain = json.loads(sys.argv[1])
    folder, overrides = Path(plain["folder"]), tuple(plain["overrides"])
    request = RunRequest("car", plain.get("preset", ""), device="cpu", overrides=overrides)
    if plain["kind"] == "train":
        job, earlier = train_job(Path(plain["input"]), overrides), None
    elif plain["kind"] == "many":
        job, earlier = many_job(request, Path(plain["input"])), None
    else:
        request = replace(request, mask=Path(plain["mask"]))
        job, earlier = run_job(request, Path(plain["input"])), folder / "earlier"
        run_job(replace(request, mask=None), Path(plain["other"])).begin(earlier)
    print(json.dumps(kill(job, folder, plain["count"], plain["seed"], earlier)))


if __name__ == "__main__":
    main()
