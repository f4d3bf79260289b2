"""The verbs that go on from a finished run: `gan2shape edit`, `directions`, `render` and `view`."""

from pathlib import Path
from typing import Annotated

import typer

from gan2shape.cli_errors import as_messages
from gan2shape.cli_options import DEFAULT_PRESET, RUNS, Device, Json, Preset, claimed, emit, format_rows
from gan2shape.core.errors import UserError


@as_messages
def edit(
    source: Annotated[Path, typer.Argument(metavar="RUN|IMAGE", help="A run's folder, an edit's folder, or an image.")],
    further: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME=VALUE …]", help="After --set: more of the same.")
    ] = None,
    yaw: Annotated[float, typer.Option(help="Degrees; positive brings the image-right side nearer.")] = 0.0,
    pitch: Annotated[float, typer.Option(help="Degrees; positive brings the top nearer.")] = 0.0,
    roll: Annotated[float, typer.Option(help="Degrees; positive rotates clockwise.")] = 0.0,
    light_from: Annotated[
        str | None, typer.Option(help="left, right, above, below, front, or lx,ly (ly < 0 is above).")
    ] = None,
    light_frame: Annotated[str, typer.Option(help="canonical: it turns with the object; or camera.")] = "canonical",
    ambient: Annotated[float | None, typer.Option(help="Strength of the light from everywhere.")] = None,
    diffuse: Annotated[float | None, typer.Option(help="Strength of the light from one side.")] = None,
    mode: Annotated[str, typer.Option(help="3d (rendered), gan (through the generator) or both.")] = "both",
    like: Annotated[Path | None, typer.Option(help="Take view and light of this picture or run.")] = None,
    take: Annotated[str, typer.Option(help="view, light or both, of --like.")] = "both",
    towards: Annotated[Path | None, typer.Option(help="Move the latent towards that of this run.")] = None,
    amount: Annotated[float, typer.Option(help="How far: 0 stays, 1 arrives.")] = 0.5,
    layers: Annotated[str | None, typer.Option(help="Only in these rows of W+: 4-8 mixes styles.")] = None,
    sliders: Annotated[Path | None, typer.Option(help="A file of `gan2shape directions`.")] = None,
    slide: Annotated[list[str] | None, typer.Option(help="NAME=VALUE of one slider in it.")] = None,
    text: Annotated[str | None, typer.Option(help="What it should become, in a toy's words: 'a blue van'.")] = None,
    words: Annotated[list[str] | None, typer.Option("--set", help="The same: colour=red body=pickup.")] = None,
    pair: Annotated[Path | None, typer.Option(help="A file of `gan2shape train-text` [default: the pack's].")] = None,
    network: Annotated[
        list[Path] | None,
        typer.Option(help="Twice: your own TorchScript networks of pictures and of sentences. Such files hold CODE."),
    ] = None,
    tokens: Annotated[Path | None, typer.Option(help="With --network: a sentence's tokens (.npy).")] = None,
    vocabulary: Annotated[
        Path | None, typer.Option(help="With --network and --text: tokenizer.json, or CLIP's merges (extra `text`).")
    ] = None,
    locality: Annotated[float, typer.Option(min=0, help="Of --text: greater stays nearer to the picture.")] = 10.0,
    animate: Annotated[str | None, typer.Option(help="yaw=-40:40 (pitch, roll), or light=circle.")] = None,
    frames: Annotated[int, typer.Option(min=2, max=720, help="Pictures of the animation.")] = 24,
    video: Annotated[bool, typer.Option("--video", help="MP4 instead of GIF (needs the extra `video`).")] = False,
    refine: Annotated[int, typer.Option(min=0, help="Steps towards the render; 0: one pass, no guidance.")] = 10,
    category: Annotated[
        str | None, typer.Option("--category", "-c", help="Of an image: car, head, … [default: car]")
    ] = None,
    mask: Annotated[Path | None, typer.Option(help="Object mask of an image.")] = None,
    preset: Preset = DEFAULT_PRESET,
    device: Device = "auto",
    out: Annotated[Path | None, typer.Option(help="Folder of the files [default: runs/NNNN-edit].")] = None,
    as_json: Json = False,
) -> None:
    """Show the object of a run in another view and light, as rendered and through the generator.

    Examples:

      gan2shape edit runs/0000-car-draft --yaw 20 --pitch -5 --light-from left

      gan2shape edit runs/0001-edit --yaw 10             on from an earlier edit: angles add up

      gan2shape edit photo.png --category car --light-from -0.8,-0.4 --mode 3d

      gan2shape edit runs/0000-car-draft --animate yaw=-40:40

      gan2shape edit runs/0000-car-draft --like other.png --take light

      gan2shape edit runs/0000-car-draft --text "a blue van" --pair runs/text/text.safetensors

      gan2shape edit runs/0000-car-draft --set colour=red body=pickup light=left

      gan2shape edit runs/0000-car-draft --towards runs/0002-car-draft --layers 4-8 --amount 1
    """
    words = settings_of(words, further)
    with claimed(out or RUNS, None if out else "edit") as folder:
        from gan2shape.api_edit import EditRequest
        from gan2shape.api_edit import edit as run_edit
        from gan2shape.core.progress import open_reporter

        request = EditRequest(
            source=source,
            out=folder,
            mode=mode,
            yaw_deg=yaw,
            pitch_deg=pitch,
            roll_deg=roll,
            light_from=light_from,
            light_frame=light_frame,
            ambient=ambient,
            diffuse=diffuse,
            like=like,
            take=take,
            towards=towards,
            amount=amount,
            layers=layers,
            sliders=sliders,
            settings=tuple(slide or ()),
            text=text,
            words=words,
            pair=pair,
            networks=tuple(network or ()),
            tokens=tokens,
            vocabulary=vocabulary,
            locality=locality,
            animate=animate,
            n_frames=frames,
            video=video,
            n_refine=refine,
            category=category,
            mask=mask,
            preset=preset,
            device=device,
        )
        with open_reporter() as report:
            result = run_edit(request, report)
    lines = [f"{name:16s} {path}" for name, path in result.files.items()]
    emit({"verb": "edit", **result.as_json()}, as_json, [*lines, f"{'seconds':16s} {result.seconds:.1f}"])


def settings_of(words: list[str] | None, further: list[str] | None) -> tuple[str, ...]:
    """All values of --set. Raises UserError for further ones without it, and for what is no NAME=VALUE."""
    for word in further or ():
        if not all(word.partition("=")):
            raise UserError(f"{word!r} is no NAME=VALUE: name one run or picture, then --set colour=red body=pickup.")
        if not words:
            raise UserError(f"{word!r} belongs to --set: write --set {word}, or leave it away.")
    return (*(words or ()), *(further or ()))


@as_messages
def directions(
    source: Annotated[Path | None, typer.Argument(metavar="[RUN]", help="A run, whose generator is meant.")] = None,
    category: Annotated[str | None, typer.Option("--category", "-c", help="Instead of a run: car, head, …")] = None,
    layers: Annotated[str | None, typer.Option(help="Only for these rows of W+: 0-3; all unless given.")] = None,
    count: Annotated[int, typer.Option(min=1, max=64, help="How many.")] = 8,
    device: Device = "auto",
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("sliders.json"),
    as_json: Json = False,
) -> None:
    """Find the directions that change a generator's images most, name those that can be named, and write them as
    sliders for `gan2shape edit --sliders`.

    Example:  gan2shape directions --category car --out sliders.json
    """
    from gan2shape.api_edit import find_sliders
    from gan2shape.core.progress import open_reporter

    with open_reporter() as report:
        path, rows = find_sliders(source, category, out, layers, count, device, report)
    emit({"verb": "directions", "file": path, "sliders": rows}, as_json, [*format_rows(rows), f"written to {path}"])


@as_messages
def render(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")],
    views: Annotated[Path, typer.Option(help="CSV or JSON with yaw_deg, pitch_deg, roll_deg, light, … in each row.")],
    light: Annotated[
        str | None, typer.Option(help="Of rows that name none: left, right, above, below, front, or lx,ly.")
    ] = None,
    mode: Annotated[str, typer.Option(help="3d (rendered), gan (through the generator) or both.")] = "3d",
    transparent: Annotated[bool, typer.Option("--transparent", help="The object alone, with alpha.")] = False,
    device: Device = "auto",
    out: Annotated[Path | None, typer.Option(help="Folder of the pictures [default: runs/NNNN-render].")] = None,
    as_json: Json = False,
) -> None:
    """Render a run in every view and light of a list.

    Examples:

      gan2shape render runs/0000-car-draft --views views.csv --light above

      gan2shape render runs/0000-car-draft --views views.json --transparent --out turntable
    """
    with claimed(out or RUNS, None if out else "render") as folder:
        from gan2shape.api_view import RenderRequest
        from gan2shape.api_view import render as run_render
        from gan2shape.core.progress import open_reporter

        with open_reporter() as report:
            result = run_render(RenderRequest(run, views, folder, light, mode, transparent, device), report)
    count = int(result.metrics["n_views"])
    emit({"verb": "render", **result.as_json()}, as_json, [f"{count} views in {folder} ({result.seconds:.1f} s)"])


@as_messages
def view(
    path: Annotated[Path, typer.Argument(metavar="RUN|FOLDER", help="A run's folder, or a folder of runs.")],
    port: Annotated[int, typer.Option(min=1, max=65535, help="Of the page's address.")] = 8080,
    host: Annotated[str, typer.Option(help="Who can reach it: only this machine, unless given.")] = "127.0.0.1",
    device: Device = "auto",
) -> None:
    """Show runs on an interactive page: turn and light the object, and edit the picture through the generator, live.

    Example:  gan2shape view runs/0000-car-draft
    """
    from gan2shape.api_view import view as run_view

    run_view(path, host, port, device)
