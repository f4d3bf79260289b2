"""`gan2shape run --image` with many images: a folder, a pattern, or several files."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from gan2shape.cli_errors import AGAIN, going_on
from gan2shape.cli_options import claimed, emit
from gan2shape.core.errors import UserError
from gan2shape.core.many import SOME_FAILED, ManyRequest, find_images, job_name

if TYPE_CHECKING:
    from gan2shape.core.requests import RunRequest

RAY = "ray"
LAUNCHERS = ("local", RAY)


def images_and_settings(
    images: Sequence[Path] | None, settings: Sequence[str] | None
) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """The images and the settings of a command line. A shell that expands `--image photos/*.jpg` leaves all but the
    first image among the settings: they name files.
    """
    words, values = tuple(images or ()), tuple(settings or ())
    files = tuple(value for value in values if words and Path(value).is_file())
    return (*words, *map(Path, files)), tuple(value for value in values if value not in files)


def run_images(
    request: "RunRequest",
    words: Sequence[Path],
    masks: Path | None,
    out: Path | None,
    label: str,
    launcher: str,
    as_json: bool,
) -> None:
    """Run every image, print what became of them, and end with exit code 3 where some could not be used.

    `request`: the settings of each run; its `out` is the folder of runs, where no other `out` is given.
    """
    if launcher not in LAUNCHERS:
        raise UserError(f"--launcher {launcher} is unknown: write {' or '.join(LAUNCHERS)}.")
    images = find_images(words)
    folder = out or request.out / f"{job_name(words)}-{label}"
    with claimed(folder):
        from gan2shape.core.progress import open_reporter

        many = ManyRequest(replace(request, out=folder), tuple(images), masks)
        with open_reporter() as report, going_on(AGAIN):
            if launcher == RAY:
                from gan2shape.api_ray import RayOptions, run_many_by_ray

                result = run_many_by_ray(many, RayOptions(n_gpus=float(request.device.startswith("cuda"))), report)
            else:
                from gan2shape.api_many import run_many

                result = run_many(many, report)
    lines = [f"{name:16s} {why}" for name, why in result.failures.items()]
    lines += [f"{'index':16s} {result.index}", f"{'done':16s} {result.n_done}"]
    lines += [f"{'done before':16s} {result.n_skipped}"] if result.n_skipped else []
    lines += [f"{'failed':16s} {len(result.failures)}"] if result.failures else []
    emit({"verb": "run", **result.as_json()}, as_json, [*lines, f"{'seconds':16s} {result.seconds:.1f}"])
    if result.failures:
        raise typer.Exit(SOME_FAILED)
