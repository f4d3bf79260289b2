"""Options that several verbs of the command share, and how every verb prints its result."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from gan2shape.core import files as outdir
from gan2shape.core.resources import known_categories, known_presets


def categories_like(incomplete: str) -> list[str]:
    """For a shell that completes `--category`."""
    return [name for name in known_categories() if name.startswith(incomplete)]


def presets_like(incomplete: str) -> list[str]:
    """For a shell that completes `--preset`."""
    return [name for name in known_presets() if name.startswith(incomplete)]


RUNS = Path("runs")  # folder of numbered runs, where --out is not given
DEFAULT_CATEGORY = "car"  # where neither --category nor --generator is given
Category = Annotated[
    str,
    typer.Option("--category", "-c", autocompletion=categories_like, help="Which generator and settings: car, head, …"),
]
MaybeCategory = Annotated[
    str | None,
    typer.Option(
        "--category",
        "-c",
        autocompletion=categories_like,
        help="Which generator and settings: car, head, … [default: car]",
    ),
]
CustomGenerator = Annotated[
    Path | None, typer.Option("--generator", "-g", help="A StyleGAN2 checkpoint instead of the category's.")
]
ClassIndex = Annotated[int | None, typer.Option("--class", min=0, help="Class of a class-conditional generator.")]
DEFAULT_PRESET = "draft"
Preset = Annotated[
    str,
    typer.Option(
        "--preset", "-p", autocompletion=presets_like, help="instant, smoke, draft, full or paper: how long to work."
    ),
]
MaybePreset = Annotated[
    str | None,
    typer.Option(
        "--preset",
        "-p",
        autocompletion=presets_like,
        help="instant, smoke, draft, full or paper: how long to work. [default: draft]",
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
Json = Annotated[bool, typer.Option("--json", help="End stdout with one JSON object.")]
Images = Annotated[list[Path], typer.Argument(metavar="IMAGE…", help="Pictures, folders or patterns.")]
Settings = Annotated[list[str] | None, typer.Argument(metavar="[key=value …]", help="Changes to the configuration.")]


@contextmanager
def claimed(folder: Path, label: str | None = None) -> Iterator[Path]:
    """`folder`, or with a `label` the next numbered folder in it, exists and is writable before any work; folders made
    for it go again if nothing was written.
    """
    folder, created = (folder, outdir.claim(folder)) if label is None else outdir.claim_next(folder, label)
    try:
        yield folder
    finally:
        outdir.release(created)


def emit(payload: dict, as_json: bool, lines: list[str]) -> None:
    """The result: `lines` for people, or `payload` as the last line of stdout. A reader that has gone has what it
    wanted; other failures to write are OSErrors.
    """
    if not (as_json or lines):
        return
    with suppress(BrokenPipeError):
        typer.echo(outdir.to_json(payload) if as_json else "\n".join(lines))


def format_rows(rows: list[dict]) -> list[str]:
    """A plain table: the union of the rows' keys as columns, numbers to four digits; lists stay in `--json`."""
    if not rows:
        return ["no rows"]
    names = list(dict.fromkeys(name for row in rows for name, value in row.items() if not isinstance(value, list)))
    cells = [names, *([_cell(row.get(name)) for name in names] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
    return ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in cells]


def _cell(value: Any) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
