"""The verbs of the 2D half: `gan2shape restore`, `invert`, `morph`, `jitter` and `combine`."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from gan2shape.cli_errors import as_messages
from gan2shape.cli_options import RUNS, ClassIndex, CustomGenerator, Device, Images, Json, MaybeCategory, claimed, emit
from gan2shape.core.errors import UserError

Out = Annotated[Path | None, typer.Option(help="Folder of the files [default: runs/NNNN-…].")]
Seed = Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Of the method's random numbers.")]
Hole = Annotated[Path | None, typer.Option(help="White marks what is to be filled in [default: a square].")]
Start = Annotated[
    str | None,
    typer.Option(help="mean, best, encoder, random, or encoder:NAME (psp, a file …) [default: the method's]."),
]
Features = Annotated[
    str | None,
    typer.Option(
        help="Network of feature terms: efficientnet, a state dict of it (.pth, .safetensors), or a TorchScript file, "
        "which holds CODE that runs [default: the prior's discriminator]."
    ),
]
Steps = Annotated[int | None, typer.Option("--steps", min=0, help="Steps in all [default: the method's].")]


def _shown(verb: str, as_json: bool, out: Path | None, work: Callable) -> None:
    """Run `work(folder, report)` in a folder that is ours, and print its result."""
    from gan2shape.core.progress import open_reporter

    with claimed(out or RUNS, None if out else verb) as folder, open_reporter() as report:
        result = work(folder, report)
    lines = [*(f"{name:20s} {value:.4g}" for name, value in result.metrics.items()), f"{'files':20s} {result.out_dir}"]
    emit({"verb": verb, **result.as_json()}, as_json, lines)


@as_messages
def restore(
    images: Images,
    task: Annotated[
        str,
        typer.Option(
            help="reconstruct, colorize, inpaint, superres, denoise, deblur, hybrid or blind; by an encoder alone: "
            "frontal, silhouette."
        ),
    ] = "reconstruct",
    method: Annotated[
        str | None,
        typer.Option(help="dgp, brgm, pulse, i2s, pti, tv, dip, …; glean, gpen, gfpgan, a FILE [default: the task's]."),
    ] = None,
    mask: Hole = None,
    factor: Annotated[int | None, typer.Option(help="Of superres: 2, 4 or 8.")] = None,
    strength: Annotated[
        float | None, typer.Option(help="Of deblur (pixels), denoise (of values in ±1) or blind (severity to 4).")
    ] = None,
    degrade: Annotated[bool, typer.Option("--degrade", help="The pictures are clean: damage them first.")] = False,
    draws: Annotated[int, typer.Option(min=0, max=64, help="Further answers whose fine rows are random.")] = 0,
    steps: Steps = None,
    start: Start = None,
    features: Features = None,
    category: MaybeCategory = None,
    generator: CustomGenerator = None,
    class_index: ClassIndex = None,
    seed: Seed = 0,
    device: Device = "auto",
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Restore pictures with what the generator knows of its category.

    Examples:

      gan2shape restore old.png --task colorize --category car

      gan2shape restore small.png --task superres --factor 4 --method brgm

      gan2shape restore photo.png --task inpaint --mask hole.png

      gan2shape restore clean.png --task deblur --strength 2 --degrade     damage it here, and compare

      gan2shape restore mask.png --task silhouette --method encoder:FILE --draws 6     cars that fill it
    """
    from gan2shape.api_restore import RestoreRequest
    from gan2shape.api_restore_files import restore_files

    if factor is not None and task != "superres":
        raise UserError("--factor belongs to --task superres: give --strength, or leave it away.")
    if strength is not None and task == "superres":
        raise UserError("--strength does not belong to --task superres: give --factor.")
    number = factor if factor is not None else strength
    wanted = task if number is None else f"{task}:{number}"
    request = RestoreRequest(
        tuple(images), Path(), wanted, method, mask, degrade, features, start=start, n_steps=steps, n_mixed=draws,
        category=category, generator=generator, class_index=class_index, seed=seed, device=device,
    )  # fmt: skip
    _shown("restore", as_json, out, lambda folder, report: restore_files(_at(request, folder), report))


@as_messages
def invert(
    images: Images,
    space: Annotated[
        str, typer.Option(help='W, W+, Z, P, S; with " + N" or " + Theta": "W+ + N". encoder:NAME: one pass, no step.')
    ] = "W",
    method: Annotated[str | None, typer.Option(help="projector, i2s, i2spp, pti, dgp, … instead of a space.")] = None,
    align: Annotated[
        str, typer.Option(help="auto (mask, face, or what stands out), box (of --box or the mask), none (the middle).")
    ] = "auto",
    box: Annotated[str | None, typer.Option(help="LEFT,TOP,WIDTH,HEIGHT of the object, pixels.")] = None,
    object_mask: Annotated[Path | None, typer.Option(help="Mask of the object, of the picture's size.")] = None,
    steps: Steps = None,
    start: Start = None,
    features: Features = None,
    category: MaybeCategory = None,
    generator: CustomGenerator = None,
    class_index: ClassIndex = None,
    seed: Seed = 0,
    device: Device = "auto",
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Find the latent that explains each picture. `latent.npz` serves `gan2shape run --latent`.

    Examples:

      gan2shape invert photo.png --category car --space "W+ + N"

      gan2shape invert photos/ --space encoder:runs/psp/psp.safetensors     by a trained encoder, in one pass

      gan2shape invert photo.png --method idinvert --start encoder:runs/idinvert/idinvert.safetensors

      gan2shape invert photo.png --category head --align box --box 40,30,200,240
    """
    from gan2shape.api_align import Alignment, parse_box
    from gan2shape.api_restore import RestoreRequest
    from gan2shape.api_restore_files import restore_files

    alignment = Alignment(align, object_mask, None if box is None else parse_box(box))
    request = RestoreRequest(
        tuple(images), Path(), "reconstruct", method, features=features, alignment=alignment,
        space=None if method is not None else space, start=start, n_steps=steps, category=category,
        generator=generator, class_index=class_index, seed=seed, device=device,
    )  # fmt: skip
    _shown("invert", as_json, out, lambda folder, report: restore_files(_at(request, folder), report))


@as_messages
def morph(
    first: Annotated[Path, typer.Argument(help="A picture.")],
    second: Annotated[Path, typer.Argument(help="Another one.")],
    count: Annotated[int, typer.Option(min=2, max=200, help="Pictures between them, ends included.")] = 11,
    category: MaybeCategory = None,
    generator: CustomGenerator = None,
    class_index: ClassIndex = None,
    seed: Seed = 0,
    device: Device = "auto",
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Draw what lies between two pictures: latents and weights move together (DGP).

    Example:  gan2shape morph a.png b.png --category car
    """
    from gan2shape.api_restore import morph as run_morph

    request = _of_prior(category, generator, class_index, seed, device)
    _shown("morph", as_json, out, lambda folder, report: run_morph(first, second, _at(request, folder), count, report))


@as_messages
def jitter(
    image: Annotated[Path, typer.Argument(help="A picture.")],
    category: MaybeCategory = None,
    generator: CustomGenerator = None,
    class_index: ClassIndex = None,
    seed: Seed = 0,
    device: Device = "auto",
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Draw a picture's neighbours, a row for each strength of .3, .5 and .7 (DGP).

    Example:  gan2shape jitter photo.png --category car
    """
    from gan2shape.api_restore import jitter as run_jitter

    request = _of_prior(category, generator, class_index, seed, device)
    _shown("jitter", as_json, out, lambda folder, report: run_jitter(image, _at(request, folder), report=report))


@as_messages
def transfer(
    image: Annotated[Path, typer.Argument(help="A picture.")],
    class_index: Annotated[int, typer.Option("--class", min=0, help="Class of the picture.")],
    to: Annotated[int, typer.Option(min=0, help="Class that it should become.")],
    category: MaybeCategory = None,
    generator: CustomGenerator = None,
    seed: Seed = 0,
    device: Device = "auto",
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Turn a picture into another class of a class-conditional generator (DGP): its latent and its weights stay.

    Example:  gan2shape transfer van.png --class 3 --to 0 --generator packs/conditional-car
    """
    from gan2shape.api_restore import transfer as run_transfer

    request = _of_prior(category, generator, class_index, seed, device)
    _shown("transfer", as_json, out, lambda folder, report: run_transfer(image, _at(request, folder), to, report))


@as_messages
def combine(
    first: Annotated[Path, typer.Argument(help="The picture that stays, or is painted on.")],
    second: Annotated[Path, typer.Argument(help="The other one.")],
    mask: Annotated[Path, typer.Option(help="White is the part that `kind` is about.")],
    kind: Annotated[str, typer.Option(help="crossover, style or scribble.")] = "crossover",
    category: MaybeCategory = None,
    generator: CustomGenerator = None,
    class_index: ClassIndex = None,
    seed: Seed = 0,
    device: Device = "auto",
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Make one picture of two (Image2StyleGAN++): the first inside the mask and the second around it, or the texture of
    the second, or colours that were painted on it.

    Example:  gan2shape combine a.png b.png --mask half.png --kind crossover --category car
    """
    from gan2shape.api_restore import combine as run_combine

    request = _of_prior(category, generator, class_index, seed, device)
    _shown(
        "combine", as_json, out, lambda at, report: run_combine(first, second, mask, kind, _at(request, at), report)
    )


def _of_prior(category: str | None, generator: Path | None, class_index: int | None, seed: int, device: str):
    from gan2shape.api_restore import RestoreRequest

    prior = {"category": category, "generator": generator, "class_index": class_index, "device": device}
    return RestoreRequest((), Path(), **prior, seed=seed)


def _at(request, folder: Path):
    """The request with its folder."""
    from dataclasses import replace

    return replace(request, out=folder)
