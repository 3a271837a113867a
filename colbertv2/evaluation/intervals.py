"""Confidence intervals of means: by bootstrap over the queries of collections, and of Student over seeds."""

from collections.abc import Sequence
from math import inf, nan
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from colbertv2.evaluation.variance import LEVEL, StandardError, Values

RESAMPLES = 9_999
BATCH_VALUES = 2_000_000


class ConfidenceInterval(NamedTuple):
    """A 95 % confidence interval.

    Args:
        low: its lower end.
        high: its upper end.
    """

    low: float
    high: float

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int | float) and self.low <= value <= self.high


def bootstrap_intervals(values: ArrayLike, seed: int, confidence: float = 0.95) -> Values:
    """Compute percentile bootstrap intervals of the means over the queries of one collection.

    Args:
        values: per-query values [num_queries, num_measures]; all measures share the same resamples.
        seed: the seed of the resamples.
        confidence: the confidence level.

    Returns:
        low and high ends [num_measures, 2]; with one query both are its value.
    """
    return stratified_intervals([np.asarray(values, dtype=np.float64)], seed, confidence)


def stratified_intervals(strata: Sequence[Values], seed: int, confidence: float = 0.95) -> Values:
    """Compute percentile bootstrap intervals of macro means: queries are drawn again within each collection.

    If few queries differ from a common value, such an interval is too narrow (``FEW_DIFFERING``).

    Args:
        strata: per-query values [num_queries, num_measures] of each collection.
        seed: the seed of the resamples.
        confidence: the confidence level.

    Returns:
        low and high ends [num_measures, 2]; if every collection has one query both are the mean.
    """
    from scipy import stats

    if max(map(len, strata)) < 2:
        return np.repeat(np.mean([table.mean(axis=0) for table in strata], axis=0)[:, None], 2, axis=1)
    if (lacking := np.any([np.isnan(table).any(axis=0) for table in strata], axis=0)).any():
        found = np.full((len(lacking), 2), nan)
        if not lacking.all():
            found[~lacking] = stratified_intervals([table[:, ~lacking] for table in strata], seed, confidence)
        return found
    interval = stats.bootstrap(
        tuple(np.repeat(table, 2, axis=0).T if len(table) < 2 else table.T for table in strata),  # scipy wants two
        lambda *samples, axis: np.mean([sample.mean(axis=axis) for sample in samples], axis=0),
        axis=-1,
        vectorized=True,
        method="percentile",
        confidence_level=confidence,
        n_resamples=RESAMPLES,
        batch=max(1, BATCH_VALUES // sum(table.size for table in strata)),
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return np.stack([interval.low, interval.high], axis=1)


def error_of_seeds(means: Values) -> StandardError | None:
    """The standard error of the mean of values per seed, ``[seeds]``; None with one seed."""
    if len(means) < 2:
        return None
    return StandardError(float(means.std(ddof=1) / np.sqrt(len(means))), len(means) - 1)


def t_interval(mean: float, found: StandardError, limits: tuple[float, float] = (-inf, inf)) -> ConfidenceInterval:
    """Student's 95 % interval of a mean with this error, cut off at the limits of what is possible."""
    from scipy import stats

    reach = found.error * float(stats.t.isf(LEVEL / 2, found.degrees))
    return ConfidenceInterval(max(mean - reach, limits[0]), min(mean + reach, limits[1]))


def t_test(mean: float, found: StandardError) -> float:
    """The two-sided p-value of Student's test that a mean with this error is 0.

    >>> t_test(0.0, StandardError(0.0, 1.0)), round(t_test(12.706, StandardError(1.0, 1.0)), 3)
    (1.0, 0.05)
    """
    from scipy import stats

    if not found.error:
        return 0.0 if mean else 1.0
    return 2 * float(stats.t.sf(abs(mean) / found.error, found.degrees))


def seeds_interval(means: Values, limits: tuple[float, float] = (-inf, inf)) -> ConfidenceInterval | None:
    """Student's interval of the mean of values per seed, ``[seeds]``; None with one seed."""
    found = error_of_seeds(means)
    return found and t_interval(float(means.mean()), found, limits)
