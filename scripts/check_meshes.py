"""What the exported meshes of runs are worth, measured without the project's own renderer.

    python scripts/check_meshes.py runs/0001-car-draft runs/0002-head-draft …

Each `mesh.glb` is read back by trimesh, and Embree casts the rays of the camera that the file itself names. Needs
trimesh and embreex (extra `dev`). One line a run:

    covered    part of the mask's pixels whose ray meets the mesh
    beyond     vertices that the camera sees outside the mask dilated by a pixel
    steep      part of the visible triangles whose normal is more than 82 degrees from the ray
    wiggle     mean angle in degrees by which the outline turns forth and back, from pixel to pixel
    PSNR       of the drawn photo against the texture's photo inside the mask eroded by a pixel, at the photo's size
    closed     whether every edge has two triangles
"""

import argparse
import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

MAX_ANGLE_DEG = 82.0


@dataclass(frozen=True)
class Seen:
    """What the rays of an image's pixel centres meet first; row-major, NaN where they meet nothing."""

    face: np.ndarray  # [P, P], -1 for nothing
    point: np.ndarray  # [P, P, 3]
    uv: np.ndarray  # [P, P, 2], origin at the lower left


def load(path: Path):
    """(trimesh.Trimesh, camera) of a GLB with one mesh: {"yfov": rad, "position": [3]}; it looks along -Z."""
    import trimesh

    data = Path(path).read_bytes()
    (length,) = struct.unpack_from("<I", data, 12)
    tree = json.loads(data[20 : 20 + length])
    (node,) = (node for node in tree["nodes"] if "camera" in node)
    camera = {"yfov": tree["cameras"][node["camera"]]["perspective"]["yfov"], "position": node["translation"]}
    (mesh,) = trimesh.load_scene(path, process=False).dump()
    return mesh, camera


def cast(mesh, camera: dict, size: int) -> Seen:
    """Rays through the pixel centres of a size x size image."""
    from trimesh.ray.ray_pyembree import RayMeshIntersector
    from trimesh.triangles import points_to_barycentric

    half = math.tan(camera["yfov"] / 2)
    at = (np.arange(size) + 0.5) / size * 2 - 1
    x, y = np.meshgrid(at * half, -at * half)
    rays = np.stack([x, y, -np.ones_like(x)], -1).reshape(-1, 3)
    origins = np.broadcast_to(np.asarray(camera["position"], float), rays.shape)
    face = RayMeshIntersector(mesh).intersects_first(origins, rays)
    hit = face >= 0
    corners = mesh.triangles[face[hit]]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    distance = ((corners[:, 0] - origins[hit]) * normal).sum(1) / (rays[hit] * normal).sum(1)
    points = origins[hit] + rays[hit] * distance[:, None]
    weights = points_to_barycentric(corners, points)
    point, uv = np.full((size * size, 3), np.nan), np.full((size * size, 2), np.nan)
    point[hit] = points
    if getattr(mesh.visual, "uv", None) is not None:
        uv[hit] = (mesh.visual.uv[mesh.faces[face[hit]]] * weights[..., None]).sum(1)
    return Seen(face.reshape(size, size), point.reshape(size, size, 3), uv.reshape(size, size, 2))


def bilinear(texture: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Texture [H, W, 3] at uv [..., 2] (origin at the lower left), as floats; edge colours beyond the edge."""
    height, width = texture.shape[:2]
    x, y = uv[..., 0] * width - 0.5, (1 - uv[..., 1]) * height - 0.5
    x0, y0 = np.floor(x).astype(int), np.floor(y).astype(int)
    fx, fy = (x - x0)[..., None], (y - y0)[..., None]

    def at(row: np.ndarray, column: np.ndarray) -> np.ndarray:
        return texture[row.clip(0, height - 1), column.clip(0, width - 1)].astype(float)

    top = at(y0, x0) * (1 - fx) + at(y0, x0 + 1) * fx
    bottom = at(y0 + 1, x0) * (1 - fx) + at(y0 + 1, x0 + 1) * fx
    return top * (1 - fy) + bottom * fy


def draw(path: Path, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The GLB from its own camera: colours [P, P, 3] in 0 ... 255 (0 where nothing is), and what is covered."""
    mesh, camera = load(path)
    seen = cast(mesh, camera, size)
    covered = seen.face >= 0
    texture = np.asarray(mesh.visual.material.baseColorTexture.convert("RGB"))
    return np.where(covered[..., None], bilinear(texture, np.nan_to_num(seen.uv)), 0.0), covered


def psnr_db(image: np.ndarray, truth: np.ndarray, inside: np.ndarray) -> float:
    """Of values in 0 ... 255 inside a mask."""
    return float(10 * np.log10(255**2 / max(np.square(image - truth.astype(float))[inside].mean(), 1e-9)))


def grown(mask: np.ndarray, n_px: int = 1) -> np.ndarray:
    """The mask [S, S] with its 3 x 3 neighbours; negative: without those that have a neighbour outside."""
    if n_px < 0:
        return ~grown(~np.pad(mask, 1), -n_px)[1:-1, 1:-1]
    for _ in range(n_px):
        padded = np.pad(mask, 1)
        size = mask.shape[0]
        mask = np.any([padded[i : i + size, j : j + size] for i in range(3) for j in range(3)], axis=0)
    return mask


def outlines(mesh) -> list[np.ndarray]:
    """The closed lines of open edges, each [n, 2] seen from the front."""
    _, first, uses = np.unique(mesh.edges_sorted, axis=0, return_index=True, return_counts=True)
    following = dict(mesh.edges[first[uses == 1]].tolist())
    lines = []
    while following:
        start, at = following.popitem()
        line = [start]
        while at in following:
            line.append(at)
            at = following.pop(at)
        lines.append(mesh.vertices[line, :2])
    return lines


def wiggle_deg(lines: list[np.ndarray], step: float) -> float:
    """Mean angle by which lines turn every `step` along them, forth and back: a circle that is traced well has 0."""
    turns = []
    for line in (line for line in lines if len(line) > 2):
        closed = np.concatenate([line, line[:1]])
        length = np.concatenate([[0], np.linalg.norm(np.diff(closed, axis=0), axis=1).cumsum()])
        n = int(length[-1] / step)
        if n < 8:
            continue
        x, y = (np.interp(np.arange(n) * length[-1] / n, length, closed[:, i]) for i in (0, 1))
        heading = np.arctan2(np.roll(y, -1) - y, np.roll(x, -1) - x)
        turn = (np.roll(heading, -1) - heading + np.pi) % (2 * np.pi) - np.pi
        turns.append(np.abs(turn - (np.roll(turn, 1) + np.roll(turn, -1)) / 2))
    return float(np.degrees(np.concatenate(turns)).mean()) if turns else 0.0


def measure(path: Path, mask: np.ndarray, photo: np.ndarray | None = None) -> dict[str, float]:
    """The numbers of one GLB. mask: boolean [S, S] at working resolution. photo: uint8 [P, P, 3]."""
    mesh, camera = load(path)
    size = mask.shape[0]
    seen = cast(mesh, camera, size)
    ray = mesh.vertices - np.asarray(camera["position"])
    pixel = ray[:, :2] / -ray[:, 2:] * [1, -1] * size / 2 / math.tan(camera["yfov"] / 2) + size / 2
    column, row = np.floor(pixel).astype(int).clip(0, size - 1).T
    front = mesh.triangles[np.unique(seen.face[seen.face >= 0])]
    normal = np.cross(front[:, 1] - front[:, 0], front[:, 2] - front[:, 0])
    towards = np.asarray(camera["position"]) - front.mean(1)
    cosine = (normal * towards).sum(1) / np.linalg.norm(normal, axis=1) / np.linalg.norm(towards, axis=1)
    footprint = 2 * math.tan(camera["yfov"] / 2) / size
    numbers = {
        "covered": float((seen.face >= 0)[mask].mean()),
        "beyond": int((~grown(mask)[row, column]).sum()),
        "steep": float((cosine < math.cos(math.radians(MAX_ANGLE_DEG))).mean()),
        "wiggle_deg": wiggle_deg(outlines(mesh), footprint),
        "closed": bool(mesh.is_watertight),
        "n_faces": len(mesh.faces),
    }
    if photo is not None:
        drawn, covered = draw(path, photo.shape[0])
        inside = grown(mask, -1).repeat(photo.shape[0] // size, 0).repeat(photo.shape[0] // size, 1)
        numbers["psnr_db"] = psnr_db(drawn, photo, inside & covered)
        numbers["missing"] = float((inside & ~covered).sum() / inside.sum())
    return numbers


def main() -> None:
    """Command line of this script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    for folder in parser.parse_args().runs:
        mask = np.asarray(Image.open(folder / "mask.png").convert("L")) > 127
        photo = np.asarray(Image.open(folder / "input.png").convert("RGB"))
        numbers = measure(folder / "mesh.glb", mask, photo)
        print(folder.name, " ".join(f"{name} {value:.4g}" for name, value in numbers.items()))


if __name__ == "__main__":
    main()
