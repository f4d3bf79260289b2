"""`gan2shape bench …`: the verbs that measure the method against known 3D."""

from pathlib import Path
from typing import Annotated

import typer

from gan2shape.bench.requests import BenchRequest, named_split
from gan2shape.cli_errors import as_messages
from gan2shape.cli_options import (
    DEFAULT_CATEGORY,
    DEFAULT_PRESET,
    ClassIndex,
    CustomGenerator,
    Device,
    Json,
    MaybeCategory,
    Preset,
    Settings,
    claimed,
    emit,
    format_rows,
)

bench_app = typer.Typer(
    help="Measure the method against known 3D.\n\n"
    "Examples:\n\n  gan2shape bench ladder --category car\n\n  gan2shape bench shape --category car --count 8",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@bench_app.command("ladder")
@as_messages
def bench_ladder(
    category: MaybeCategory = None,
    rung: Annotated[list[str] | None, typer.Option(help="O0, O1, O2, O3, C, O4, O5; all unless given.")] = None,
    preset: Preset = DEFAULT_PRESET,
    count: Annotated[int | None, typer.Option(min=1, help="Objects of each rung.")] = None,
    generator: CustomGenerator = None,
    class_index: ClassIndex = None,
    device: Device = "auto",
    as_json: Json = False,
    settings: Settings = None,
) -> None:
    """Find the part that limits the result: the oracle ladder on validation objects.

    Example:  gan2shape bench ladder --category car --rung O1 --rung O2
    """
    from gan2shape.api import bench_ladder as run_ladder
    from gan2shape.core.progress import open_reporter

    request = BenchRequest(category, preset, count, device, tuple(settings or ()), generator, class_index)
    with open_reporter() as report:
        rows = run_ladder(request, tuple(rung or ()), report)
    emit({"verb": "bench ladder", "rows": rows}, as_json, format_rows(rows))


@bench_app.command("shape")
@as_messages
def bench_shape(
    category: MaybeCategory = None,
    generator: CustomGenerator = None,
    class_index: ClassIndex = None,
    preset: Preset = DEFAULT_PRESET,
    count: Annotated[int, typer.Option(min=1, help="Objects, always the first seeds.")] = 8,
    split: Annotated[
        str,
        typer.Option(
            help="val to tune on, test once a release; natural-… and cross-… where there are such; face-test is "
            "--category face --split test."
        ),
    ] = "val",
    by: Annotated[
        list[str] | None, typer.Option(help="Rows of each group too: heading, style, base, ancestry, sex, age.")
    ] = None,
    baselines: Annotated[bool, typer.Option("--baselines", help="Only the rows that need no pack.")] = False,
    learnt: Annotated[list[Path] | None, typer.Option(help="A file of `bench learn`, for a row of its own.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the rows; a second call goes on there.")] = None,
    device: Device = "auto",
    as_json: Json = False,
    settings: Settings = None,
) -> None:
    """Compare the method with its baselines on the frozen exam, one row per object as it goes.

    Example:  gan2shape bench shape --category car --preset draft --count 8
    """
    request = BenchRequest(category, preset, count, device, tuple(settings or ()), generator, class_index)
    request, split = named_split(request, split)
    name = generator.stem if generator else request.category or DEFAULT_CATEGORY
    folder = out or Path("runs") / f"bench-{name}-{split}-{'baselines' if baselines else preset}"
    with claimed(folder):
        from gan2shape.api import bench_shape as run_table
        from gan2shape.core.progress import open_reporter

        with open_reporter() as report:
            rows = run_table(request, split, folder, report, tuple(by or ()), baselines, tuple(learnt or ()))
    emit({"verb": "bench shape", "rows": rows}, as_json, format_rows(rows))


@bench_app.command("learn")
@as_messages
def bench_learn(
    kind: Annotated[str, typer.Option(help="unsup3d; supervised: our depth network, taught true depth.")] = "unsup3d",
    category: MaybeCategory = None,
    generator: CustomGenerator = None,
    class_index: ClassIndex = None,
    data: Annotated[Path | None, typer.Option(help="Shards of images [default: the category's, rendered].")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the network [default: runs/KIND-CATEGORY].")] = None,
    resume: Annotated[bool, typer.Option(help="Go on from the checkpoint in --out.")] = True,
    device: Device = "auto",
    as_json: Json = False,
    settings: Settings = None,
) -> None:
    """Train a network that the method is compared with; `stats.jsonl` is its curve. key=value changes how.

    Examples:

      gan2shape bench learn --kind unsup3d --category head

      gan2shape bench shape --category head --learnt runs/unsup3d-head/unsup3d.safetensors
    """
    folder = out or Path("runs") / f"{kind}-{category or DEFAULT_CATEGORY}"
    with claimed(folder):
        from gan2shape.api_baselines import FeedForwardRequest, learn_baseline
        from gan2shape.core.progress import open_reporter

        further = (data, None, resume, device, tuple(settings or ()), class_index)
        request = FeedForwardRequest(kind, folder, category, generator, *further)
        with open_reporter() as report:
            result = learn_baseline(request, report)
    lines = [f"{name:20s} {value:.3f}" for name, value in result.metrics.items()]
    emit({"verb": "bench learn", **result.as_json()}, as_json, [f"{result.files['baseline']}", *lines])


@bench_app.command("edit")
@as_messages
def bench_edit(
    category: MaybeCategory = None,
    generator: CustomGenerator = None,
    class_index: ClassIndex = None,
    preset: Preset = DEFAULT_PRESET,
    count: Annotated[int, typer.Option(min=1, help="Objects, always the first seeds.")] = 16,
    split: Annotated[str, typer.Option(help="val to tune on, test once a release.")] = "val",
    out: Annotated[Path | None, typer.Option(help="Folder of the rows; a second call goes on there.")] = None,
    device: Device = "auto",
    as_json: Json = False,
    settings: Settings = None,
) -> None:
    """Compare edits, rendered and through the generator, with true renders of the turned and relit exam objects.

    Example:  gan2shape bench edit --category car --count 16
    """
    name = generator.stem if generator else category or DEFAULT_CATEGORY
    folder = out or Path("runs") / f"bench-edit-{name}-{split}-{preset}"
    request = BenchRequest(category, preset, count, device, tuple(settings or ()), generator, class_index)
    with claimed(folder):
        from gan2shape.api_edit import bench_edit as run_edits
        from gan2shape.core.progress import open_reporter

        with open_reporter() as report:
            rows = run_edits(request, split, folder, report)
    emit({"verb": "bench edit", "rows": rows}, as_json, format_rows(rows))


@bench_app.command("restore")
@as_messages
def bench_restore(
    category: MaybeCategory = None,
    generator: CustomGenerator = None,
    class_index: ClassIndex = None,
    row: Annotated[list[str] | None, typer.Option(help="TASK=METHOD, as superres:4=brgm; all unless given.")] = None,
    count: Annotated[int, typer.Option(min=1, help="Images, always the first seeds.")] = 8,
    split: Annotated[str, typer.Option(help="val to tune on, test once a release.")] = "val",
    out: Annotated[Path | None, typer.Option(help="Folder of the rows; a second call goes on there.")] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Compare methods of restoration on degraded exam images, one line per image as it goes.

    Example:  gan2shape bench restore --category car --row superres:4=brgm --row superres:4=bicubic
    """
    name = generator.stem if generator else category or DEFAULT_CATEGORY
    folder = out or Path("runs") / f"bench-restore-{name}-{split}"
    request = BenchRequest(category, "draft", count, device, (), generator, class_index)
    with claimed(folder):
        from gan2shape.api_restore import bench_restore as run_rows
        from gan2shape.core.progress import open_reporter

        with open_reporter() as report:
            rows = run_rows(request, split, tuple(row or ()), folder, report)
    emit({"verb": "bench restore", "rows": rows}, as_json, format_rows(rows))


@bench_app.command("defence")
@as_messages
def bench_defence(
    category: MaybeCategory = None,
    generator: CustomGenerator = None,
    class_index: ClassIndex = None,
    row: Annotated[
        list[str] | None, typer.Option(help="METHOD, or METHOD:STOP with the data term to stop at, as dgp:0.7; none.")
    ] = None,
    given: Annotated[list[str] | None, typer.Option("--input", help="clean, fgsm, pgd; all unless given.")] = None,
    count: Annotated[int, typer.Option(min=1, help="Images, always the first seeds.")] = 16,
    split: Annotated[str, typer.Option(help="val to tune on, test once a release.")] = "val",
    out: Annotated[Path | None, typer.Option(help="Folder of the rows; a second call goes on there.")] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Attack the body-style classifier (FGSM, PGD), and count what it reads rightly once a method has restored the
    attacked images.

    Example:  gan2shape bench defence --category car --row none --row tv --row dgp:0.7
    """
    name = generator.stem if generator else category or DEFAULT_CATEGORY
    folder = out or Path("runs") / f"bench-defence-{name}-{split}"
    request = BenchRequest(category, "draft", count, device, (), generator, class_index)
    with claimed(folder):
        from gan2shape.api_restore import bench_defence as run_rows
        from gan2shape.core.progress import open_reporter

        with open_reporter() as report:
            rows = run_rows(request, split, tuple(row or ()), tuple(given or ()), folder, report)
    emit({"verb": "bench defence", "rows": rows}, as_json, format_rows(rows))


@bench_app.command("card")
@as_messages
def bench_card(
    category: MaybeCategory = None,
    generator: CustomGenerator = None,
    class_index: ClassIndex = None,
    preset: Preset = DEFAULT_PRESET,
    count: Annotated[int | None, typer.Option(min=1, help="Images that are inverted [default: 32].")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the metrics and leave card.json alone.")] = False,
    as_json: Json = False,
    settings: Settings = None,
) -> None:
    """Measure a category's generator, on the CPU, and write the metrics into the card beside its weights. Those of a
    --generator are only printed.

    Example:  gan2shape bench card --category car
    """
    from gan2shape.api import bench_card as run_card
    from gan2shape.core.progress import open_reporter

    request = BenchRequest(category, preset, count, "cpu", tuple(settings or ()), generator, class_index)
    with open_reporter() as report:
        measured = run_card(request, dry_run, report)
    lines = [f"{name:36s} {value}" for name, value in measured.items()]
    name = category or (None if generator else DEFAULT_CATEGORY)
    emit({"verb": "bench card", "category": name, "measured": measured}, as_json, lines)


@bench_app.command("frechet")
@as_messages
def bench_frechet(
    generator: Annotated[
        Path, typer.Option("--generator", "-g", help="A pack, the folder of a training, or a StyleGAN2 checkpoint.")
    ],
    data: Annotated[Path, typer.Option(help="Folder that `gan2shape synth --shards` has written.")],
    class_index: ClassIndex = None,
    count: Annotated[int, typer.Option(min=2, help="Images on each side.")] = 5000,
    seed: Annotated[int, typer.Option(min=0, help="Of the latents.")] = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Measure how far a generator's samples are from images, as two sets: the Fréchet distance of EfficientNet's pooled
    features. Not comparable with published FIDs.

    Example:  gan2shape bench frechet --generator weights/car --data car-shards
    """
    from gan2shape.api import bench_frechet as run_distance
    from gan2shape.bench.frechet import FrechetRequest
    from gan2shape.core.progress import open_reporter

    with open_reporter() as report:
        row = run_distance(FrechetRequest(generator, data, count, seed, device, class_index), report)
    emit({"verb": "bench frechet", **row}, as_json, format_rows([row]))
