"""The surface of a face: morphed head, eyeballs rotated to their gaze, hair hung on it, neck cut or shoulders dressed.

Lengths are decimetres in the head model's frame (x to the model's left, y up, z to its front); `face.build`
converts the result to the object frame. Triangles are counter-clockwise from outside.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float, Int

from gan2shape.scene.mesh_normals import summed_normals
from gan2shape.synth.face_assets import COLLAR_RANGE_DM, FaceAssets, HairStyle, face_assets
from gan2shape.synth.face_params import FaceParams, macro_weights

CHIN_BASE_DM = np.array([0.0, 6.21, 1.44])  # the base mesh's lowest point of the chin that is seen from the front
BACK_LOWEST_DM = 7.0  # the back of the head is looked for above this height of the base mesh
CUT_SLOPE = 0.35  # how much higher a cut neck is at the nape than at the throat, per length
SKIRT_DM = 1.5  # how far the rim below the shoulders is pulled down, out of the picture
EYE_SPAN_DEG = 60.0  # angle from the eyeball's front that lies at its texture's border


@dataclass(frozen=True)
class Surface:
    """Triangles with a normal and a texture coordinate at each corner."""

    points: Float[np.ndarray, "V 3"]
    faces: Int[np.ndarray, "F 3"]
    corner_normals: Float[np.ndarray, "F 3 3"]
    corner_uv: Float[np.ndarray, "F 3 2"]
    n_plain: int = 0  # triangles at the end that have no texture: the neck's cut, or what hangs below the shoulders


@dataclass(frozen=True)
class Frame:
    """Where the head is, for placing it in the picture. Decimetres."""

    middle: Float[np.ndarray, "3"]
    height: float  # crown to chin
    chin_y: float


def morph(params: FaceParams) -> Float[np.ndarray, "V 3"]:
    """Vertices of head, eyeballs and what hair hangs on, with every target at its weight."""
    assets = face_assets()
    points = assets.vertices.copy()
    for name, weight in (macro_weights(params) | params.targets).items():
        if weight:
            index, delta = assets.targets[name]
            points[index] += np.float32(weight) * delta
    return points


def frame_of(points: Float[np.ndarray, "V 3"]) -> Frame:
    """The head's middle (left to right by the eyes, crown to chin, nose to back) and its height."""
    marks = _landmarks()
    crown, chin = points[marks["head"], 1].max(), points[marks["chin"], 1]
    x = points[marks["eyes"], 0].mean()
    upper = points[marks["upper"], 2]
    middle = np.array([x, (crown + chin) / 2, (upper.max() + upper.min()) / 2])
    return Frame(middle, float(crown - chin), float(chin))


def head_surface(
    points: Float[np.ndarray, "V 3"], beard_at: Float[np.ndarray, " V"], params: FaceParams, frame: Frame
) -> Surface:
    """The skin, with a beard's thickness; cut below the chin and closed, or with shoulders that leave the picture."""
    assets = face_assets()
    faces, uv = assets.head_faces, assets.head_uv
    normals = vertex_normals(points, faces)
    if params.beard[2] > 0:
        points = points + (params.beard[2] * beard_at)[:, None] * normals
        normals = vertex_normals(points, faces)
    if params.shoulders:
        extra_points, extra_faces, extra_normals = _skirt(points, normals)
    else:
        level = frame.chin_y - params.cut_dm - CUT_SLOPE * (points[:, 2] - frame.middle[2])
        under = points[:, 1] < level
        kept = ~under[faces].all(1)
        faces, uv = faces[kept], uv[kept]
        points = np.column_stack([points[:, 0], np.where(under, level, points[:, 1]), points[:, 2]])
        extra_points, extra_faces, extra_normals = _cap(points, faces, under)
    return Surface(
        np.concatenate([points, extra_points]).astype(np.float32),
        np.concatenate([faces, extra_faces]),
        np.concatenate([normals[faces], extra_normals]).astype(np.float32),
        np.concatenate([uv, np.zeros((len(extra_faces), 3, 2))]).astype(np.float32),
        len(extra_faces),
    )


def eye_surface(points: Float[np.ndarray, "V 3"], side: int, gaze_deg: tuple[float, float]) -> Surface:
    """One eyeball (0 the model's left). Its texture is a disc about its own front, rotated to the gaze: the distance
    from the disc's middle is the angle, EYE_SPAN_DEG at the border.
    """
    faces, marks = face_assets().eye_faces[side], _landmarks()
    own = marks["eye_vertices"][side]
    centre = (points[own].max(0) + points[own].min(0)) / 2
    front = points[marks["pupils"][side]] - centre
    out = _unit(points[faces] - centre)
    front = _rotated(_unit(front), *np.deg2rad(gaze_deg))
    right = _unit(np.cross([0.0, 1.0, 0.0], front))
    down = np.cross(right, front)
    angle = np.arccos(np.clip(out @ front, -1, 1))
    across = np.stack([out @ right, out @ down], -1)
    across /= np.maximum(np.linalg.norm(across, axis=-1, keepdims=True), 1e-9)
    uv = 0.5 + 0.5 * (angle / np.deg2rad(EYE_SPAN_DEG))[..., None] * across
    return Surface(points, faces, out.astype(np.float32), uv.astype(np.float32))


def hair_surface(points: Float[np.ndarray, "V 3"], style: HairStyle) -> Surface:
    """The hair surfaces of a style on this head."""
    hung = np.einsum("hk,hkc->hc", style.weights, points[style.refs]) + style.offsets
    normals = vertex_normals(hung, style.faces)
    return Surface(hung.astype(np.float32), style.faces, normals[style.faces], style.corner_uv)


def vertex_normals(points: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]) -> Float[np.ndarray, "V 3"]:
    """Unit normals, the area-weighted mean over the triangles at each vertex; (0, 0, 1) where there are none."""
    total = summed_normals(points, faces)
    length = np.linalg.norm(total, axis=1, keepdims=True)
    return np.where(length > 1e-12, total / np.maximum(length, 1e-12), [0.0, 0.0, 1.0]).astype(np.float32)


def below_collar(
    collar_dm: tuple[float, float], height: np.ndarray, sideways: np.ndarray, soft_dm: float
) -> np.ndarray:
    """How far clothes cover points, 0 ... 1, from their `height` above the collar's plane and the distance `sideways`
    from the middle plane, both in dm.
    """
    edge = collar_dm[0] - collar_dm[1] * np.clip(1 - sideways / 0.45, 0, 1) + np.clip(2 * (sideways - 0.85), 0, 1)
    return np.clip((edge - height) / soft_dm + 0.5, 0, 1)


def collar_height(points: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, " V"]:
    """Height of base points above the plane that is tilted like a collar, as in `assets/face`."""
    return np.clip(points[:, 1] + 0.45 * (points[:, 2] - 0.3), *COLLAR_RANGE_DM)


@cache
def _landmarks() -> dict:
    assets: FaceAssets = face_assets()
    base, head = assets.vertices, np.unique(assets.head_faces)
    eyes = [np.unique(faces) for faces in assets.eye_faces]
    return {
        "head": head,
        "upper": head[base[head, 1] > BACK_LOWEST_DM - 0.2],  # with the tip of the nose
        "chin": head[np.argmin(np.linalg.norm(base[head] - CHIN_BASE_DM, axis=1))],
        "eyes": np.concatenate(eyes),
        "eye_vertices": eyes,
        "pupils": [own[np.argmax(base[own, 2])] for own in eyes],
    }


@cache
def _rim() -> Int[np.ndarray, "E 2"]:
    """Directed edges of the head's only border, below the shoulders."""
    return _open_edges(face_assets().head_faces)


def _open_edges(faces: Int[np.ndarray, "F 3"]) -> Int[np.ndarray, "E 2"]:
    """Directed edges that belong to one triangle only."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    both = np.sort(edges, axis=1)
    _, first, count = np.unique(both[:, 0] * (1 << 32) + both[:, 1], return_index=True, return_counts=True)
    return edges[first[count == 1]]


def _skirt(points: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points, triangles and normals of what hangs straight down from the rim."""
    rim = _rim()
    at, corner = np.unique(rim, return_inverse=True)
    low = len(points) + corner.reshape(rim.shape)
    a, b = rim.T
    faces = np.concatenate([np.stack([b, a, low[:, 0]], -1), np.stack([b, low[:, 0], low[:, 1]], -1)])
    level = normals[at] * np.array([1.0, 0.0, 1.0]) + 1e-6
    hung = points[at] + SKIRT_DM * (0.25 * _unit(level) - np.array([0.0, 1.0, 0.0]))
    both = np.concatenate([normals, normals[at]])
    return hung, faces, both[faces]


def _cap(points: np.ndarray, faces: np.ndarray, on_cut: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The flat underside that closes a cut neck; `on_cut` says which points were moved onto the cut."""
    touching = faces[on_cut[faces].sum(1) >= 2]
    edges = _open_edges(touching)
    edges = edges[on_cut[edges].all(1)]
    centre = points[np.unique(edges)].mean(0, keepdims=True)
    cap = np.stack([edges[:, 1], edges[:, 0], np.full(len(edges), len(points))], -1)
    return centre, cap, np.broadcast_to(_unit(np.array([0.0, -1.0, -CUT_SLOPE])), (len(cap), 3, 3))


def _rotated(front: np.ndarray, yaw: float, pitch: float) -> np.ndarray:
    """A direction rotated to the model's left (towards +x) by `yaw`, then up by `pitch`, in radians."""
    x, y, z = front
    x, z = x * np.cos(yaw) + z * np.sin(yaw), z * np.cos(yaw) - x * np.sin(yaw)
    return _unit(np.array([x, y + np.tan(pitch), z]))


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
