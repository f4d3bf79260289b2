"""Distance between surfaces: Chamfer-L1, its two directions, and normal consistency.

Both surfaces are sampled evenly by area, and each sample looks for its nearest one on the other surface. Definitions as
in Mescheder et al., Occupancy Networks (CVPR 2019), appendix: accuracy is the mean distance from the recovered to the
true surface, completeness the opposite, Chamfer-L1 their mean; normal consistency is the mean |cosine| between a
sample's normal and that of its nearest one, over both directions. Distances are Euclidean, in the meshes' unit.

With n samples of area A, two samplings of one and the same surface are about 0.5 sqrt(A / n) apart: that is the least
Chamfer distance that can be measured.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

N_SAMPLES = 5_000
AT_ONCE = 1_000  # samples whose distances to all others are held in memory


@dataclass(frozen=True)
class SurfaceScores:
    """How far a recovered surface is from the true one."""

    accuracy: float  # mean distance from the recovered surface to the true one
    completeness: float  # and back
    normal_consistency: float  # in [0, 1]

    @property
    def chamfer_l1(self) -> float:
        """Mean of both directions."""
        return (self.accuracy + self.completeness) / 2


def compare_surfaces(
    vertices: Float[np.ndarray, "V 3"],
    faces: Int[np.ndarray, "F 3"],
    true_vertices: Float[np.ndarray, "W 3"],
    true_faces: Int[np.ndarray, "G 3"],
    n_samples: int = N_SAMPLES,
    seed: int = 0,
) -> SurfaceScores:
    """Scores of a mesh against the true one. Raises ValueError for a mesh without area."""
    rng = torch.Generator().manual_seed(seed)
    points, normals = sample_surface(vertices, faces, n_samples, rng)
    true_points, true_normals = sample_surface(true_vertices, true_faces, n_samples, rng)
    accuracy, cosine = _to_nearest(points, normals, true_points, true_normals)
    completeness, true_cosine = _to_nearest(true_points, true_normals, points, normals)
    return SurfaceScores(accuracy, completeness, (cosine + true_cosine) / 2)


def sample_surface(
    vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], n_samples: int, rng: torch.Generator
) -> tuple[Float[Tensor, "N 3"], Float[Tensor, "N 3"]]:
    """Points evenly by area and their triangles' unit normals. Raises ValueError for a mesh without area."""
    corners = torch.from_numpy(np.asarray(vertices, np.float64)[faces])
    a, b, c = corners.unbind(1)
    across = torch.linalg.cross(b - a, c - a)
    area = across.norm(dim=1)
    if not float(area.sum()) > 0:
        raise ValueError("a mesh without area has no surface to compare")
    # Evenly spaced places along the summed areas, shifted as a whole: less scatter than independent draws.
    place = (
        torch.arange(n_samples, dtype=torch.float64) + torch.rand(1, generator=rng, dtype=torch.float64)
    ) / n_samples
    face = torch.searchsorted(area.cumsum(0), place * area.sum()).clamp_max(len(area) - 1)
    u, v = torch.rand(2, n_samples, 1, generator=rng, dtype=torch.float64)
    u, v = torch.where(u + v > 1, 1 - u, u), torch.where(u + v > 1, 1 - v, v)
    points = a[face] + u * (b - a)[face] + v * (c - a)[face]
    return points, across[face] / area[face, None].clamp_min(1e-300)


def _to_nearest(points: Tensor, normals: Tensor, others: Tensor, other_normals: Tensor) -> tuple[float, float]:
    """Mean distance to the nearest of `others`, and mean |cosine| of the normals there."""
    distances, cosines = [], []
    for some, some_normals in zip(points.split(AT_ONCE), normals.split(AT_ONCE), strict=True):
        distance, nearest = torch.cdist(some, others).min(1)
        distances.append(distance)
        cosines.append((some_normals * other_normals[nearest]).sum(1).abs())
    return float(torch.cat(distances).mean()), float(torch.cat(cosines).mean())
