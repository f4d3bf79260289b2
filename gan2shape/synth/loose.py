"""Meshes of any origin as objects: parts joined, placed in the object frame, with normals that respect edges.

Files disagree about the outside of a surface, so an open part is seen from both sides. Where a file has the same
triangle twice, facing opposite ways (a wall with another picture on each side), each is seen from its own side alone.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from gan2shape.core.records import LooseMesh, MeshPart
from gan2shape.scene.mesh_pieces import piece_of_faces
from gan2shape.synth.objects import ObjectMesh

SMOOTH_BELOW_DEG = 40.0  # angle between triangles up to which they are shaded as one round surface
MOST_AT_A_CORNER = 200  # triangles; where more meet (the middle of a fan) each is shaded as flat
SAME_PLACE = 1e-5  # of the longest side: vertices nearer to each other are one
TO_OBJECT = np.array([1.0, -1.0, -1.0])  # +Y up, +Z front -> y down, z forward, the front faces -z
SWEEP = 1.15  # times the longest side: what may be seen of an object that is turned, or seen from 25 degrees above
FROM_ABOVE = 0.906, 0.423  # cosine and sine of that elevation


def object_of(mesh: LooseMesh, longest_side: float) -> ObjectMesh:
    """The mesh with its bounding box centred at 0 and its longest side `longest_side` scene units (less where it
    would leave the picture when turned, see `reach_of`).
    """
    starts = np.cumsum([0] + [len(part.vertices) for part in mesh.parts])
    points = np.concatenate([part.vertices for part in mesh.parts]).astype(np.float64)
    faces = np.concatenate([part.faces + start for part, start in zip(mesh.parts, starts, strict=False)]).astype(int)
    points = placed(points, faces, longest_side)
    merged = merged_corners(points, faces, longest_side)
    textures, face_texture = _textures(mesh.parts)
    uv = [np.zeros((len(p.faces), 3, 2)) if p.corner_uv is None else p.corner_uv for p in mesh.parts]
    corner_uv = np.concatenate(uv)
    corner_uv -= np.floor(corner_uv.min(1, keepdims=True))  # small numbers keep their precision
    rgb = np.concatenate([part.rgb for part in mesh.parts]).astype(np.float32)
    asked = np.concatenate([np.full(len(part.faces), part.both_sided) for part in mesh.parts])
    both_sided = (asked | open_pieces(merged)) & ~_has_opposite(merged)
    return ObjectMesh(
        vertices=points.astype(np.float32),
        faces=faces,
        face_albedo=rgb.mean(1),
        corner_normals=corner_normals(points, faces, crease_pairs(points, faces, merged)),
        corner_albedo=rgb,
        style=mesh.name,
        textures=textures,
        face_texture=face_texture if textures else None,
        corner_uv=corner_uv.astype(np.float32) if textures else None,
        repeats=True,
        both_sided=both_sided,
    )


def placed(points: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], longest_side: float) -> np.ndarray:
    """Points [V, 3] of a file (+Y up, +Z front) in the object frame, by the box of what the faces use."""
    used = points[np.unique(faces)]
    low, high = used.min(0), used.max(0)
    return (points - (low + high) / 2) * TO_OBJECT * (longest_side / max(reach_of(high - low), 1e-30))


def reach_of(size: Float[np.ndarray, "3"]) -> float:
    """What must become the longest side, so that a box of this size stays in the picture however it is turned."""
    diagonal = float(np.hypot(size[0], size[2]))
    seen = max(diagonal, FROM_ABOVE[0] * float(size[1]) + FROM_ABOVE[1] * diagonal)
    return max(float(size.max()), seen / SWEEP)


@dataclass(frozen=True)
class CreasePairs:
    """Which triangles each corner (of 3 F) is shaded with: pairs of a corner and a triangle."""

    corner: Int[np.ndarray, " P"]
    triangle: Int[np.ndarray, " P"]


def crease_pairs(
    points: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], merged: Int[np.ndarray, "F 3"]
) -> CreasePairs:
    """Each corner with the triangles that meet there and face nearly the same way, its own among them."""
    own = triangle_areas(points, faces)
    own /= np.maximum(np.linalg.norm(own, axis=1, keepdims=True), 1e-30)
    corner = merged.reshape(-1)
    order = np.argsort(corner, kind="stable")
    degree = np.bincount(corner)
    first = np.cumsum(degree) - degree
    n_others = np.where(degree <= MOST_AT_A_CORNER, degree, 0)[corner]
    one = np.repeat(np.arange(len(corner)), n_others)
    step = np.arange(len(one)) - np.repeat(np.cumsum(n_others) - n_others, n_others)
    other = order[first[corner[one]] + step] // 3
    alike = (own[one // 3] * own[other]).sum(1) > np.cos(np.deg2rad(SMOOTH_BELOW_DEG))
    return CreasePairs(one[alike], other[alike])


def corner_normals(
    points: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], pairs: CreasePairs
) -> Float[np.ndarray, "F 3 3"]:
    """Unit normals at corners: the sum, by area, of the triangles that `pairs` names, or the triangle's own."""
    area = triangle_areas(points, faces)
    given = area[pairs.triangle]
    total = np.stack([np.bincount(pairs.corner, given[:, k], minlength=3 * len(faces)) for k in range(3)], -1)
    total = np.where(np.abs(total).sum(1, keepdims=True) > 0, total, np.repeat(area, 3, 0))
    length = np.linalg.norm(total, axis=1, keepdims=True)
    out = np.where(length > 0, total / np.maximum(length, 1e-30), [0.0, 0.0, -1.0])  # without area: never seen
    return out.reshape(-1, 3, 3).astype(np.float32)


def triangle_areas(points: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]) -> Float[np.ndarray, "F 3"]:
    """Outward normals, as long as twice the triangle's area."""
    a, b, c = (points[faces[:, k]] for k in range(3))
    (ux, uy, uz), (vx, vy, vz) = (b - a).T, (c - a).T
    return np.stack([uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx], -1)


def open_pieces(merged: Int[np.ndarray, "F 3"]) -> Bool[np.ndarray, " F"]:
    """Triangles of connected pieces that have an edge which is not walked once each way."""
    edges = np.concatenate([merged[:, [0, 1]], merged[:, [1, 2]], merged[:, [2, 0]]])
    count = int(merged.max()) + 1
    forward, backward = edges[:, 0] * count + edges[:, 1], edges[:, 1] * count + edges[:, 0]
    values, where, uses = np.unique(forward, return_inverse=True, return_counts=True)
    place = np.minimum(np.searchsorted(values, backward), len(values) - 1)
    paired = (values[place] == backward) & (uses[where] == 1) & (uses[place] == 1)
    piece = piece_of_faces(merged, count)
    is_open = np.zeros(count, bool)
    is_open[np.tile(piece, 3)[~paired]] = True
    return is_open[piece]


def merged_corners(
    points: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], longest_side: float
) -> Int[np.ndarray, "F 3"]:
    """Corners numbered so that vertices at one place have one number."""
    cells = np.round(points / (longest_side * SAME_PLACE)).astype(np.int64)
    _, number = np.unique(cells, axis=0, return_inverse=True)
    return number.reshape(-1)[faces]


def _has_opposite(merged: Int[np.ndarray, "F 3"]) -> Bool[np.ndarray, " F"]:
    """Whether the same three places make another triangle that faces the other way."""
    first = merged.argmin(1)
    turned = np.take_along_axis(merged, (first[:, None] + np.arange(3)) % 3, 1)
    _, number = np.unique(np.concatenate([turned, turned[:, [0, 2, 1]]]), axis=0, return_inverse=True)
    own, other = number.reshape(2, -1)
    return np.isin(other, own) & (own != other)


def _textures(parts: tuple[MeshPart, ...]) -> tuple[tuple[UInt8[np.ndarray, "h w c"], ...], Int[np.ndarray, " F"]]:
    """The different textures of all parts, and the number of each triangle's (-1: none)."""
    numbers: dict[bytes, int] = {}
    textures, out = [], []
    for part in parts:
        number = -1
        if part.texture is not None:
            tint = np.round(part.rgb.mean((0, 1)), 3)
            key = repr((part.texture.shape, tint.tolist())).encode() + part.texture.tobytes()
            number = numbers.setdefault(key, len(numbers))
            if number == len(textures):
                textures.append(part.texture if (tint == 1).all() else _tinted(part.texture, tint))
        out.append(np.full(len(part.faces), number))
    return tuple(textures), np.concatenate(out)


def _tinted(texture: UInt8[np.ndarray, "h w c"], rgb: Float[np.ndarray, "3"]) -> UInt8[np.ndarray, "h w c"]:
    out = texture.copy()
    out[..., :3] = (texture[..., :3] * rgb + 0.5).astype(np.uint8)
    return out
