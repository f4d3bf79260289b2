"""The `gan2shape` command. Each verb parses, calls ONE function of the library and prints the result.

Nothing heavy is imported before a verb runs, so that `--help` answers at once. Exit codes: 0 done, 2 bad input (one
sentence on stderr), 130 interrupted. With `--json` the last line on stdout is one JSON object.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gan2shape.cli_errors import PlainGroup, speaks_plainly
from gan2shape.core import files as outdir

if TYPE_CHECKING:
    from gan2shape.core.requests import RunRequest

RUN_EXAMPLES = """
Recover the 3D shape of one image.

Examples:

  gan2shape run --category car                              a sample of the bundled generator

  gan2shape run --category car --seed 7 --preset full       another one, with more steps

  gan2shape run --category car --image photo.png --mask mask.png

  gan2shape run --generator stylegan2-car.pkl --seed 7      your own StyleGAN2, after `gan2shape prior` has seen it

  gan2shape run --category car --dry-run steps.n_joint=100  print the configuration and stop

  gan2shape run --resume runs/0003-car-draft                go on after the last finished step
"""

app = typer.Typer(
    cls=PlainGroup,
    help="Depth, albedo, viewpoint and light of one image, learnt from a 2D GAN.\n\n"
    "Start with:  gan2shape run --category car",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
bench_app = typer.Typer(
    help="Measure the method against known 3D.\n\n"
    "Examples:\n\n  gan2shape bench ladder --category car\n\n  gan2shape bench shape --category car --count 8",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(bench_app, name="bench")

DEFAULT_CATEGORY = "car"  # where neither --category nor --generator is given
Category = Annotated[str, typer.Option("--category", "-c", help="Which generator and settings: car, head, …")]
MaybeCategory = Annotated[
    str | None, typer.Option("--category", "-c", help="Which generator and settings: car, head, … [default: car]")
]
OwnGenerator = Annotated[
    Path | None, typer.Option("--generator", "-g", help="A StyleGAN2 checkpoint instead of the category's.")
]
ClassIndex = Annotated[int | None, typer.Option("--class", min=0, help="Class of a class-conditional --generator.")]
DEFAULT_PRESET = "draft"
Preset = Annotated[str, typer.Option("--preset", "-p", help="smoke, draft, full or paper: how long to work.")]
MaybePreset = Annotated[
    str | None, typer.Option("--preset", "-p", help="smoke, draft, full or paper: how long to work. [default: draft]")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
Json = Annotated[bool, typer.Option("--json", help="End stdout with one JSON object.")]
Settings = Annotated[list[str] | None, typer.Argument(metavar="[key=value …]", help="Changes to the configuration.")]


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """`folder` exists and is writable before any work; folders made for it go again if nothing was written."""
    created = outdir.claim(folder)
    try:
        yield
    finally:
        outdir.release(created)


def emit(payload: dict, as_json: bool, lines: list[str]) -> None:
    """The result: `lines` for people, or `payload` as the last line of stdout."""
    if as_json:
        typer.echo(outdir.to_json(payload))
    else:
        for line in lines:
            typer.echo(line)


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    """Depth, albedo, viewpoint and light of one image, learnt from a 2D GAN.

    Start with:  gan2shape run --category car
    """
    if version:
        from gan2shape import __version__

        typer.echo(f"gan2shape {__version__}")
        raise typer.Exit()


@app.command(help=RUN_EXAMPLES)
@speaks_plainly
def run(
    settings: Settings = None,
    category: MaybeCategory = None,
    generator: OwnGenerator = None,
    class_index: ClassIndex = None,
    image: Annotated[Path | None, typer.Option(help="Image to explain; alpha serves as the mask.")] = None,
    latent: Annotated[Path | None, typer.Option(help="A saved w or W+ (.pt, .npy, .npz, .safetensors).")] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=2**63 - 1, help="Seed of the generator's sample; 0 with no input at all.")
    ] = None,
    mask: Annotated[Path | None, typer.Option(help="Object mask of the input, same size.")] = None,
    features: Annotated[
        Path | None,
        typer.Option(
            help="TorchScript network (VGG, LPIPS) that compares images, for a --generator. "
            "Such a file holds CODE, which runs: name only one you trust."
        ),
    ] = None,
    preset: MaybePreset = None,
    device: Device = "auto",
    out: Annotated[Path | None, typer.Option(help="Folder of the files [default: runs/NNNN-category-preset].")] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on in an earlier run's folder.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the configuration and stop.")] = False,
    as_json: Json = False,
) -> None:
    """Recover the 3D shape of one image."""
    overrides = tuple(settings or ())
    from gan2shape.core.requests import RunRequest, check_inputs, resumed

    inputs = {"--image": image, "--latent": latent, "--seed": seed}
    others = {"--category": category, "--preset": preset, "--mask": mask, "--out": out, "--generator": generator}
    check_inputs(inputs, {**others, "--features": features, "--class": class_index}, resume)
    if resume is not None:
        request = resumed(resume, device, overrides)
    else:
        if generator is None:
            category = category or DEFAULT_CATEGORY
        preset = preset or DEFAULT_PRESET
        folder = out or outdir.next_run_dir(Path("runs"), f"{generator.stem if generator else category}-{preset}")
        request = RunRequest(
            category=category,
            preset=preset,
            image=image,
            mask=mask,
            latent=latent,
            seed=seed,
            device=device,
            out=folder,
            overrides=overrides,
            generator=generator,
            features=features,
            class_index=class_index,
        )
    if dry_run:
        _print_config(request, as_json)
        return
    with claimed(request.out):
        from gan2shape.api import run as run_request
        from gan2shape.core.progress import open_reporter

        with open_reporter() as report:
            result = run_request(request, report)
    lines = [f"{name:16s} {path}" for name, path in result.files.items()]
    lines += [f"{name:16s} {value:.4g}" for name, value in result.metrics.items()]
    emit({"verb": "run", **result.as_json()}, as_json, [*lines, f"{'seconds':16s} {result.seconds:.1f}"])


def _print_config(request: "RunRequest", as_json: bool) -> None:
    """The configuration that the request would be run with, as YAML or as one JSON object."""
    from dataclasses import asdict

    from gan2shape.api import opened
    from gan2shape.core.compose import to_yaml

    config = opened(request)[1]
    emit({"verb": "run", "dry_run": True, "config": asdict(config)}, as_json, [to_yaml(config).rstrip()])


@app.command()
@speaks_plainly
def synth(
    category: Category = "car",
    count: Annotated[int, typer.Option(min=1, help="How many images.")] = 64,
    seed: Annotated[int, typer.Option(min=0, max=999_999, help="Seed of the first image; the next ones count up.")] = 0,
    size: Annotated[int, typer.Option(min=16, help="Side of the images, pixels.")] = 64,
    out: Annotated[Path, typer.Option(help="Folder of the files.")] = Path("synth"),
    rendering: Annotated[str, typer.Option(help="plain, or natural: as a camera takes it.")] = "plain",
    shards: Annotated[bool, typer.Option("--shards", help="Training images only, for `gan2shape train`.")] = False,
    as_json: Json = False,
) -> None:
    """Draw objects with known 3D: PNGs, one .npz with the truth, a contact sheet.

    Examples:

      gan2shape synth --category car --count 64 --out cars

      gan2shape synth --category face --rendering natural --out faces

      gan2shape synth --category car --count 48000 --shards --out car-shards
    """
    with claimed(out):
        from gan2shape.core.progress import open_reporter
        from gan2shape.synth.dataset import generate, prerender

        began = time.perf_counter()
        if shards:
            with open_reporter() as report:
                prerender(category, count, seed, out, size=size, report=report, rendering=rendering)
        else:
            generate(category, count, seed, out, size, rendering)
    seconds = time.perf_counter() - began
    payload = {"verb": "synth", "category": category, "count": count, "out_dir": out, "seconds": round(seconds, 2)}
    emit(payload, as_json, [f"{count} images of {category} in {out} ({seconds:.1f} s)"])


@app.command()
@speaks_plainly
def train(
    data: Annotated[Path, typer.Option(help="Folder that `gan2shape synth --shards` has written.")],
    out: Annotated[Path, typer.Option(help="Folder of checkpoints and sample sheets.")] = Path("training"),
    kimg: Annotated[float, typer.Option(min=0.001, help="Thousands of images to show.")] = 300.0,
    device: Device = "auto",
    resume: Annotated[bool, typer.Option(help="Go on from the checkpoint in --out.")] = True,
    start_from: Annotated[Path | None, typer.Option(help="A pack that a new training begins with.")] = None,
    as_json: Json = False,
    settings: Settings = None,
) -> None:
    """Train a generator on a folder of images.

    Example:  gan2shape train --data car-shards --kimg 300 --out training/car r1_gamma=0.15
    """
    with claimed(out):
        from dataclasses import replace

        from gan2shape.core.compose import compose
        from gan2shape.core.progress import open_reporter
        from gan2shape.train.loop import TrainConfig
        from gan2shape.train.loop import train as train_gan

        config = replace(compose(TrainConfig, overrides=settings or ()), kimg=kimg, device=device)
        began = time.perf_counter()
        with open_reporter() as report:
            state = train_gan(data, out, config, resume, start_from, report)
    seconds = time.perf_counter() - began
    payload = {"verb": "train", "out_dir": out, "kimg": state.n_images / 1000, "seconds": round(seconds, 2)}
    emit(payload, as_json, [f"{state.n_images / 1000:g} thousand images shown; everything is in {out}"])


@app.command()
@speaks_plainly
def build(
    category: Annotated[str, typer.Argument(help="car, head, …")],
    settings: Settings = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the pack [default: weights/CATEGORY].")] = None,
    work: Annotated[Path | None, typer.Option(help="Training folder [default: runs/train-CATEGORY].")] = None,
    images: Annotated[int, typer.Option(min=1, help="Training images that are rendered.")] = 48_000,
    kimg: Annotated[float, typer.Option(min=0.001, help="Thousands of images shown in training.")] = 300.0,
    only: Annotated[
        list[str] | None, typer.Option(help="gan, masks, scene, calibration or card, made anew; all that is missing.")
    ] = None,
    device: Device = "auto",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would do, how long, and stop.")] = False,
    as_json: Json = False,
) -> None:
    """Make the weights of a category: train a GAN on rendered objects, then all that a run needs besides. Hours; a
    second call goes on where the first was stopped. key=value changes the training, as for `gan2shape train`.

    Examples:

      gan2shape build car --dry-run

      gan2shape build car --out packs/car --work runs/car --kimg 600

      gan2shape build head --only scene --only card
    """
    from gan2shape import api
    from gan2shape.build.plan import BuildRequest
    from gan2shape.core.progress import open_reporter

    words = tuple(settings or ())
    request = BuildRequest(category, out, work, images, kimg, tuple(only or ()), device, words, dry_run)
    with open_reporter() as report:
        result = api.build(request, report)
    done = [f"{'pack':12s} {result.pack}", *(f"{name:12s} {value:.1f} s" for name, value in result.seconds.items())]
    lines = result.plan.lines() if dry_run else done
    emit({"verb": "build", "dry_run": dry_run, **result.as_json()}, as_json, lines)


@bench_app.command("ladder")
@speaks_plainly
def bench_ladder(
    category: MaybeCategory = None,
    rung: Annotated[list[str] | None, typer.Option(help="O0, O1, O2, O3, C, O4, O5; all unless given.")] = None,
    preset: Preset = DEFAULT_PRESET,
    count: Annotated[int | None, typer.Option(min=1, help="Objects of each rung.")] = None,
    generator: OwnGenerator = None,
    class_index: ClassIndex = None,
    device: Device = "auto",
    as_json: Json = False,
    settings: Settings = None,
) -> None:
    """Say which part limits the result: the oracle ladder on validation objects.

    Example:  gan2shape bench ladder --category car --rung O1 --rung O2
    """
    from gan2shape.bench.run_ladder import main as ladder
    from gan2shape.core.progress import open_reporter

    with open_reporter() as report:
        rows = ladder(
            category, tuple(rung or ()), count, device, tuple(settings or ()), report, preset, generator, class_index
        )
    emit({"verb": "bench ladder", "rows": rows}, as_json, format_rows(rows))


@bench_app.command("shape")
@speaks_plainly
def bench_shape(
    category: MaybeCategory = None,
    generator: OwnGenerator = None,
    class_index: ClassIndex = None,
    preset: Preset = DEFAULT_PRESET,
    count: Annotated[int, typer.Option(min=1, help="Objects, always the first seeds.")] = 8,
    split: Annotated[str, typer.Option(help="val to tune on, test once a release.")] = "val",
    out: Annotated[Path | None, typer.Option(help="Folder of the rows; a second call goes on there.")] = None,
    device: Device = "auto",
    as_json: Json = False,
    settings: Settings = None,
) -> None:
    """Compare the method with its baselines on the frozen exam, one row per object as it goes.

    Example:  gan2shape bench shape --category car --preset draft --count 8
    """
    named = generator.stem if generator else category or DEFAULT_CATEGORY
    folder = out or Path("runs") / f"bench-{named}-{split}-{preset}"
    with claimed(folder):
        from gan2shape.bench.table import main as table
        from gan2shape.core.progress import open_reporter

        with open_reporter() as report:
            rows = table(
                category, preset, count, split, folder, device, tuple(settings or ()), report, generator, class_index
            )
    emit({"verb": "bench shape", "rows": rows}, as_json, format_rows(rows))


@bench_app.command("card")
@speaks_plainly
def bench_card(
    category: MaybeCategory = None,
    generator: OwnGenerator = None,
    class_index: ClassIndex = None,
    preset: Preset = DEFAULT_PRESET,
    count: Annotated[int | None, typer.Option(min=1, help="Images that are inverted [default: 32].")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the figures and leave card.json alone.")] = False,
    as_json: Json = False,
    settings: Settings = None,
) -> None:
    """Measure a category's generator, on the CPU, and write the figures into the card beside its weights; of a
    --generator they are only printed.

    Example:  gan2shape bench card --category car
    """
    from gan2shape.bench.card import main as card
    from gan2shape.core.progress import open_reporter

    with open_reporter() as report:
        measured = card(
            category,
            preset,
            count,
            tuple(settings or ()),
            dry_run,
            report,
            generator=generator,
            class_index=class_index,
        )
    lines = [f"{name:36s} {value}" for name, value in measured.items()]
    named = category or (None if generator else DEFAULT_CATEGORY)
    emit({"verb": "bench card", "category": named, "measured": measured}, as_json, lines)


@app.command()
@speaks_plainly
def inspect(
    path: Annotated[Path, typer.Argument(help="A StyleGAN2 checkpoint or a pack.")],
    class_index: ClassIndex = None,
    as_json: Json = False,
) -> None:
    """Say what a checkpoint holds: sizes, architecture, settings and where they come from. Executes nothing of it.

    Example:  gan2shape inspect stylegan2-car.pkl
    """
    from gan2shape.checkpoints.open import inspect as inspect_checkpoint
    from gan2shape.checkpoints.told import describe

    found = inspect_checkpoint(path, class_index)
    emit({"verb": "inspect", **found}, as_json, describe(found))


@app.command()
@speaks_plainly
def convert(
    path: Annotated[Path, typer.Argument(metavar="IN", help="A StyleGAN2 checkpoint (.pt, .pkl, …).")],
    out: Annotated[Path, typer.Argument(metavar="OUT.safetensors", help="The file to write.")],
    class_index: ClassIndex = None,
    as_json: Json = False,
) -> None:
    """Write a checkpoint as one safetensors file, which opens faster and cannot carry code.

    Example:  gan2shape convert stylegan2-car.pkl car.safetensors
    """
    from gan2shape.checkpoints.told import describe
    from gan2shape.prior.checkpoint import convert as convert_checkpoint

    found = convert_checkpoint(path, out, class_index)
    emit({"verb": "convert", **found}, as_json, [*describe(found), f"{'file':14s} {out}"])


@app.command()
@speaks_plainly
def prior(
    path: Annotated[Path, typer.Argument(help="A StyleGAN2 checkpoint.")],
    category: Annotated[
        str | None, typer.Option("--category", "-c", help="Whose views, lights and depth scale suit it: car, head, …")
    ] = None,
    class_index: ClassIndex = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Learn from a checkpoint's own samples which pixels are the object and, by a --category's networks, how far it
    turns and from where it is lit; later runs with --generator pick it up.

    Example:  gan2shape prior stylegan2-car.pkl --category car
    """
    from gan2shape.build.custom import as_lines, estimate_prior
    from gan2shape.core.devices import choose_device
    from gan2shape.core.progress import open_reporter

    with open_reporter() as report:
        found = estimate_prior(path, category, choose_device(device), report=report, class_index=class_index)
    emit({"verb": "prior", **found}, as_json, as_lines(found))


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


def main() -> None:
    """Entry point of the console script. Ctrl-C outside a verb (while importing) is one line as well."""
    try:
        app()
    except KeyboardInterrupt:
        typer.echo("Interrupted.", err=True)
        sys.exit(130)


if __name__ == "__main__":
    main()
