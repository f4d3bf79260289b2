"""Build `assets/building/` (or another category's) from textured meshes.

    python scripts/make_shape_assets.py FOLDER [--category building] [--out assets]

FOLDER holds GLB files, +Y up, +Z front. Of each are kept: vertices (16 bits of its box), triangles, texture
coordinates, textures with a map of their colour clusters for repainting, and the colour of triangles without texture.
SETTINGS names what is held out of training, with twins.
"""

import argparse
import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from gan2shape.core.records import LooseMesh
from gan2shape.export.meshes_in import read_meshes
from gan2shape.synth.loose import object_of

SETTINGS = {
    "building": {
        "held_out": ["gazebo_fire_station", "gazebo_house_2", "gazebo_salon", "gazebo_thrift_shop"],
        "twins": [["gazebo_salon", "gazebo_thrift_shop"]],
        "plain": ["gazebo_office_building", "gazebo_powerplant"],
        "dropped": [],
    },
}
TEXTURE_SIDE = 512  # pixels, of the largest texture of a mesh
QUALITY = 86
CLUSTERS = 6
CLUSTER_STEPS = 25
UV_STEP = 1 / 4096  # texture coordinates are stored in whole numbers of it


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Build a category's assets from textured meshes.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--category", choices=sorted(SETTINGS), default="building")
    parser.add_argument("--out", type=Path, default=Path("assets"))
    args = parser.parse_args()
    settings = SETTINGS[args.category]
    arrays = {}
    for mesh in read_meshes(args.folder):
        if mesh.name in settings["dropped"]:
            continue
        own = mesh_arrays(mesh)
        print(f"{mesh.name}: {len(own['faces'])} triangles, {sum(a.nbytes for a in own.values()) / 1024:.0f} KiB")
        arrays |= {f"{mesh.name}/{key}": value for key, value in own.items()}
    arrays["settings"] = np.array(json.dumps(settings))
    path = args.out / args.category / f"{args.category}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)
    print(f"{path}: {path.stat().st_size / 2**20:.2f} MiB")


def mesh_arrays(mesh: LooseMesh) -> dict[str, np.ndarray]:
    """One base mesh, +Y up, +Z front, centred, its longest side from -1 to 1."""
    solid = object_of(mesh, 2.0)
    points = solid.vertices.astype(np.float64) * np.array([1, -1, -1])
    points /= np.abs(points).max()
    a, b, c = (points[solid.faces[:, k]] for k in range(3))
    seen = np.linalg.norm(np.cross(b - a, c - a), axis=1) > 1e-9
    cells = np.round(points * 32767).astype(np.int16)
    used, place = np.unique(cells, axis=0, return_inverse=True)
    out = {
        "vertices": used,
        "faces": place.reshape(-1)[solid.faces[seen]].astype(np.uint16),
        "both_sided": np.packbits(solid.both_sided[seen]),
        "rgb": np.round(255 * solid.face_albedo[seen]).astype(np.uint8),
    }
    if not solid.textures:
        return out
    cells = np.round(solid.corner_uv[seen] / UV_STEP).astype(np.int32)
    uv, place = np.unique(cells.reshape(-1, 2), axis=0, return_inverse=True)
    out |= {"uv": uv, "face_uv": place.reshape(-1, 3).astype(np.uint16)}
    out["texture"] = solid.face_texture[seen].astype(np.int8)
    largest = max(max(texture.shape[:2]) for texture in solid.textures)
    for number, texture in enumerate(solid.textures):
        side = [max(8, round(n * min(1, TEXTURE_SIDE / largest))) for n in (texture.shape[1], texture.shape[0])]
        picture = Image.fromarray(texture[..., :3]).resize(side, Image.Resampling.LANCZOS)
        centres, label = clusters(np.asarray(picture).astype(float) / 255)
        out[f"picture/{number}"] = encode(picture, "WEBP", QUALITY)
        out[f"label/{number}"] = encode(Image.fromarray(label), "PNG")
        out[f"centres/{number}"] = np.round(255 * centres).astype(np.uint8)
    return out


def clusters(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """k-means of the colours [h, w, 3], hue counting more than brightness: centres [k, 3], label uint8 [h, w]."""
    flat = picture.reshape(-1, 3)
    grey = flat.mean(1, keepdims=True)
    features = np.concatenate([grey, 2.5 * (flat - grey)], 1)
    rng = np.random.default_rng(0)
    centres = features[rng.integers(len(features), size=1)]
    while len(centres) < CLUSTERS:  # the farthest point each time, away from single texels by a quantile
        away = ((features[:, None] - centres) ** 2).sum(-1).min(1)
        centres = np.concatenate([centres, features[[np.argsort(away)[int(0.995 * (len(away) - 1))]]]])
    for _ in range(CLUSTER_STEPS):
        label = ((features[:, None] - centres) ** 2).sum(-1).argmin(1)
        for k in range(CLUSTERS):
            if (label == k).any():
                centres[k] = features[label == k].mean(0)
    means = np.stack([flat[label == k].mean(0) if (label == k).any() else np.zeros(3) for k in range(CLUSTERS)])
    return means, label.reshape(picture.shape[:2]).astype(np.uint8)


def encode(picture: Image.Image, kind: str, quality: int = 0) -> np.ndarray:
    """The picture's file as bytes, uint8."""
    file = io.BytesIO()
    options = {"quality": quality, "method": 6} if kind == "WEBP" else {"optimize": True}
    picture.save(file, kind, **options)
    return np.frombuffer(file.getvalue(), np.uint8)


if __name__ == "__main__":
    main()
