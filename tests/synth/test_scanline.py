"""The span rasteriser against a test of every pixel with every triangle, and against closed forms."""

import numpy as np
import pytest
import torch

from gan2shape.synth.scanline import nearest_face


def brute_force(corners: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Nearest triangle by barycentric weights in double precision, everywhere."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    point = torch.stack([x, y, torch.ones_like(x)], -1).double().reshape(-1, 3)
    matrix = corners.double().transpose(1, 2).clone()
    matrix[:, 2] = 1
    weight = torch.linalg.inv(matrix) @ point.T  # [N, 3 corners, pixels]
    nearness = (weight / corners[..., 2:].double()).sum(1)
    nearness = torch.where((weight >= 0).all(1), nearness, 0.0)
    best, face = nearness.max(0)
    return torch.where(best > 0, face, -1).view(height, width)


def test_agrees_with_brute_force_on_random_triangles():
    generator = torch.Generator().manual_seed(0)
    centre = torch.rand(400, 1, 2, generator=generator) * 60
    flat = centre + torch.randn(400, 3, 2, generator=generator) * 4
    corners = torch.cat([flat, 1 + 0.1 * torch.rand(400, 3, 1, generator=generator)], -1)
    face = nearest_face(corners, torch.zeros(400, dtype=torch.long), 1, 50, 64)[0]
    assert (face == brute_force(corners, 50, 64)).float().mean() > 0.999  # edges within the tolerance


def test_agrees_with_brute_force_where_most_triangles_are_smaller_than_a_pixel():
    generator = torch.Generator().manual_seed(1)
    flat = torch.rand(4000, 1, 2, generator=generator) * 20 + torch.randn(4000, 3, 2, generator=generator) * 0.4
    corners = torch.cat([flat, 1 + 0.1 * torch.rand(4000, 1, 1, generator=generator).expand(-1, 3, -1)], -1)
    face = nearest_face(corners, torch.zeros(4000, dtype=torch.long), 1, 20, 20)[0]
    assert (face >= 0).float().mean() > 0.7
    assert (face == brute_force(corners, 20, 20)).float().mean() > 0.99


def test_a_closed_fan_has_no_cracks_and_the_right_area():
    n = 37
    angle = np.arange(n) / n * 2 * np.pi
    rim = np.stack([32.3 + 25 * np.cos(angle), 31.7 + 25 * np.sin(angle), np.ones(n)], -1)
    hub = np.broadcast_to([32.3, 31.7, 1.0], (n, 3))
    fan = torch.tensor(np.stack([hub, rim, np.roll(rim, -1, 0)], 1), dtype=torch.float32)
    face = nearest_face(fan, torch.zeros(n, dtype=torch.long), 1, 64, 64)[0]
    y, x = torch.meshgrid(torch.arange(64) + 0.5, torch.arange(64) + 0.5, indexing="ij")
    radius = torch.hypot(x - 32.3, y - 31.7)
    assert (face[radius < 25 * np.cos(np.pi / n) - 0.01] >= 0).all()
    assert (face[radius > 25.01] == -1).all()


def test_nearest_wins_and_items_do_not_mix():
    square = torch.tensor([[[0.0, 0.0], [8.0, 0.0], [8.0, 8.0]], [[0.0, 0.0], [8.0, 8.0], [0.0, 8.0]]])

    def at(z):
        return torch.cat([square, torch.full((2, 3, 1), z)], -1)

    corners = torch.cat([at(1.05), at(0.95), at(1.0)])
    face = nearest_face(corners, torch.tensor([0, 0, 0, 0, 1, 1]), 3, 8, 8)
    assert set(face[0].unique().tolist()) == {2, 3}
    assert set(face[1].unique().tolist()) == {4, 5}
    assert (face[2] == -1).all()


@pytest.mark.parametrize("offset", [-100.0, 100.0])
def test_triangles_outside_the_image_are_ignored(offset):
    corners = torch.tensor([[[0.0, 0.0, 1.0], [8.0, 0.0, 1.0], [8.0, 8.0, 1.0]]]) + torch.tensor([offset, 0.0, 0.0])
    assert (nearest_face(corners, torch.zeros(1, dtype=torch.long), 1, 8, 8) == -1).all()
