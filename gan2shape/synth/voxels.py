"""Objects as voxels: which points of a grid lie inside a mesh, in the object frame.

Grids are those of `scene.volumes`: axes (z, y, x), index 0 at the object's front, its top and its left. A voxel is
filled where its centre lies inside: where the winding number of the closed surfaces is not 0, so that parts may overlap
and nothing inside is hollow.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from gan2shape.scene.volumes import SIDE
from gan2shape.synth.dataset import sample_item
from gan2shape.synth.objects import ObjectMesh
from gan2shape.synth.registry import get_category

OFFSET = (3.1e-7, 1.7e-7)  # scene units, of the columns in x and z: no column runs along an edge


def voxelised(mesh: ObjectMesh, size: int) -> Bool[np.ndarray, "S S S"]:
    """The voxels of a grid of `size` that the mesh fills.

    A column of voxels along y enters or leaves a closed surface at each face that it crosses; the sum of these signs
    above a voxel's centre is the winding number there.
    """
    corners = mesh.vertices.astype(np.float64)[mesh.faces] / SIDE * size + size / 2  # [F, 3, xyz], in voxels
    a, b, c = (corners[:, i][:, [0, 2]] - np.array(OFFSET) / SIDE * size for i in range(3))  # [F, xz]
    area = _cross(b - a, c - a)
    face, column = _covered(np.stack([a, b, c], 1), size)
    point = column + 0.5
    shares = np.stack(
        [_cross(c[face] - b[face], point - b[face]), _cross(a[face] - c[face], point - c[face])], 1
    ) / np.where(area == 0, 1, area)[face, None]
    shares = np.concatenate([shares, 1 - shares.sum(1, keepdims=True)], 1)
    hit = (shares > 0).all(1) & (area[face] != 0)
    face, column, shares = face[hit], column[hit], shares[hit]
    y = (corners[face, :, 1] * shares).sum(1)
    first = np.clip(np.ceil(y - 0.5), 0, size).astype(int)  # the first voxel whose centre lies beyond the crossing
    winding = np.zeros((size, size + 1, size), np.int64)
    np.add.at(winding, (column[:, 1], first, column[:, 0]), np.sign(area[face]).astype(int))
    return winding.cumsum(1)[:, :size] != 0


def _cross(u: Float[np.ndarray, "N 2"], v: Float[np.ndarray, "N 2"]) -> Float[np.ndarray, " N"]:
    return u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]


def _covered(
    triangles: Float[np.ndarray, "F 3 2"], size: int
) -> tuple[Int[np.ndarray, " K"], Int[np.ndarray, "K 2"]]:
    """(face, column) of each column in the box about each triangle."""
    low = np.clip(np.ceil(triangles.min(1) - 0.5), 0, size).astype(int)
    high = np.clip(np.floor(triangles.max(1) - 0.5) + 1, 0, size).astype(int)
    extent = np.maximum(high - low, 0)
    counts = extent[:, 0] * extent[:, 1]
    face = np.repeat(np.arange(len(triangles)), counts)
    within = np.arange(len(face)) - np.repeat(counts.cumsum() - counts, counts)
    width = np.maximum(extent[face, 0], 1)
    return face, low[face] + np.stack([within % width, within // width], 1)


def voxel_set(category: str, seeds: list[int], size: int) -> Float[torch.Tensor, "N S S S"]:
    """The objects of these seeds, 1 inside and 0 outside. Raises UserError for an unknown category."""
    spec = get_category(category)
    return torch.from_numpy(np.stack([voxelised(sample_item(spec, seed).mesh, size) for seed in seeds])).float()
