"""`gan2shape train` and `gan2shape build`: making generators, and what runs need beside them."""

from pathlib import Path
from typing import Annotated

import typer

from gan2shape.cli_errors import AGAIN, as_messages, going_on
from gan2shape.cli_options import ClassIndex, CustomGenerator, Device, Json, Settings, categories_like, claimed, emit
from gan2shape.core.errors import UserError

IMAGES, KIMG = 48_000, 300.0  # of `build CATEGORY`, and thousands of images shown in any training
SIZE = 64  # of photos, pixels


@as_messages
def train(
    data: Annotated[
        list[Path] | None, typer.Option(help="Folder that `gan2shape synth --shards` has written; or several.")
    ] = None,
    images: Annotated[Path | None, typer.Option(help="Instead: a folder of your photos, of any kind and size.")] = None,
    masks: Annotated[
        Path | None, typer.Option(help="Of --images: a folder of masks named as the photos; objects are cut out.")
    ] = None,
    size: Annotated[
        int | None, typer.Option(help="Of --images: resolution to learn, a power of two [default: 64].")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of checkpoints, sample sheets and the pack.")] = Path("training"),
    kimg: Annotated[float, typer.Option(min=0.001, help="Thousands of images to show.")] = KIMG,
    device: Device = "auto",
    resume: Annotated[bool, typer.Option(help="Go on from the checkpoint in --out.")] = True,
    start_from: Annotated[Path | None, typer.Option(help="A pack that a new training begins with.")] = None,
    grow: Annotated[Path | None, typer.Option(help="A pack, to go on from at twice its resolution.")] = None,
    labels: Annotated[bool, typer.Option("--labels", help="Learn classes (`synth --shards --labels`).")] = False,
    as_json: Json = False,
    settings: Settings = None,
) -> None:
    """Train a generator on a folder of images. A second call goes on.

    Examples:

      gan2shape train --data car-shards --kimg 300 --out training/car r1_gamma=0.15

      gan2shape train --data plain --data natural --grow packs/car --kimg 850 --out training/car-128

      gan2shape train --images my-photos --masks my-masks --out training/mine
    """
    if images is None:
        _refuse({"--masks": masks, "--size": size}, "belongs to --images: name the photos")
    if grow is not None:
        _refuse({"--size": size}, "does not go with --grow, which doubles the pack's resolution: leave it away")
    with claimed(out):
        from gan2shape.api_build import TrainRequest
        from gan2shape.api_build import train as run_training
        from gan2shape.core.devices import process_rank
        from gan2shape.core.progress import open_reporter

        overrides = tuple(settings or ())
        further = (resume, start_from, grow, labels, overrides, images, masks, SIZE if size is None else size)
        request = TrainRequest(tuple(data or ()), out, kimg, device, *further)
        with open_reporter() as report, going_on(AGAIN):
            result = run_training(request, report)
    shown_kimg = result.metrics["kimg"]
    payload = {"verb": "train", "out_dir": out, "kimg": shown_kimg, "seconds": round(result.seconds, 2)}
    if process_rank() > 0:
        return
    lines = [f"{shown_kimg:g} thousand images shown; everything is in {out}"]
    emit(payload, as_json, [*lines, f"next: gan2shape build --category … --generator {out}"])


@as_messages
def build(
    category: Annotated[
        str | None, typer.Argument(help="car, head, …; with --generator, whose light strengths and depth scale count.")
    ] = None,
    settings: Settings = None,
    option: Annotated[
        str | None, typer.Option("--category", "-c", autocompletion=categories_like, help="The same as an option.")
    ] = None,
    generator: CustomGenerator = None,
    class_index: ClassIndex = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the pack [default: weights/CATEGORY; of a generator beside its file]."),
    ] = None,
    work: Annotated[Path | None, typer.Option(help="Training folder [default: runs/train-CATEGORY].")] = None,
    images: Annotated[
        int | None, typer.Option(min=1, help="Training images that are rendered [default: 48000].")
    ] = None,
    kimg: Annotated[
        float | None, typer.Option(min=0.001, help="Thousands of images shown in training [default: 300].")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="gan, masks, scene, outlines, symmetry, relief, calibration, attributes, confidence, editing, card: "
            "made anew; else all missing."
        ),
    ] = None,
    natural: Annotated[
        bool, typer.Option("--natural", help="Render every second training image as a photo might show it.")
    ] = False,
    grow: Annotated[Path | None, typer.Option(help="A pack of the category, to go on from at twice its size.")] = None,
    teacher: Annotated[
        Path | None, typer.Option(help="A pack of a related category, at whose networks the new ones begin.")
    ] = None,
    copy: Annotated[bool, typer.Option("--copy", help="Keep a copy of the generator's file in its pack.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Make the pack of a generator anew.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Forget the pack of a generator.")] = False,
    device: Device = "auto",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan with times and disk, and stop.")] = False,
    as_json: Json = False,
) -> None:
    """Make the weights of a category: train a GAN on rendered objects, then all that a run needs besides. Hours; a
    second call goes on where the first was stopped. key=value changes the training, as for `gan2shape train`.

    With --generator: for your own StyleGAN2, once, all that makes runs quick: masks, an image encoder, depth, view and
    light networks, learnt from its own samples. key=value changes how much each step does.

    Examples:

      gan2shape build car --dry-run

      gan2shape build car --out packs/car --work runs/car --kimg 600

      gan2shape build head --only scene --only card

      gan2shape build car --grow packs/car --natural --kimg 850 --out packs/car-128

      gan2shape build face --teacher weights/head --kimg 720 --out packs/face

      gan2shape build car --generator stylegan2-car.pkl

      gan2shape build car --generator stylegan2-car.pkl pretrain.n_joint=500 --force
    """
    settings, first = list(settings or ()), category or ""
    if "=" in first:  # a setting, where the category is an option or none
        category, settings = None, [first, *settings]
    if category is not None and option is not None and category != option:
        raise UserError(f"{category} and --category {option} are two categories: name one.")
    named = category or option
    own = {"--copy": copy, "--force": force, "--remove": remove, "--class": class_index is not None}
    trained = {"--work": work, "--images": images, "--kimg": kimg, "--only": only, "--natural": natural}
    trained |= {"--grow": grow, "--teacher": teacher}
    if generator is None:
        _refuse(own, "belongs to a --generator: name one")
        if named is None:
            raise UserError("There is nothing to build: name a category (car, head, …), or a --generator.")
    else:
        _refuse(trained, "belongs to a category, whose GAN is trained: leave it away with a --generator")
    if remove:
        _refuse({"--dry-run": dry_run, "--force": force, "--copy": copy}, "does not go with --remove: leave it away")
        _remove(generator, class_index, as_json)
        return
    from gan2shape.core.progress import open_reporter

    if generator is None:
        from gan2shape.api_build import build as run_build
        from gan2shape.build.requests import BuildRequest

        further = (tuple(only or ()), device, tuple(settings), dry_run, natural, grow, teacher)
        request = BuildRequest(named, out, work, images or IMAGES, kimg or KIMG, *further)
    else:
        from gan2shape.api_build import build_generator as run_build
        from gan2shape.build.generator_plan import GeneratorBuildRequest

        request = GeneratorBuildRequest(
            generator, named, out, class_index, device, tuple(settings), copy, force, dry_run
        )
    with open_reporter() as report, going_on(AGAIN):
        result = run_build(request, report)
    done = [f"{'pack':12s} {result.pack}", *(f"{name:12s} {value:.1f} s" for name, value in result.seconds.items())]
    lines = result.plan.lines() if dry_run else done
    emit({"verb": "build", "dry_run": dry_run, **result.as_json()}, as_json, lines)


def _refuse(options: dict, why: str) -> None:
    for name, value in options.items():
        if value:
            raise UserError(f"{name} {why}.")


def _remove(generator: Path, class_index: int | None, as_json: bool) -> None:
    from gan2shape.api_build import remove_pack

    removed = remove_pack(generator, class_index)
    emit({"verb": "build", "removed": removed}, as_json, [f"{'removed':12s} {path}" for path in removed])
