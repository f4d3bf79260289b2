"""`gan2shape prior`: masks and ranges of a custom generator, learnt once from its own samples for all later runs.

The object mask is learnt (`build.foreground`). The networks of the named category's pack estimate views and lights
(`prior.ranges`), where the pack has them and their estimates are consistent; the other ranges are the category's.
Light strengths and depth scale are never measured. The result says of each range where it comes from.
"""

import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.build.foreground import ForegroundConfig, LearntMasks, learn_masks
from gan2shape.core.config import ShapeConfig
from gan2shape.core.errors import UserError
from gan2shape.core.progress import Reporter, silent
from gan2shape.core.resources import pack_dir
from gan2shape.prior.cache import EstimatedPrior, keep_estimated
from gan2shape.prior.checkpoint import load_generator
from gan2shape.prior.coarse import choose_last_blocks
from gan2shape.prior.open import (
    WORKING_RESOLUTION,
    at_resolution,
    category_config,
    checked_resolution,
    is_pack,
    source_of,
    truncation_centre,
    uses_bfloat16,
)
from gan2shape.prior.packs import Prior, load_pack
from gan2shape.prior.ranges import (
    KEYS,
    N_READ,
    Range,
    as_page,
    category_ranges,
    described,
    generate_images,
    read_ranges,
)
from gan2shape.prior.scene import pretrained_networks
from gan2shape.train.sheets import write_sheet

N_SHOWN, N_COLUMNS = 24, 8  # samples on the contact sheet, each with its object cut out
LEAST_IOU = 0.6  # of head and clusters
LEAST_SHARE, MOST_SHARE = 0.02, 0.9  # of the pixels: outside, the object was not found


def estimate_prior(
    path: Path,
    category: str | None = None,
    device: torch.device | str = "cpu",
    config: ForegroundConfig | None = None,
    report: Reporter = silent,
    class_index: int | None = None,
) -> dict[str, Any]:
    """Learn masks of a checkpoint's samples, estimate their views and lights, and store both; returns plain values.

    Raises UserError for a file that cannot be used and where no object stands clear of the border.
    """
    began = time.perf_counter()
    defaults = category_config(category)
    prior = replace(load_generator(path, device, class_index), discriminator=None)  # no use for it here
    size, centre = min(WORKING_RESOLUTION, checked_resolution(path, prior)), truncation_centre(prior)
    centre, config = prior.w_mean if centre is None else centre, config or ForegroundConfig()
    seen = min(config.grid, size)  # nothing larger is looked at
    is_coarse, drawn_how = choose_last_blocks(prior.generator, centre, seen, "auto")
    sized = at_resolution(prior, seen, is_coarse, uses_bfloat16("auto", prior.w_mean.device, is_pack(prior)))
    learnt = learn_masks(sized.generator, centre, config, report)
    if not LEAST_SHARE < learnt.object_share < MOST_SHARE:
        raise UserError(
            f"No object that stands clear of the border was found in samples of {path} "
            f"({learnt.object_share:.0%} of the pixels): give --mask with each run instead."
        )
    ranges = ranges_of(sized, category, defaults, report)
    page = {
        "checkpoint": Path(path).name,
        "size": size,
        "drawn": drawn_how,
        "object_share": round(learnt.object_share, 4),
        "head_against_clusters_iou": round(learnt.agreement, 4),
        "source": source_of(category),  # of what is not measured
        "ranges": as_page(ranges),
        "view_limit_sd": defaults.views.limit_sd,
        "depth_scale": defaults.initial.depth_scale,
    }
    state = learnt.head.state_dict()
    weights = keep_estimated(path, EstimatedPrior(asdict(learnt.head.config), state, category, page), class_index)
    sheet = write_sheet(shown(learnt), weights.with_suffix(".png"), N_COLUMNS)
    return {**page, "category": category, "file": weights, "sheet": sheet, "seconds": time.perf_counter() - began}


def ranges_of(prior: Prior, category: str | None, config: ShapeConfig, report: Reporter = silent) -> dict[str, Range]:
    """Of views and lights: estimated by the networks of the category's pack, where it has them; else the category's."""
    folder = None if category is None else pack_dir(category)
    if folder is None or not folder.is_dir():
        return category_ranges(config.views, config.lights)
    pack = load_pack(folder, prior.w_mean.device)
    resolution = pack.generator.config.resolution
    networks = pretrained_networks(pack, replace(config, render=replace(config.render, resolution=resolution)))
    if networks is None:
        return category_ranges(config.views, config.lights)
    report("views and lights", 0, N_READ)
    images, known = (generate_images(one.generator, resolution, N_READ) for one in (prior, pack))
    report("views and lights", N_READ, N_READ)
    return read_ranges(networks, images, config.views, config.lights, known)


def shown(learnt: LearntMasks) -> Float[Tensor, "N 3 S S"]:
    """Rows of fresh samples, each above the same samples with everything but the object in grey."""
    rows = []
    for images, masks in zip(*(of[:N_SHOWN].split(N_COLUMNS) for of in (learnt.images, learnt.masks)), strict=True):
        rows += [images, images * masks]
    return torch.cat(rows)


def as_lines(found: dict[str, Any]) -> list[str]:
    """The result for people."""
    source, limit = found["source"], found["view_limit_sd"]
    ranges = {key: Range(**one) for key, one in found["ranges"].items()}
    lines = [
        f"{'object mask':14s}learnt from samples; the object covers {found['object_share']:.0%} of an image; "
        f"IoU {found['head_against_clusters_iou']:.2f} with the clusters, which run past the outline, on fresh samples"
    ]
    if found["head_against_clusters_iou"] < LEAST_IOU:
        lines.append(f"{'':14s}DOUBTFUL, with so low an IoU: look at the contact sheet; where it is wrong, give --mask")
    for key, name in zip(KEYS, ("yaw", "pitch", "light x", "light y"), strict=True):
        lines.append(f"{name:14s}{described(key, ranges[key], limit, source)}")
    return [
        *lines,
        f"{'strengths':14s}of lights NOT measured ({source})",
        f"{'depth scale':14s}{found['depth_scale']:g}; NOT measured ({source})",
        f"{'look at':14s}{found['sheet']}",
        *([f"{'drawn':14s}{found['drawn']}"] if found["drawn"] else []),
        f"{'kept in':14s}{found['file']}",
    ]
