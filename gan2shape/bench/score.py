"""Scores of one reconstruction against the truth, in the input view, and rows that gather them.

SIDE is printed times 100, MAD in degrees. Both normals come from depth with the same intrinsics. The mask is the
true one eroded by one pixel. The pose of the reconstruction in the input view is zero by construction, so its render
covers all of it.
"""

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from gan2shape.measure import metrics, statistics
from gan2shape.scene.light import normals_from_depth

METRICS = ("side", "side_aligned", "mad_deg", "depth_scale")


def score_mask(true_mask: Float[Tensor, "1 1 S S"]) -> Bool[Tensor, "1 1 S S"]:
    """Pixels that are scored: fully covered by the object, and one pixel away from its outline."""
    return metrics.erode(true_mask > 0.999, 1)


def score_depth(
    depth: Float[Tensor, "1 1 S S"],
    truth: Float[Tensor, "1 1 S S"],
    true_mask: Float[Tensor, "1 1 S S"],
    fov_deg: float,
) -> dict[str, float]:
    """SIDE x 100, aligned SIDE x 100, MAD in degrees, and the best depth scale of one depth map, from any device."""
    depth, mask = depth.to(truth.device), score_mask(true_mask)
    normals, true_normals = normals_from_depth(depth, fov_deg), normals_from_depth(truth, fov_deg)
    return {
        "side": 100 * metrics.side(depth, truth, mask).item(),
        "side_aligned": 100 * metrics.side_aligned(depth, truth, mask).item(),
        "mad_deg": metrics.mad_deg(normals, true_normals, mask).item(),
        "depth_scale": metrics.best_depth_scale(depth, truth, mask).item(),
    }


def of_flat(score: dict[str, float], flat: dict[str, float]) -> dict[str, float]:
    """The score with its SIDE and MAD as parts of those of a plane for the same object."""
    return {**score, "side_of_flat": score["side"] / flat["side"], "mad_of_flat": score["mad_deg"] / flat["mad_deg"]}


def table_row(method: str, category: str, split: str, preset: str, scores: list[dict[str, float]], **extra) -> dict:
    """One row of a table: means over objects with the half widths of their 95 % intervals; `of_flat` where scores have
    it.
    """
    row = {"method": method, "category": category, "split": split, "preset": preset, "n": len(scores)}
    for name, interval in (("side", "side_ci"), ("side_aligned", "side_aligned_ci"), ("mad_deg", "mad_ci")):
        row[name], row[interval] = statistics.mean_interval(np.array([score[name] for score in scores]))
    for name, interval in (("side_of_flat", "side_of_flat_ci"), ("mad_of_flat", "mad_of_flat_ci")):
        if all(name in score for score in scores):
            row[name], row[interval] = statistics.mean_interval(np.array([score[name] for score in scores]))
    seconds = [score["seconds"] for score in scores if "seconds" in score]
    row["seconds"] = float(np.mean(seconds)) if seconds else None
    return {**row, **extra}
