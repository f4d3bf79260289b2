"""What the command line asks for: a request in, a result out."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from gan2shape.checkpoints.latents import read_latent
from gan2shape.core.compose import to_yaml
from gan2shape.core.config import ShapeConfig
from gan2shape.core.files import as_before_if_bad, write_text_atomic
from gan2shape.core.progress import (
    Reporter,
    format_seconds,
    say,
    silent,
)
from gan2shape.core.requests import REQUEST_NAME, RunRequest, RunResult
from gan2shape.export.inputs import read_image, read_mask
from gan2shape.measure.metrics import psnr_db
from gan2shape.nn.generator import Generator
from gan2shape.prior.masked_generator import MaskedGenerator, require_mask
from gan2shape.prior.open import open_prior
from gan2shape.shape.estimate import estimate_seconds
from gan2shape.shape.loop import STATE_NAME
from gan2shape.shape.reconstruct import Reconstruction, reconstruct

if TYPE_CHECKING:
    from gan2shape.build.pack import BuildResult
    from gan2shape.build.plan import BuildRequest


def build(request: "BuildRequest", report: Reporter = silent) -> "BuildResult":
    """A pack of a category from nothing, or what is missing of one. Raises UserError as `build_pack` does."""
    from gan2shape.build.pack import build_pack  # late: a run needs nothing of it

    return build_pack(request, report)


def run_job(request: RunRequest, report: Reporter = silent) -> RunResult:
    """Reconstruct, export, and say what was written. Raises UserError for bad input; the folder is then as it was."""
    began = time.perf_counter()
    folder = Path(request.resume or request.out)
    generator, config = opened(request)
    given = read_given(request, config, generator.prior.generator)
    if request.generator is not None:
        announce(request, generator, config, has_mask=given.get("mask") is not None)
    settings = {folder / "config.yaml": to_yaml(config), folder / REQUEST_NAME: request.to_json()}
    with as_before_if_bad([*settings, folder / STATE_NAME]):  # bad input may show as late as in the first steps
        if request.resume is None:  # a folder that is used again starts anew; only --resume goes on
            (folder / STATE_NAME).unlink(missing_ok=True)
        for path, text in settings.items():
            write_text_atomic(path, text)
        made = reconstruct(
            **given, seed=request.seed or 0, config=config, generator=generator, report=report,
            state_dir=folder,
        )  # fmt: skip
        files = made.export(folder)
    return RunResult(folder, files, figures(made), time.perf_counter() - began, generator.notes)


def opened(request: RunRequest) -> tuple[MaskedGenerator, ShapeConfig]:
    """The request's generator, bundled or custom, and the configuration that fits it."""
    return open_prior(
        request.category, request.generator, request.preset, request.overrides, request.features, request.device
    )


def announce(request: RunRequest, generator: MaskedGenerator, config: ShapeConfig, has_mask: bool) -> None:
    """What a user should know before a long job with their own generator. Raises UserError where a mask is missing."""
    if not has_mask:
        require_mask(generator)
    for note in generator.notes:
        say(note)
    if generator.prior.w_mean.device.type == "cpu" and request.resume is None:
        seconds = estimate_seconds(generator, config, request.image is not None)
        say(f"This will take about {format_seconds(seconds)} on this CPU.")


def read_given(request: RunRequest, config: ShapeConfig, generator: Generator) -> dict:
    """The image or the latent that a request names, with its mask. Raises UserError for what cannot be read."""
    if request.image is None:
        given = {}
        if request.latent is not None:
            given["latent"] = read_latent(request.latent, generator.n_layers, generator.config.w_dim)
        if request.mask is not None:
            given["mask"] = read_mask(request.mask, config.render.size)
        return given
    picture = read_image(request.image, config.render.size)
    mask = picture.mask
    if request.mask is not None:
        mask = read_mask(request.mask, config.render.size, picture.original_size)
    return {"image": picture.image, "mask": mask}


def figures(made: Reconstruction) -> dict[str, float]:
    """Numbers for the last line: how well the input is explained, and how long each part took."""
    own = made.render()
    inside = made.observation.mask > 0.5
    numbers = {"input_psnr_db": psnr_db(own.image, made.observation.image, inside).item()}
    return {**numbers, **{f"{name}_s": value for name, value in made.seconds.items()}}
