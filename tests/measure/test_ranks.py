"""Rank correlation and means by share, against SciPy and closed forms."""

import numpy as np
import pytest

from gan2shape.measure.statistics import means_by_share, rank_correlation, ranks


def test_equal_values_share_their_mean_rank():
    assert ranks(np.array([3.0, 1.0, 3.0, 2.0, 3.0])).tolist() == [4, 1, 4, 2, 4]


def test_rank_correlation_is_spearmans():
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    first = rng.integers(0, 6, 200).astype(float)  # with many ties
    second = first + 3 * rng.normal(size=200)
    assert rank_correlation(first, second) == pytest.approx(stats.spearmanr(first, second).statistic, abs=1e-12)


def test_rank_correlation_depends_on_order_alone():
    values = np.random.default_rng(1).normal(size=50)
    assert rank_correlation(values, np.exp(values)) == pytest.approx(1)
    assert rank_correlation(values, -(values**3)) == pytest.approx(-1)
    assert rank_correlation(values, np.ones(50)) == 0


def test_means_by_share():
    by = np.random.default_rng(2).permutation(40).astype(float)
    assert means_by_share(by**2, by, 4) == pytest.approx(
        [(np.arange(10 * i, 10 * i + 10) ** 2.0).mean() for i in range(4)]
    )
