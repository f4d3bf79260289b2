"""Real meshes that a category's families are made of, read once: `assets/CATEGORY/CATEGORY.npz`.

The file is made by `scripts/make_shape_assets.py`. Vertices are +Y up, +Z front, the longest side from -1 to 1.
"""

import io
import json
from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image

from gan2shape.core.errors import UserError
from gan2shape.core.resources import assets_dir
from gan2shape.synth.loose import CreasePairs, crease_pairs, merged_corners

UV_STEP = 1 / 4096  # texture coordinates are stored in whole numbers of it


@dataclass(frozen=True)
class BaseMesh:
    """One real mesh. Textures are decoded with the clusters that their colours fall into."""

    name: str
    vertices: Float[np.ndarray, "V 3"]
    faces: Int[np.ndarray, "F 3"]
    pairs: CreasePairs  # for normals, from the shape as it is
    both_sided: Bool[np.ndarray, " F"]
    rgb: Float[np.ndarray, "F 3"]  # where there is no texture
    corner_uv: Float[np.ndarray, "F 3 2"] | None
    face_texture: Int[np.ndarray, " F"]  # -1: none
    textures: tuple[UInt8[np.ndarray, "_h _w 3"], ...]
    labels: tuple[UInt8[np.ndarray, "_h _w"], ...]  # cluster of each texel
    centres: tuple[Float[np.ndarray, "K 3"], ...]  # mean colour of each cluster, in [0, 1]


@dataclass(frozen=True)
class ShapeSettings:
    """What is special about some of the meshes, by name."""

    held_out: tuple[str, ...]  # kept for exams, with their twins
    plain: tuple[str, ...]  # without texture: facades are drawn on them
    trained: tuple[str, ...]  # all others
    twins: tuple[tuple[str, ...], ...] = ()  # meshes with one geometry

    def family(self, name: str) -> str:
        """The mesh itself, or the first of its twins."""
        return next((group[0] for group in self.twins if name in group), name)


@cache
def shape_settings(category: str) -> ShapeSettings:
    """Which meshes there are. Raises UserError where the file is missing."""
    file = _file(category)
    settings = json.loads(str(file["settings"]))
    names = sorted({key.split("/")[0] for key in file if "/" in key})
    held_out = tuple(settings["held_out"])
    trained = tuple(name for name in names if name not in held_out)
    twins = tuple(tuple(group) for group in settings["twins"])
    return ShapeSettings(held_out, tuple(settings["plain"]), trained, twins)


@cache
def base_mesh(category: str, name: str) -> BaseMesh:
    """One mesh by name."""
    own = {key[len(name) + 1 :]: value for key, value in _file(category).items() if key.startswith(name + "/")}
    vertices, faces = own["vertices"].astype(np.float64) / 32767, own["faces"].astype(np.int64)
    count = sum(key.startswith("picture/") for key in own)
    return BaseMesh(
        name=name,
        vertices=vertices,
        faces=faces,
        pairs=crease_pairs(vertices, faces, merged_corners(vertices, faces, 2.0)),
        both_sided=np.unpackbits(own["both_sided"], count=len(faces)).astype(bool),
        rgb=own["rgb"].astype(np.float32) / 255,
        corner_uv=(own["uv"] * UV_STEP).astype(np.float32)[own["face_uv"]] if count else None,
        face_texture=own["texture"].astype(np.int64) if count else np.full(len(faces), -1),
        textures=tuple(_decoded(own[f"picture/{k}"]) for k in range(count)),
        labels=tuple(_decoded(own[f"label/{k}"]) for k in range(count)),
        centres=tuple(own[f"centres/{k}"].astype(np.float64) / 255 for k in range(count)),
    )


@cache
def _file(category: str) -> dict[str, np.ndarray]:
    path = assets_dir() / category / f"{category}.npz"
    if not path.is_file():
        raise UserError(f"The meshes {path} are missing; scripts/make_shape_assets.py makes them.")
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def _decoded(data: UInt8[np.ndarray, " N"]) -> UInt8[np.ndarray, "h w *c"]:
    with Image.open(io.BytesIO(data.tobytes())) as picture:
        return np.asarray(picture)
