"""The measured part of a pack's card: how controllable is the prior?

True renders of exam objects at other yaws and lights are projected by G and E. A regressor (`bench.regressor`), trained
on synthetic truth and used for nothing else, measures heading and light of the projections. The slopes of measured
against target changes are the RESPONSE. Beside them stand the regressor's own responses: on pairs of held-out objects,
and on the very renders that were projected. Spread compares samples of the generator with data.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.bench.exam import COUNT, ExamObject, exam_objects
from gan2shape.bench.ladder_gan import Bench, as_render, open_bench, project_given
from gan2shape.bench.opening import exam_category, open_measured
from gan2shape.bench.regressor import (
    TARGETS,
    Regressor,
    heading_rad,
    regressor_metrics,
    render_pairs,
    responses,
    train_regressor,
)
from gan2shape.bench.requests import BenchRequest
from gan2shape.bench.truth import LADDER_VIEWS, render_truth, sample_true_lights
from gan2shape.core import files as outdir
from gan2shape.core.config import ShapeConfig
from gan2shape.core.errors import UserError
from gan2shape.core.progress import Reporter, silent
from gan2shape.core.resources import pack_dir
from gan2shape.measure.metrics import iou, psnr_db
from gan2shape.prior.masked_generator import MaskedGenerator
from gan2shape.prior.packs import update_card
from gan2shape.scene.camera import rotation
from gan2shape.scene.light import rotate_light
from gan2shape.shape.sampling import sample_views
from gan2shape.shape.state import new_state

REGRESSOR_FIRST_SEED, HELD_OUT_FIRST_SEED = 100_000, 800_000
TARGET_YAW_DEG = 15.0  # yaw of the renders whose projections are measured
POSES_QUANTILES = (0.05, 0.95)  # of the size of a category's headings: the bulk of its poses
SAMPLES_SEED = 1  # of the generator samples behind the spread


@dataclass(frozen=True)
class CardSizes:
    """How much is measured: the defaults cost about six minutes of one core, most of them inversions."""

    regressor_objects: int = 1500  # objects the regressor learns from, two renders each, both also mirrored
    regressor_steps: int = 1500  # Adam steps of it
    held_out: int = 250  # objects that the regressor is tested on, two renders each
    n_controlled: int = 3  # validation objects whose projections are measured
    n_training_views: int = 160  # true renders of each that E learns to project
    n_rotated: int = 32  # true renders of each at the target yaws, half of them to the left
    n_inverted: int = 32  # validation images whose inversion is measured
    n_samples: int = 400  # generator samples behind the spread


def control(bench: Bench, regressor: Regressor, sizes: CardSizes) -> tuple[Tensor, Tensor, Tensor]:
    """Changes of heading, lx and ly when true renders at +-15 degrees and random lights are projected, [n_rotated, 3]
    each: measured in the projections, true (the target), and measured in the true renders.

    Projections are compared with the projection of the input, which is its inversion; renders with the input.
    """
    item, config, n = bench.item, bench.config, sizes.n_rotated
    rng = torch.Generator().manual_seed(item.seed)
    rotated = torch.zeros(n, 6)
    rotated[:, 1] = math.radians(TARGET_YAW_DEG) * torch.tensor([1.0, -1.0]).repeat(n // 2)
    views = torch.cat([sample_views(sizes.n_training_views, LADDER_VIEWS, rng), rotated])
    truth = render_truth(item, views, sample_true_lights(item.category, views, rng))
    state = new_state(config, bench.observation.latent.shape[-1], "cpu")
    given = as_render(truth.images, truth.masks)
    images, _ = project_given(bench, state, given, sum(config.steps.n_projection))
    lights = rotate_light(truth.lights, rotation(views[:, :3]))
    target = torch.stack([views[:, 1], lights[:, 2] - item.light[:, 2], lights[:, 3] - item.light[:, 3]], 1)
    with torch.no_grad():
        inverted = bench.generator(bench.observation.latent)[0]
    in_projections = regressor(images) - regressor(inverted)
    in_renders = regressor(truth.images) - regressor(item.image)
    return in_projections[-n:], target[-n:], in_renders[-n:]


def inversion_metrics(benches: list[Bench]) -> dict[str, float]:
    """Object-mask PSNR of the inversions, and IoU of the masks predicted through them."""
    psnr, overlap = [], []
    for bench in benches:
        with torch.no_grad():
            made = bench.generator(bench.observation.latent)[0]
        inside = bench.item.mask > 0.5
        psnr.append(psnr_db(made, bench.item.image, inside).item())
        overlap.append(iou(bench.observation.mask > 0.5, inside).item())
    return {
        "inversion_psnr_db_object_mask": float(np.mean(psnr)),
        "mask_iou_through_inversion": float(np.mean(overlap)),
    }


@torch.no_grad()
def spread(
    data: Float[Tensor, "N 3 S S"], generator: MaskedGenerator, regressor: Regressor, n: int
) -> dict[str, float]:
    """Standard deviation of heading and light over n samples, relative to data (both as the regressor measures)."""
    rng = torch.Generator().manual_seed(SAMPLES_SEED)
    z = torch.randn(n, generator.prior.generator.config.z_dim, generator=rng)
    made = torch.cat([generator(generator.prior.generator.mapping(part))[0] for part in z.split(50)])
    ratio = regressor(made).std(0) / regressor(data).std(0)
    return {f"{name}_spread": float(ratio[i]) for i, name in enumerate(TARGETS)}


def rotatable(items: list[ExamObject], headings_rad: Float[Tensor, " N"]) -> list[ExamObject]:
    """The objects that both target yaws leave among the poses of the category (all of them, if there is none).

    headings_rad: of the category's own images. Beyond their bulk neither the generator nor the regressor is reliable.
    """
    low, high = torch.quantile(headings_rad.abs(), torch.tensor(POSES_QUANTILES))
    change = math.radians(TARGET_YAW_DEG) * torch.tensor([-1.0, 1.0])
    kept = []
    for item in items:
        rotated = (heading_rad(item.view) + change).abs()
        if bool(((rotated >= low) & (rotated <= high)).all()):
            kept.append(item)
    return kept or items


def measure_card(
    category: str,
    generator: MaskedGenerator,
    config: ShapeConfig,
    sizes: CardSizes | None = None,
    report: Reporter = silent,
) -> dict:
    """Every metric of a card. Responses and spreads have no unit."""
    sizes = sizes or CardSizes()
    items = exam_objects(category, "val", max(COUNT["val"], sizes.n_inverted), config.render.resolution)
    pairs = render_pairs(category, REGRESSOR_FIRST_SEED, sizes.regressor_objects)
    regressor = train_regressor(pairs, sizes.regressor_steps, report)
    held_out = render_pairs(category, HELD_OUT_FIRST_SEED, sizes.held_out)
    benches = []
    for i, item in enumerate(items[: sizes.n_inverted]):
        benches.append(open_bench(item, generator, config))
        report("inversions", i + 1, sizes.n_inverted)
    inverted = {bench.item.seed: bench for bench in benches}
    controlled = rotatable(items, pairs.targets[:, 0, 0])[: sizes.n_controlled]
    triples = []
    for i, item in enumerate(controlled):
        bench = inverted.get(item.seed) or open_bench(item, generator, config)
        triples.append(control(bench, regressor, sizes))
        report("projections", i + 1, len(controlled))
    in_projections, target, in_renders = (torch.cat(column) for column in zip(*triples, strict=True))
    return {
        **responses(in_projections, target),
        **spread(held_out.images[:, 0], generator, regressor, sizes.n_samples),
        **inversion_metrics(benches),
        "split": "val",
        "n_controlled": len(controlled),
        "n_inverted": sizes.n_inverted,
        "regressor_on_held_out_pairs": regressor_metrics(regressor, held_out),
        "regressor_on_projected_renders": responses(in_renders, target),
    }


def write_measured(folder: Path, measured: dict) -> Path:
    """Put `measured` into the card in `folder`, whole or not at all; the rest of the card stays. Returns its path.

    Raises UserError for a card that cannot be read.
    """
    return update_card(folder, {"measured": measured})


def measure_pack(category: str, pack: Path, sizes: CardSizes | None = None, report: Reporter = silent) -> dict:
    """The measured part of the card of the pack in any folder, with the command that makes it; nothing is written.

    Raises UserError for a pack that cannot be used, or whose resolution is not the exam's.
    """
    is_bundled = pack.resolve() == pack_dir(category).resolve()
    opened, config = open_measured(BenchRequest(category, device="cpu", generator=None if is_bundled else pack))
    measured = measure_card(category, opened, config, sizes, report)
    command = f"gan2shape build {category} --only card"
    return {**{name: rounded(value) for name, value in measured.items()}, "command": command}


def run_card(
    request: BenchRequest, dry_run: bool = False, report: Reporter = silent, sizes: CardSizes | None = None
) -> dict:
    """Measure a category's pack, on the CPU, and write its card; with `dry_run`, or a custom generator, nothing is
    written. `request.count`: images inverted.

    Raises UserError, before any work, for a pack that is missing or whose card cannot be written, and for a generator
    that cannot be measured.
    """
    request = replace(request, category=exam_category(request), device="cpu")
    opened, config = open_measured(request)
    folder = pack_dir(request.category)
    is_written = request.generator is None and not dry_run
    if is_written:
        _require_writable(folder)
    sizes = sizes or (CardSizes() if request.count is None else CardSizes(n_inverted=request.count))
    measured = measure_card(request.category, opened, config, sizes, report)
    measured = {name: rounded(value) for name, value in measured.items()} | {"command": _command(request)}
    if is_written:
        write_measured(folder, measured)
    return measured


def _command(request: BenchRequest) -> str:
    """The command line that measures the same."""
    options = [f"--category {request.category}", f"--preset {request.preset}"]
    options += [f"--count {request.count}"] if request.count else []
    options += [f"--generator {request.generator}"] if request.generator else []
    options += [] if request.class_index is None else [f"--class {request.class_index}"]
    return " ".join(["gan2shape bench card", *options, *request.overrides])


def rounded(value):
    """Four decimals: a card is for people."""
    if isinstance(value, dict):
        return {name: rounded(one) for name, one in value.items()}
    return round(value, 4) if isinstance(value, float) else value


def _require_writable(folder: Path) -> None:
    try:
        outdir.claim(folder)
    except UserError as error:
        raise UserError(f"The card in {folder} cannot be written: print its metrics with --dry-run.") from error
