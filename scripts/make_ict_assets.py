"""Build `assets/ict/ict.npz`, the heads of the exam that nothing is trained on, from ICT-FaceKit.

    python scripts/make_ict_assets.py FOLDER [--out assets]

FOLDER holds `ict_facekit_modes.npz` and `vertex_indices.json`. Kept are the face, the head and the insides of mouth and
eyes: the mean, the first modes of identity and some of expression (8 bits of each mode's greatest), where the eyeballs
are, and masks that say what is painted where.
"""

import argparse
import json
from itertools import pairwise
from pathlib import Path

import numpy as np

from gan2shape.core.files import write_arrays_atomic

HEAD_VERTICES = 14_062  # face, head and neck, mouth, eye sockets; what follows is teeth, eyeballs, lashes
INSIDE_FROM = 11_248  # from here on: inside the mouth and the sockets
IDENTITY_MODES = 50
EXPRESSIONS = (
    "browDown_L", "browDown_R", "browInnerUp_L", "browInnerUp_R", "browOuterUp_L", "browOuterUp_R", "eyeSquint_L",
    "eyeSquint_R", "eyeWide_L", "eyeWide_R", "eyeBlink_L", "eyeBlink_R", "jawOpen", "jawLeft", "jawRight",
    "mouthFrown_L", "mouthFrown_R", "mouthSmile_L", "mouthSmile_R", "mouthPucker", "cheekPuff_L", "cheekPuff_R",
)  # fmt: skip
EYE_MATERIALS = ("M_ScleraRight", "M_IrisRight"), ("M_ScleraLeft", "M_IrisLeft")  # image left first
# Where hair begins on the mean head: height above which it grows, by how far to the front (both in cm)
HAIRLINE = np.array(
    [[-9.5, -5.0], [-3.2, -4.2], [-2.2, 0.0], [-1.2, 6.0], [3.4, 6.0], [4.3, 3.4], [5.2, 4.2], [6.4, 7.4], [8.0, 9.2],
     [9.5, 9.9], [13.0, 10.4]]
)  # fmt: skip
CHEEK = np.array([4.6, 0.2, 9.0])
HAIR_FULL_CM = 3.5  # above the hairline hair has its whole length
BROW_CM, BROW_LIFT_CM = 0.42, 0.05  # half the thickness of a brow, and how far above the landmarks it lies


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Build the exam's ICT heads.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("assets"))
    args = parser.parse_args()
    with np.load(args.folder / "ict_facekit_modes.npz", allow_pickle=False) as file:
        source = dict(file)
    marks = np.array(json.loads((args.folder / "vertex_indices.json").read_text())["idx_to_landmark_verts"])
    mean, material = source["mean"].astype(np.float64), source["quad_material"]
    quads = source["quads"][np.isin(material, ("M_Face", "M_BackHead"))]
    modes = source["identity_deltas"][:IDENTITY_MODES].astype(np.float32)
    names = source["expression_names"].tolist()
    expressions = source["expression_deltas"][[names.index(name) for name in EXPRESSIONS]].astype(np.float32)
    balls = [np.unique(source["quads"][np.isin(material, pair)]) for pair in EYE_MATERIALS]
    irises = [np.unique(source["quads"][material == pair[1]]) for pair in EYE_MATERIALS]
    middles = [(mean[own].max(0) + mean[own].min(0)) / 2 for own in balls]
    fronts = np.stack([mean[own].mean(0) - middle for own, middle in zip(irises, middles, strict=True)])
    identity, identity_cm = _bytes(modes[:, :HEAD_VERTICES])
    expression, expression_cm = _bytes(expressions[:, :HEAD_VERTICES])
    arrays = {
        "vertices": mean[:HEAD_VERTICES].astype(np.float32),
        "faces": np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.uint16),
        "identity": identity,
        "identity_cm": identity_cm,
        "expression": expression,
        "expression_cm": expression_cm,
        "expression_names": np.array(EXPRESSIONS),
        "marks": marks.astype(np.uint16),
        "eyes": np.stack(middles).astype(np.float32),
        "eye_identity": np.stack([modes[:, own].mean(1) for own in balls], 1).astype(np.float32),
        "eye_radius": np.float32(np.mean([np.ptp(mean[own], 0)[:2].max() / 2 for own in balls])),
        "eye_fronts": (fronts / np.linalg.norm(fronts, axis=1, keepdims=True)).astype(np.float32),
        "masks": (255 * _masks(mean[:HEAD_VERTICES], mean[marks]) + 0.5).astype(np.uint8),
    }
    folder = args.out / "ict"
    folder.mkdir(parents=True, exist_ok=True)
    write_arrays_atomic(folder / "ict.npz", arrays)
    print(f"{folder / 'ict.npz'}: {(folder / 'ict.npz').stat().st_size / 1e6:.2f} MB, {len(arrays['faces'])} triangles")


def _bytes(deltas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each mode as whole numbers of 1/127 of its greatest; and that greatest, in cm."""
    greatest = np.abs(deltas).max((1, 2))
    return np.round(deltas / greatest[:, None, None] * 127).astype(np.int8), greatest.astype(np.float32)


def _masks(points: np.ndarray, marks: np.ndarray) -> np.ndarray:
    """[V, 7] in [0, 1]: lips, brows, hair, its thickness, beard, flush, insides."""
    x, y, z = points.T
    outside = np.arange(len(points)) < INSIDE_FROM
    front = (z > 6) & outside
    lips = _in_polygon(points, marks[48:60], 0.12) * front
    brows = np.zeros(len(points))
    for own in (marks[17:22], marks[22:27]):
        line = own + np.array([0.0, BROW_LIFT_CM, 0.0])
        thin = np.interp(np.abs(x), [1.0, 3.0, 6.0], [1.0, 1.0, 0.55])
        brows = np.maximum(brows, np.clip(1.4 - _to_line(points, line) / (BROW_CM * thin), 0, 1))
    above = y - np.interp(z, *HAIRLINE.T)
    is_ear = (np.abs(x) > 7.9) & (y < 6.2) & (z > -3.5) & (z < 5)
    grows = outside & ~is_ear
    hair, thickness = np.clip(above / 0.5 + 0.5, 0, 1) * grows, np.clip(above / HAIR_FULL_CM, 0, 1) * grows
    cheek_line = np.interp(np.abs(x), [0.0, 2.6, 4.5, 7.5], [-1.7, -1.9, -2.6, 2.2])
    beard = np.clip((cheek_line - y) / 0.8 + 0.5, 0, 1) * np.clip((y - marks[8, 1] + 1.2) / 1.5, 0, 1)
    beard *= (z > 3.0) * outside * (1 - lips)
    flush = sum(
        np.exp(-(((points - place) ** 2).sum(1)) / size**2)
        for place, size in ((marks[30], 1.5), (CHEEK, 2.2), (CHEEK * [-1, 1, 1], 2.2))
    )
    return np.stack([lips, brows * front, hair, thickness, beard, np.clip(flush, 0, 1), ~outside], 1)


def _to_line(points: np.ndarray, line: np.ndarray) -> np.ndarray:
    """Distance to a line of several pieces."""
    best = np.full(len(points), np.inf)
    for a, b in pairwise(line):
        t = np.clip((points - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
        best = np.minimum(best, np.linalg.norm(points - a - t[:, None] * (b - a), axis=1))
    return best


def _in_polygon(points: np.ndarray, corners: np.ndarray, soft: float) -> np.ndarray:
    """1 inside a polygon as seen from the front, 0 outside, soft at its border."""
    closed = np.concatenate([corners, corners[:1]])
    inside = np.zeros(len(points), bool)
    for (x0, y0, _), (x1, y1, _) in pairwise(closed):
        crosses = (y0 > points[:, 1]) != (y1 > points[:, 1])
        with np.errstate(divide="ignore", invalid="ignore"):
            inside ^= crosses & (points[:, 0] < (x1 - x0) * (points[:, 1] - y0) / (y1 - y0) + x0)
    flat = np.array([1.0, 1.0, 0.0])
    border = _to_line(points * flat, closed * flat)
    return np.clip(np.where(inside, border, -border) / soft + 0.5, 0, 1)


if __name__ == "__main__":
    main()
