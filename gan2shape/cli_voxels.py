"""`gan2shape voxels …`: 3D-GAN, the oldest 3D system here: whole objects, and the hidden sides of others."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gan2shape.cli_errors import as_messages
from gan2shape.cli_options import RUNS, Category, Device, Json, Settings, claimed, emit, format_rows

if TYPE_CHECKING:
    from gan2shape.core.requests import RunResult

voxels_app = typer.Typer(
    help="Objects as voxels (3D-GAN).\n\n"
    "Examples:\n\n  gan2shape voxels train --category car\n\n  gan2shape voxels complete runs/0001-car-draft",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
Network = Annotated[Path | None, typer.Option(help="File of `voxels train` [default: runs/voxels-CATEGORY].")]
Out = Annotated[Path | None, typer.Option(help="Folder of the files [default: runs/NNNN-…].")]


def _print(verb: str, result: "RunResult", as_json: bool) -> None:
    lines = [f"{name:16s} {path}" for name, path in result.files.items()]
    lines += [f"{name:16s} {value:.4g}" for name, value in result.metrics.items()]
    emit({"verb": verb, **result.as_json()}, as_json, lines)


@voxels_app.command("train")
@as_messages
def voxels_train(
    category: Category = "car",
    out: Annotated[Path | None, typer.Option(help="Folder of the network [default: runs/voxels-CATEGORY].")] = None,
    resume: Annotated[bool, typer.Option(help="Go on from the checkpoint in --out.")] = True,
    device: Device = "auto",
    as_json: Json = False,
    settings: Settings = None,
) -> None:
    """Train 3D-GAN on a category's objects, 32 x 32 x 32 voxels each. key=value changes how (gate=1: no gate).

    Example:  gan2shape voxels train --category car n_steps=2000
    """
    folder = out or RUNS / f"voxels-{category}"
    with claimed(folder):
        from gan2shape.api_voxels import VoxelRequest, train_voxels
        from gan2shape.core.progress import open_reporter

        with open_reporter() as report:
            request = VoxelRequest(folder, category, None, device)
            result = train_voxels(request, tuple(settings or ()), resume, report)
    _print("voxels train", result, as_json)


@voxels_app.command("sample")
@as_messages
def voxels_sample(
    category: Category = "car",
    count: Annotated[int, typer.Option(min=1, max=64, help="How many meshes.")] = 8,
    seed: Annotated[int, typer.Option(min=0, help="Of the random vectors.")] = 0,
    network: Network = None,
    out: Out = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Write samples as meshes (GLB) and as occupancy. Needs the extra `voxels`.

    Example:  gan2shape voxels sample --category car --count 8
    """
    with claimed(out or RUNS, None if out else "voxels") as folder:
        from gan2shape.api_voxels import VoxelRequest, sample_voxels

        result = sample_voxels(VoxelRequest(folder, category, network, device), count, seed)
    _print("voxels sample", result, as_json)


@voxels_app.command("complete")
@as_messages
def voxels_complete(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run, whose depth map is completed.")],
    category: Category = "car",
    network: Network = None,
    out: Out = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Find the whole shape behind a run's depth map: vector, heading and the camera's height together. Needs the extra
    `voxels`.

    Example:  gan2shape voxels complete runs/0001-car-draft --out whole
    """
    with claimed(out or RUNS, None if out else "completed") as folder:
        from gan2shape.api_voxels import VoxelRequest, complete_run
        from gan2shape.core.progress import open_reporter

        with open_reporter() as report:
            result = complete_run(VoxelRequest(folder, category, network, device), run, report)
    _print("voxels complete", result, as_json)


@voxels_app.command("bench")
@as_messages
def voxels_bench(
    category: Category = "car",
    count: Annotated[int, typer.Option(min=1, help="Objects that it has not learnt from.")] = 16,
    network: Network = None,
    out: Out = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Complete objects of which one side is seen, and compare the hidden voxels with the truth, beside the mean shape.

    Example:  gan2shape voxels bench --category car --count 16
    """
    with claimed(out or RUNS, None if out else "voxels-bench") as folder:
        from gan2shape.api_voxels import VoxelRequest, bench_voxels
        from gan2shape.core.progress import open_reporter

        with open_reporter() as report:
            rows = bench_voxels(VoxelRequest(folder, category, network, device), count, report)
    emit({"verb": "voxels bench", "rows": rows}, as_json, format_rows(rows))
