"""The outline of a mesh: all of the mask and nothing beyond it, smooth, and without curtains to what lies behind."""

import math

import numpy as np
import pytest
import torch
import trimesh

from gan2shape.export.mesh import MAX_ANGLE_DEG, Mesh, angle_to_ray_deg, gltf_axes, height_field_mesh
from gan2shape.export.mesh_outline import ObjectSurface, clipped, continued, smoothed, trusted, without_small_holes
from gan2shape.scene.camera import focal_px
from gan2shape.scene.height_field import grid_faces
from scripts.check_meshes import cast, grown, outlines, wiggle_deg
from tests.export.objects import FOV_DEG, ellipsoid

SIZE = 64
CAMERA = {"yfov": math.radians(FOV_DEG), "position": [0.0, 0.0, 1.0]}
FOOTPRINT = 1 / focal_px(SIZE, FOV_DEG)


def beetle(size: int = SIZE) -> tuple[torch.Tensor, torch.Tensor]:
    """The cap of `ellipsoid` with two wheels below, a mirror of two pixels and an aerial, before the same plane."""
    depth, mask = ellipsoid(size)
    at = (torch.arange(size) + 0.5) / size * 2 - 1
    x, y = at[None, :], at[:, None]
    wheels = ((x.abs() - 0.3).square() + (y - 0.62).square()) < 0.16**2
    mirror = ((x - 0.56).abs() < 0.05) & ((y + 0.1).abs() < 0.03)
    more = wheels | mirror | ((x.abs() < 1.01 / size) & (y < -0.6) & (y > -0.8))
    return torch.where(more & (mask == 0), 1.0 + 0.01 * x, depth), torch.maximum(mask, more[None, None].float())


def soft(mask: torch.Tensor) -> torch.Tensor:
    """The mask at half the resolution, by areas: its rim has grey levels."""
    return torch.nn.functional.avg_pool2d(mask, 2)


def coverage(mesh: Mesh, mask: torch.Tensor) -> float:
    """Part of the mask's pixels whose ray meets the mesh, by Embree."""
    seen = cast(trimesh.Trimesh(mesh.vertices, mesh.faces, process=False), CAMERA, mask.shape[-1])
    return float((seen.face >= 0)[mask[0, 0].numpy() > 0.5].mean())


def pixel_of(mesh: Mesh, size: int) -> np.ndarray:
    """Row and column of the pixel that each vertex is seen in."""
    x, y, z = mesh.vertices.astype(np.float64).T
    at = np.stack([-y, x], 1) / (1 - z[:, None]) * focal_px(size, FOV_DEG) + size / 2
    return np.floor(at).astype(int)


SCENES = {"hard": beetle(), "soft": (soft(beetle(128)[0]), soft(beetle(128)[1]))}


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("upsample", [1, 2, 4])
def test_the_mesh_covers_the_mask_and_nothing_beyond_a_pixel(name: str, upsample: int) -> None:
    depth, mask = SCENES[name]
    mesh = height_field_mesh(depth, mask, FOV_DEG, upsample=upsample)
    assert coverage(mesh, mask) >= 0.97
    row, column = pixel_of(mesh, SIZE).T
    assert grown(mask[0, 0].numpy() > 0.5)[row, column].all()
    points = gltf_axes(torch.from_numpy(mesh.vertices)).numpy()
    assert (
        angle_to_ray_deg(ObjectSurface(points, mesh.faces)).max() <= MAX_ANGLE_DEG + 0.1
    )  # smoothing has folded nothing


def test_the_outline_is_no_staircase() -> None:
    """Of a disc whose mask is binary: within a pixel of the circle, and smoother than the steps of the pixels."""
    at = torch.arange(SIZE) + 0.5 - SIZE / 2
    distance = torch.hypot(at[None, :], at[:, None])
    disc = (distance < 20).float()[None, None]
    mesh = height_field_mesh(torch.ones_like(disc), disc, FOV_DEG, upsample=2)
    (line,) = outlines(trimesh.Trimesh(mesh.vertices, mesh.faces, process=False))
    radius = np.linalg.norm(line, axis=1) / FOOTPRINT
    assert np.abs(radius - 20).max() < 0.6
    assert wiggle_deg([line], FOOTPRINT) < 6.5
    steps = np.argwhere(grown(disc[0, 0].numpy() > 0) & (distance.numpy() >= 20)).astype(float)
    order = np.argsort(np.arctan2(steps[:, 0] - 31.5, steps[:, 1] - 31.5))
    assert wiggle_deg([steps[order]], 1.0) > 10  # what the pixels beside it would give


def test_nothing_is_stretched_to_what_lies_behind() -> None:
    """The cap ends at 1.02, the plane behind it lies at 1.04; its mask is too large by a pixel."""
    depth, mask = ellipsoid(SIZE)
    wide = torch.nn.functional.max_pool2d(mask, 3, 1, 1)
    for given in (mask, wide):
        mesh = height_field_mesh(depth, given, FOV_DEG, upsample=2)
        front = mesh.vertices[mesh.faces].astype(np.float64)
        sides = np.linalg.norm(front - np.roll(front, 1, 1), axis=2)
        assert sides.max() < 9 * FOOTPRINT / 2  # 9 times the grid's own step
        assert coverage(mesh, given) >= 0.97
    assert (1 - height_field_mesh(depth, mask, FOV_DEG, upsample=2).vertices[:, 2]).max() < 1.025


def test_an_object_that_reaches_the_border_ends_there() -> None:
    ones = torch.ones(1, 1, 32, 32)
    mesh = height_field_mesh(ones, ones, FOV_DEG, rim_passes=0)
    half = math.tan(math.radians(FOV_DEG) / 2)
    np.testing.assert_allclose(np.abs(mesh.vertices[:, :2]).max(0), half, rtol=0.01)


def test_small_holes_of_the_mask_are_filled_and_large_ones_stay() -> None:
    mask = torch.zeros(1, 1, SIZE, SIZE)
    mask[..., 8:56, 8:56] = 1
    mask[..., 12:15, 12:15] = 0
    mask[..., 30:45, 30:45] = 0
    filled = without_small_holes(mask)
    assert bool((filled[..., 12:15, 12:15] == 1).all())
    assert bool((filled[..., 30:45, 30:45] == 0).all())
    assert bool((filled[..., :8, :] == 0).all())
    assert torch.equal(without_small_holes(torch.zeros(1, 1, 8, 8)), torch.zeros(1, 1, 8, 8))


def test_depth_is_continued_along_its_slope() -> None:
    ramp = (1 + 1.5 * FOOTPRINT * torch.arange(SIZE)).expand(1, 1, SIZE, SIZE).contiguous()
    known = torch.zeros(1, 1, SIZE, SIZE, dtype=torch.bool)
    known[..., 20:40, 20:40] = True
    found = continued(torch.where(known, ramp, 7.0), known, FOOTPRINT)
    assert torch.equal(found[known], ramp[known])
    torch.testing.assert_close(found[..., 25:35, 40], ramp[..., 25:35, 40], atol=1e-6, rtol=0)
    torch.testing.assert_close(found[..., 25:35, 19], ramp[..., 25:35, 19], atol=1e-6, rtol=0)
    assert float(found[..., 16:44, 16:44].max()) < 1.3  # of the 7 nothing comes along


def test_pixels_that_fall_to_the_background_are_not_trusted() -> None:
    depth, mask = ellipsoid(SIZE)
    wide = torch.nn.functional.max_pool2d(mask, 3, 1, 1) > 0
    kept = trusted(depth, wide, FOOTPRINT)
    assert not bool((kept & (mask == 0)).any())
    assert float((kept & (mask > 0)).sum() / mask.sum()) > 0.9
    assert bool(trusted(torch.rand(1, 1, 8, 8), torch.ones(1, 1, 8, 8, dtype=torch.bool), 1e-9).any())


def test_clipping_cuts_a_plane_exactly() -> None:
    size = 9
    column, row = np.meshgrid(np.arange(size, dtype=float), np.arange(size, dtype=float))
    points = np.stack([column, row, np.ones_like(row)], -1).reshape(-1, 3)
    level = (column + 2 * row - 10.3).reshape(-1)
    surface = clipped(points, grid_faces(size).numpy(), level)
    a, b, c = surface.points[surface.faces].transpose(1, 0, 2)
    across = np.cross(b - a, c - a)[:, 2] / 2
    assert (across < 0).all()  # the grid's own winding, and nothing folded
    columns = np.linspace(0, 8, 100_001)
    expected = np.trapezoid(8 - ((10.3 - columns) / 2).clip(0, 8), columns)
    assert -across.sum() == pytest.approx(expected, rel=1e-3)
    assert (surface.points @ [1, 2, 0] >= 10.3 - 0.2).all()


def test_smoothing_keeps_the_sum_of_a_mask() -> None:
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 6:10, 6:10] = 1
    assert float(smoothed(mask).sum()) == pytest.approx(16)
    assert torch.equal(smoothed(torch.ones(1, 1, 8, 8)), torch.ones(1, 1, 8, 8))
