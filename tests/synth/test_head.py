"""Parametric heads: closed, symmetric where they should be, far from an ellipsoid, and all parameters matter."""

from collections import Counter
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares

from gan2shape.synth import head
from gan2shape.synth.head_form import make_grid, smooth_curve
from gan2shape.synth.head_params import HeadParams, sample_params
from gan2shape.synth.loft import signed_volume
from gan2shape.synth.render import render_object, turntable_view

# Tucks that the eye does not see: the share of faces whose corner normals disagree with the face
MAX_DISAGREEING_FACES = 0.02
MEAN = HeadParams()
BALD = HeadParams(hair_top_cm=0.0, hair_side_cm=0.0, hair_length=0.0)
NAMES = [item.name for item in fields(HeadParams)]
COLOURS = {"skin_tone", "skin_red", "hair_tone", "iris_tone", "lip_red", "brow_height_cm", "brow_thickness_cm"}
SHAPES = [name for name in NAMES if name not in COLOURS]


def sampled(seed: int) -> HeadParams:
    return sample_params(np.random.default_rng(seed))


def step_of(name: str) -> float:
    """One standard deviation of a parameter."""
    meta = next(item for item in fields(HeadParams) if item.name == name).metadata
    return meta["sd"] if "sd" in meta else (meta["high"] - meta["low"]) / np.sqrt(12)


def front_depth_cm(params: HeadParams) -> tuple[np.ndarray, np.ndarray]:
    """(z of the surface seen from the front, hit) at 64 x 64 pixels, z in cm from the head's middle."""
    made = render_object(head.build(params), torch.zeros(1, 6), torch.tensor([[0.4, 0.6, 0.0, -0.3]]))
    return (made.depth[0, 0].numpy() - 1) / head.UNITS_PER_CM, made.hit[0, 0].numpy()


def test_the_same_seed_gives_the_same_head():
    first, second = head.build(sampled(3)), head.build(sampled(3))
    for name in ("vertices", "faces", "face_albedo", "corner_normals", "corner_albedo"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert not np.array_equal(first.vertices, head.build(sampled(4)).vertices)


def test_every_parameter_is_sampled_within_its_range():
    heads = [sampled(seed) for seed in range(400)]
    for item in fields(HeadParams):
        values = np.array([getattr(p, item.name) for p in heads])
        assert len(np.unique(values)) == len(heads)
        if "sd" in item.metadata:
            assert np.abs(values).max() <= 2 * item.metadata["sd"]
            assert values.std() == pytest.approx(0.88 * item.metadata["sd"], rel=0.15)  # .88: a normal cut at 2 sd
        else:
            assert item.metadata["low"] <= values.min() < values.max() <= item.metadata["high"]
    matrix = np.corrcoef(np.array([[getattr(p, name) for name in NAMES] for p in heads]).T)
    assert np.abs(matrix - np.eye(len(NAMES))).max() < 0.22  # independent


@pytest.mark.parametrize("params", [MEAN, BALD, *(sampled(seed) for seed in range(4))])
def test_the_mesh_is_closed_and_faces_outwards(params):
    mesh = head.build(params)
    assert mesh.vertices.dtype == np.float32
    assert mesh.faces.dtype == np.int64
    assert 2000 <= len(mesh.vertices) <= 5500
    edges = Counter((int(f[i]), int(f[(i + 1) % 3])) for f in mesh.faces for i in range(3))
    assert all(count == 1 for count in edges.values())
    assert all((b, a) in edges for a, b in edges)
    assert len(mesh.vertices) - len(edges) // 2 + len(mesh.faces) == 2  # a sphere
    points = mesh.vertices.astype(np.float64)
    litres = signed_volume(points, mesh.faces) / (10 * head.UNITS_PER_CM) ** 3
    assert 3.5 < litres < 10
    np.testing.assert_allclose(points.min(0), -points.max(0), atol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_normals_are_unit_and_agree_with_the_faces(seed):
    mesh = head.build(sampled(seed))
    np.testing.assert_allclose(np.linalg.norm(mesh.corner_normals, axis=-1), 1, atol=1e-5)
    a, b, c = (mesh.vertices[mesh.faces[:, k]] for k in range(3))
    agree = np.einsum("fki,fi->fk", mesh.corner_normals, np.cross(b - a, c - a)).min(1) > 0
    assert 1 - agree.mean() < MAX_DISAGREEING_FACES


def test_only_the_parting_breaks_the_symmetry():
    grid = make_grid(head.N_ROWS, head.N_COLS)
    mirror = (-np.arange(head.N_COLS)) % head.N_COLS
    np.testing.assert_allclose(np.sin(grid.phi[0, mirror]), -np.sin(grid.phi[0]), atol=1e-12)
    params = sampled(5)
    for part, same in ((0.0, True), (0.8, False)):
        points, albedo = head.surface_cm(replace(params, hair_part=part), grid)
        reflected = points[:, mirror] * np.array([-1, 1, 1])
        assert np.allclose(points, reflected, atol=1e-9) == same
        assert np.allclose(albedo, albedo[:, mirror], atol=1e-9) == same


@pytest.mark.parametrize("params", [MEAN, *(sampled(seed) for seed in range(10, 30))])
def test_the_tip_of_the_nose_is_nearest_to_the_camera(params):
    points, _, _ = head.head_mesh_cm(params)
    x, y, _ = points[points[:, 2].argmin()]
    assert abs(x) < 0.3
    assert -2.5 < y < 1.5  # below the eyes (-3.5), above the mouth (3.4)


def test_the_profile_has_a_nose_lips_and_a_chin():
    """Down the middle of the mean face, from between the eyes to the throat: tip, lips and chin stand out."""
    points, _ = head.surface_cm(MEAN, make_grid(head.N_ROWS, head.N_COLS))
    y, forwards = points[:, 0, 1], -points[:, 0, 2]
    face = (y > -4.5) & (y < 8.5)
    y, forwards = y[face], forwards[face]
    inner = np.arange(1, len(y) - 1)
    peaks = inner[(forwards[inner] > forwards[inner - 1]) & (forwards[inner] >= forwards[inner + 1])]
    heights = y[peaks]
    assert len(peaks) == 4
    np.testing.assert_allclose(heights, [-0.3, 2.6, 4.1, 6.8], atol=0.6)
    assert forwards[peaks[0]] > forwards[peaks[1:]].max() + 0.8


def test_a_head_is_not_an_ellipsoid():
    """Residual, rms in cm over the visible front, of the best ellipsoid (any centre and axes along x, y and z): above
    0.5 in each head and 0.6 in the mean. The nose alone stands 2 to 3 cm above the face.
    """
    residuals = [ellipsoid_residual_cm(params) for params in (BALD, *(sampled(seed) for seed in range(8)))]
    assert min(residuals) > 0.5
    assert np.mean(residuals) > 0.6


def ellipsoid_residual_cm(params: HeadParams) -> float:
    depth, hit = front_depth_cm(params)
    pixel_cm = 2 * np.tan(np.deg2rad(5)) / 64 / head.UNITS_PER_CM
    rows, cols = np.nonzero(hit)
    x, y, z = (cols - 31.5) * pixel_cm, (rows - 31.5) * pixel_cm, depth[hit]

    def residual(v: np.ndarray) -> np.ndarray:
        inside = 1 - ((x - v[3]) / v[0]) ** 2 - ((y - v[4]) / v[1]) ** 2
        return v[5] - v[2] * np.sqrt(np.clip(inside, 1e-6, None)) - z

    best = least_squares(residual, [10.0, 14.0, 12.0, 0.0, 0.0, 0.0], loss="soft_l1")
    return float(np.sqrt(np.mean(residual(best.x) ** 2)))


@pytest.mark.parametrize("name", NAMES)
def test_each_parameter_changes_the_head(name):
    """By 0.1 cm (the eyes and the mouth, which are small, also by their paint: 0.02 in albedo), for one standard
    deviation on the mean head.
    """
    base, changed = MEAN, replace(MEAN, **{name: getattr(MEAN, name) + step_of(name)})
    points, _, colours = head.head_mesh_cm(base)
    other_points, _, other_colours = head.head_mesh_cm(changed)
    moved = np.abs(points - other_points).max()
    painted = np.abs(colours - other_colours).max()
    paint_counts = name in COLOURS or name.startswith(("eye", "mouth"))
    assert moved > 0.1 or (paint_counts and painted > 0.02)


def test_shape_has_about_thirty_effective_dimensions():
    """Singular values of the vertices' changes for one standard deviation of each parameter, on a sampled head: 30 of
    them above a hundredth of the largest, and the rank is full.
    """
    base = replace(sampled(11), hair_length=0.3)
    points = head.head_mesh_cm(base)[0]
    changes = []
    for name in SHAPES:
        step = 0.25 * step_of(name)
        moved = head.head_mesh_cm(replace(base, **{name: getattr(base, name) + step}))[0]
        changes.append((moved - points).ravel() / 0.25)
    values = np.linalg.svd(np.array(changes), compute_uv=False)
    assert (values > 0.01 * values[0]).sum() >= 30
    assert values[-1] > 1e-3 * values[0]


def test_depth_and_outline_stay_within_the_frame():
    """Over sampled views and heads: visible depth within 1 +- 0.1, two clear pixels at the border."""
    rng = np.random.default_rng(0)
    for seed in range(24):
        azimuth, elevation, roll = head.SPEC.views.sample(rng)
        assert abs(azimuth) <= np.deg2rad(45)
        assert abs(elevation) <= np.deg2rad(20)
        view = turntable_view(azimuth, elevation, roll)[None]
        made = render_object(head.build(sampled(100 + seed)), view, torch.tensor([[0.4, 0.6, 0.0, -0.3]]))
        depth = made.depth[made.hit]
        assert 0.9 < depth.min() < depth.max() < 1.1
        covered = made.mask[0, 0] > 0
        assert not covered[:2].any()
        assert not covered[-2:].any()
        assert not covered[:, :2].any()
        assert not covered[:, -2:].any()
        assert 0.25 < covered.float().mean() < 0.75


def test_curve_passes_through_its_knots_without_overshoot():
    knots, values = np.array([0.0, 1.0, 2.0, 4.0]), np.array([0.0, 1.0, 1.0, 3.0])
    np.testing.assert_allclose(smooth_curve(knots, knots, values), values, atol=1e-12)
    fine = smooth_curve(np.linspace(-1, 5, 601), knots, values)
    assert (np.diff(fine) >= -1e-12).all()
    np.testing.assert_allclose(smooth_curve(np.linspace(0, 4, 9), knots, 2 * knots + 1), 2 * np.linspace(0, 4, 9) + 1)
