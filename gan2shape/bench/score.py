"""Scores of one reconstruction against the truth, in the input view, and rows that gather them.

SIDE is printed times 100, MAD in degrees. Both normals come from depth with the same intrinsics. The mask is the true
one eroded by one pixel; the reconstruction's own pose in the input view is zero by construction, so its render covers
all of it.
"""

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from gan2shape.measure import metrics, statistics
from gan2shape.scene.light import normals_from_depth

METRICS = ("side", "side_aligned", "mad_deg", "relief")


def score_mask(true_mask: Float[Tensor, "1 1 S S"]) -> Bool[Tensor, "1 1 S S"]:
    """Pixels that are scored: fully covered by the object, and one pixel away from its outline."""
    return metrics.erode(true_mask > 0.999, 1)


def score_depth(
    depth: Float[Tensor, "1 1 S S"],
    truth: Float[Tensor, "1 1 S S"],
    true_mask: Float[Tensor, "1 1 S S"],
    fov_deg: float,
) -> dict[str, float]:
    """SIDE x 100, aligned SIDE x 100, MAD in degrees, and the best relief scale of one depth map."""
    mask = score_mask(true_mask)
    normals, true_normals = normals_from_depth(depth, fov_deg), normals_from_depth(truth, fov_deg)
    return {
        "side": 100 * metrics.side(depth, truth, mask).item(),
        "side_aligned": 100 * metrics.side_aligned(depth, truth, mask).item(),
        "mad_deg": metrics.mad_deg(normals, true_normals, mask).item(),
        "relief": metrics.relief_scale(depth, truth, mask).item(),
    }


def table_row(method: str, category: str, split: str, preset: str, scores: list[dict[str, float]], **extra) -> dict:
    """One row of a table: means over objects with the half widths of their 95 % intervals."""
    row = {"method": method, "category": category, "split": split, "preset": preset, "n": len(scores)}
    for name, interval in (("side", "side_ci"), ("side_aligned", "side_aligned_ci"), ("mad_deg", "mad_ci")):
        row[name], row[interval] = statistics.mean_interval(np.array([score[name] for score in scores]))
    seconds = [score["seconds"] for score in scores if "seconds" in score]
    row["seconds"] = float(np.mean(seconds)) if seconds else None
    return {**row, **extra}


def print_table(rows: list[dict]) -> str:
    """Rows as aligned text for a terminal and for Markdown."""
    lines = ["| method | n | SIDE x100 | aligned | MAD deg | s |", "|---|---|---|---|---|---|"]
    for row in rows:
        seconds = "" if row["seconds"] is None else f"{row['seconds']:.0f}"
        lines.append(
            f"| {row['method']} | {row['n']} | {row['side']:.3f} ± {row['side_ci']:.3f} | "
            f"{row['side_aligned']:.3f} ± {row['side_aligned_ci']:.3f} | "
            f"{row['mad_deg']:.1f} ± {row['mad_ci']:.1f} | {seconds} |"
        )
    return "\n".join(lines)
