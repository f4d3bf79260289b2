"""Independent answers to compare with: Embree's ray caster (through trimesh) and a brute-force float64 rasteriser."""

import numpy as np
import torch


def pixel_rays(size: int, fov_deg: float) -> np.ndarray:
    """Directions (x/z, y/z, 1) through the pixel centres, [size, size, 3]; from the definition, not from scene/."""
    slope = (np.arange(size) + 0.5 - size / 2) / (size / 2) * np.tan(np.radians(fov_deg) / 2)
    x, y = np.meshgrid(slope, slope)
    return np.stack([x, y, np.ones_like(x)], -1)


def embree_first_hit(
    vertices: np.ndarray, faces: np.ndarray, size: int, fov_deg: float
) -> tuple[np.ndarray, np.ndarray]:
    """(face [S, S], -1 for a miss; depth [S, S]) seen from the origin; depth in float64 from the plane of that face."""
    import trimesh
    from trimesh.ray.ray_pyembree import RayMeshIntersector

    mesh = trimesh.Trimesh(vertices, faces, process=False)
    rays = pixel_rays(size, fov_deg).reshape(-1, 3)
    face = RayMeshIntersector(mesh).intersects_first(np.zeros_like(rays), rays)
    corner = vertices.astype(np.float64)[faces[face]]
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    with np.errstate(invalid="ignore", divide="ignore"):
        depth = (normal * corner[:, 0]).sum(-1) / (normal * rays).sum(-1)
    return face.reshape(size, size), np.where(face >= 0, depth, 0.0).reshape(size, size)


def brute_force(
    vertices: torch.Tensor, faces: torch.Tensor, size: int, fov_deg: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Every pixel against every face by solving ray = weighted corners in float64; (face, depth)."""
    rays = torch.from_numpy(pixel_rays(size, fov_deg)).reshape(-1, 3)
    corners = vertices.double()[faces].transpose(1, 2)  # [F, xyz, corner]
    solvable = torch.linalg.det(corners).abs() > 1e-18
    corners = torch.where(solvable[:, None, None], corners, torch.eye(3, dtype=torch.float64) * torch.nan)
    weights = torch.linalg.inv(corners.nan_to_num(nan=1e30)) @ rays.T  # [F, corner, pixel]
    depth = 1 / weights.sum(1)
    depth = torch.where((weights >= 0).all(1) & solvable[:, None], depth, torch.inf)
    nearest, face = depth.min(0)
    hit = nearest.isfinite()
    return torch.where(hit, face, -1).view(size, size), torch.where(hit, nearest, 0.0).view(size, size)


def head(size: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """A depth map [1, 1, S, S] that is not flat: an ellipsoid with a nose and a wavy skin before a flat background."""
    at = (torch.arange(size, dtype=dtype) + 0.5) / size * 2 - 1
    x, y = at[None, :], at[:, None]
    body = (1 - (x / 0.6) ** 2 - (y / 0.75) ** 2).clamp(min=0).sqrt()
    nose = torch.exp(-((x - 0.05) ** 2 + (y - 0.1) ** 2) / 0.02)
    skin = torch.sin(9 * x + 1) * torch.cos(7 * y)
    return (1.05 - 0.08 * body - 0.03 * nose * (body > 0) - 0.004 * skin)[None, None]


def texture(size: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """A smooth albedo [1, 3, S, S] in [-1, 1], different in each channel."""
    at = (torch.arange(size, dtype=dtype) + 0.5) / size * 2 - 1
    x, y = at[None, :], at[:, None]
    return torch.stack([torch.sin(3 * x + y), torch.cos(2 * y - x), torch.sin(2 * x * y + 0.5)])[None] * 0.7
