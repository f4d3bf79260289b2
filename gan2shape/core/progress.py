"""Progress of long loops: a bar on a terminal, plain lines elsewhere, nothing in tests.

A loop calls `report("joint step 1/2", step, n_steps, loss=0.12)` after each step, steps counted from 1. Everything goes
to stderr, so that stdout carries results only.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import TextIOBase
from typing import Protocol, runtime_checkable

PLAIN_INTERVAL_S = 5.0  # between two plain lines of one stage


@runtime_checkable
class Reporter(Protocol):
    """What the loops call."""

    def __call__(self, stage: str, step: int, n_steps: int, **numbers: float) -> None:
        """`step` of `n_steps` of `stage` is done; `numbers` are shown as they are named."""


def silent(stage: str, step: int, n_steps: int, **numbers: float) -> None:
    """A reporter that prints nothing."""


def say(sentence: str) -> None:
    """One line on stderr, for what a user should know before a long job."""
    if sys.stderr is None:  # closed by the caller; `print` would take stdout
        return
    with suppress(OSError, ValueError):  # a reader that has gone is no reason to stop
        print(sentence, file=sys.stderr, flush=True)


def format_seconds(seconds: float) -> str:
    """`42 s`, `3 min 05 s`, `2 h 07 min`."""
    whole = round(max(seconds, 0.0))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def format_numbers(numbers: dict[str, float]) -> str:
    """`loss 0.1234 psnr 27.1`."""
    return " ".join(f"{name} {float(value):.4g}" for name, value in numbers.items())


class PlainReporter:
    """One line at a stage's first and last step, and every few seconds between."""

    def __init__(self, stream: TextIOBase, interval_s: float = PLAIN_INTERVAL_S, clock=time.monotonic) -> None:
        self.stream, self.interval_s, self.clock = stream, interval_s, clock
        self.stage: str | None = None
        self.started_s = self.printed_s = 0.0
        self.first_step = self.last_step = 0

    def __call__(self, stage: str, step: int, n_steps: int, **numbers: float) -> None:
        now = self.clock()
        fresh = stage != self.stage or step < self.last_step  # the same stage of the next object
        self.last_step = step
        if fresh:
            self.stage, self.started_s, self.first_step = stage, now, step
        if not (fresh or step >= n_steps or now - self.printed_s >= self.interval_s):
            return
        self.printed_s = now
        elapsed, done = now - self.started_s, step - self.first_step
        tail = f"{format_seconds(elapsed)} gone"
        if done > 0 and step < n_steps:
            tail += f", {format_seconds(elapsed / done * (n_steps - step))} left"
        parts = [f"{stage}: {step}/{n_steps}", format_numbers(numbers), "" if fresh and step < n_steps else tail]
        with suppress(OSError, ValueError):  # as in `say`
            print("  ".join(part for part in parts if part), file=self.stream, flush=True)


class BarReporter:
    """A rich bar for each stage. Use `open_reporter`, which starts and stops it."""

    def __init__(self, progress) -> None:
        self.progress = progress
        self.tasks: dict[str, int] = {}

    def __call__(self, stage: str, step: int, n_steps: int, **numbers: float) -> None:
        if stage not in self.tasks:
            self.tasks[stage] = self.progress.add_task(stage, total=n_steps, numbers="")
        self.progress.update(self.tasks[stage], completed=step, total=n_steps, numbers=format_numbers(numbers))


@contextmanager
def open_reporter(stream: TextIOBase | None = None, *, quiet: bool = False) -> Iterator[Reporter]:
    """A reporter for `stream` (stderr unless given): bars on a terminal, plain lines otherwise."""
    stream = stream or sys.stderr
    if quiet or stream is None:  # closed by the caller
        yield silent
    elif not stream.isatty():
        yield PlainReporter(stream)
    else:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
        from rich.progress import TimeRemainingColumn as Remaining

        columns = (
            TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(),
            TextColumn("[dim]{task.fields[numbers]}"), TimeElapsedColumn(), TextColumn("left"), Remaining(),
        )  # fmt: skip
        with Progress(*columns, console=Console(file=stream), refresh_per_second=5) as progress:
            yield BarReporter(progress)
