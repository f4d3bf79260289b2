"""What the command line and Python callers ask for: requests in, results out. Each verb of the command is a function.

The main job's modules are imported at once. Those of the other verbs are imported late: a run needs nothing of them.
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxtyping import Float
from torch import Tensor

from gan2shape.api_inputs import read_given
from gan2shape.core.compose import compose, from_yaml, to_yaml
from gan2shape.core.config import ShapeConfig
from gan2shape.core.devices import one_thread_after_fork
from gan2shape.core.errors import UserError
from gan2shape.core.files import as_before_if_bad, write_text_atomic
from gan2shape.core.images import resized, write_png
from gan2shape.core.locks import locked
from gan2shape.core.progress import Reporter, say, silent
from gan2shape.core.requests import (
    REQUEST_NAME,
    RESTORED_NAMES,
    RunRequest,
    RunResult,
    require_inputs_kept,
)
from gan2shape.export.mesh_open3d import require_open3d
from gan2shape.export.photo import PHOTO_NAME, as_photo, keep_photo
from gan2shape.prior.masked_generator import MaskedGenerator, require_mask
from gan2shape.prior.open import open_prior
from gan2shape.prior.opened import OpenPrior
from gan2shape.prior.whereabouts import located, noted
from gan2shape.shape import reconstruct as shape
from gan2shape.shape.estimate import announcement, estimate_seconds
from gan2shape.shape.given import GIVEN_NAME, keep_given, stored_given
from gan2shape.shape.observe import observe
from gan2shape.shape.reconstruct import Reconstruction, check_inputs
from gan2shape.shape.state import STATE_NAME

if TYPE_CHECKING:
    from gan2shape.bench.frechet import FrechetRequest
    from gan2shape.bench.requests import BenchRequest


CONFIG_NAME = "config.yaml"  # beside the files of a run


@dataclass(frozen=True)
class SynthRequest:
    """A folder of rendered objects."""

    category: str = "car"
    count: int = 64
    seed: int = 0  # of the first image; the next ones count up
    size: int = 64  # resolution of the images, pixels
    out: Path = Path("synth")
    rendering: str = "plain"  # plain or natural
    shards: bool = False  # training images only, without the truth
    labels: bool = False  # with `shards`: store each object's class beside its image
    mesh: Path | None = None  # a mesh file or a folder of them, rendered under the category's views and lights


def run(
    request: RunRequest, report: Reporter = silent, ready: tuple[MaskedGenerator, ShapeConfig] | None = None
) -> RunResult:
    """Reconstruct, export, and list what was written. `ready`: what `opened` gives for the request's settings, where
    many images share it. Raises UserError for bad input, and where another run works in the folder, which is then as it
    was.
    """
    with locked(Path(request.resume or request.out)):
        return _run(request, report, ready)


def _run(request: RunRequest, report: Reporter, ready: tuple[MaskedGenerator, ShapeConfig] | None) -> RunResult:
    """`run` in a folder that is ours."""
    began = time.perf_counter()
    folder, is_new = Path(request.resume or request.out), request.resume is None
    request = located(request)
    generator, config = ready or opened(request)
    require_inputs_kept(request)
    require_open3d(config.mesh)
    given = read_given(request, config, generator, report)
    if request.generator is not None and ready is None:
        announce(request, generator, config, has_mask=given.inputs.get("mask") is not None)
    request = noted(request)
    settings = {folder / CONFIG_NAME: to_yaml(config), folder / REQUEST_NAME: request.to_json()}
    written = (*settings, *(folder / name for name in (GIVEN_NAME, PHOTO_NAME, *given.pictures)))
    # Bad input may show as late as in the first steps. The request is written last: with it, there is a run.
    with as_before_if_bad(written, folder / STATE_NAME, folder / REQUEST_NAME if is_new else None):
        for name, pixels in given.pictures.items():
            write_png(folder / name, pixels)
        if given.is_read:
            keep_photo(folder, given.photo)
            keep_given(folder, given.inputs)
        inputs = stored_given(folder)
        notes = inputs.pop("notes", ())
        for path, text in settings.items():
            write_text_atomic(path, text)
        made = reconstruct(
            **inputs,
            seed=request.seed or 0,
            config=config,
            generator=generator,
            report=report,
            state_dir=folder,
            resume=not is_new,  # a folder that is used again starts anew
        )
        files = replace(made, photo=given.photo, notes=notes).export(folder)
    for warning in made.warnings:
        say(warning)
    level, sentences = (None, ()) if made.verdict is None else (made.verdict.level, (made.verdict.sentence,))
    files |= {} if request.degraded is None else {Path(name).stem: folder / name for name in RESTORED_NAMES}
    notes, seconds = (*sentences, *notes, *generator.notes), time.perf_counter() - began
    return RunResult(folder, files, {**metrics(made), **given.seconds}, seconds, notes, level)


def reconstruct(
    image: Float[Tensor, "1 3 S S"] | None = None,
    latent: Float[Tensor, "1 *L D"] | None = None,
    category: str | None = None,
    *,
    mask: Float[Tensor, "1 1 S S"] | None = None,
    seed: int = 0,
    preset: str = "draft",
    device: str = "auto",
    overrides: tuple[str, ...] = (),
    config: ShapeConfig | None = None,
    generator: MaskedGenerator | str | Path | None = None,
    prior: OpenPrior | None = None,
    features: str | Path | None = None,
    class_index: int | None = None,
    report: Reporter = silent,
    state_dir: str | Path | None = None,
    resume: bool = True,
) -> Reconstruction:
    """Depth, albedo, view and light of one image, latent, or (with neither) of the generator's sample `seed`.

    Args:
        image: in [-1, 1]. mask: its object, in [0, 1]; predicted through the inversion unless given. Both are resized;
            meshes carry the image as it is given.
        latent: w, or W+, of the generator.
        category: whose bundled generator, and whose ranges of views, lights and depth. Unless given: car, or the
            category that was named to `gan2shape prior` for the `generator`.
        generator: a StyleGAN2 checkpoint in the place of the bundled one (or an opened one).
        prior: what `gan2shape.Prior.open` has loaded, in the place of category, generator, features, class and device.
        features: a TorchScript module, which is code that runs, to compare images with.
        class_index: of a class-conditional `generator`, the class to generate; the first one unless given.
        overrides: `key=value` settings of the configuration; or give a whole `config`.
        state_dir: folder where the state is saved after each step; a state in it is continued, or with resume=False
            replaced by the first one of this run.
    Raises UserError for what cannot be used, with cause and remedy.
    """
    began = time.perf_counter()
    one_thread_after_fork()
    if config is not None and overrides:
        raise UserError("A whole config and overrides exclude each other: change the config, or leave it away.")
    if prior is not None:
        if (category, generator, features, class_index) != (None,) * 4:
            raise UserError("A prior is open already: leave category, generator, features and class_index away.")
        generator, config = prior.generator, config or prior.config(preset, overrides)
    is_open = isinstance(generator, MaskedGenerator)
    if is_open and features is not None:
        raise UserError("features belong to a generator that is named by its path: give that, or leave them away.")
    if is_open:
        named = category or generator.prior.card.get("category") or ShapeConfig.category
        known, resolution = generator.prior.calibration.settings, generator.resolution
        own = config or compose(ShapeConfig, named, preset, overrides, calibration=known)
    else:
        named = category or (config.category if config is not None and generator is None else None)
        generator, own = open_prior(named, generator, preset, overrides, features, device, class_index)
        resolution = own.render.resolution
    config = config or own
    config = replace(config, render=replace(config.render, resolution=resolution)).scaled()
    check_inputs(image, mask, latent, seed, generator.prior.generator.n_layers, generator.prior.w_mean.shape[-1])
    photo = as_photo(image, mask) if image is not None and image.shape[-1] > config.render.resolution else None
    image, mask = (None if given is None else resized(given, config.render.resolution) for given in (image, mask))
    opened_at = time.perf_counter()
    observation = observe(generator, config, image, latent, seed, mask, report)
    observed_at = time.perf_counter()
    folder = None if state_dir is None else Path(state_dir)
    made = shape.reconstruct(observation, generator, config, report, folder, resume=resume)
    ended = time.perf_counter()
    opening = {} if is_open else {"open": opened_at - began}
    seconds = {**opening, "observe": observed_at - opened_at, **made.seconds}
    seconds["total"] = max(ended - began, sum(seconds.values()))  # steps of a resumed run were done before
    return replace(made, seconds=seconds, photo=photo)


def configuration(request: RunRequest) -> ShapeConfig:
    """The configuration that the request would be run with. Raises UserError as `run` does."""
    return opened(request)[1]


def opened(request: RunRequest) -> tuple[MaskedGenerator, ShapeConfig]:
    """The request's generator, bundled or custom, and the configuration that fits it.

    Raises UserError, too, where the run would write over one of its inputs.
    """
    request = located(request)
    require_inputs_kept(request)
    if request.resume is not None:
        require_same_version(request.resume)
    further = (request.preset, request.overrides, request.features, request.device, request.class_index)
    return open_prior(request.category, request.generator, *further)


def require_same_version(folder: Path) -> None:
    """Raises UserError for the folder of a run whose configuration has other keys: another version has made it."""
    path = folder / CONFIG_NAME
    if not path.is_file():
        return
    refusal = UserError(f"{folder} was made by another version of gan2shape: start anew, without --resume.")
    try:
        stored = path.read_text(encoding="utf-8")
        is_same = to_yaml(from_yaml(ShapeConfig, stored)) == stored
    except (OSError, ValueError, UserError) as error:
        raise refusal from error
    if not is_same:
        raise refusal


def announce(request: RunRequest, generator: MaskedGenerator, config: ShapeConfig, has_mask: bool) -> None:
    """What a user should know before a long job with a custom generator. Raises UserError where a mask is missing."""
    if not has_mask:
        require_mask(generator)
    for note in generator.notes:
        say(note)
    if request.resume is None:
        say(announcement(estimate_seconds(generator, config, request.image is not None), generator, config))


def metrics(made: Reconstruction) -> dict[str, float]:
    """Numbers for the last line: how well the prior knows an image, and how long each part took."""
    return {**made.figures, **{f"{name}_s": value for name, value in made.seconds.items()}}


def synth(request: SynthRequest, report: Reporter = silent) -> RunResult:
    """Render objects with known 3D into a folder. Raises UserError for a category, size or rendering that is not
    there.
    """
    from gan2shape.synth.dataset import generate, generate_from_meshes, prerender

    began = time.perf_counter()
    if request.labels and not request.shards:
        raise UserError("--labels belongs to --shards: give both (truth.npz of a folder without shards has the style).")
    if request.mesh is not None:
        from gan2shape.export.meshes_in import read_meshes

        if request.shards:
            raise UserError("--shards holds images of a category's own objects: leave it out with --mesh.")
        meshes = read_meshes(request.mesh)
        for note in (note for mesh in meshes for note in mesh.notes):
            say(note)
        what = (request.category, request.count, request.seed, request.out)
        generate_from_meshes(meshes, *what, request.size, request.rendering)
        return RunResult(request.out, seconds=time.perf_counter() - began)
    what = (request.category, request.count, request.seed, request.out)
    if request.shards:
        prerender(*what, size=request.size, report=report, rendering=request.rendering, labels=request.labels)
    else:
        generate(*what, request.size, request.rendering)
    return RunResult(request.out, seconds=time.perf_counter() - began)


def bench_ladder(request: "BenchRequest", rungs: tuple[str, ...] = (), report: Reporter = silent) -> list[dict]:
    """Rows of the oracle ladder on validation objects. Raises UserError as `run_ladder` does."""
    from gan2shape.bench.run_ladder import run_ladder

    return run_ladder(request, rungs, report)


def bench_shape(
    request: "BenchRequest",
    split: str,
    out: Path,
    report: Reporter = silent,
    by: tuple[str, ...] = (),
    only_baselines: bool = False,
    learnt: tuple[Path, ...] = (),
) -> list[dict]:
    """Rows of the method and its baselines on the frozen exam. Raises UserError as `run_table` does."""
    from gan2shape.bench.table import run_table

    return run_table(request, split, out, report, by, only_baselines, learnt)


def bench_card(request: "BenchRequest", dry_run: bool = False, report: Reporter = silent) -> dict[str, Any]:
    """The measured part of a pack's card; written unless `dry_run`. Raises UserError as `run_card` does."""
    from gan2shape.bench.card import run_card

    return run_card(request, dry_run, report)


def bench_frechet(request: "FrechetRequest", report: Reporter = silent) -> dict[str, Any]:
    """The distance of a generator's samples from images. Raises UserError as `run_frechet` does."""
    from gan2shape.bench.frechet import run_frechet

    return run_frechet(request, report)


def inspect(path: Path, class_index: int | None = None) -> dict[str, Any]:
    """What a checkpoint holds, as plain values. Raises UserError for a file that cannot be used."""
    from gan2shape.checkpoints.open import inspect as inspect_checkpoint

    return inspect_checkpoint(path, class_index)


def convert(path: Path, out: Path, class_index: int | None = None) -> dict[str, Any]:
    """Write a checkpoint as one safetensors file; returns what `inspect` gives for it. Raises UserError."""
    from gan2shape.prior.checkpoint import convert as convert_checkpoint

    return convert_checkpoint(path, out, class_index)


def estimate_prior(
    path: Path,
    category: str | None = None,
    device: str = "auto",
    class_index: int | None = None,
    report: Reporter = silent,
) -> dict[str, Any]:
    """Object masks and ranges of views and lights, learnt from a checkpoint's samples and saved for later runs.

    Raises UserError for a file that cannot be used and where no object stands clear of the border.
    """
    from gan2shape.build.custom import estimate_prior as estimate
    from gan2shape.core.devices import choose_device

    return estimate(path, category, choose_device(device), report=report, class_index=class_index)
