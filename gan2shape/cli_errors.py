"""How the command complains: one sentence on stderr with cause and remedy, exit code 2, and no traceback.

Bad input is a UserError, raised wherever it is noticed; words that the command line does not know are typer's.
"""

import functools
import sys
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperGroup

UsageError = typer.BadParameter.__bases__[0]  # click's, which typer brings along or imports, by version


class PlainGroup(TyperGroup):
    """The command line, whose own complaints are one sentence too."""

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        """As usual, but for words that do not fit: cause and remedy on one line of stderr, exit code 2."""
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


def speaks_plainly(verb: Callable) -> Callable:
    """Turn bad input into one sentence on stderr and exit code 2, and an interrupt into one line and 130."""

    @functools.wraps(verb)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return verb(*args, **kwargs)
        except KeyboardInterrupt:
            typer.echo("Interrupted.", err=True)
            raise typer.Exit(130) from None
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            from gan2shape.core.errors import UserError  # late: it brings torch

            if not isinstance(error, UserError):
                raise
            typer.echo(f"gan2shape: {error}", err=True)
            raise typer.Exit(2) from None

    return wrapped
