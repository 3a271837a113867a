"""Cells against the baseline: differences with intervals, adjusted p-values and what could have been shown at all.

Values are ``[training seeds, k-means seeds, queries]``, paired by seed and query. A difference may be meant for other
queries, for other seeds, or for both; each has an interval of its own, since what varies between seeds is not seen by
a test over queries (Reimers and Gurevych, EMNLP 2017).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import prod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from colbertv2.ablation.cells import Cells
from colbertv2.evaluation.statistics import RESAMPLES, bootstrap_intervals, holm, paired_test

LEVEL = 0.05
POWER = 0.8
QUERIES = 2  # the axis of the queries

Values = NDArray[np.float64]


class Interval(NamedTuple):
    """A 95 % confidence interval."""

    low: float
    high: float

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int | float) and self.low <= value <= self.high


@dataclass(frozen=True)
class Estimate:
    """A mean of values ``[training seeds, k-means seeds, queries]`` and how sure it is.

    Args:
        mean: over all.
        queries: of these seeds, were there other queries: bootstrap of the means over seeds.
        training: of these queries, were there other training seeds: t-interval of the means over k-means seeds and
            queries; None with one seed.
        kmeans: likewise for other k-means seeds, with the means over training seeds and queries.
        error: the standard error were there other queries *and* other seeds (``combined_error``); None with one query.
        degrees: of freedom, of ``error``.
    """

    mean: float
    queries: Interval
    training: Interval | None
    kmeans: Interval | None
    error: float | None
    degrees: float | None

    @property
    def combined(self) -> Interval | None:
        """Over queries and seeds together: the t-interval of ``error``."""
        if self.error is None:
            return None
        reach = self.error * float(stats.t.isf(LEVEL / 2, self.degrees))
        return Interval(self.mean - reach, self.mean + reach)


@dataclass(frozen=True)
class Contrast:
    """A difference that is zero if a knob does nothing, tested as one of a family.

    Args:
        difference: of the measure.
        p: two-sided paired randomisation test of the means over seeds, Holm-adjusted over the family.
        detectable: the smallest true difference that these queries and seeds show with power .8 at the level of Holm's
            first step; None if that is unknown (no query differs) or there is none (too few queries for so many tests).
    """

    difference: Estimate
    p: float
    detectable: float | None

    @property
    def significant(self) -> bool:
        """Whether the adjusted p is below .05."""
        return self.p < LEVEL


def compare_cells(cells: Cells, measure: str, seed: int) -> dict[str, Contrast]:
    """Every other cell that has values against the baseline: one family of tests.

    Args:
        seed: of the resampling.

    Returns:
        the cell's name → its difference from the baseline; empty if the baseline has no values.
    """
    if not cells.baseline.values:
        return {}
    baseline = cells.baseline.values[measure]
    return dict(
        zip(
            [cell.name for cell in cells.others],
            contrasts([cell.values[measure] - baseline for cell in cells.others], seed),
            strict=True,
        )
    )


def contrasts(family: Sequence[Values], seed: int) -> list[Contrast]:
    """Differences ``[training seeds, k-means seeds, queries]`` each, tested together.

    >>> [contrast] = contrasts([np.full((1, 1, 8), 0.25)], seed=0)
    >>> contrast.difference.mean, contrast.p  # eight of eight queries are better
    (0.25, 0.0078125)
    """
    # Rounded: .3 - .1 - .2 is no difference, but the test of many such would find their common sign.
    family = [np.round(values, 12) for values in family]
    per_query = [np.round(values.mean(axis=(0, 1)), 12) for values in family]
    p_values = holm([paired_test(values, np.zeros_like(values), seed) for values in per_query])
    found = []
    for values, p in zip(family, p_values.tolist(), strict=True):
        difference = estimate(values, seed)
        found.append(Contrast(difference, p, detectable_difference(difference, values.shape[QUERIES], len(family))))
    return found


def estimate(values: Values, seed: int) -> Estimate:
    """The mean of ``[training seeds, k-means seeds, queries]`` with its intervals.

    >>> estimate(np.arange(12.0).reshape(3, 1, 4), seed=0).training  # 1.5, 5.5 and 9.5
    Interval(low=-4.436..., high=15.436...)
    """
    low, high = bootstrap_intervals(values.mean(axis=(0, 1))[:, None], seed)[0].tolist()
    error, degrees = combined_error(values) or (None, None)
    return Estimate(
        mean=float(values.mean()),
        queries=Interval(low, high),
        training=t_interval(values.mean(axis=(1, 2))),
        kmeans=t_interval(values.mean(axis=(0, 2))),
        error=error,
        degrees=degrees,
    )


def t_interval(means: Values) -> Interval | None:
    """Student's interval of the mean of ``[seeds]``; None with one seed."""
    if len(means) < 2:
        return None
    reach = float(means.std(ddof=1) / np.sqrt(len(means)) * stats.t.isf(LEVEL / 2, len(means) - 1))
    return Interval(float(means.mean()) - reach, float(means.mean()) + reach)


def combined_error(values: Values) -> tuple[float, float] | None:
    """The standard error of the mean over queries and seeds, all taken as samples, and its degrees of freedom.

    Random effects, completely crossed: a value is the mean plus an effect of the training seed t, the k-means seed k
    and the query q, of each two of them and of all three, with variances σ². The mean of T·K·Q values then has variance

        σ²_t/T + σ²_k/K + σ²_q/Q + σ²_tk/TK + σ²_tq/TQ + σ²_kq/KQ + σ²_tkq/TKQ.

    (K-means seeds that mean something else under every training seed are the case σ²_k = σ²_kq = 0.) The mean square of
    a set of factors has as its expectation the sum of the variances of all effects that hold these factors, each times
    the number of values it is shared by. Therefore the signed sum

        (M_t + M_k + M_q − M_tk − M_tq − M_kq + M_tkq) / TKQ

    estimates the variance without bias (Cornfield and Tukey, 1956), and a factor with one level drops out: with one
    seed of both kinds M_q/Q, the usual standard error squared, is left. The sum's degrees of freedom are
    Satterthwaite's (1946), (Σ ±M)² / Σ (M² / its degrees). The sum can come out below one of M_t, M_k and M_q, although
    its expectation is at least each of theirs: then the largest is taken, so that the error is never below that of one
    factor alone.

    Args:
        values: ``[training seeds, k-means seeds, queries]``.

    Returns:
        error, degrees; None with one query, which says nothing of others.
    """
    if values.shape[QUERIES] < 2:
        return None
    parts = []  # sign, mean square / number of values, degrees
    for factors, effect in effects_of(values).items():
        degrees = prod(values.shape[axis] - 1 for axis in factors)
        if factors and degrees:
            levels = prod(values.shape[axis] for axis in factors)
            parts.append((len(factors), float((effect**2).sum()) / degrees / levels, degrees))
    total = sum(part if order % 2 else -part for order, part, _ in parts)
    largest, its_degrees = max((part, degrees) for order, part, degrees in parts if order == 1)
    if total <= largest:
        return float(np.sqrt(largest)), float(its_degrees)
    return float(np.sqrt(total)), float(total**2 / sum(part**2 / degrees for _, part, degrees in parts))


def effects_of(values: Values) -> dict[tuple[int, ...], Values]:
    """What every set of axes adds to the mean beyond its subsets: orthogonal parts that sum to ``values``.

    Args:
        values: one value for each combination of the axes' levels.

    Returns:
        axes → effects, of size one along all other axes; ``()`` holds the mean.

    >>> {axes: part.ravel().tolist() for axes, part in effects_of(np.array([[1.0, 2.0], [3.0, 6.0]])).items()}
    {(): [3.0], (0,): [-1.5, 1.5], (1,): [-1.0, 1.0], (0, 1): [0.5, -0.5, -0.5, 0.5]}
    """
    axes = range(values.ndim)
    parts: dict[tuple[int, ...], Values] = {}
    for size in range(values.ndim + 1):
        for chosen in combinations(axes, size):
            left = tuple(axis for axis in axes if axis not in chosen)
            inner = [part for held, part in parts.items() if set(held) < set(chosen)]
            parts[chosen] = values.mean(axis=left, keepdims=True) - sum(inner, np.zeros(()))
    return parts


def detectable_difference(difference: Estimate, queries: int, comparisons: int) -> float | None:
    """The smallest true difference that a test like this one finds with probability .8.

    The test is the two-sided t-test with the error and degrees ν of ``combined_error`` at level .05 / comparisons, the
    hardest step of Holm's procedure, with critical value c. It finds a difference of d standard errors with probability
    E[Φ(d − c·S) + Φ(−d − c·S)], where S² = χ²_ν / ν stands for the error of the estimated error. The randomisation
    test, which is over queries alone, finds it no less often; but from n queries it has no p below 2 / 2^n, nor,
    resampled, below 2 / 10,000.

    Args:
        difference: what the error is known of.
        queries: how many.
        comparisons: that the p-values are adjusted for.

    Returns:
        as large as the measure; None where no query differs, or where no p can be as low as the level.
    """
    level = LEVEL / comparisons
    if not difference.error or difference.degrees is None or max(2.0**-queries, 1 / (RESAMPLES + 1)) * 2 >= level:
        return None
    critical = float(stats.t.isf(level / 2, difference.degrees))
    middles = (np.arange(2000) + 0.5) / 2000  # quantiles of S: its expectation as a mean
    thresholds = critical * np.sqrt(stats.chi2.ppf(middles, difference.degrees) / difference.degrees)

    def lacking(distance: float) -> float:
        found = stats.norm.cdf(distance - thresholds) + stats.norm.cdf(-distance - thresholds)
        return float(found.mean()) - POWER

    return difference.error * float(optimize.brentq(lacking, 0.0, thresholds[-1] + 10.0))  # pyright: ignore[reportArgumentType]
