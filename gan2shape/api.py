"""What the command line and Python callers ask for: requests in, results out."""

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor

from gan2shape.checkpoints.latents import read_latent
from gan2shape.core.compose import compose, to_yaml
from gan2shape.core.config import ShapeConfig
from gan2shape.core.errors import UserError
from gan2shape.core.files import as_before_if_bad, write_text_atomic
from gan2shape.core.images import resized
from gan2shape.core.progress import Reporter, format_seconds, say, silent
from gan2shape.core.requests import REQUEST_NAME, RunRequest, RunResult
from gan2shape.export.inputs import read_image, read_mask
from gan2shape.measure.metrics import psnr_db
from gan2shape.nn.generator import Generator
from gan2shape.prior.masked_generator import MaskedGenerator, require_mask
from gan2shape.prior.open import open_prior
from gan2shape.shape import reconstruct as shape
from gan2shape.shape.estimate import estimate_seconds
from gan2shape.shape.observe import observe
from gan2shape.shape.reconstruct import Reconstruction, check_inputs
from gan2shape.shape.state import STATE_NAME

if TYPE_CHECKING:
    from gan2shape.build.pack import BuildResult
    from gan2shape.build.plan import BuildRequest


def build(request: "BuildRequest", report: Reporter = silent) -> "BuildResult":
    """A pack of a category from nothing, or what is missing of one. Raises UserError as `build_pack` does."""
    from gan2shape.build.pack import build_pack  # late: a run needs nothing of it

    return build_pack(request, report)


def run(request: RunRequest, report: Reporter = silent) -> RunResult:
    """Reconstruct, export, and say what was written. Raises UserError for bad input; the folder is then as it was."""
    began = time.perf_counter()
    folder = Path(request.resume or request.out)
    generator, config = opened(request)
    given = read_inputs(request, config, generator.prior.generator)
    if request.generator is not None:
        announce(request, generator, config, has_mask=given.get("mask") is not None)
    settings = {folder / "config.yaml": to_yaml(config), folder / REQUEST_NAME: request.to_json()}
    with as_before_if_bad([*settings, folder / STATE_NAME]):  # bad input may show as late as in the first steps
        if request.resume is None:  # a folder that is used again starts anew; only --resume goes on
            (folder / STATE_NAME).unlink(missing_ok=True)
        for path, text in settings.items():
            write_text_atomic(path, text)
        made = reconstruct(
            **given, seed=request.seed or 0, config=config, generator=generator, report=report, state_dir=folder
        )
        files = made.export(folder)
    return RunResult(folder, files, metrics(made), time.perf_counter() - began, generator.notes)


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
    features: str | Path | None = None,
    class_index: int | None = None,
    report: Reporter = silent,
    state_dir: Path | None = None,
) -> Reconstruction:
    """Depth, albedo, view and light of one image, latent, or (with neither) of the generator's sample `seed`.

    Args:
        image: in [-1, 1]. mask: its object, in [0, 1]; found through the inversion unless given. Both are resized.
        latent: w, or W+, of the generator.
        category: whose bundled generator, and whose ranges of views, lights and depth; car unless given, or what
            `gan2shape prior` was told about the `generator`.
        generator: a StyleGAN2 checkpoint in the place of the bundled one (or an opened one).
        features: a TorchScript module, which is code that runs, to compare images with.
        class_index: of a class-conditional `generator`, what it draws; the first class unless given.
        overrides: `key=value` words of the configuration; or give a whole `config`.
        state_dir: folder where the state is kept after each step; a state found there is continued.
    Raises UserError for what cannot be used, with cause and remedy.
    """
    began = time.perf_counter()
    if isinstance(generator, MaskedGenerator):
        if features is not None:
            raise UserError("features belong to a generator that is named by its path: give that, or leave them away.")
        known = generator.prior.calibration.settings
        config = config or compose(ShapeConfig, category or ShapeConfig.category, preset, overrides, calibration=known)
    else:
        generator, own = open_prior(category, generator, preset, overrides, features, device, class_index)
        config = (
            own if config is None else replace(config, render=replace(config.render, resolution=own.render.resolution))
        )
    config = config.scaled()
    check_inputs(image, mask, latent, generator.prior.generator.n_layers, generator.prior.w_mean.shape[-1])
    image, mask = (None if given is None else resized(given, config.render.resolution) for given in (image, mask))
    opened_at = time.perf_counter()
    observation = observe(generator, config, image, latent, seed, mask, report)
    observed_at = time.perf_counter()
    made = shape.reconstruct(observation, generator, config, report, state_dir)
    ended = time.perf_counter()
    seconds = {"open": opened_at - began, "observe": observed_at - opened_at, **made.seconds, "total": ended - began}
    return replace(made, seconds=seconds)


def opened(request: RunRequest) -> tuple[MaskedGenerator, ShapeConfig]:
    """The request's generator, bundled or custom, and the configuration that fits it."""
    words = (request.preset, request.overrides, request.features, request.device, request.class_index)
    return open_prior(request.category, request.generator, *words)


def announce(request: RunRequest, generator: MaskedGenerator, config: ShapeConfig, has_mask: bool) -> None:
    """What a user should know before a long job with a custom generator. Raises UserError where a mask is missing."""
    if not has_mask:
        require_mask(generator)
    for note in generator.notes:
        say(note)
    if generator.prior.w_mean.device.type == "cpu" and request.resume is None:
        seconds = estimate_seconds(generator, config, request.image is not None)
        say(f"This will take about {format_seconds(seconds)} on this CPU.")


def read_inputs(request: RunRequest, config: ShapeConfig, generator: Generator) -> dict:
    """The image or the latent that a request names, with its mask. Raises UserError for what cannot be read."""
    if request.image is None:
        given = {}
        if request.latent is not None:
            given["latent"] = read_latent(request.latent, generator.n_layers, generator.config.w_dim)
        if request.mask is not None:
            given["mask"] = read_mask(request.mask, config.render.resolution)
        return given
    picture = read_image(request.image, config.render.resolution)
    mask = picture.mask
    if request.mask is not None:
        mask = read_mask(request.mask, config.render.resolution, picture.original_size)
    return {"image": picture.image, "mask": mask}


def metrics(made: Reconstruction) -> dict[str, float]:
    """Numbers for the last line: how well the input is explained, and how long each part took."""
    own = made.render()
    inside = made.observation.mask > 0.5
    numbers = {"input_psnr_db": psnr_db(own.image, made.observation.image, inside).item()}
    return {**numbers, **{f"{name}_s": value for name, value in made.seconds.items()}}
