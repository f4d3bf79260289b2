"""Means with 95 % intervals, plain and paired: Student's t over objects (n is small, objects are independent), or a
bootstrap over clusters of objects that are not; Wilson's interval of a proportion.
"""

import math

import numpy as np
from jaxtyping import Float, Shaped
from numpy import ndarray

# Two-sided 97.5 % quantiles of Student's t for 1..30 degrees of freedom (any statistics handbook); beyond that the
# Cornish-Fisher expansion about the normal quantile is exact to 4 digits.
_T975 = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
_Z975 = 1.959964  # of the normal distribution


def t_quantile_975(n_freedom: int) -> float:
    """97.5 % quantile of Student's t; raises ValueError below one degree of freedom."""
    if n_freedom < 1:
        raise ValueError("an interval needs at least two values")
    if n_freedom <= len(_T975):
        return _T975[n_freedom - 1]
    z = _Z975
    return z + (z**3 + z) / (4 * n_freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n_freedom**2)


def mean_interval(values: Float[ndarray, " n"]) -> tuple[float, float]:
    """(mean, half width of its 95 % interval); the half width is NaN for a single value."""
    values = np.asarray(values, dtype=np.float64)
    if len(values) < 2:
        return float(values.mean()), math.nan
    half = t_quantile_975(len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
    return float(values.mean()), float(half)


def paired_interval(after: Float[ndarray, " n"], before: Float[ndarray, " n"]) -> tuple[float, float]:
    """(mean, half width) of after - before over the same objects; a gain when mean + half < 0 for errors."""
    return mean_interval(np.asarray(after, dtype=np.float64) - np.asarray(before, dtype=np.float64))


def wilson_interval(n_hits: int, n: int) -> tuple[float, float]:
    """(low, high) end of the 95 % interval of a proportion (Wilson 1927): within [0, 1], also where all or none hit."""
    z, share = _Z975, n_hits / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def cluster_interval(
    values: Float[ndarray, " n"], clusters: Shaped[ndarray, " n"], n_resamples: int = 4000, seed: int = 0
) -> tuple[float, float]:
    """(mean, half width of its 95 % interval) where values of one cluster go together: clusters are drawn with
    replacement and each resample's mean is that of all its values (cluster bootstrap, Cameron, Gelbach and Miller,
    2008); half the way from the 2.5 % to the 97.5 % quantile. NaN for a single cluster. With few clusters it is too
    narrow: of two it reaches from one's mean to the other's.
    """
    values = np.asarray(values, dtype=np.float64)
    _, number = np.unique(np.asarray(clusters), return_inverse=True)
    total, count = np.bincount(number, values), np.bincount(number)
    if len(total) < 2:
        return float(values.mean()), math.nan
    drawn = np.random.default_rng(seed).integers(len(total), size=(n_resamples, len(total)))
    low, high = np.quantile(total[drawn].sum(1) / count[drawn].sum(1), [0.025, 0.975])
    return float(values.mean()), float(high - low) / 2


def ranks(values: Float[ndarray, " n"]) -> Float[ndarray, " n"]:
    """Rank of each value from 1 on; equal ones share their mean rank."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[which]


def rank_correlation(first: Float[ndarray, " n"], second: Float[ndarray, " n"]) -> float:
    """Spearman's rho: the correlation of ranks, in [-1, 1]; 0 where all values of one are equal."""
    a, b = (ranks(np.asarray(values, dtype=np.float64)) for values in (first, second))
    a, b = a - a.mean(), b - b.mean()
    spread = math.sqrt((a @ a) * (b @ b))
    return float(a @ b) / spread if spread > 0 else 0.0


def means_by_share(values: Float[ndarray, " n"], by: Float[ndarray, " n"], n_shares: int = 10) -> list[float]:
    """Mean of `values` in each tenth (or n_shares-th part) of the pixels, objects … as `by` sorts them, least first."""
    return [float(part.mean()) for part in np.array_split(np.asarray(values)[np.argsort(by, kind="stable")], n_shares)]
