"""Heads for the exam alone: ICT-FaceKit (USC ICT, 2020), a model of real scans. Nothing is trained on them or fitted to
them, and no category draws them.

Identity is a sum of modes with standard normal weights (Li et al., CVPR 2020), expressions are those of the model;
skin, brows, lips, stubble and short hair are painted at the vertices. The file is `assets/ict/ict.npz`, made by
`scripts/make_ict_assets.py`: centimetres, +Y up, +Z front. Views, lights and framing are those of `face`.
"""

from dataclasses import dataclass, fields, replace
from functools import cache

import numpy as np
from jaxtyping import Float, Int

from gan2shape.core.errors import UserError
from gan2shape.core.resources import assets_dir
from gan2shape.synth.face import EYES, HAIR, NEARER, PICTURE_WIDTH, SKIN
from gan2shape.synth.face import SPEC as FACE_SPEC
from gan2shape.synth.face_form import EYE_SPAN_DEG, vertex_normals
from gan2shape.synth.face_paint import BRIGHTEST, eye_texture
from gan2shape.synth.face_params import HAIR_RGB, IRIS_RGB
from gan2shape.synth.head_params import truncated_normal
from gan2shape.synth.objects import CategorySpec, ObjectMesh

CHIN = 8  # of the 68 landmarks
IDENTITY_LIMIT_SD = 2.5
SKIN_RGB = np.array(
    [[0.32, 0.21, 0.15], [0.45, 0.31, 0.23], [0.60, 0.43, 0.33], [0.74, 0.56, 0.46], [0.80, 0.64, 0.55],
     [0.85, 0.71, 0.63]]
)  # fmt: skip
FLUSH_RGB = np.array([0.08, -0.04, -0.04])  # of cheeks and nose, over the skin's brightness
INSIDE_RGB = np.array([0.30, 0.12, 0.11])
DISC_RINGS, DISC_SPOKES = 12, 32  # of an eyeball's front


@dataclass(frozen=True)
class IctAssets:
    """The model."""

    vertices: Float[np.ndarray, "V 3"]
    faces: Int[np.ndarray, "F 3"]
    identity: Float[np.ndarray, "K V 3"]
    expressions: dict[str, Float[np.ndarray, "V 3"]]
    marks: Int[np.ndarray, " 68"]  # vertices of the usual 68 landmarks
    eyes: Float[np.ndarray, "2 3"]  # middles of the eyeballs, image left first
    eye_identity: Float[np.ndarray, "K 2 3"]
    eye_radius: float
    eye_fronts: Float[np.ndarray, "2 3"]  # unit
    masks: Float[np.ndarray, "V 7"]  # lips, brows, hair, its thickness, beard, flush, insides; 0 ... 1


@dataclass(frozen=True)
class IctParams:
    """One head. Colours in [0, 1] as stored in an image; lengths in cm."""

    identity: tuple[float, ...]  # weights of the modes
    expression: dict[str, float]  # 0 ... 1
    gaze_deg: tuple[float, float]  # to image right, up
    skin_rgb: tuple[float, float, float]
    flush: float  # 0 ... 1
    mottle: float  # sd of the skin's brightness
    lips: float  # 0 the skin's colour ... 1
    iris_rgb: tuple[float, float, float]
    hair_rgb: tuple[float, float, float]
    hair_cm: float  # length; 0 where there is none but stubble
    scalp: float  # how much the scalp's hair covers, 0 ... 1
    brow: float  # 0 ... 1
    stubble: float  # 0 ... 1
    fill: float  # crown to chin over the picture's height
    offset: tuple[float, float]  # of the head's middle, right and down, over the picture's width
    seed: int  # of the skin's grain


def sample_params(rng: np.random.Generator) -> IctParams:
    """Sample a head."""
    assets = ict_assets()
    identity = tuple(truncated_normal(rng, IDENTITY_LIMIT_SD) for _ in assets.identity)
    place = rng.uniform(0, len(SKIN_RGB) - 1)
    skin = [np.interp(place, np.arange(len(SKIN_RGB)), SKIN_RGB[:, k]) for k in range(3)]
    skin = np.array(skin) * np.exp(rng.normal(0, 0.04) + rng.normal(0, 0.02, 3))
    dark = place < 1.8
    hair = HAIR_RGB[rng.integers(2 if dark else len(HAIR_RGB))] * np.exp(rng.normal(0, 0.15))
    iris = IRIS_RGB[rng.integers(2 if dark else len(IRIS_RGB))] * np.exp(rng.normal(0, 0.12))
    bald = rng.uniform() < 0.15
    return IctParams(
        identity=identity,
        expression=_sample_expression(rng),
        gaze_deg=(float(rng.normal(0, 5)), float(rng.normal(0, 3))),
        skin_rgb=_colour(skin),
        flush=float(rng.uniform(0.1, 1.0)),
        mottle=float(rng.uniform(0.01, 0.04)),
        lips=float(rng.uniform(0.3, 1.0)),
        iris_rgb=_colour(iris),
        hair_rgb=_colour(hair),
        hair_cm=0.0 if bald else float(rng.uniform(0.3, 1.6)),
        scalp=float(rng.uniform(0, 0.6)) if bald else 1.0,
        brow=float(rng.uniform(0.5, 0.95)),
        stubble=float(rng.uniform(0.2, 0.8)) if rng.uniform() < 0.35 else 0.0,
        fill=float(np.clip(rng.normal(0.72, 0.03), 0.66, 0.80)),
        offset=(float(rng.normal(0, 0.012)), float(rng.normal(0.0, 0.015))),
        seed=int(rng.integers(1 << 31)),
    )


def _sample_expression(rng: np.random.Generator) -> dict[str, float]:
    """Brows, lids and mouth, nearly alike on both sides."""
    smile, brows, lids = rng.normal(0.15, 0.3), rng.normal(0, 0.35), rng.normal(0.1, 0.3)
    pairs = {
        "mouthSmile": smile, "mouthFrown": -0.7 * smile, "browOuterUp": brows, "browInnerUp": 0.8 * brows,
        "browDown": -brows, "eyeSquint": lids, "eyeWide": -0.7 * lids, "cheekPuff": rng.normal(-0.2, 0.25),
    }  # fmt: skip
    weights = {f"{name}_{side}": value + rng.normal(0, 0.05) for name, value in pairs.items() for side in "LR"}
    sideways = rng.normal(0, 0.08)
    weights |= {"jawOpen": rng.normal(-0.03, 0.10), "jawLeft": sideways, "jawRight": -sideways}
    weights["mouthPucker"] = rng.normal(-0.1, 0.2)
    return {name: round(float(min(value, 1.0)), 4) for name, value in weights.items() if value > 0}


def build(params: IctParams) -> ObjectMesh:
    """The painted mesh of a head with its eyeballs, in the object frame."""
    assets = ict_assets()
    weights = np.array(params.identity, np.float32)
    points = assets.vertices + np.tensordot(weights, assets.identity, 1)
    for name, weight in params.expression.items():
        points = points + np.float32(weight) * assets.expressions[name]
    crown, chin = float(points[:, 1].max()), float(points[assets.marks[CHIN], 1])
    eyes = assets.eyes + np.tensordot(weights, assets.eye_identity, 1)
    upper = points[points[:, 1] > chin, 2]
    middle = np.array([eyes[:, 0].mean(), (crown + chin) / 2, (upper.max() + upper.min()) / 2])
    hair, thickness = assets.masks[:, 2], assets.masks[:, 3]
    skin_normals = vertex_normals(points, assets.faces)
    points = points + (params.hair_cm * thickness)[:, None] * skin_normals
    normals = [vertex_normals(points, assets.faces)[assets.faces]]
    rgb = [vertex_colours(params)[assets.faces]]
    vertices, faces, uvs = [points], [assets.faces], [np.zeros((len(assets.faces), 3, 2), np.float32)]
    for eye, front in zip(eyes, assets.eye_fronts, strict=True):
        ball, triangles, out, uv = eye_front(eye, assets.eye_radius, front, params.gaze_deg)
        faces.append(triangles + sum(len(part) for part in vertices))
        vertices.append(ball)
        normals.append(out)
        rgb.append(np.ones((len(triangles), 3, 3), np.float32))
        uvs.append(uv)
    scale = params.fill * PICTURE_WIDTH / (crown - chin)
    placed = (np.concatenate(vertices) - middle) * scale * np.array([1.0, -1.0, -1.0])
    placed += np.array([params.offset[0] * PICTURE_WIDTH, params.offset[1] * PICTURE_WIDTH, NEARER])
    corner_albedo, is_eye = np.concatenate(rgb), np.arange(sum(map(len, faces))) >= len(assets.faces)
    region = np.where(hair[assets.faces].mean(1) > 0.5, HAIR, SKIN) if params.scalp else np.full(len(faces[0]), SKIN)
    return ObjectMesh(
        vertices=placed.astype(np.float32),
        faces=np.concatenate(faces),
        face_albedo=corner_albedo.mean(1),
        corner_normals=(np.concatenate(normals) * [1, -1, -1]).astype(np.float32),
        corner_albedo=corner_albedo,
        style="ict",
        textures=(eye_texture(params.iris_rgb),),
        face_texture=np.where(is_eye, 0, -1),
        corner_uv=np.concatenate(uvs).astype(np.float32),
        region=np.concatenate([region, np.full(is_eye.sum(), EYES)]).astype(np.uint8),
    )


def vertex_colours(params: IctParams) -> Float[np.ndarray, "V 3"]:
    """Albedo at each vertex of the head."""
    assets = ict_assets()
    rng = np.random.default_rng(params.seed)
    lips, brows, hair, _, beard, flush, inside = (mask[:, None] for mask in assets.masks.T)
    skin = np.array(params.skin_rgb)
    grain = rng.normal(0, 1, (len(lips), 1))
    out = skin * (1 + params.mottle * grain) + params.flush * flush * FLUSH_RGB * skin.mean()
    red = skin * np.array([0.88, 0.66, 0.66])
    hairs = np.array(params.hair_rgb)
    for cover, colour in (
        (params.lips * lips, red),
        (params.stubble * beard * np.clip(0.55 + 0.3 * grain, 0, 1), 0.5 * hairs + 0.06),
        (params.brow * brows * np.clip(0.85 + 0.2 * grain, 0, 1), 0.7 * hairs),
        (params.scalp * hair * np.clip(0.9 + 0.1 * grain, 0, 1), hairs * (1 + 0.15 * grain)),
        (inside, INSIDE_RGB),
    ):
        out = out + cover * (colour - out)
    return np.clip(out, 0.01, BRIGHTEST).astype(np.float32)


def eye_front(
    middle: Float[np.ndarray, "3"], radius_cm: float, front: Float[np.ndarray, "3"], gaze_deg: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The part of an eyeball that can be seen, about its own front: points, triangles, corner normals and texture
    coordinates, the distance from the texture's middle being the angle (EYE_SPAN_DEG at its border).
    """
    yaw, pitch = np.deg2rad(gaze_deg)
    ahead = _unit(front + np.array([np.tan(yaw), np.tan(pitch), 0.0]))
    right = _unit(np.cross([0.0, 1.0, 0.0], ahead))
    up = np.cross(ahead, right)
    place, triangles = _disc()
    angle = np.deg2rad(EYE_SPAN_DEG) * np.linalg.norm(place, axis=1, keepdims=True)
    across = place / np.maximum(np.linalg.norm(place, axis=1, keepdims=True), 1e-9)
    out = np.cos(angle) * ahead + np.sin(angle) * (across[:, :1] * right + across[:, 1:] * up)
    uv = 0.5 + 0.5 * place * np.array([1.0, -1.0])
    return middle + radius_cm * out, triangles, out[triangles], uv[triangles]


@cache
def _disc() -> tuple[np.ndarray, np.ndarray]:
    """Points of the unit disc and its triangles, counter-clockwise with x right and y up."""
    ring, spoke = np.arange(1, DISC_RINGS + 1) / DISC_RINGS, np.arange(DISC_SPOKES) * 2 * np.pi / DISC_SPOKES
    points = np.stack([np.outer(ring, np.cos(spoke)), np.outer(ring, np.sin(spoke))], -1).reshape(-1, 2)
    number = np.arange(len(points)).reshape(DISC_RINGS, DISC_SPOKES)
    after = np.roll(number, -1, 1)
    inner = np.stack([np.full(DISC_SPOKES, len(points)), number[0], after[0]], -1)
    a, b, c, d = number[:-1], number[1:], after[1:], after[:-1]
    outer = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
    return np.concatenate([points, np.zeros((1, 2))]), np.concatenate([inner, outer])


@cache
def ict_assets() -> IctAssets:
    """The model. Raises UserError where its file is missing."""
    path = assets_dir() / "ict" / "ict.npz"
    if not path.is_file():
        raise UserError(f"The exam's head model {path} is missing; scripts/make_ict_assets.py makes it.")
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    identity, expression = (
        arrays[name] * (arrays[f"{name}_cm"] / 127)[:, None, None] for name in ("identity", "expression")
    )
    return IctAssets(
        vertices=arrays["vertices"],
        faces=arrays["faces"].astype(np.int64),
        identity=identity.astype(np.float32),
        expressions=dict(zip(arrays["expression_names"].tolist(), expression.astype(np.float32), strict=True)),
        marks=arrays["marks"].astype(np.int64),
        eyes=arrays["eyes"],
        eye_identity=arrays["eye_identity"],
        eye_radius=float(arrays["eye_radius"]),
        eye_fronts=arrays["eye_fronts"],
        masks=arrays["masks"].astype(np.float32) / 255,
    )


def _colour(rgb: np.ndarray) -> tuple[float, float, float]:
    return tuple(float(v) for v in np.clip(rgb, 0.02, BRIGHTEST))


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def labels(params: IctParams) -> dict[str, str]:
    """Every head is a base mesh of its own."""
    return {"base": f"ict {params.seed}"}


SPEC: CategorySpec = replace(
    FACE_SPEC,
    name="ict",
    n_params=len(fields(IctParams)) + 72,
    sample=sample_params,
    build=build,
    labels=labels,
)
