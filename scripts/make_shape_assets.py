"""Build `assets/building/` or `assets/car2/` from textured meshes.

    python scripts/make_shape_assets.py FOLDER [--category building] [--out assets]

FOLDER holds GLB files, +Y up, +Z front. Of each are kept: vertices (16 bits of its box), triangles, texture
coordinates, textures with a map of their colour clusters for repainting, and the colour of triangles without texture.
SETTINGS names what is held out of training, with twins.
"""

import argparse
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from gan2shape.core.records import LooseMesh
from gan2shape.export.meshes_in import read_meshes
from gan2shape.scene.camera import rotation
from gan2shape.synth.loose import object_of
from gan2shape.synth.objects import ObjectMesh
from gan2shape.synth.render import turntable_view
from gan2shape.synth.scanline import nearest_face

SETTINGS = {
    "building": {
        "held_out": ["gazebo_fire_station", "gazebo_house_2", "gazebo_salon", "gazebo_thrift_shop"],
        "twins": [["gazebo_salon", "gazebo_thrift_shop"]],
        "plain": ["gazebo_office_building", "gazebo_powerplant"],
        "reduced": False,
    },
    "car2": {
        "held_out": ["chrono_uazbus", "gazebo_hatchback"],
        "twins": [["kenney_vehicle-truck-purple", "kenney_vehicle-truck-red"]],
        "plain": [],
        "reduced": True,
    },
}
TEXTURE_SIDE = 512  # pixels, of the largest texture of a mesh
QUALITY = 86
CLUSTERS = 6
CLUSTER_STEPS = 25
ELEVATIONS_DEG, SEEN_PX, FAR = (3, 30), 600, 30.0  # from where, and how finely, hidden triangles are looked for
MOST_TRIANGLES, LATTICE = 9_000, 2 / 240  # above so many, vertices in a cell (the longest side is 2) become one
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
        own = mesh_arrays(mesh, settings["reduced"])
        print(
            f"{mesh.name}: {len(own['faces'])} triangles, {sum(a.nbytes for a in own.values()) / 1024:.0f} KiB",
            flush=True,
        )
        arrays |= {f"{mesh.name}/{key}": value for key, value in own.items()}
    arrays["settings"] = np.array(json.dumps(settings))
    path = args.out / args.category / f"{args.category}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)
    print(f"{path}: {path.stat().st_size / 2**20:.2f} MiB")


def mesh_arrays(mesh: LooseMesh, reduced: bool) -> dict[str, np.ndarray]:
    """One base mesh, +Y up, +Z front, centred, its longest side from -1 to 1."""
    solid = object_of(mesh, 2.0)
    if reduced:
        solid = colours_as_texture(without_hidden(solid))
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
        side = [max(4, round(n * min(1, TEXTURE_SIDE / largest))) for n in (texture.shape[1], texture.shape[0])]
        picture = Image.fromarray(texture[..., :3]).resize(side, Image.Resampling.LANCZOS)
        centres, label = clusters(np.asarray(picture).astype(float) / 255)
        out[f"picture/{number}"] = encode(picture, "WEBP", QUALITY)
        out[f"label/{number}"] = encode(Image.fromarray(label), "PNG")
        out[f"centres/{number}"] = np.round(255 * centres).astype(np.uint8)
    return out


def without_hidden(solid: ObjectMesh) -> ObjectMesh:
    """What is seen from around and above, and its neighbours; both-sided where seen from behind. Then vertices in one
    cell of a fine lattice become one where triangles are many.
    """
    front, behind = np.zeros(len(solid.faces), bool), np.zeros(len(solid.faces), bool)
    for elevation in ELEVATIONS_DEG:
        for azimuth in range(0, 360, 40):
            turn = turntable_view(np.deg2rad(azimuth + elevation), np.deg2rad(elevation))[:3]
            points = torch.from_numpy(solid.vertices) @ rotation(turn[None])[0].T
            placed = torch.cat([(points[:, :2] / 3 + 0.5) * SEEN_PX, points[:, 2:] + FAR], 1)
            corners = placed[torch.from_numpy(solid.faces)]
            face = nearest_face(corners, torch.zeros(len(corners), dtype=torch.long), 1, SEEN_PX, SEEN_PX)
            seen = face[face >= 0].unique().numpy()
            a, b, c = (corners[seen, k, :2].double().numpy() for k in range(3))
            towards = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0] < 0
            front[seen[towards]], behind[seen[~towards]] = True, True
    touched = np.zeros(len(solid.vertices), bool)
    touched[solid.faces[front | behind]] = True
    kept = touched[solid.faces].any(1)
    both = behind | ~front
    vertices = solid.vertices
    if kept.sum() > MOST_TRIANGLES:
        _, cell = np.unique(np.round(vertices / LATTICE).astype(int), axis=0, return_inverse=True)
        count = np.bincount(cell.reshape(-1))
        mean = np.stack([np.bincount(cell.reshape(-1), vertices[:, k]) / count for k in range(3)], -1)
        vertices = mean[cell.reshape(-1)].astype(np.float32)
    per_face = ("faces", "face_albedo", "corner_normals", "corner_albedo", "face_texture", "corner_uv")
    values = {name: getattr(solid, name) for name in per_face}
    values = {name: None if value is None else value[kept] for name, value in values.items()}
    return replace(solid, vertices=vertices, both_sided=both[kept], **values)


def colours_as_texture(solid: ObjectMesh) -> ObjectMesh:
    """Colours of triangles without texture as texels of a small picture, so that they are repainted as textures are."""
    texture = np.full(len(solid.faces), -1) if solid.face_texture is None else solid.face_texture.copy()
    bare = texture < 0
    if not bare.any():
        return solid
    colours, number = np.unique(np.round(solid.face_albedo[bare] * 31) / 31, axis=0, return_inverse=True)
    side = int(np.ceil(np.sqrt(len(colours))))
    picture = np.zeros((side * side, 3), np.uint8)
    picture[:] = np.round(255 * colours[np.arange(side * side) % len(colours)])
    picture = picture.reshape(side, side, 3).repeat(4, 0).repeat(4, 1)  # lossy compression works on blocks
    uv = np.zeros((len(texture), 3, 2), np.float32) if solid.corner_uv is None else solid.corner_uv.copy()
    place = np.stack([number.reshape(-1) % side, number.reshape(-1) // side], -1)
    uv[bare] = ((place + 0.5) / side)[:, None]
    texture[bare] = len(solid.textures)
    return replace(solid, textures=(*solid.textures, picture), face_texture=texture, corner_uv=uv)


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
