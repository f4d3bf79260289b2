"""The head model that faces are made of: its arrays, read once, and its pictures, decoded when first asked for.

The file is `assets/face/face.npz`, made by `scripts/make_face_assets.py`. Lengths are decimetres; x to the model's left
(image right for who faces it), y up, z to its front.
"""

import io
from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image

from gan2shape.core.errors import UserError
from gan2shape.core.resources import assets_dir

COLLAR_RANGE_DM = 5.2, 6.4  # what 0 ... 255 of the places' second channel means
OPAQUE_FROM = 128  # alpha from which a texel exists
MIDDLE_RANGE_DM = 0.0, 1.3  # of the third


@dataclass(frozen=True)
class HairStyle:
    """Hair that follows the head: vertex = sum_k weights[k] * head vertex refs[k] + offset."""

    refs: Int[np.ndarray, "H 3"]
    weights: Float[np.ndarray, "H 3"]
    offsets: Float[np.ndarray, "H 3"]
    faces: Int[np.ndarray, "F 3"]
    corner_uv: Float[np.ndarray, "F 3 2"]  # v down
    grey: UInt8[np.ndarray, "S S"]  # brightness of the strands, 128 is their mean
    alpha: UInt8[np.ndarray, "S S"]
    cut_out: Bool[np.ndarray, " F"]  # triangles that alpha cuts into


@dataclass(frozen=True)
class FaceAssets:
    """Base vertices, triangles and targets; masks and places on the skins' atlas."""

    vertices: Float[np.ndarray, "V 3"]
    head_faces: Int[np.ndarray, "F 3"]
    head_uv: Float[np.ndarray, "F 3 2"]  # corners on the atlas, v down
    eye_faces: tuple[Int[np.ndarray, "E 3"], Int[np.ndarray, "E 3"]]  # the model's left and right eyeball
    targets: dict[str, tuple[Int[np.ndarray, " _"], Float[np.ndarray, "_ 3"]]]  # vertex numbers, displacements
    skins: tuple[str, ...]
    hair: tuple[str, ...]
    masks: UInt8[np.ndarray, "h w 4"]  # nearness to the brows' lines, beard, moustache and goatee, scalp
    places: UInt8[np.ndarray, "h w 4"]  # lips, height above the collar, distance from the middle, face or shoulder


@cache
def face_assets() -> FaceAssets:
    """The head model. Raises UserError where its file is missing."""
    file = _file()
    starts, indices = file["target_starts"], file["target_indices"].astype(np.int64)
    deltas = file["target_deltas"].astype(np.float32)
    spans = zip(file["target_names"].tolist(), starts[:-1], starts[1:], strict=True)
    uvs = file["head_uvs"]
    return FaceAssets(
        vertices=file["vertices"],
        head_faces=file["head_faces"].astype(np.int64),
        head_uv=uvs[file["head_face_uvs"]],
        eye_faces=(file["eye_l_faces"].astype(np.int64), file["eye_r_faces"].astype(np.int64)),
        targets={name: (indices[low:high], deltas[low:high]) for name, low, high in spans},
        skins=tuple(sorted(key[len("skin/") :] for key in file if key.startswith("skin/"))),
        hair=tuple(sorted({key.split("/")[1] for key in file if key.startswith("hair/")})),
        masks=_picture("masks"),
        places=_picture("places"),
    )


@cache
def skin(name: str) -> UInt8[np.ndarray, "h w 3"]:
    """One skin on the atlas."""
    return _picture(f"skin/{name}")


@cache
def hair_style(name: str) -> HairStyle:
    """One hair style."""
    arrays = {key: _file()[f"hair/{name}/{key}"] for key in ("refs", "weights", "offsets", "faces", "uvs", "face_uvs")}
    strands = _picture(f"hair/{name}/texture")
    corner_uv, alpha = arrays["uvs"][arrays["face_uvs"]], strands[..., 3]
    lowest, highest = _alpha_range(corner_uv, alpha)
    shown = highest >= OPAQUE_FROM  # the others are never seen
    return HairStyle(
        refs=arrays["refs"].astype(np.int64),
        weights=arrays["weights"],
        offsets=arrays["offsets"].astype(np.float32),
        faces=arrays["faces"].astype(np.int64)[shown],
        corner_uv=corner_uv[shown],
        grey=strands[..., 0],
        alpha=alpha,
        cut_out=lowest[shown] < OPAQUE_FROM,
    )


def _alpha_range(
    corner_uv: Float[np.ndarray, "F 3 2"], alpha: UInt8[np.ndarray, "S S"]
) -> tuple[UInt8[np.ndarray, " F"], UInt8[np.ndarray, " F"]]:
    """Lowest and highest alpha among the texels that a lookup inside each triangle's box can touch."""
    size = np.array(alpha.shape[::-1])
    low = np.clip(np.floor(corner_uv.min(1) * size - 0.5).astype(int), 0, size - 1)
    high = np.clip(np.ceil(corner_uv.max(1) * size - 0.5).astype(int), 0, size - 1) + 1
    boxes = [alpha[top:bottom, left:right] for (left, top), (right, bottom) in zip(low, high, strict=True)]
    return np.array([box.min() for box in boxes]), np.array([box.max() for box in boxes])


@cache
def _file() -> dict[str, np.ndarray]:
    path = assets_dir() / "face" / "face.npz"
    if not path.is_file():
        raise UserError(f"The head model {path} is missing; scripts/make_face_assets.py makes it.")
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def _picture(name: str) -> UInt8[np.ndarray, "h w c"]:
    with Image.open(io.BytesIO(_file()[name].tobytes())) as picture:
        return np.asarray(picture)
