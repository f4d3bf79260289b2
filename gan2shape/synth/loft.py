"""Closed shells from stacked outlines, and the normals they are shaded with.

Modelling frame (metres, used only while an object is built): x to the object's right as the viewer of its front sees
it, u from the front end backwards, h up from the ground. `to_object_frame` converts it to the camera-like object frame
of `ObjectMesh`. A shell is a stack of R rows (closed outlines of C columns); its first and last rows must be collapsed
(a line or a point), which closes it. All shells are mirror-symmetric about x = 0 and given by their x >= 0 half.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int

CREASE_DEG = 42.0  # faces that meet at less than this angle are shaded as one smooth surface
WELD_M = 1e-5  # vertices closer than this (metres) are one


@dataclass(frozen=True)
class Part:
    """One closed piece of an object, in the modelling frame, with one albedo for each face."""

    points: Float[np.ndarray, "V 3"]  # (x, u, h), metres
    faces: Int[np.ndarray, "F 3"]  # counter-clockwise seen from outside
    albedo: Float[np.ndarray, "F 3"]  # in [0, 1]


@lru_cache
def grid_faces(n_rows: int, n_cols: int) -> Int[np.ndarray, "F 3"]:
    """Two triangles for each cell of a row-major grid that is closed along the columns; face order (row, column, 2)."""
    row, col = np.meshgrid(np.arange(n_rows - 1), np.arange(n_cols), indexing="ij")
    a, b = row * n_cols + col, row * n_cols + (col + 1) % n_cols
    c, d = a + n_cols, b + n_cols
    return np.stack([np.stack([a, b, d], -1), np.stack([a, d, c], -1)], 2).reshape(-1, 3)


def ring_shell(rings: Float[np.ndarray, "R C 3"], albedo: Float[np.ndarray, "R-1 C 3"]) -> Part:
    """Skin R closed outlines; `albedo` has one colour for each cell between rows."""
    n_rows, n_cols, _ = rings.shape
    faces = grid_faces(n_rows, n_cols)
    return _closed(rings.reshape(-1, 3), faces, np.repeat(albedo.reshape(-1, 3), 2, axis=0))


def mirrored_shell(half: Float[np.ndarray, "R K 3"], albedo: Float[np.ndarray, "R-1 K-1 3"]) -> Part:
    """`ring_shell` of half outlines whose first and last columns lie on x = 0."""
    other = half[:, -2:0:-1] * np.array([-1.0, 1.0, 1.0])
    return ring_shell(np.concatenate([half, other], 1), np.concatenate([albedo, albedo[:, ::-1]], 1))


def wheel(
    centre: tuple[float, float, float],
    radius: float,
    width: float,
    rim: float,
    tyre_rgb: np.ndarray,
    rim_rgb: np.ndarray,
    n_segments: int = 20,
) -> Part:
    """Tyre and rim rotated about the x axis. `centre` is the middle of the outer face, whose side is the sign of x."""
    side = np.sign(centre[0])
    # (distance inwards from the outer face, radius) of each row, from the inner hub to the outer hub
    inward = np.array([width, width, width * 0.85, width * 0.15, 0.0, 0.01, 0.045, 0.02, 0.015])
    radii = radius * np.array([0.0, 0.93, 1.0, 1.0, 0.93, rim, rim * 0.85, 0.15, 0.0])
    angle = np.arange(n_segments) / n_segments * 2 * np.pi
    rings = np.empty((len(radii), n_segments, 3))
    rings[..., 0] = (centre[0] - side * inward)[:, None]
    rings[..., 1] = centre[1] + radii[:, None] * np.cos(angle)
    rings[..., 2] = centre[2] + radii[:, None] * np.sin(angle)
    rows = np.array([tyre_rgb] * 5 + [rim_rgb] * 3)
    return ring_shell(rings, np.repeat(rows[:, None], n_segments, 1))


def box(low: tuple[float, float, float], high: tuple[float, float, float], rgb: np.ndarray) -> Part:
    """Axis-aligned box between two corners (x, u, h)."""
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], dtype=float)
    low_a, high_a = np.array(low, dtype=float), np.array(high, dtype=float)
    rings = np.empty((4, 4, 3))
    rings[..., :2] = low_a[:2] + corners * (high_a - low_a)[:2]
    rings[[0, 3], :, :2] = (low_a + high_a)[:2] / 2
    rings[:2, :, 2], rings[2:, :, 2] = low_a[2], high_a[2]
    return ring_shell(rings, np.broadcast_to(rgb, (3, 4, 3)))


def drum(
    x: tuple[float, float], u: float, h: float, radius: float, lowest: float, rgb: np.ndarray, n_segments: int = 20
) -> Part:
    """Cylinder along x from x[0] to x[1], cut off flat below the height `lowest`."""
    angle = np.arange(n_segments) / n_segments * 2 * np.pi
    rings = np.empty((4, n_segments, 3))
    rings[:2, :, 0], rings[2:, :, 0] = x[0], x[1]
    rings[..., 1] = u + radius * np.cos(angle)
    rings[..., 2] = np.maximum(h + radius * np.sin(angle), lowest)
    rings[[0, 3], :, 1:] = u, h
    return ring_shell(rings, np.broadcast_to(rgb, (3, n_segments, 3)))


def merge(parts: list[Part]) -> Part:
    """One Part that holds all of them (they stay separate closed surfaces, which may dip into each other)."""
    offsets = np.cumsum([0] + [len(p.points) for p in parts[:-1]])
    return Part(
        points=np.concatenate([p.points for p in parts]),
        faces=np.concatenate([p.faces + offset for p, offset in zip(parts, offsets, strict=True)]),
        albedo=np.concatenate([p.albedo for p in parts]),
    )


def signed_volume(points: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]) -> float:
    """Volume of a closed mesh; positive when its faces are counter-clockwise from outside (right-handed axes)."""
    a, b, c = points[faces[:, 0]], points[faces[:, 1]], points[faces[:, 2]]
    return float(np.vdot(a, _cross(b, c)) / 6.0)


def corner_normals(
    points: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], crease_deg: float = CREASE_DEG
) -> Float[np.ndarray, "F 3 3"]:
    """Unit outward normals at each face's corners: the area-weighted mean over the faces that share the vertex and face
    less than `crease_deg` away from this face. Curved parts look smooth, edges stay sharp.
    """
    a, b, c = points[faces[:, 0]], points[faces[:, 1]], points[faces[:, 2]]
    area_normal = _cross(b - a, c - a)
    unit = area_normal / np.maximum(np.linalg.norm(area_normal, axis=1, keepdims=True), 1e-30)
    corner_vertex = faces.reshape(-1)
    order = np.argsort(corner_vertex, kind="stable")
    face_at = (order // 3).astype(np.int32)  # faces, grouped by vertex
    count = np.bincount(corner_vertex, minlength=len(points))
    start = np.cumsum(count) - count
    # every (corner, face at the same vertex) pair, flattened
    n_pairs = count[corner_vertex]
    first = np.cumsum(n_pairs) - n_pairs
    other = face_at[np.arange(n_pairs.sum()) + np.repeat(start[corner_vertex] - first, n_pairs)]
    own = np.repeat(np.arange(len(corner_vertex), dtype=np.int32) // 3, n_pairs)
    x, y, z = np.ascontiguousarray(unit.T)
    smooth = x[own] * x[other] + y[own] * y[other] + z[own] * z[other] > np.cos(np.deg2rad(crease_deg))
    # every corner has at least its own face, so no run of the sum is empty
    total = np.stack([np.add.reduceat(n[other] * smooth, first) for n in np.ascontiguousarray(area_normal.T)], -1)
    total /= np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-30)
    total[~total.any(1)] = (0.0, 0.0, 1.0)  # a face without area is never seen; its normal is still a unit vector
    return total.reshape(-1, 3, 3)


def to_object_frame(points: Float[np.ndarray, "V 3"], units_per_metre: float) -> Float[np.ndarray, "V 3"]:
    """(x, u, h) metres -> object frame (x right, y down, z forward, front towards -z), bounding box centred at 0."""
    xyz = np.stack([points[:, 0], -points[:, 2], points[:, 1]], -1)
    return ((xyz - (xyz.min(0) + xyz.max(0)) / 2) * units_per_metre).astype(np.float32)


def _cross(a: Float[np.ndarray, "F 3"], b: Float[np.ndarray, "F 3"]) -> Float[np.ndarray, "F 3"]:
    """Row-wise cross product; np.cross spends ten times as long on axes here."""
    ax, ay, az = a.T
    bx, by, bz = b.T
    return np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], -1)


def _closed(points: np.ndarray, faces: np.ndarray, albedo: np.ndarray) -> Part:
    """Weld coincident vertices, drop the faces that vanish, and orient the rest outwards."""
    cell = np.round(points / WELD_M).astype(np.int64) + (1 << 20)
    key = (cell[:, 0] << 42) | (cell[:, 1] << 21) | cell[:, 2]
    _, first, index = np.unique(key, return_index=True, return_inverse=True)
    points, faces = points[first], index[faces]
    keep = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    faces, albedo = faces[keep], albedo[keep]
    if signed_volume(points, faces) < 0:
        faces = faces[:, ::-1]
    return Part(points, faces, albedo)
