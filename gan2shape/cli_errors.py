"""How the command reports bad input: one sentence on stderr with cause and remedy, exit code 2, and no traceback.

Bad input is a UserError, raised wherever it is noticed. Options and verbs that do not exist are typer's errors.
"""

import errno
import functools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import typer
from typer.core import TyperGroup

from gan2shape.core.errors import UserError

SYSTEM_FAILURES = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EFBIG)
UsageError = typer.BadParameter.__bases__[0]  # click's, which typer brings along or imports, by version


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
            code = super().main(*args, standalone_mode=False, **extra)
        except UsageError as error:
            message = error.format_message().rstrip(".")
            where = error.ctx.command_path if error.ctx else "gan2shape"
            if "\n" in message:  # the help that is shown where no verb is given
                error.show()
            else:
                typer.echo(f"gan2shape: {message}; see `{where} --help`.", err=True)
            code = 2
        if standalone_mode:
            sys.exit(code)
        return code


def as_messages(verb: Callable) -> Callable:
    """Make bad input, a full disk and the like one sentence on stderr and exit code 2; an interrupt one line, 130."""

    @functools.wraps(verb)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return verb(*args, **kwargs)
        except KeyboardInterrupt:
            complain("Interrupted.")
            raise typer.Exit(130) from None
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
