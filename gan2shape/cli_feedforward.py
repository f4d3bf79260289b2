"""The verbs that train networks for a prior: `gan2shape train-encoder`, `train-restorer` and `train-text`."""

from pathlib import Path
from typing import Annotated

import typer

from gan2shape.cli_errors import as_messages
from gan2shape.cli_options import (
    RUNS,
    ClassIndex,
    CustomGenerator,
    Device,
    Images,
    Json,
    MaybeCategory,
    Settings,
    claimed,
    emit,
)

Data = Annotated[Path | None, typer.Option(help="Shards of images [default: rendered objects of the category].")]
Resume = Annotated[bool, typer.Option(help="Go on from the checkpoint in --out.")]
Out = Annotated[Path | None, typer.Option(help="Folder of the network [default: runs/KIND-CATEGORY].")]


@as_messages
def train_encoder(
    kind: Annotated[
        str,
        typer.Option(
            help="psp, e4e, restyle, idinvert; alae: with a generator of its own; icgan: z and class, for a "
            "class-conditional pack."
        ),
    ] = "psp",
    category: MaybeCategory = None,
    generator: CustomGenerator = None,
    class_index: ClassIndex = None,
    data: Data = None,
    out: Out = None,
    resume: Resume = True,
    device: Device = "auto",
    as_json: Json = False,
    settings: Settings = None,
) -> None:
    """Train a network that reads a picture's latent in one pass. key=value changes how (head=flat, n_steps=3000 …).

    Examples:

      gan2shape train-encoder --kind psp --category car --out runs/psp

      gan2shape invert photo.png --space encoder:runs/psp/psp.safetensors

      gan2shape train-encoder --kind e4e --generator stylegan2-car.pkl      on the generator's own samples
    """
    if kind == "icgan":
        from gan2shape.api_icgan import train_icgan as run_training
    elif kind == "alae":
        from gan2shape.api_feedforward import train_alae as run_training
    else:
        from gan2shape.api_feedforward import train_encoder as run_training

    named = (category, generator, class_index)
    _trained("train-encoder", run_training, kind, *named, data, None, out, resume, device, as_json, settings)


@as_messages
def swap(
    images: Images,
    to: Annotated[str, typer.Option(help="Class that it should become: its name or number.")],
    generator: CustomGenerator = None,
    network: Annotated[
        Path | None, typer.Option(help="Of `train-encoder --kind icgan` [default: runs/icgan-GENERATOR].")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the files [default: runs/NNNN-swap].")] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Draw pictures as another class in one pass (IcGAN); `transfer` does the same by descent (DGP).

    Examples:

      gan2shape swap van.png --to pickup --generator packs/car-classes

      gan2shape swap photos/ --to pickup --generator packs/car-classes --out swapped     a folder for each
    """
    with claimed(out or RUNS, None if out else "swap") as folder:
        from gan2shape.api_icgan import SwapRequest
        from gan2shape.api_icgan import swap as run_swap

        result = run_swap(SwapRequest(tuple(images), folder, to, generator, network, device))
    lines = [f"{what:12s} {path}" for what, path in result.files.items()]
    emit({"verb": "swap", **result.as_json()}, as_json, lines)


@as_messages
def train_restorer(
    kind: Annotated[
        str, typer.Option(help="glean, gfpgan, gpen; without a prior: unet, srgan (and srresnet), inpaintgan.")
    ] = "gpen",
    task: Annotated[
        str | None, typer.Option(help="blind, superres:4, superres:8, colorize, inpaint [default: the kind's].")
    ] = None,
    category: MaybeCategory = None,
    generator: CustomGenerator = None,
    class_index: ClassIndex = None,
    data: Data = None,
    out: Out = None,
    resume: Resume = True,
    device: Device = "auto",
    as_json: Json = False,
    settings: Settings = None,
) -> None:
    """Train a network that restores pictures in one pass, with the generator inside or without. key=value changes how.

    Examples:

      gan2shape train-restorer --kind gpen --category car --out runs/gpen

      gan2shape restore damaged.png --task blind --method runs/gpen/gpen.safetensors

      gan2shape train-restorer --kind srgan --category car      then: restore small.png --task superres --method srgan

      gan2shape train-restorer --kind glean --task superres:8 --category car --out runs/glean8
    """
    from gan2shape.api_feedforward import train_restorer as run_training

    named = (category, generator, class_index)
    _trained("train-restorer", run_training, kind, *named, data, task, out, resume, device, as_json, settings)


@as_messages
def train_text(
    category: MaybeCategory = None,
    data: Annotated[Path | None, typer.Option(help="Folder where its pictures are, or go [default: in --out].")] = None,
    out: Out = None,
    resume: Resume = True,
    device: Device = "auto",
    as_json: Json = False,
    settings: Settings = None,
) -> None:
    """Train a toy pair of networks that tells whether a sentence is true of a picture, from sentences made of synthetic
    objects' parameters. It knows those words alone, and is not CLIP.

    Examples:

      gan2shape train-text --category car --out runs/text

      gan2shape edit runs/0000-car-draft --text "a blue van" --pair runs/text/text.safetensors
    """
    from gan2shape.api_feedforward import train_text as run_training

    named = (category, None, None)
    _trained("train-text", run_training, "text", *named, data, None, out, resume, device, as_json, settings)


def _trained(
    verb, run_training, kind, category, generator, class_index, data, task, out, resume, device, as_json, settings
) -> None:
    """Train in a folder that is ours, and print where the network is."""
    name = generator.stem if generator else category or "car"
    out = out or Path("runs") / f"{kind}-{name}"
    with claimed(out):
        from gan2shape.api_feedforward import FeedForwardRequest
        from gan2shape.core.progress import open_reporter

        overrides = tuple(settings or ())
        further = (data, task, resume, device, overrides, class_index)
        request = FeedForwardRequest(kind, out, category, generator, *further)
        with open_reporter() as report:
            result = run_training(request, report)
    lines = [f"{what:18s} {path}" for what, path in result.files.items()]
    lines += [f"{what:18s} {value:.4g}" for what, value in result.metrics.items()]
    emit({"verb": verb, **result.as_json()}, as_json, lines)
