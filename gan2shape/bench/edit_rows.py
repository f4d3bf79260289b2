"""Rows of `gan2shape bench edit` from the scores of objects: means with 95 % intervals, and paired differences."""

import numpy as np

from gan2shape.measure.statistics import mean_interval, paired_interval

EFFECTS = ("effect-3D", "effect-GAN")
BASELINE = "input"  # the picture left as it is
GROUPS = {"yaw": ("yaw +", "yaw -"), "light": ("light left", "light right"),
          "yaw and light": ("yaw +, light left", "yaw -, light right")}  # fmt: skip


def edit_rows(objects: list[dict], category: str, split: str) -> list[dict]:
    """A row for each group of poses and way, then one for each effect over all poses.

    An object's score in a group is the mean of its poses. `d_` is paired, over objects: effects against the unchanged
    input, effect-GAN against effect-3D too. `_ci` are half widths.
    """
    common = {"category": category, "split": split, "n": len(objects)}
    rows = []
    for group, poses in GROUPS.items():
        for way in objects[0]["poses"][poses[0]]:
            row = {"pose": group, "way": way, **common}
            for metric in objects[0]["poses"][poses[0]][way]:
                own = scores(objects, poses, way, metric)
                row[metric], row[f"{metric}_ci"] = mean_interval(own)
                if way in EFFECTS and len(objects) > 1:
                    row[f"d_{metric}"] = list(paired_interval(own, scores(objects, poses, BASELINE, metric)))
                if way == EFFECTS[1] and len(objects) > 1:
                    row[f"d_{metric}_3d"] = list(paired_interval(own, scores(objects, poses, EFFECTS[0], metric)))
            rows.append(row)
    return rows + [{"pose": "all", "way": way, **common, **overall(objects, way)} for way in EFFECTS]


def scores(objects: list[dict], poses: tuple[str, ...], way: str, metric: str) -> np.ndarray:
    """One number an object: the mean over its poses."""
    return np.array([np.mean([one["poses"][pose][way][metric] for pose in poses]) for one in objects])


def overall(objects: list[dict], way: str) -> dict:
    """Response (the effect's mean change over the mean change of true renders, as the same network reads both), round
    trip and milliseconds.
    """
    row: dict = {}
    for name in (name for name in objects[0]["read"]["truth"] if all(name in one["read"]["truth"] for one in objects)):
        own, true = (np.array([one["read"][which][name] for one in objects]) for which in (way, "truth"))
        row[f"{name}_response"], row[f"{name}_response_ci"] = mean_interval(own / true.mean())
    row["round_trip_psnr_db"], row["round_trip_ci"] = mean_interval(
        np.array([one["round trip"][way] for one in objects])
    )
    row["ms"] = float(np.median([one["ms"][way] for one in objects]))
    if way == EFFECTS[1]:
        row["ms_without_refinement"] = float(np.median([one["ms"]["effect-GAN, E alone"] for one in objects]))
    return row
