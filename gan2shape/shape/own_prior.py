"""`gan2shape prior`: what can be learnt about a checkpoint from its own samples, once, for all later runs.

The object mask is learnt (`gan.foreground`). Views, lights and relief are NOT measured: without networks that were
trained to read them they would be guesses, so they are a category's, and the answer says so with their bounds.
"""

import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.compose import compose
from gan2shape.config import ShapeConfig
from gan2shape.gan.checkpoints import load_generator
from gan2shape.gan.foreground import ForegroundConfig, learn_masks
from gan2shape.gan.sheets import save_png, tile
from gan2shape.gan.working_size import at_size
from gan2shape.progress import Reporter, silent
from gan2shape.records import UserError
from gan2shape.shape.observe import MaskedGenerator, sample_latents
from gan2shape.shape.own_gan import WORKING_SIZE, checked_side, own_centre
from gan2shape.shape.prior_cache import EstimatedPrior, keep_estimated

N_SHOWN, N_COLUMNS = 24, 8  # samples on the sheet, each with its object cut out
SHEET_SEED = 1  # of the samples on it
LEAST_SHARE, MOST_SHARE = 0.02, 0.9  # of the pixels: outside, the object was not found


def estimate_prior(
    path: Path,
    category: str | None = None,
    device: torch.device | str = "cpu",
    config: ForegroundConfig | None = None,
    report: Reporter = silent,
) -> dict[str, Any]:
    """Learn the masks of a checkpoint's samples and keep them; returns what was found, in plain values.

    Raises UserError for a file that cannot be used and where no object stands clear of the border.
    """
    began = time.perf_counter()
    ranges = compose(ShapeConfig, category, None)
    prior = load_generator(path, device)
    size = min(WORKING_SIZE, checked_side(path, prior))
    generator = at_size(prior.generator, size)
    centre = prior.w_mean if own_centre(prior) is None else own_centre(prior)
    learnt = learn_masks(generator, centre, config, report)
    if not LEAST_SHARE < learnt.object_share < MOST_SHARE:
        raise UserError(
            f"No object that stands clear of the border was found in samples of {path} "
            f"({learnt.object_share:.0%} of the pixels): give --mask with each run instead."
        )
    spread, limit = ranges.views, ranges.views.limit_sd
    page = {
        "checkpoint": Path(path).name,
        "size": size,
        "object_share": round(learnt.object_share, 4),
        "head_against_clusters_iou": round(learnt.agreement, 4),
        "views": {
            "source": source_of(category),
            "measured": False,
            "yaw_sd_deg": spread.yaw_sd_deg,
            "yaw_at_most_deg": limit * spread.yaw_sd_deg,
            "pitch_sd_deg": spread.pitch_sd_deg,
            "pitch_at_most_deg": limit * spread.pitch_sd_deg,
        },
        "lights": {"source": source_of(category), "measured": False, **asdict(ranges.lights)},
        "relief": ranges.prior_shape.relief,
    }
    state = learnt.head.state_dict()
    weights = keep_estimated(path, EstimatedPrior(asdict(learnt.head.config), state, category, page))
    opened = MaskedGenerator(replace(prior, generator=generator), learnt.head, centre)
    sheet = save_png(tile(shown(opened), N_COLUMNS), weights.with_suffix(".png"))
    return {**page, "category": category, "file": weights, "sheet": sheet, "seconds": time.perf_counter() - began}


def source_of(category: str | None) -> str:
    """Whose ranges they are, in words."""
    return "typed defaults" if category is None else f"category {category}"


def shown(opened: MaskedGenerator) -> Float[Tensor, "N 3 S S"]:
    """Rows of samples, each above the same samples with everything but the object in grey."""
    z_dim = opened.prior.generator.config.z_dim
    z = torch.randn(N_SHOWN, z_dim, generator=torch.Generator().manual_seed(SHEET_SEED))
    rows = []
    for few in sample_latents(z, opened).split(N_COLUMNS):
        with torch.no_grad():
            images, masks = opened(few)
        rows += [images, images * masks]
    return torch.cat(rows)


def told(found: dict[str, Any]) -> list[str]:
    """The answer for people."""
    views, lights = found["views"], found["lights"]
    at_most = views["yaw_at_most_deg"], views["pitch_at_most_deg"]
    return [
        f"object mask   learnt from samples; the object covers {found['object_share']:.0%} of a picture; "
        f"clusters and head agree by {found['head_against_clusters_iou']:.2f} (IoU) on fresh samples",
        f"views         NOT measured: {views['source']}, yaw sd {views['yaw_sd_deg']:g} deg (at most "
        f"{at_most[0]:g}), pitch sd {views['pitch_sd_deg']:g} deg (at most {at_most[1]:g})",
        f"lights        NOT measured: {lights['source']}, lx {lights['lx'][0]:g} to {lights['lx'][1]:g}, "
        f"ly {lights['ly'][0]:g} to {lights['ly'][1]:g} (negative: above)",
        f"relief        NOT measured: {found['relief']:g}",
        f"look at       {found['sheet']}",
        f"kept in       {found['file']}",
    ]
