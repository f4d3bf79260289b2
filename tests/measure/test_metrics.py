"""Metrics against closed forms and invariants."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from gan2shape.measure import metrics, statistics


@pytest.fixture
def fields():
    rng = torch.Generator().manual_seed(0)
    depth = 1 + 0.1 * (torch.rand(4, 1, 16, 16, generator=rng) - 0.5)
    truth = 1 + 0.1 * (torch.rand(4, 1, 16, 16, generator=rng) - 0.5)
    mask = torch.rand(4, 1, 16, 16, generator=rng) > 0.4
    return depth.double(), truth.double(), mask


def test_side_is_the_standard_deviation_of_the_log_ratio(fields):
    depth, truth, mask = fields
    expected = [np.std(np.log(depth[i][mask[i]] / truth[i][mask[i]]).numpy()) for i in range(4)]
    np.testing.assert_allclose(metrics.side(depth, truth, mask).numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_side_ignores_a_global_scale(fields, scale):
    depth, truth, mask = fields
    torch.testing.assert_close(metrics.side(scale * depth, truth, mask), metrics.side(depth, truth, mask))


@pytest.mark.parametrize("depth_scale", [0.25, 1.0, 2.0])
def test_aligned_side_ignores_a_positive_depth_scale(fields, depth_scale):
    depth, truth, mask = fields
    stretched = (depth_scale * depth.log()).exp()
    torch.testing.assert_close(metrics.side_aligned(stretched, truth, mask), metrics.side_aligned(depth, truth, mask))
    assert (metrics.side_aligned(depth, truth, mask) <= metrics.side(depth, truth, mask) + 1e-12).all()


def test_aligned_side_is_the_minimum_over_scales_found_by_search(fields):
    depth, truth, mask = fields
    scales = torch.linspace(0, 2, 2001, dtype=torch.float64)
    for i in range(4):
        a, b = depth[i][mask[i]].log(), truth[i][mask[i]].log()
        searched = (scales[:, None] * a - b).std(1, correction=0).min()
        found = metrics.side_aligned(depth[i : i + 1], truth[i : i + 1], mask[i : i + 1])[0]
        assert found <= searched + 1e-9
        assert found == pytest.approx(float(searched), rel=1e-4)


def test_an_inverted_depth_is_not_rewarded(fields):
    _, truth, mask = fields
    flat = torch.ones_like(truth)
    inverted = (-truth.log()).exp()
    torch.testing.assert_close(metrics.side_aligned(inverted, truth, mask), metrics.side(flat, truth, mask))


@pytest.mark.parametrize("angle_deg", [0.0, 10.0, 75.0, 180.0])
def test_mad_of_rotated_normals_is_the_angle(angle_deg):
    angle = math.radians(angle_deg)
    normals = torch.tensor([0.0, 0.0, -1.0], dtype=torch.float64).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    rotated = (
        torch.tensor([math.sin(angle), 0.0, -math.cos(angle)], dtype=torch.float64).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    )
    mask = torch.ones(1, 1, 4, 4, dtype=torch.bool)
    assert metrics.mad_deg(normals, rotated, mask).item() == pytest.approx(angle_deg, abs=1e-5)


def test_erode_removes_a_one_pixel_rim():
    mask = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    mask[..., 2:7, 1:6] = True
    expected = torch.zeros_like(mask)
    expected[..., 3:6, 2:5] = True
    assert torch.equal(metrics.erode(mask), expected)
    assert not metrics.erode(torch.ones_like(mask))[..., 0, :].any(), "outside the image is outside the mask"


def test_iou_and_psnr_closed_forms():
    a = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    b = a.clone()
    a[..., :2, :] = True
    b[..., 1:3, :] = True
    assert metrics.iou(a, b).item() == pytest.approx(1 / 3)
    assert metrics.iou(a & ~a, b & ~b).item() == 1.0
    image = torch.zeros(1, 3, 4, 4)
    assert metrics.psnr_db(image + 0.2, image, a).item() == pytest.approx(20.0, abs=1e-4)


def test_ssim_closed_forms_and_a_window_by_hand():
    everywhere = torch.ones(1, 1, 16, 16, dtype=torch.bool)
    level, other = (torch.full((1, 3, 16, 16), value) for value in (0.2, -0.4))  # .6 and .3 of the range
    expected = (2 * 0.6 * 0.3 + 1e-4) / (0.6**2 + 0.3**2 + 1e-4)  # flat: only the luminance term
    assert metrics.ssim(level, other, everywhere).item() == pytest.approx(expected, rel=1e-4)
    rng = torch.Generator().manual_seed(0)
    image, truth = (2 * torch.rand(1, 3, 16, 16, generator=rng) - 1 for _ in range(2))
    assert metrics.ssim(image, image, everywhere).item() == pytest.approx(1.0, abs=1e-5)
    taps = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    weight = np.outer(taps, taps) / taps.sum() ** 2
    values = []
    for x, y in zip(image[0, :, 3:14, 2:13].numpy() / 2 + 0.5, truth[0, :, 3:14, 2:13].numpy() / 2 + 0.5, strict=True):
        mx, my = (weight * x).sum(), (weight * y).sum()
        vx, vy, vxy = (weight * x * x).sum() - mx**2, (weight * y * y).sum() - my**2, (weight * x * y).sum() - mx * my
        values.append((2 * mx * my + 1e-4) * (2 * vxy + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4)))
    centre = torch.zeros_like(everywhere)
    centre[..., 8, 7] = True
    assert metrics.ssim(image, truth, centre).item() == pytest.approx(np.mean(values), abs=1e-5)


@pytest.mark.parametrize("n", [2, 5, 31, 32, 64, 200])
def test_t_quantiles_against_scipy(n):
    assert statistics.t_quantile_975(n - 1) == pytest.approx(stats.t.ppf(0.975, n - 1), rel=5e-4)


@pytest.mark.parametrize(("n_hits", "n"), [(0, 16), (1, 8), (8, 16), (15, 16), (16, 16)])
def test_wilson_intervals_against_scipy(n_hits, n):
    theirs = stats.binomtest(n_hits, n).proportion_ci(0.95, "wilson")
    assert statistics.wilson_interval(n_hits, n) == pytest.approx((theirs.low, theirs.high), abs=1e-6)


def test_paired_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(2000):
        before = rng.normal(0, 5, 12)
        mean, half = statistics.paired_interval(before + rng.normal(-1, 0.5, 12), before)
        hits += abs(mean + 1) <= half
    assert 0.935 < hits / 2000 < 0.965


def test_a_cluster_interval_covers_the_truth_about_as_often_as_it_says():
    """Objects of one cluster share most of their error: Student's t over objects is far too sure there."""
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(25), 8)
    hits, hits_of_t = 0, 0
    for _ in range(400):
        values = rng.normal(3, 1, 25)[clusters] + rng.normal(0, 0.3, 200)
        mean, half = statistics.cluster_interval(values, clusters, n_resamples=500)
        assert mean == pytest.approx(values.mean())
        hits += abs(mean - 3) <= half
        hits_of_t += abs(mean - 3) <= statistics.mean_interval(values)[1]
    assert 0.90 < hits / 400 < 0.97
    assert hits_of_t / 400 < 0.7


def test_a_cluster_interval_of_two_reaches_from_mean_to_mean_and_of_one_is_unknown():
    values, clusters = np.array([1.0, 1.0, 1.0, 3.0, 3.0, 3.0]), np.array(["a"] * 3 + ["b"] * 3)
    assert statistics.cluster_interval(values, clusters) == (2.0, 1.0)
    assert np.isnan(statistics.cluster_interval(values, np.array(["a"] * 6))[1])


def test_a_cluster_interval_of_single_objects_is_that_of_the_ordinary_bootstrap():
    values = np.random.default_rng(1).normal(0, 1, 60)
    half = statistics.cluster_interval(values, np.arange(60))[1]
    assert half == pytest.approx(1.96 * values.std() / np.sqrt(60), rel=0.05)
