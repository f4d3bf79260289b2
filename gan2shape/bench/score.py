"""Scores of one reconstruction against the truth, in the input view, and rows that gather them.

SIDE and Chamfer-L1 are printed times 100, MAD in degrees. Both normals come from depth with the same intrinsics. The
mask is the true one eroded by one pixel. The pose of the reconstruction in the input view is zero by construction: its
render covers all of it. A depth of another resolution than the truth's is brought to it first: bilinear up, averages
down.

All depths are z - D + 1, where D is how far the camera stands so that the object has the size that it has at 10 degrees
and distance 1. Normals are taken at z.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from gan2shape.bench.exam import ExamObject
from gan2shape.core.images import resized
from gan2shape.export.mesh import height_field_mesh
from gan2shape.measure import metrics, statistics
from gan2shape.measure.surfaces import compare_surfaces
from gan2shape.scene.light import normals_from_depth
from gan2shape.synth.natural import distance_of

METRICS = ("side", "side_aligned", "mad_deg", "depth_scale")
INTERVALS = {  # of a row: each metric and what its half width is called
    "side": "side_ci", "side_aligned": "side_aligned_ci", "mad_deg": "mad_ci", "side_skin": "side_skin_ci",
    "mad_skin_deg": "mad_skin_ci", "side_of_flat": "side_of_flat_ci", "mad_of_flat": "mad_of_flat_ci",
    "chamfer_l1": "chamfer_ci", "normal_consistency": "normal_consistency_ci",
}  # fmt: skip
Interval = Callable[[np.ndarray], tuple[float, float]]


def score_mask(true_mask: Float[Tensor, "1 1 S S"]) -> Bool[Tensor, "1 1 S S"]:
    """Pixels that are scored: fully covered by the object, and one pixel away from its outline."""
    return metrics.erode(true_mask > 0.999, 1)


def score_depth(
    depth: Float[Tensor, "1 1 R R"],
    truth: Float[Tensor, "1 1 S S"],
    true_mask: Float[Tensor, "1 1 S S"],
    fov_deg: float,
    skin: Bool[Tensor, "1 1 S S"] | None = None,
) -> dict[str, float]:
    """SIDE x 100, aligned SIDE x 100, MAD in degrees, and the best depth scale of one depth map, from any device;
    SIDE and MAD also of the part that is `skin`.
    """
    depth, mask = resized(depth.to(truth.device), truth.shape[-1]), score_mask(true_mask)
    away = distance_of(fov_deg) - 1
    normals, true_normals = normals_from_depth(depth + away, fov_deg), normals_from_depth(truth + away, fov_deg)
    part = {}
    if skin is not None:
        part = {
            "side_skin": 100 * metrics.side(depth, truth, mask & skin).item(),
            "mad_skin_deg": metrics.mad_deg(normals, true_normals, mask & skin).item(),
        }
    return {
        "side": 100 * metrics.side(depth, truth, mask).item(),
        "side_aligned": 100 * metrics.side_aligned(depth, truth, mask).item(),
        "mad_deg": metrics.mad_deg(normals, true_normals, mask).item(),
        "depth_scale": metrics.best_depth_scale(depth, truth, mask).item(),
        **part,
    }


def score_object_depth(item: ExamObject, depth: Float[Tensor, "1 1 R R"]) -> dict[str, float]:
    """The scores of a depth map of an exam object."""
    pixelwise = score_depth(depth, item.depth, item.mask, item.fov_deg, item.skin)
    return {**pixelwise, **score_surface(depth, item.depth, item.mask, item.fov_deg)}


def score_surface(
    depth: Float[Tensor, "1 1 R R"],
    truth: Float[Tensor, "1 1 S S"],
    true_mask: Float[Tensor, "1 1 S S"],
    fov_deg: float,
) -> dict[str, float]:
    """Chamfer-L1 x 100 (scene units) and normal consistency of the mesh against the part of the true one that the
    camera sees, both cut by the rule of exported meshes along the scored pixels. The mean distance is put right first,
    as SIDE does. What is steeper than that rule allows is in neither.
    """
    mask = score_mask(true_mask)
    depth = resized(depth.to(truth.device), truth.shape[-1])
    depth = depth + (truth - depth)[mask].mean()
    away = distance_of(fov_deg) - 1
    ours, theirs = (height_field_mesh(one + away, mask.float(), fov_deg) for one in (depth, truth))
    found = compare_surfaces(ours.vertices, ours.faces, theirs.vertices, theirs.faces)
    return {"chamfer_l1": 100 * found.chamfer_l1, "normal_consistency": found.normal_consistency}


def of_flat(score: dict[str, float], flat: dict[str, float]) -> dict[str, float]:
    """The score with its SIDE and MAD as parts of those of a plane for the same object."""
    return {**score, "side_of_flat": score["side"] / flat["side"], "mad_of_flat": score["mad_deg"] / flat["mad_deg"]}


def table_row(
    method: str,
    category: str,
    split: str,
    preset: str,
    scores: list[dict[str, float]],
    interval: Interval = statistics.mean_interval,
    **extra,
) -> dict:
    """One row of a table: means over objects with the half widths of their 95 % intervals, of what all scores have."""
    row = {"method": method, "category": category, "split": split, "preset": preset, "n": len(scores)}
    for name, half_width in INTERVALS.items():
        if all(name in score for score in scores):
            row[name], row[half_width] = interval(np.array([score[name] for score in scores]))
    seconds = [score["seconds"] for score in scores if "seconds" in score]
    row["seconds"] = float(np.mean(seconds)) if seconds else None
    return {**row, **extra}
