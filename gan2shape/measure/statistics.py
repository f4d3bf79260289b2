"""Means with 95 % intervals, plain and paired: Student's t over objects (n is small, objects are independent)."""

import math

import numpy as np
from jaxtyping import Float
from numpy import ndarray

# Two-sided 97.5 % quantiles of Student's t for 1..30 degrees of freedom (any statistics handbook); beyond that the
# Cornish-Fisher expansion about the normal quantile is exact to 4 digits.
_T975 = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)


def t_quantile_975(n_freedom: int) -> float:
    """97.5 % quantile of Student's t; raises ValueError below one degree of freedom."""
    if n_freedom < 1:
        raise ValueError("an interval needs at least two values")
    if n_freedom <= len(_T975):
        return _T975[n_freedom - 1]
    z = 1.959964
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
