"""Volumes turn as views say, and a camera knows what lies in front of a surface."""

import math

import pytest
import torch

from gan2shape.scene.camera import focal_px
from gan2shape.scene.volumes import (
    SIDE,
    grid_points,
    overlap,
    seen_from_front,
    seen_lead,
    seen_of_depth,
    turned,
    turntable_matrix,
)
from gan2shape.synth.render import turntable_view

S = 16


def blob(x: float, y: float, z: float) -> torch.Tensor:
    """One soft blob at a point of the cube, in units of half its side."""
    apart = grid_points(S, torch.zeros(1)) * (2 / SIDE) - torch.tensor([x, y, z])
    return torch.exp(-apart.square().sum(-1) / 0.05)[None, None]


def centroid(volume: torch.Tensor) -> torch.Tensor:
    weights = volume / volume.sum()
    return (grid_points(S, volume) * weights[0, 0, ..., None]).sum((0, 1, 2)) * (2 / SIDE)


@pytest.mark.parametrize(("heading_deg", "pitch_deg"), [(30.0, 0.0), (-70.0, 0.0), (0.0, 25.0), (40.0, -20.0)])
def test_a_point_goes_where_the_turntable_takes_it(heading_deg: float, pitch_deg: float) -> None:
    angles = [torch.tensor([math.radians(a)]) for a in (heading_deg, pitch_deg)]
    matrix = turntable_matrix(*angles)
    moved = centroid(turned(blob(0.3, -0.2, 0.25), matrix))
    torch.testing.assert_close(moved, matrix[0] @ torch.tensor([0.3, -0.2, 0.25]), atol=0.02, rtol=0)
    from gan2shape.scene.camera import rotation

    view = turntable_view(math.radians(heading_deg), math.radians(pitch_deg))
    torch.testing.assert_close(matrix[0], rotation(view[None, :3])[0], atol=1e-5, rtol=0)


def test_positive_heading_brings_the_right_side_nearer() -> None:
    moved = centroid(turned(blob(0.5, 0, 0), turntable_matrix(torch.tensor([0.5]), torch.zeros(1))))
    assert moved[2] < -0.1


def test_a_quarter_turn_is_a_transposition() -> None:
    volume = torch.rand(1, 1, S, S, S)
    quarter = turned(volume, turntable_matrix(torch.tensor([math.pi / 2]), torch.zeros(1)))
    torch.testing.assert_close(quarter[0, 0], volume[0, 0].flip(2).permute(2, 1, 0), atol=1e-4, rtol=0)


def test_what_is_seen_ends_at_the_first_filled_voxel() -> None:
    volume = torch.zeros(1, 1, S, S, S)
    volume[0, 0, 5:9, 3, 4] = 1.0
    seen = seen_from_front(volume)[0, 0]
    assert seen[:, 3, 4].tolist() == [True] * 6 + [False] * 10
    assert bool(seen[:, 0, 0].all())


def test_a_sphere_s_depth_map_tells_its_front() -> None:
    """Known: everything but what lies behind the surface. Filled: a shell one voxel thick."""
    n, fov, radius = 64, 10.0, 0.05
    slopes = (torch.arange(n) + 0.5 - n / 2) / focal_px(n, fov)
    x, y = slopes[None, :].expand(n, n), slopes[:, None].expand(n, n)
    mask = (x.square() + y.square()).sqrt() < radius
    depth = torch.where(mask, 1 - (radius**2 - x.square() - y.square()).clamp_min(0).sqrt(), torch.tensor(1.1))
    centre = depth[mask].mean() + 0.01
    filled, known = seen_of_depth(depth[None, None], mask.float()[None, None], 32, fov, centre[None])
    points = grid_points(32, depth) + torch.tensor([0.0, 0.0, 1.0]) * (centre - 1.0)
    distance = points.norm(dim=-1)
    shell = filled[0, 0] > 0
    assert bool(shell.any())
    assert float((distance[shell] - radius).abs().max()) < 2.5 * SIDE / 32  # rims are steep
    assert bool((points[shell][:, 2] < 0.02).all())
    assert not bool(known[0, 0][(distance < radius - 2 * SIDE / 32) & (points[..., 2] > 0)].any())
    assert bool(known[0, 0, 0].float().mean() > 0.95)


def test_the_lead_of_a_slab_is_where_its_front_is() -> None:
    slab = torch.zeros(2, 1, 8, 8, 8)
    slab[0, 0, 2:6, 1:4] = 1.0  # its front begins two voxels behind the cube's
    torch.testing.assert_close(seen_lead(slab), torch.tensor([1.5 * SIDE / 8, 0.0]))


def test_overlap_by_hand() -> None:
    a, b = torch.zeros(1, 1, 2, 2, 2), torch.zeros(1, 1, 2, 2, 2)
    a[0, 0, 0], b[0, 0, :, 0] = 1.0, 1.0  # 4 each, 2 in common
    everywhere = torch.ones(1, 1, 2, 2, 2, dtype=torch.bool)
    assert float(overlap(a, b, everywhere)) == pytest.approx(2 / 6)
    half = everywhere.clone()
    half[0, 0, 1] = False
    assert float(overlap(a, b, half)) == pytest.approx(2 / 4)
    assert float(overlap(a, b, ~everywhere)) == 1.0
