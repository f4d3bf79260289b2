"""The `gan2shape` command. Each verb parses, calls ONE function of `gan2shape.api` and prints the result.

Nothing heavy is imported before a verb runs, so that `--help` answers at once. Exit codes: 0 done, 1 `doctor` found
that nothing can work here, 2 bad input (one sentence on stderr), 3 some of many images could not be used (the others
are done), 130 interrupted, 143 terminated. With `--json` the last line on stdout is one JSON object.
"""

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gan2shape.cli_bench import bench_app
from gan2shape.cli_build import build, train
from gan2shape.cli_doctor import doctor
from gan2shape.cli_edit import directions, edit, render, view
from gan2shape.cli_errors import PlainGroup, as_messages, end_of, going_on, stop_at_sigterm, usable_streams
from gan2shape.cli_feedforward import swap, train_encoder, train_restorer, train_text
from gan2shape.cli_options import (
    DEFAULT_CATEGORY,
    DEFAULT_PRESET,
    RUNS,
    Category,
    ClassIndex,
    CustomGenerator,
    Device,
    Json,
    MaybeCategory,
    MaybePreset,
    Settings,
    claimed,
    emit,
)
from gan2shape.cli_restore import combine, invert, jitter, morph, restore, transfer
from gan2shape.cli_voxels import voxels_app

if TYPE_CHECKING:
    from gan2shape.core.requests import RunRequest

RUN_EXAMPLES = """
Recover the 3D shape of one image.

Examples:

  gan2shape run --category car                              a sample of the bundled generator

  gan2shape run --category car --seed 7 --preset full       another one, with more steps

  gan2shape run --category car --image photo.png --mask mask.png

  gan2shape run --category car --image old.png --degraded superres:4    restored first

  gan2shape run --category car --image photos --preset instant    each image of a folder; again: go on

  gan2shape run --generator stylegan2-car.pkl --seed 7      your own StyleGAN2, once `gan2shape prior` has measured it

  gan2shape run --category car --dry-run steps.n_joint=100  print the configuration and stop

  gan2shape run --resume runs/0003-car-draft                go on after the last finished step
"""

# Threads of GNU's OpenMP wait for each other by spinning 300 000 times. Where another program has one of the cores,
# each of our many small operations waits as long (docs/speed.md, "Beside other work"). It is read when torch is loaded,
# which no verb has done yet; where another OpenMP or an own value is, it changes nothing.
SHORT_WAITS = ("GOMP_SPINCOUNT", "3000")

app = typer.Typer(
    cls=PlainGroup,
    help="Depth, albedo, viewpoint and light of one image, learnt from a 2D GAN.\n\n"
    "Start with:  gan2shape run --category car",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(bench_app, name="bench")
app.add_typer(voxels_app, name="voxels")
RESTORING = (restore, invert, morph, jitter, transfer, swap, combine, train_encoder, train_restorer, train_text)
for verb in (edit, directions, render, view, *RESTORING, doctor):
    app.command()(verb)
for verb in (train, build):
    app.command()(verb)


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
@as_messages
def run(
    settings: Settings = None,
    category: MaybeCategory = None,
    generator: CustomGenerator = None,
    class_index: ClassIndex = None,
    image: Annotated[
        list[Path] | None,
        typer.Option(help="Image to explain; alpha serves as the mask. A folder, a pattern or several: each of them."),
    ] = None,
    latent: Annotated[Path | None, typer.Option(help="A saved w or W+ (.pt, .npy, .npz, .safetensors).")] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=2**63 - 1, help="Seed of the generator's sample; 0 with no input at all.")
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option(help="Object mask of the input, same size; of many, a folder of equal names; auto finds it."),
    ] = None,
    degraded: Annotated[
        str | None,
        typer.Option(help="What the image went through; it is restored first: superres:4, colorize, inpaint, …"),
    ] = None,
    hole: Annotated[Path | None, typer.Option(help="Of --degraded inpaint: white where the image is lost.")] = None,
    features: Annotated[
        Path | None,
        typer.Option(
            help="TorchScript network (VGG, LPIPS) that compares images, for a --generator. "
            "Such a file holds CODE, which runs: name only one you trust."
        ),
    ] = None,
    preset: MaybePreset = None,
    device: Device = "auto",
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the files [default: runs/NNNN-category-preset; of many runs/FOLDER-…]."),
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on in an earlier run's folder.")] = None,
    launcher: Annotated[str, typer.Option(help="Of many images: local, or ray (a cluster; extra `ray`).")] = "local",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the configuration and stop.")] = False,
    as_json: Json = False,
) -> None:
    """Recover the 3D shape of one image."""
    from gan2shape.cli_many import images_and_settings, run_images
    from gan2shape.core.many import is_one_file
    from gan2shape.core.requests import AUTO_MASK, REQUEST_NAME, RunRequest, check_inputs, resumed

    images, overrides = images_and_settings(image, settings)
    is_many = bool(images) and not is_one_file(images)
    only = images[0] if images and not is_many else None
    inputs = {"--image": images if is_many else only, "--latent": latent, "--seed": seed}
    others = {"--category": category, "--preset": preset, "--mask": mask, "--out": out, "--generator": generator}
    others |= {"--features": features, "--class": class_index, "--degraded": degraded, "--hole": hole}
    check_inputs(inputs, others, resume)
    is_auto = mask == AUTO_MASK
    mask, label = None if is_auto else mask, None
    if resume is not None:
        out = resume
        request = resumed(resume, device, overrides, files={"generator": generator, "features": features})
    else:
        if generator is None:
            category = category or DEFAULT_CATEGORY
        preset = preset or DEFAULT_PRESET
        label = f"{generator.stem if generator else category}-{preset}"
        request = RunRequest(
            category=category,
            preset=preset,
            image=only,
            mask=None if is_many else mask,
            latent=latent,
            seed=seed,
            device=device,
            out=out or RUNS,
            overrides=overrides,
            generator=generator,
            features=features,
            class_index=class_index,
            auto_mask=is_auto,
            degraded=degraded,
            hole=hole,
        )
    if dry_run:
        _print_config(request, as_json)
        return
    if is_many:
        run_images(request, images, mask, out, label, launcher, as_json)
        return
    with claimed(request.out, label if out is None else None) as folder:
        from dataclasses import replace

        from gan2shape.api import run as run_request
        from gan2shape.core.progress import open_reporter

        again = f"`gan2shape run --resume {shlex.quote(str(folder))}`"
        with open_reporter() as report, going_on(again, folder / REQUEST_NAME):
            result = run_request(replace(request, out=folder), report)
    lines = [f"{name:16s} {path}" for name, path in result.files.items()]
    lines += [f"{name:16s} {value:.4g}" for name, value in result.metrics.items()]
    lines += [f"{'verdict':16s} {result.verdict}"] if result.verdict else []
    emit({"verb": "run", **result.as_json()}, as_json, [*lines, f"{'seconds':16s} {result.seconds:.1f}"])


def _print_config(request: "RunRequest", as_json: bool) -> None:
    """The configuration that the request would be run with, as YAML or as one JSON object."""
    from dataclasses import asdict

    from gan2shape.api import configuration
    from gan2shape.core.compose import to_yaml

    config = configuration(request)
    emit({"verb": "run", "dry_run": True, "config": asdict(config)}, as_json, [to_yaml(config).rstrip()])


@app.command()
@as_messages
def synth(
    category: Category = "car",
    count: Annotated[int, typer.Option(min=1, help="How many images.")] = 64,
    seed: Annotated[int, typer.Option(min=0, max=999_999, help="Seed of the first image; the next ones count up.")] = 0,
    size: Annotated[int, typer.Option(min=16, help="Resolution of the images, pixels.")] = 64,
    out: Annotated[Path, typer.Option(help="Folder of the files.")] = Path("synth"),
    rendering: Annotated[str, typer.Option(help="plain, or natural: as a camera takes it.")] = "plain",
    shards: Annotated[bool, typer.Option("--shards", help="Training images only, for `gan2shape train`.")] = False,
    labels: Annotated[bool, typer.Option("--labels", help="With --shards: store the class of each object.")] = False,
    mesh: Annotated[
        Path | None, typer.Option(help="Render this mesh (or a folder's) under the category's views and lights.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Render objects with known 3D: PNGs, one .npz with the truth, a contact sheet.

    Examples:

      gan2shape synth --category car --count 64 --out cars

      gan2shape synth --category face --rendering natural --out faces

      gan2shape synth --category car --count 48000 --shards --out car-shards

      gan2shape synth --mesh model.glb --category car --count 8 --out model
    """
    with claimed(out):
        from gan2shape.api import SynthRequest
        from gan2shape.api import synth as run_synth
        from gan2shape.core.progress import open_reporter

        with open_reporter() as report:
            result = run_synth(SynthRequest(category, count, seed, size, out, rendering, shards, labels, mesh), report)
    seconds = result.seconds
    payload = {"verb": "synth", "category": category, "count": count, "out_dir": out, "seconds": round(seconds, 2)}
    what = category if mesh is None else mesh
    emit(payload, as_json, [f"{count} images of {what} in {out} ({seconds:.1f} s)"])


@app.command()
@as_messages
def inspect(
    path: Annotated[Path, typer.Argument(help="A StyleGAN2 checkpoint or a pack.")],
    class_index: ClassIndex = None,
    as_json: Json = False,
) -> None:
    """Print what a checkpoint holds: sizes, architecture, settings and where they come from. Executes nothing of it.

    Example:  gan2shape inspect stylegan2-car.pkl
    """
    from gan2shape.api import inspect as run_inspect
    from gan2shape.checkpoints.summary import describe

    summary = run_inspect(path, class_index)
    emit({"verb": "inspect", **summary}, as_json, describe(summary))


@app.command()
@as_messages
def convert(
    path: Annotated[Path, typer.Argument(metavar="IN", help="A StyleGAN2 checkpoint (.pt, .pkl, …).")],
    out: Annotated[Path, typer.Argument(metavar="OUT.safetensors", help="The file to write.")],
    class_index: ClassIndex = None,
    as_json: Json = False,
) -> None:
    """Write a checkpoint as one safetensors file, which opens faster and cannot carry code.

    Example:  gan2shape convert stylegan2-car.pkl car.safetensors
    """
    from gan2shape.api import convert as run_convert
    from gan2shape.checkpoints.summary import describe

    summary = run_convert(path, out, class_index)
    emit({"verb": "convert", **summary}, as_json, [*describe(summary), f"{'file':14s} {out}"])


@app.command()
@as_messages
def prior(
    path: Annotated[Path, typer.Argument(help="A StyleGAN2 checkpoint.")],
    category: Annotated[
        str | None, typer.Option("--category", "-c", help="Whose views, lights and depth scale suit it: car, head, …")
    ] = None,
    class_index: ClassIndex = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Learn from a checkpoint's own samples which pixels are the object and, with a --category's networks, the ranges
    of its views and lights. Later runs with --generator use both.

    Example:  gan2shape prior stylegan2-car.pkl --category car
    """
    from gan2shape.api import estimate_prior
    from gan2shape.build.custom import as_lines
    from gan2shape.core.progress import open_reporter

    with open_reporter() as report:
        estimate = estimate_prior(path, category, device, class_index, report)
    emit({"verb": "prior", **estimate}, as_json, as_lines(estimate))


def main() -> None:
    """Entry point of the console script. Ctrl-C outside a verb (while importing) is one line as well."""
    os.environ.setdefault(*SHORT_WAITS)
    with usable_streams():
        try:
            stop_at_sigterm()
            app()
        except KeyboardInterrupt as stop:
            sys.exit(end_of(stop))


if __name__ == "__main__":
    main()
