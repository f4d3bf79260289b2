"""How the command reports bad input: one sentence on stderr with cause and remedy, exit code 2, and no traceback.

Bad input is a UserError, raised wherever it is noticed. Options and verbs that do not exist are typer's errors.
"""

import functools
import sys
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperGroup

from gan2shape.core.errors import UserError

UsageError = typer.BadParameter.__bases__[0]  # click's, which typer brings along or imports, by version


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
    """Make bad input one sentence on stderr and exit code 2, and an interrupt one line and 130."""

    @functools.wraps(verb)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return verb(*args, **kwargs)
        except KeyboardInterrupt:
            typer.echo("Interrupted.", err=True)
            raise typer.Exit(130) from None
        except UserError as error:
            typer.echo(f"gan2shape: {error}", err=True)
            raise typer.Exit(2) from None

    return wrapped
