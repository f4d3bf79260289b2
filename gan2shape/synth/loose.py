"""Meshes of any origin as objects: parts joined, placed in the object frame, with normals that respect edges.

Files disagree about the outside of a surface, so an open part is seen from both sides. Where a file has the same
triangle twice, facing opposite ways (a wall with another picture on each side), each is seen from its own side alone.
"""

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from gan2shape.core.records import LooseMesh, MeshPart
from gan2shape.synth.objects import ObjectMesh

SMOOTH_BELOW_DEG = 40.0  # angle between triangles up to which they are shaded as one round surface
MOST_AT_A_CORNER = 200  # triangles; where more meet (the middle of a fan) each is shaded as flat
SAME_PLACE = 1e-5  # of the longest side: vertices nearer to each other are one
TO_OBJECT = np.array([1.0, -1.0, -1.0])  # +Y up, +Z front -> y down, z forward, the front faces -z
SWEEP = (
    1.2  # times the longest side: what a footprint's diagonal may reach, so that a turned object stays in the picture
)


def object_of(mesh: LooseMesh, longest_side: float) -> ObjectMesh:
    """The mesh with its bounding box centred at 0 and its longest side `longest_side` scene units (less where its
    footprint's diagonal would reach beyond `SWEEP` times that).
    """
    starts = np.cumsum([0] + [len(part.vertices) for part in mesh.parts])
    points = np.concatenate([part.vertices for part in mesh.parts]).astype(np.float64)
    faces = np.concatenate([part.faces + start for part, start in zip(mesh.parts, starts, strict=False)]).astype(int)
    points = placed(points, faces, longest_side)
    merged = _merged(points, faces, longest_side)
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
        corner_normals=creased_normals(points, faces, merged),
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
    size = high - low
    reach = max(size.max(), np.hypot(size[0], size[2]) / SWEEP)
    return (points - (low + high) / 2) * TO_OBJECT * (longest_side / max(reach, 1e-30))


def creased_normals(
    points: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], merged: Int[np.ndarray, "F 3"]
) -> Float[np.ndarray, "F 3 3"]:
    """Unit normals at corners: the sum, by area, of those triangles meeting there that face nearly the same way."""
    a, b, c = (points[faces[:, k]] for k in range(3))
    area = np.cross(b - a, c - a)
    own = area / np.maximum(np.linalg.norm(area, axis=1, keepdims=True), 1e-30)
    corner = merged.reshape(-1)
    order = np.argsort(corner, kind="stable")
    degree = np.bincount(corner)
    first = np.cumsum(degree) - degree
    n_others = np.where(degree <= MOST_AT_A_CORNER, degree, 0)[corner]
    one = np.repeat(np.arange(len(corner)), n_others)
    step = np.arange(len(one)) - np.repeat(np.cumsum(n_others) - n_others, n_others)
    other = order[first[corner[one]] + step] // 3
    alike = (own[one // 3] * own[other]).sum(1) > np.cos(np.deg2rad(SMOOTH_BELOW_DEG))
    one, other = one[alike], other[alike]
    total = np.stack([np.bincount(one, area[other, k], minlength=len(corner)) for k in range(3)], -1)
    length = np.linalg.norm(total, axis=1, keepdims=True)
    out = np.where(length > 0, total / np.maximum(length, 1e-30), np.repeat(own, 3, 0))
    out[np.abs(out).sum(-1) == 0] = (0, 0, -1)  # triangles without area are never seen
    return out.reshape(-1, 3, 3).astype(np.float32)


def open_pieces(merged: Int[np.ndarray, "F 3"]) -> Bool[np.ndarray, " F"]:
    """Triangles of connected pieces that have an edge which is not walked once each way."""
    edges = np.concatenate([merged[:, [0, 1]], merged[:, [1, 2]], merged[:, [2, 0]]])
    count = merged.max() + 1
    forward, backward = edges[:, 0] * count + edges[:, 1], edges[:, 1] * count + edges[:, 0]
    values, where, uses = np.unique(forward, return_inverse=True, return_counts=True)
    place = np.minimum(np.searchsorted(values, backward), len(values) - 1)
    paired = (values[place] == backward) & (uses[where] == 1) & (uses[place] == 1)
    label = np.arange(count)
    while True:  # smallest label of each piece, by spreading over faces and jumping pointers
        before = label.copy()
        lowest = label[merged].min(1)
        for corner in range(3):
            np.minimum.at(label, merged[:, corner], lowest)
        label = label[label]
        if np.array_equal(before, label):
            break
    piece = label[merged[:, 0]]
    is_open = np.zeros(count, bool)
    is_open[np.tile(piece, 3)[~paired]] = True
    return is_open[piece]


def _merged(points: np.ndarray, faces: np.ndarray, longest_side: float) -> Int[np.ndarray, "F 3"]:
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
