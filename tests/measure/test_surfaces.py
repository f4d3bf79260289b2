"""Chamfer distance and normal consistency in closed form."""

import math

import numpy as np
import pytest
import torch
import trimesh

from gan2shape.measure.surfaces import compare_surfaces, sample_surface


def square(height: float = 0.0, side: float = 1.0, tilt_rad: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Two triangles, [0, side]^2 at z = height, turned about the x axis."""
    flat = np.array([[0, 0, 0], [side, 0, 0], [side, side, 0], [0, side, 0]], float)
    turn = np.array(
        [[1, 0, 0], [0, math.cos(tilt_rad), -math.sin(tilt_rad)], [0, math.sin(tilt_rad), math.cos(tilt_rad)]]
    )
    return flat @ turn.T + [0, 0, height], np.array([[0, 1, 2], [0, 2, 3]])


def ball(radius: float) -> tuple[np.ndarray, np.ndarray]:
    made = trimesh.creation.icosphere(4, radius)
    return np.asarray(made.vertices), np.asarray(made.faces)


def test_parallel_squares_are_their_distance_apart() -> None:
    scores = compare_surfaces(*square(), *square(0.3))
    assert scores.accuracy == pytest.approx(0.3, rel=2e-3)
    assert scores.completeness == pytest.approx(0.3, rel=2e-3)
    assert scores.chamfer_l1 == pytest.approx(0.3, rel=2e-3)
    assert scores.normal_consistency == pytest.approx(1)


def test_concentric_balls_are_the_difference_of_their_radii_apart() -> None:
    scores = compare_surfaces(*ball(1.0), *ball(1.2))
    assert scores.chamfer_l1 == pytest.approx(0.2, rel=0.03)
    assert scores.normal_consistency > 0.995


def test_a_half_that_is_missing_costs_completeness_alone() -> None:
    """The nearest point of the lower half lies on the edge of the upper one: .25 away on average, so .125 over all."""
    vertices, faces = square()
    half = vertices * [1, 0.5, 1]
    scores = compare_surfaces(half, faces, vertices, faces)
    assert scores.accuracy < 0.01
    assert scores.completeness == pytest.approx(0.125, abs=0.01)
    opposite = compare_surfaces(vertices, faces, half, faces)
    assert opposite.accuracy == pytest.approx(scores.completeness, abs=0.005)


@pytest.mark.parametrize("angle_deg", [20, 60])
def test_normal_consistency_is_the_cosine_and_knows_no_side(angle_deg: float) -> None:
    vertices, faces = square(tilt_rad=math.radians(angle_deg))
    for wound in (faces, faces[:, ::-1]):
        scores = compare_surfaces(vertices, wound, *square())
        assert scores.normal_consistency == pytest.approx(math.cos(math.radians(angle_deg)), abs=1e-6)


def test_the_same_surface_is_as_far_as_its_samples() -> None:
    for n_samples in (1_000, 4_000):
        scores = compare_surfaces(*square(), *square(), n_samples=n_samples)
        assert scores.chamfer_l1 == pytest.approx(0.5 / math.sqrt(n_samples), rel=0.15)
    assert compare_surfaces(*square(), *square()) == compare_surfaces(*square(), *square())


def test_samples_lie_evenly_on_the_surface() -> None:
    vertices, faces = square()
    more = np.concatenate([vertices, vertices * 3 + [5, 0, 0]])  # nine times the area
    points, normals = sample_surface(more, np.concatenate([faces, faces + 4]), 10_000, torch.Generator().manual_seed(0))
    assert float((points[:, 0] < 2).double().mean()) == pytest.approx(0.1, abs=0.001)
    large = points[points[:, 0] > 2]
    assert float(large[:, 1].mean()) == pytest.approx(1.5, abs=0.03)
    assert float(large[:, 1].std()) == pytest.approx(3 / math.sqrt(12), abs=0.03)
    torch.testing.assert_close(normals, torch.tensor([0.0, 0, 1], dtype=torch.float64).expand(10_000, 3))


def test_a_mesh_without_area_is_refused() -> None:
    with pytest.raises(ValueError, match="without area"):
        compare_surfaces(np.zeros((3, 3)), np.array([[0, 1, 2]]), *square())
