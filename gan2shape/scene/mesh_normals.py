"""Normals at the vertices of a triangle mesh, in NumPy."""

import numpy as np
from jaxtyping import Float, Int


def summed_normals(points: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]) -> Float[np.ndarray, "V 3"]:
    """At each vertex, the sum of its triangles' normals times twice their areas; zero where it has none."""
    a, b, c = (points[faces[:, k]] for k in range(3))
    (ux, uy, uz), (vx, vy, vz) = (b - a).T, (c - a).T
    across = (uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx)
    corner = faces.T.reshape(-1)
    return np.stack([np.bincount(corner, np.tile(part, 3), minlength=len(points)) for part in across], -1)
