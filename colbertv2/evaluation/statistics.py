"""The statistics of evaluations: tests, confidence intervals, contrasts and detectable differences.

Values are per query, ``[queries]``, or ``[training seeds, k-means seeds, queries]``, paired by seed and query. The test
is Fisher's randomisation test of the mean difference. It assumes nothing about the distribution of per-query values
(RR@10 takes only eleven values), stays valid and is exact for the few queries of a small folder, and agrees with the
t-test on large sets (Smucker et al., CIKM 2007; Urbano et al., SIGIR 2019).

An unknown value is NaN (such as a measure beyond the depth of a ranking), and so is everything computed from it.

A difference may be generalised to other queries, to other seeds, or to both. Each case has its own interval, because a
test over queries does not see the variation between seeds (Reimers and Gurevych, EMNLP 2017).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import prod
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEVEL = 0.05
POWER = 0.8
FEWEST_SEEDS = 3  # with two, the variance between seeds rests on one degree of freedom
RESAMPLES = 9_999
BATCH_VALUES = 2_000_000
QUERIES = 2  # the axis of the queries

Values = NDArray[np.float64]
Strata = Sequence[Values]  # one array per collection, with the same seeds and its own queries


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


@dataclass(frozen=True)
class Estimate:
    """The mean of values ``[training seeds, k-means seeds, queries]`` and its uncertainty.

    Args:
        mean: the mean of all values.
        queries: the interval over other queries with these seeds: a bootstrap of the means over seeds.
        training: the interval over other training seeds with these queries: a t-interval of the means over k-means
            seeds and queries; None with one training seed.
        kmeans: the interval over other k-means seeds, likewise from the means over training seeds and queries.
        error: the standard error over other queries *and* other seeds (``combined_error``); None with one query.
        degrees: the degrees of freedom of ``error``.
    """

    mean: float
    queries: ConfidenceInterval
    training: ConfidenceInterval | None
    kmeans: ConfidenceInterval | None
    error: float | None
    degrees: float | None

    @property
    def combined(self) -> ConfidenceInterval | None:
        """The interval over queries and seeds together: the t-interval from ``error``; None with one query."""
        from scipy import stats

        if self.error is None:
            return None
        reach = self.error * float(stats.t.isf(LEVEL / 2, self.degrees))
        return ConfidenceInterval(self.mean - reach, self.mean + reach)


@dataclass(frozen=True)
class Contrast:
    """A difference that is zero if a setting has no effect, tested as one of a family of tests.

    Args:
        difference: the difference of the measure.
        p: p-value of the two-sided paired randomisation test of the means over seeds, Holm-adjusted over the family.
        detectable: the smallest true difference that is detected with these queries and seeds with power .8 at the
            level of Holm's first step (``detectable_difference``); None if it can't be given.
        few_seeds: whether there are two training seeds or two k-means seeds, too few to say what is detectable. With
            one seed of a kind, ``detectable`` is about this seed only.
    """

    difference: Estimate
    p: float
    detectable: float | None
    few_seeds: bool = False

    @property
    def significant(self) -> bool:
        """Whether the adjusted p is below .05."""
        return self.p < LEVEL


def paired_test(first: ArrayLike, second: ArrayLike, seed: int) -> float:
    """Compute the two-sided p-value of a paired randomisation test of equal means.

    The test is exact if 2^queries is at most 9,999; otherwise it uses 9,999 seeded resamples.

    Args:
        first: per-query values of a system, [num_queries].
        second: per-query values of another system, [num_queries], for the queries in the same order.
        seed: the seed of the resamples.

    >>> paired_test([1.0, 0.5, 0.0], [1.0, 0.5, 0.0], seed=0)
    1.0
    """
    from scipy import stats

    differences = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    if np.isnan(differences).any():
        return float("nan")
    differences = differences[differences != 0]  # flipping the sign of zero changes nothing
    if len(differences) < 2:  # with one sign to flip both outcomes are equally extreme
        return 1.0
    result = stats.permutation_test(
        (differences,),
        lambda values, axis: values.sum(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=max(1, BATCH_VALUES // len(differences)),
        rng=np.random.default_rng(seed),
    )
    return float(min(result.pvalue, 1.0))


def holm(p_values: ArrayLike) -> Values:
    """Adjust p-values by Holm's step-down method: testing them at .05 keeps the family-wise error rate below 5 %.

    Args:
        p_values: [num_tests]; NaN means that there was no test, and stays NaN.

    Returns:
        the adjusted p-values [num_tests].

    >>> [round(value, 2) for value in holm([0.01, 0.04, 0.03]).tolist()]
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(values, kind="stable")[: np.count_nonzero(~np.isnan(values))]  # NaN comes last
    factors = np.arange(len(order), 0, -1)
    adjusted = np.full_like(values, np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(values[order] * factors), 1.0)
    return adjusted


def compare(systems: Sequence[Values], baseline: Values, seed: int) -> Values:
    """Test every system against the baseline on one measure.

    Args:
        systems: per-query values [num_queries] of each system.
        baseline: per-query values [num_queries] of the baseline, for the queries in the same order.
        seed: the seed of the resamples.

    Returns:
        the Holm-adjusted p-values [num_systems].
    """
    return holm([paired_test(values, baseline, seed) for values in systems])


def bootstrap_intervals(values: ArrayLike, seed: int, confidence: float = 0.95) -> Values:
    """Compute percentile bootstrap intervals of the means over queries.

    Args:
        values: per-query values [num_queries, num_measures]; all measures share the same resamples.
        seed: the seed of the resamples.
        confidence: the confidence level.

    Returns:
        low and high ends [num_measures, 2]; with one query both are its value.
    """
    from scipy import stats

    table = np.asarray(values, dtype=np.float64)
    if len(table) < 2:
        return np.repeat(table.mean(axis=0)[:, None], 2, axis=1)
    if (lacking := np.isnan(table).any(axis=0)).any():
        found = np.full((table.shape[1], 2), np.nan)
        if not lacking.all():
            found[~lacking] = bootstrap_intervals(table[:, ~lacking], seed, confidence)
        return found
    interval = stats.bootstrap(
        (table.T,),
        np.mean,
        axis=-1,
        vectorized=True,
        method="percentile",
        confidence_level=confidence,
        n_resamples=RESAMPLES,
        batch=max(1, BATCH_VALUES // table.size),
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return np.stack([interval.low, interval.high], axis=1)


def t_interval(means: Values) -> ConfidenceInterval | None:
    """Student's t-interval of the mean of values per seed, ``[seeds]``; None with one seed."""
    from scipy import stats

    if len(means) < 2:
        return None
    reach = float(means.std(ddof=1) / np.sqrt(len(means)) * stats.t.isf(LEVEL / 2, len(means) - 1))
    return ConfidenceInterval(float(means.mean()) - reach, float(means.mean()) + reach)


def estimate(values: Values, seed: int) -> Estimate:
    """Compute the mean of ``[training seeds, k-means seeds, queries]`` and its intervals.

    >>> estimate(np.arange(12.0).reshape(3, 1, 4), seed=0).training  # 1.5, 5.5 and 9.5
    ConfidenceInterval(low=-4.436..., high=15.436...)
    """
    if np.isnan(values).any():
        return Estimate(float("nan"), ConfidenceInterval(float("nan"), float("nan")), None, None, None, None)
    low, high = bootstrap_intervals(values.mean(axis=(0, 1))[:, None], seed)[0].tolist()
    error, degrees = combined_error(values) or (None, None)
    return Estimate(
        mean=float(values.mean()),
        queries=ConfidenceInterval(low, high),
        training=t_interval(values.mean(axis=(1, 2))),
        kmeans=t_interval(values.mean(axis=(0, 2))),
        error=error,
        degrees=degrees,
    )


def combined_error(values: Values) -> tuple[float, float] | None:
    """The standard error of the mean when queries and seeds are all samples, and its degrees of freedom.

    The model has completely crossed random effects: a value is the mean plus an effect of the training seed t, the
    k-means seed k and the query q, of each pair of them and of all three, with variances σ². The mean of T·K·Q values
    then has the variance

        σ²_t/T + σ²_k/K + σ²_q/Q + σ²_tk/TK + σ²_tq/TQ + σ²_kq/KQ + σ²_tkq/TKQ.

    (If k-means seeds mean something different under every training seed, then σ²_k = σ²_kq = 0.) The expected mean
    square M of a set of factors is the sum of the variances of all effects that contain these factors, each times the
    number of values that share the effect. Therefore, the signed sum

        (M_t + M_k + M_q − M_tk − M_tq − M_kq + M_tkq) / TKQ

    is an unbiased estimate of the variance (Cornfield and Tukey, 1956). A factor with one level drops out: with one
    seed of each kind, M_q/Q remains, the square of the usual standard error. The sum's degrees of freedom are
    Satterthwaite's (1946), (Σ ±M)² / Σ (M² / degrees of M). The sum can be smaller than M_t, M_k or M_q, although its
    expectation is not. In that case the largest of these three is used, so that the error is never below that of one
    factor alone.

    Args:
        values: ``[training seeds, k-means seeds, queries]``.

    Returns:
        (error, degrees); None with one query, which says nothing about other queries.
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
    """Split values into the mean, main effects and interactions: orthogonal parts that sum to ``values``.

    Args:
        values: one value for each combination of the axes' levels.

    Returns:
        axes → their effects beyond those of every subset, of size one along all other axes; ``()`` is the mean.

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


def variation_shares(means: Values) -> dict[tuple[int, ...], float]:
    """The share of the sum of squares between ``means`` that each set of axes accounts for, beyond its subsets.

    Args:
        means: one mean for each combination of the axes' levels.

    Returns:
        axes → share; the shares sum to 1. Empty if all means are equal.

    >>> variation_shares(np.array([[0.0, 1.0], [0.0, 1.0]]))
    {(0,): 0.0, (1,): 1.0, (0, 1): 0.0}
    """
    squares = {
        axes: float((np.broadcast_to(part, means.shape) ** 2).sum()) for axes, part in effects_of(means).items() if axes
    }
    total = sum(squares.values())
    return {axes: square / total for axes, square in squares.items()} if total > 1e-20 else {}


def contrasts(family: Sequence[Values], seed: int) -> list[Contrast]:
    """Test differences together as one family.

    Args:
        family: differences ``[training seeds, k-means seeds, queries]``, one array per test.
        seed: the seed of the resamples.

    Returns:
        one contrast per array, with p-values adjusted over the family. With two seeds of a kind there is no detectable
        difference: its error would rest on one degree of freedom.

    >>> [contrast] = contrasts([np.full((1, 1, 8), 0.25)], seed=0)
    >>> contrast.difference.mean, contrast.p  # eight of eight queries are better
    (0.25, 0.0078125)
    """
    # In floating point .3 − .1 − .2 is not 0, and a test of many such values would find their common sign.
    family = [np.round(values, 12) for values in family]
    per_query = [np.round(values.mean(axis=(0, 1)), 12) for values in family]
    p_values = holm([paired_test(values, np.zeros_like(values), seed) for values in per_query])
    found = []
    for values, p in zip(family, p_values.tolist(), strict=True):
        difference = estimate(values, seed)
        few = any(1 < seeds < FEWEST_SEEDS for seeds in values.shape[:QUERIES])
        detectable = None if few else detectable_difference(difference, values.shape[QUERIES], len(family))
        found.append(Contrast(difference, p, detectable, few))
    return found


def detectable_difference(difference: Estimate, queries: int, comparisons: int) -> float | None:
    """The smallest true difference that a test like this one detects with probability .8.

    The test is the two-sided t-test with the error and the degrees of freedom ν of ``combined_error``, at level
    .05 / comparisons (the strictest step of Holm's procedure), with critical value c. It detects a difference of d
    standard errors with probability E[Φ(d − c·S) + Φ(−d − c·S)], where S² = χ²_ν / ν accounts for the uncertainty of
    the estimated error. The randomisation test, which is over queries only, detects it at least as often; but its p is
    at least 2 / 2^n with n queries, and at least 2 / 10,000 with resamples.

    Args:
        difference: the difference whose error is known.
        queries: the number of queries.
        comparisons: the number of tests that the p-values are adjusted for.

    Returns:
        the difference, in units of the measure; None if no query differs, or if p can't fall below the level.
    """
    from scipy import optimize, stats

    level = LEVEL / comparisons
    if not difference.error or difference.degrees is None or max(2.0**-queries, 1 / (RESAMPLES + 1)) * 2 >= level:
        return None
    critical = float(stats.t.isf(level / 2, difference.degrees))
    middles = (np.arange(2000) + 0.5) / 2000  # the expectation over S as a mean over its quantiles
    thresholds = critical * np.sqrt(stats.chi2.ppf(middles, difference.degrees) / difference.degrees)

    def lacking(distance: float) -> float:
        found = stats.norm.cdf(distance - thresholds) + stats.norm.cdf(-distance - thresholds)
        return float(found.mean()) - POWER

    return difference.error * float(optimize.brentq(lacking, 0.0, thresholds[-1] + 10.0))  # pyright: ignore[reportArgumentType]
