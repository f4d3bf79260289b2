"""The main job as the command line asks for it: request in, files and figures out."""

import time
from pathlib import Path

from gan2shape.compose import compose, to_yaml
from gan2shape.config import ShapeConfig
from gan2shape.export.inputs import read_image, read_mask
from gan2shape.measure.metrics import psnr_db
from gan2shape.outdir import write_text_atomic
from gan2shape.progress import Reporter, silent
from gan2shape.records import UserError
from gan2shape.requests import REQUEST_NAME, RunRequest, RunResult
from gan2shape.shape.loop import STATE_NAME
from gan2shape.shape.observe import read_latent
from gan2shape.shape.reconstruct import Reconstruction, open_generator, reconstruct, resolve_device


def run_job(request: RunRequest, report: Reporter = silent) -> RunResult:
    """Reconstruct, export, and say what was written. Raises UserError for bad input, before anything is written."""
    began = time.perf_counter()
    folder = Path(request.resume or request.out)
    config = compose(ShapeConfig, request.category, request.preset, request.overrides)
    device = resolve_device(request.device)
    generator = open_generator(request.category, device)
    given = read_given(request, config, generator.prior.w_mean.numel())
    if request.resume is None:  # a folder that is used again starts anew; only --resume goes on
        (folder / STATE_NAME).unlink(missing_ok=True)
    write_text_atomic(folder / "config.yaml", to_yaml(config))
    write_text_atomic(folder / REQUEST_NAME, request.to_json())
    made = reconstruct(
        **given, category=request.category, seed=request.seed or 0, config=config, generator=generator, report=report,
        state_dir=folder,
    )  # fmt: skip
    files = made.export(folder)
    return RunResult(folder, files, figures(made), time.perf_counter() - began)


def read_given(request: RunRequest, config: ShapeConfig, w_dim: int) -> dict:
    """The image with its mask, or the latent, that a request names. Raises UserError for what cannot be read."""
    if request.latent is not None:
        return {"latent": read_latent(request.latent, w_dim)}
    if request.image is None:
        if request.mask is not None:
            raise UserError("A mask needs its image: give --image as well.")
        return {}
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
