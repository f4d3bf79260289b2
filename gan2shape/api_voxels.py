"""Objects as voxels: training 3D-GAN, its samples as meshes, and completing shapes of which one side is known."""

import math
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from gan2shape.core.compose import compose
from gan2shape.core.devices import choose_device
from gan2shape.core.errors import UserError
from gan2shape.core.files import UNREADABLE_ARRAYS, to_json, write_arrays_atomic, write_text_atomic
from gan2shape.core.images import BARE, contact_sheet, to_uint8, write_png
from gan2shape.core.locks import locked
from gan2shape.core.progress import Reporter, silent
from gan2shape.core.requests import RunResult
from gan2shape.export.voxel_meshes import require_marching_cubes, write_voxel_mesh
from gan2shape.measure.statistics import mean_interval, paired_interval
from gan2shape.nn.voxel_networks import VoxelGenerator, config_at
from gan2shape.scene.volumes import (
    FILLED,
    overlap,
    seen_from_front,
    seen_lead,
    seen_of_depth,
    turned,
    turntable_matrix,
)
from gan2shape.shape.voxels import Completed, CompletionPlan, complete
from gan2shape.synth.registry import get_category
from gan2shape.synth.voxels import voxel_set
from gan2shape.train.image_source import FIRST_SEED
from gan2shape.train.voxel_gan import VoxelPlan, load_voxel_generator, train_voxel_gan, voxels_on_disk

HELD_OUT_FIRST_SEED = 800_000  # of shapes that are completed to measure it
SCENE_NAME = "scene.npz"  # of a run's folder
SHEET_TURN_RAD = (math.radians(30.0), math.radians(20.0))  # heading and pitch of the pictures
SHEET_LIGHT = (-0.45, -0.7, -0.55)  # towards the light, camera frame
SHOWN = 8  # shapes of a benchmark's sheet


@dataclass(frozen=True)
class VoxelRequest:
    """What all verbs of voxels need."""

    out: Path
    category: str = "car"
    network: Path | None = None  # of `voxels train`; runs/voxels-CATEGORY unless given
    device: str = "auto"

    def generator(self) -> VoxelGenerator:
        """The trained one. Raises UserError where there is none."""
        path = self.network or Path("runs") / f"voxels-{self.category}"
        if not path.exists():
            raise UserError(
                f"{path} does not exist: train with `gan2shape voxels train --category {self.category}`, or name a "
                "file with --network."
            )
        return load_voxel_generator(path, choose_device(self.device))


def train_voxels(
    request: VoxelRequest, overrides: tuple[str, ...] = (), resume: bool = True, report: Reporter = silent
) -> RunResult:
    """Train 3D-GAN on a category's objects, or go on with it, into the request's folder."""
    began, plan = time.perf_counter(), compose(VoxelPlan, overrides=overrides)
    get_category(request.category)
    with locked(request.out):
        config = config_at(plan.resolution)
        voxels = voxels_on_disk(request.category, plan.n_objects, config.resolution, request.out, report)
        made_of = {"category": request.category, "first_seed": FIRST_SEED, "count": plan.n_objects}
        device = choose_device(request.device)
        path = train_voxel_gan(
            voxels, plan, config, request.out, made_of, device=device, resume=resume, report=report
        )
        generator = load_voxel_generator(path)
        pictures = shaded(_samples(generator, 16, 0))
        sheet = write_png(request.out / "samples.png", contact_sheet(to_uint8(pictures), n_columns=8, layout=BARE))
    return RunResult(request.out, {"network": path, "samples": sheet}, seconds=time.perf_counter() - began)


def sample_voxels(request: VoxelRequest, count: int = 8, seed: int = 0) -> RunResult:
    """Samples as `sample_0.glb` …, all of them in `samples.npz`, and a sheet. Raises UserError where nothing is filled,
    and where the extra `voxels` is missing.
    """
    began = time.perf_counter()
    require_marching_cubes()
    generator = request.generator()
    with locked(request.out):
        volumes = _samples(generator, count, seed)
        files = {}
        for index, volume in enumerate(volumes[:, 0]):
            files[f"sample_{index}"] = write_voxel_mesh(request.out / f"sample_{index}.glb", volume)
        files["volumes"] = write_arrays_atomic(request.out / "samples.npz", {"occupancy": volumes[:, 0].cpu().numpy()})
        sheet = contact_sheet(to_uint8(shaded(volumes)), n_columns=8, layout=BARE)
        files["sheet"] = write_png(request.out / "samples.png", sheet)
    return RunResult(request.out, files, seconds=time.perf_counter() - began)


@torch.no_grad()
def _samples(generator: VoxelGenerator, count: int, seed: int) -> Float[Tensor, "N 1 S S S"]:
    z = torch.randn(count, generator.config.z_dim, generator=torch.Generator().manual_seed(seed))
    return generator(z.to(generator.mean_shape.device))


def complete_run(request: VoxelRequest, run: Path, report: Reporter = silent) -> RunResult:
    """The whole shape behind a run's depth map: `completed.glb` in the run's own frame, `completed.npz`, a sheet.

    Heading and pitch are found, too. Raises UserError for a folder that is no finished run.
    """
    began = time.perf_counter()
    require_marching_cubes()
    generator = request.generator()
    depth, mask, fov_deg = _depth_of(run)
    device = generator.mean_shape.device
    low, high = get_category(request.category).views.elevation_deg
    plan = CompletionPlan(fits_pitch=True, pitch_rad=math.radians((low + high) / 2))
    centre_z = (depth * mask).sum((1, 2, 3)) / mask.sum((1, 2, 3)).clamp_min(1e-6) + _usual_lead(generator, plan)
    seen = (x.to(device) for x in (depth, mask))
    filled, known = seen_of_depth(*seen, generator.config.resolution, fov_deg, centre_z.to(device))
    with locked(request.out):
        made = complete(filled, known, generator, plan, report)
        joined = torch.where(known, filled, made.volume)  # what was seen stays as it was
        files = {
            "mesh": write_voxel_mesh(request.out / "completed.glb", made.volume[0, 0], float(centre_z)),
            "volume": write_arrays_atomic(
                request.out / "completed.npz",
                {"occupancy": made.volume[0, 0].cpu().numpy(), "joined": joined[0, 0].cpu().numpy(),
                 "known": known[0, 0].cpu().numpy()},
            ),
            "sheet": write_png(request.out / "completed.png", _sheet(filled, made)),
        }  # fmt: skip
    numbers = {
        "heading_deg": math.degrees(float(made.heading_rad)),
        "pitch_deg": math.degrees(float(made.pitch_rad)),
        "data_term": float(made.data),
    }
    return RunResult(request.out, files, numbers, time.perf_counter() - began)


def _usual_lead(generator: VoxelGenerator, plan: CompletionPlan) -> float:
    """By how much the mean shape's visible surface lies before its centre, mean of all headings: a depth map does not
    say where the centre is.
    """
    headings = torch.arange(plan.n_headings, device=generator.mean_shape.device) * (2 * math.pi / plan.n_headings)
    matrix = turntable_matrix(headings, torch.full_like(headings, plan.pitch_rad))
    shown = turned(generator.mean_shape.expand(len(headings), -1, -1, -1, -1), matrix)
    return float(seen_lead(shown).mean())


def _depth_of(run: Path) -> tuple[Float[Tensor, "1 1 H H"], Float[Tensor, "1 1 H H"], float]:
    """Depth, mask and field of view of a finished run. Raises UserError where there is none."""
    try:
        with np.load(run / SCENE_NAME, allow_pickle=False) as stored:
            depth, mask = (torch.from_numpy(stored[name]).float() for name in ("depth", "mask"))
            fov_deg = float(stored["fov_deg"])
        return depth.view(1, 1, *depth.shape[-2:]), mask.view(1, 1, *mask.shape[-2:]), fov_deg
    except UNREADABLE_ARRAYS as error:
        raise UserError(f"{run} is no finished run: name a folder that `gan2shape run` has written.") from error


def bench_voxels(request: VoxelRequest, count: int = 16, report: Reporter = silent) -> list[dict]:
    """Half-seen objects that the generator has not learnt from, under headings of the category: overlap of the hidden
    voxels alone, beside the mean shape at the heading that was found. Writes `rows.json` and a sheet.
    """
    generator, spec = request.generator(), get_category(request.category)
    seeds = list(range(HELD_OUT_FIRST_SEED, HELD_OUT_FIRST_SEED + count))
    own = voxel_set(request.category, seeds, generator.config.resolution)[:, None].to(generator.mean_shape.device)
    headings = [spec.views.sample(np.random.default_rng([1, seed]))[0] for seed in seeds]
    heading = torch.tensor(headings, dtype=torch.float32, device=own.device)
    truth = (turned(own, turntable_matrix(heading, torch.zeros_like(heading))) >= FILLED).float()
    known = seen_from_front(truth)
    with locked(request.out):
        found = complete(truth * known, known, generator, CompletionPlan(), report)
        ours, mean = overlap(found.volume, truth, ~known), overlap(found.mean, truth, ~known)
        rows = _rows(ours, mean, heading, found, count)
        write_text_atomic(request.out / "rows.json", to_json({"rows": rows}, indent=1) + "\n")
        shown = replace(found, volume=found.volume[:SHOWN])
        write_png(request.out / "completed.png", _sheet((truth * known)[:SHOWN], shown, truth[:SHOWN]))
    return rows


def _rows(ours: Tensor, mean: Tensor, heading: Tensor, found: Completed, count: int) -> list[dict]:
    ours_np, mean_np = ours.cpu().numpy(), mean.cpu().numpy()
    off = torch.atan2((found.heading_rad - heading).sin(), (found.heading_rad - heading).cos()).abs().cpu().numpy()
    rows = []
    for name, values in (("3D-GAN", ours_np), ("mean shape", mean_np)):
        centre, half = mean_interval(values)
        rows.append({"row": name, "n": count, "hidden_iou": centre, "hidden_iou_ci95": half})
    rows[0]["heading_error_deg_median"] = float(np.degrees(np.median(off)))
    if count > 1:
        gain, half = paired_interval(ours_np, mean_np)
        rows[0] |= {"gain": gain, "gain_ci95": half, "against": "mean shape"}
    return rows


def shaded(
    volumes: Float[Tensor, "N 1 S S S"], heading_rad: float = SHEET_TURN_RAD[0], pitch_rad: float = SHEET_TURN_RAD[1]
) -> Float[Tensor, "N 3 P P"]:
    """Grey pictures in [-1, 1] of volumes that are turned by so much, lit from above on the left, on white."""
    heading, pitch = (torch.full((len(volumes),), angle, device=volumes.device) for angle in (heading_rad, pitch_rad))
    seen = turned(volumes, turntable_matrix(heading, pitch))
    fine = F.interpolate(F.avg_pool3d(seen, 3, 1, 1), scale_factor=3.0, mode="trilinear")
    filled = F.interpolate(seen, scale_factor=3.0, mode="trilinear") >= FILLED
    first = filled.float().argmax(2, keepdim=True)
    inward = torch.cat([torch.gather(g, 2, first)[:, :, 0] for g in torch.gradient(fine, dim=(4, 3, 2))], 1)
    normals = F.normalize(-inward, dim=1)
    cosine = (normals * normals.new_tensor(SHEET_LIGHT)[:, None, None]).sum(1, keepdim=True)
    grey = torch.where(filled.any(2), 2 * (0.35 + 0.5 * cosine.clamp_min(0)) - 1, torch.ones_like(cosine))
    return grey.expand(-1, 3, -1, -1)


def _sheet(given: Tensor, made: Completed, truth: Tensor | None = None) -> np.ndarray:
    """Rows: what was given, as the camera sees it; what was made of it; its hidden side; that of the truth."""
    behind = math.pi + SHEET_TURN_RAD[0]
    rows = [shaded(given, 0.0, 0.0), shaded(made.volume), shaded(made.volume, behind)]
    rows += [] if truth is None else [shaded(truth, behind)]
    return contact_sheet(to_uint8(torch.cat(rows)), n_columns=len(given), layout=BARE)
