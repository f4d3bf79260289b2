"""`gan2shape bench shape`: the method against its baselines on the frozen exam, one row per object as it goes,
resumable.

Rows: flat, mean depth, scaled ellipsoid, networks of `bench learn` where they are given, step 1 (the ellipsoid on the
prior's own mask, slant chosen), the initial depth (what the pack's depth network predicts, or the ellipsoid), each
stage. Those before step 1 need no pack. Always the first objects of the split. The scores of each object go to
`objects.jsonl` in the output folder at once, so that an interrupted run continues.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.bench.baselines.learn import Baseline, mirrored_mean, open_baseline
from gan2shape.bench.exam import ExamObject, exam_objects, seen_at
from gan2shape.bench.groups import groups_of
from gan2shape.bench.ladder import rung_ellipsoid, rung_flat
from gan2shape.bench.ladder_gan import ellipsoid_state, open_bench, real_loop
from gan2shape.bench.opening import exam_category, open_measured
from gan2shape.bench.requests import CROSS, BenchRequest
from gan2shape.bench.score import METRICS, Interval, score_object_depth, table_row
from gan2shape.core.compose import to_yaml
from gan2shape.core.config import ShapeConfig
from gan2shape.core.errors import UserError
from gan2shape.core.files import append_lines, read_lines, to_json, write_arrays_atomic, write_text_atomic
from gan2shape.core.progress import Reporter, silent
from gan2shape.core.resources import pack_dir
from gan2shape.measure.metrics import iou, psnr_db
from gan2shape.measure.statistics import cluster_interval, mean_interval
from gan2shape.prior.cache import content_hash
from gan2shape.prior.made import weights_hash
from gan2shape.prior.masked_generator import MaskedGenerator
from gan2shape.prior.open import category_config
from gan2shape.shape.initialize import DEPTH_NETWORK
from gan2shape.synth.dataset import render_set

MEAN_DEPTH_OBJECTS = 256  # training seeds behind the mean-depth baseline
COUNT = 8  # objects that are measured unless a number is given
OBJECTS_NAME = "objects.jsonl"
STEP_1 = "step 1"  # the ellipsoid on the prior's own mask, slant chosen


def mean_depth(category: str, half_range: float) -> Float[Tensor, "1 1 S S"]:
    """Pixelwise mean of the true depths of training objects; where none is covered, the far end of the range."""
    truth = render_set(category, list(range(MEAN_DEPTH_OBJECTS))).truth
    covered = truth.hit.float()
    total = covered.sum(0, keepdim=True)
    mean = (truth.depth * covered).sum(0, keepdim=True) / total.clamp_min(1)
    return torch.where(total > 0, mean, 1 + half_range)


@dataclass(frozen=True)
class Rivals:
    """What needs no pack."""

    average: Float[Tensor, "1 1 S S"]  # `mean_depth`
    learnt: Mapping[str, Baseline]  # networks of `bench learn`, by kind

    def scores(self, item: ExamObject, config: ShapeConfig) -> dict[str, dict[str, float]]:
        """Of one object; the true mask is given to the ellipsoid, and to no network."""
        found = {
            "flat": rung_flat(item, config),
            "mean depth": score_object_depth(item, self.average),
            "scaled ellipsoid": rung_ellipsoid(item, config),
        }
        for name, network in self.learnt.items():
            seen = seen_at(item, network.config.resolution).image
            found[name] = score_object_depth(item, mirrored_mean(network, seen))
        return found


def score_object(
    item: ExamObject, rivals: Rivals, generator: MaskedGenerator, config: ShapeConfig, report: Reporter
) -> tuple[dict[str, dict[str, float]], dict[str, np.ndarray]]:
    """(scores of every method for one object, arrays of its scene for pictures).

    The method sees the image alone, at its own resolution, and its seconds include inversion and mask.
    """
    seen = seen_at(item, config.render.resolution)
    began = time.perf_counter()
    bench = replace(open_bench(seen, generator, config, report), item=item)
    observed = time.perf_counter() - began
    scenes, made = real_loop(bench, report)
    inside, observation = seen.mask > 0.5, bench.observation
    state, _ = ellipsoid_state(bench)  # it may train E
    with torch.no_grad():
        step_1 = state.model.depth(bench.target.image)
        inverted = generator.prior.generator.synthesis(observation.latent)
    scores = {
        **rivals.scores(item, config),
        STEP_1: score_object_depth(item, step_1),
        **{name: {**one, "seconds": observed + one["seconds"]} for name, one in scenes.items()},
        "observation": {
            "mask_iou": iou(observation.mask.cpu() > 0.5, inside).item(),
            "inversion_psnr_db": psnr_db(inverted.cpu(), seen.image, inside).item(),
        },
    }
    scene = made.scene
    arrays = {"image": seen.image, "mask": observation.mask, "true_depth": seen.depth, "true_mask": seen.mask}
    arrays |= {"depth": scene.depth, "albedo": scene.albedo, "light": scene.light}
    return scores, {name: value.detach().cpu().numpy() for name, value in arrays.items()}


def run_table(
    request: BenchRequest,
    split: str,
    folder: Path,
    report: Reporter = silent,
    by: tuple[str, ...] = (),
    only_baselines: bool = False,
    learnt: tuple[Path, ...] = (),
) -> list[dict]:
    """Table rows over the first `request.count` objects of a split, then those of each group of them by `by` (see
    `bench.groups`). `only_baselines`: what needs no pack. `learnt`: files of `gan2shape bench learn`.

    Raises UserError for a file that is none, for settings (or weights) that differ from the folder's, for a generator
    that cannot be measured, and for a grouping that the objects do not have.
    """
    category = exam_category(request)
    items = exam_objects(category, split, request.count or COUNT)  # first: a bad split should leave no folder behind
    groups = [group for name in by for group in groups_of(items, name)]
    opened = None
    if only_baselines:
        config = category_config(category, request.preset, request.overrides)
    else:
        if request.generator is None and not pack_dir(category).is_dir():
            raise UserError(
                f"There is no pack of {category} to measure: make one with `gan2shape build {category}`, or measure "
                "what needs none with --baselines."
            )
        opened, config = open_measured(replace(request, category=category))
    folder, networks = Path(folder), opened_baselines(learnt)
    settings = settings_of(request, config, category, split, has_weights=not only_baselines)
    check_settings(folder, settings + "".join(f"learnt: {content_hash(path)}\n" for path in learnt))
    done = read_objects(folder)
    rivals = Rivals(mean_depth(category, config.render.depth_half_range), networks)
    for item in items:
        if item.seed in done:
            continue
        if opened is None:
            scores = rivals.scores(item, config)
        else:
            scores, arrays = score_object(item, rivals, opened, config, report)
            write_arrays_atomic(folder / f"{item.seed}.npz", arrays)
        done[item.seed] = scores
        append_lines(folder / OBJECTS_NAME, [{"seed": item.seed, **scores}])
    wanted = [done[item.seed] for item in items]
    rows = make_rows(wanted, category, split, request.preset, clusters_of(items))
    for group in groups:
        some = [wanted[i] for i in group.indices]
        clusters = clusters_of([items[i] for i in group.indices])
        rows += [{"group": group.name, **row} for row in make_rows(some, category, split, request.preset, clusters)]
    write_text_atomic(folder / "rows.json", to_json(rows, indent=1))
    return rows


def opened_baselines(paths: tuple[Path, ...]) -> dict[str, Baseline]:
    """The networks by kind. Raises UserError for a file that is none, and for two of one kind."""
    found = [open_baseline(path) for path in paths]
    named = {network.config.kind: network for network in found}
    if len(named) < len(found):
        raise UserError("Two files of --learnt hold the same kind of network: measure them one after the other.")
    return named


def read_objects(folder: Path) -> dict[int, dict]:
    """Scores by seed from an earlier call."""
    return {scores.pop("seed"): scores for scores in read_lines(folder / OBJECTS_NAME)}


def clusters_of(items: list[ExamObject]) -> list[str] | None:
    """What objects of a cross-family split are made from: intervals are over these base meshes. None: each object."""
    return [item.labels["base"] for item in items] if items[0].split.startswith(CROSS) else None


def make_rows(
    objects: list[dict], category: str, split: str, preset: str, clusters: list[str] | None = None
) -> list[dict]:
    """One row per method; what was learnt has its paired differences to the better of scaled ellipsoid and step 1.
    Intervals are over objects, or over `clusters` (the cluster of each object).
    """
    interval = mean_interval if clusters is None else partial(cluster_interval, clusters=np.array(clusters))
    methods = [name for name in objects[0] if name != "observation"]
    rows = []
    for method in methods:
        scores = [one[method] for one in objects]
        extra = {}
        if (method == DEPTH_NETWORK or method.startswith("stage")) and len(objects) > 1:
            extra = {f"d_{name}": paired_difference(objects, method, name, interval) for name in METRICS[:3]}
        rows.append(table_row(method, category, split, preset, scores, interval, **extra))
    observed = {
        name: float(np.mean([one["observation"][name] for one in objects]))
        for name in objects[0].get("observation", {})
    }
    return [{**row, **(observed if row["method"] == methods[-1] else {})} for row in rows]


def paired_difference(objects: list[dict], method: str, metric: str, interval: Interval = mean_interval) -> list[float]:
    """[mean, half width] of `method` minus the baseline whose mean is better, over the same objects."""
    baselines = {name: np.array([one[name][metric] for one in objects]) for name in ("scaled ellipsoid", STEP_1)}
    better = min(baselines.values(), key=np.mean)
    return list(interval(np.array([one[method][metric] for one in objects]) - better))


def settings_of(request: BenchRequest, config: ShapeConfig, category: str, split: str, has_weights: bool = True) -> str:
    """What must be equal for rows of one folder: configuration, split and weights."""
    weights = weights_hash(request.generator or pack_dir(category), request.class_index) if has_weights else "none"
    weights += f"-class{request.class_index}" if request.class_index else ""
    return to_yaml(config) + f"split: {split}\nweights: {weights}\n"


def check_settings(folder: Path, settings: str) -> None:
    """Note the settings in a folder of rows. Raises UserError where it holds rows of others."""
    stored = folder / "config.yaml"
    if stored.is_file() and stored.read_text(encoding="utf-8") != settings:
        raise UserError(f"The folder {folder} holds rows of other settings: choose another one with --out.")
    write_text_atomic(stored, settings)
