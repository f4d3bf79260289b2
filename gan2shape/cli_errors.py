"""How the command reports bad input: one sentence on stderr with cause and remedy, exit code 2, and no traceback.

Bad input is a UserError, raised wherever it is noticed. Options and verbs that do not exist are typer's errors.
"""

import errno
import functools
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from gan2shape.core.errors import UserError

INTERRUPTED, TERMINATED = 130, 143  # exit codes: 128 and the signal's number, as shells have it
AGAIN = "the same command"  # goes on, in `going_on`
SYSTEM_FAILURES = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EFBIG,
                   errno.ENAMETOOLONG)  # fmt: skip
UsageError = typer.BadParameter.__bases__[0]  # click's, which typer brings along or imports, by version


class Terminated(KeyboardInterrupt):
    """SIGTERM (`kill`, a shutdown, a batch system at its limit): ends as Ctrl-C does, with locks and files in order."""


def stop_at_sigterm() -> None:
    """Make SIGTERM an exception of this process; a second one does not disturb the end."""

    def stop(number: int, frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Terminated

    with suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGTERM, stop)


@contextmanager
def going_on(command: str, needed: Path | None = None) -> Iterator[None]:
    """Work that `command` goes on with where it was stopped, once the file `needed` is there."""
    try:
        yield
    except KeyboardInterrupt as stop:
        if needed is None or needed.is_file():
            stop.args = (command,)
        raise


def end_of(stop: KeyboardInterrupt) -> int:
    """Say how the work ended; returns the exit code."""
    is_terminated = isinstance(stop, Terminated)
    further = f": {stop.args[0]} goes on" if stop.args else ""
    complain(f"{'Terminated' if is_terminated else 'Interrupted'}{further}.")
    return TERMINATED if is_terminated else INTERRUPTED


@contextmanager
def usable_streams() -> Iterator[None]:
    """stdout and stderr that can be written to and flushed: closed ones (`2>&-`) lead nowhere, and what a full disk, or
    a reader that has gone, does not take any more is forgotten at the end.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                with suppress(OSError, ValueError):
                    nowhere = os.open(os.devnull, os.O_WRONLY)
                    os.dup2(nowhere, stream.fileno())
                    os.close(nowhere)


def complain(sentence: str) -> None:
    """One line on stderr, if anybody reads it."""
    with suppress(OSError, ValueError):
        typer.echo(sentence, err=True)


class PlainGroup(TyperGroup):
    """The command line, whose own errors are one sentence too."""

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        """As usual; arguments that do not fit are one line on stderr (cause and remedy) and exit code 2."""
        try:
            require_values(args[0] if args and args[0] is not None else extra.get("args"))
            code = super().main(*args, standalone_mode=False, **extra)
        except UsageError as error:
            message = error.format_message().rstrip(".")
            where = error.ctx.command_path if error.ctx else "gan2shape"
            if "\n" in message:  # the help that is shown where no verb is given
                error.show()
            else:
                typer.echo(f"gan2shape: {message}; see `{where} --help`.", err=True)
            code = 2
        except UserError as error:
            complain(f"gan2shape: {error}")
            code = 2
        if standalone_mode:
            sys.exit(code)
        return code


def require_values(words: Sequence[str] | None) -> None:
    """Raises UserError for an empty argument, which a path would take for the present folder: mostly a variable of the
    shell that is not set.
    """
    words = sys.argv[1:] if words is None else list(words)
    for before, word in zip(["", *words], words, strict=False):
        name = before if not word else word[:-1] if re.fullmatch(r"--[a-z-]+=", word) else None
        if name is not None:
            is_option = name.startswith("-") and "=" not in name
            where = f"{name} has no value" if is_option else "an argument is empty"
            raise UserError(f"{where}: give one, or leave it away (a variable of the shell may not be set).")


def as_messages(verb: Callable) -> Callable:
    """Make bad input, a full disk and the like one sentence on stderr and exit code 2; Ctrl-C one line and 130, SIGTERM
    one line and 143.
    """

    @functools.wraps(verb)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return verb(*args, **kwargs)
        except KeyboardInterrupt as stop:
            raise typer.Exit(end_of(stop)) from None
        except UserError as error:
            complain(f"gan2shape: {error}")
            raise typer.Exit(2) from None
        except OSError as error:
            if error.errno not in SYSTEM_FAILURES:
                raise
            where = f" ({error.filename})" if error.filename else ""
            complain(
                f"gan2shape: the system refused to write or read{where}: {(error.strerror or str(error)).lower()}."
            )
            raise typer.Exit(2) from None

    return wrapped
