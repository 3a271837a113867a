"""The statistics of evaluations: tests, confidence intervals and contrasts, of one collection or of a suite of several.

Values are ``[training seeds, k-means seeds, queries]`` of each collection, paired by seed and query. Means over several
collections are macro means (:mod:`colbertv2.evaluation.variance`).

A difference may be generalised to other queries, to other seeds, or to both. Each case has its own interval, because a
test over queries does not see the variation between seeds (Reimers and Gurevych, EMNLP 2017). For the same reason there
are two tests. † is Fisher's randomisation test over queries: it is about these models. ‡ is about recipes: it also asks
whether the difference would be there with other training seeds.

An unknown value is NaN (such as a measure beyond the depth of a ranking), and so is everything computed from it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isnan, nan

import numpy as np
from numpy.typing import ArrayLike

from colbertv2.evaluation.intervals import (
    BATCH_VALUES,
    RESAMPLES,
    ConfidenceInterval,
    error_of_seeds,
    seeds_interval,
    stratified_intervals,
    t_interval,
    t_test,
)
from colbertv2.evaluation.variance import (
    LEVEL,
    StandardError,
    Strata,
    Values,
    combined_error,
    detectable_difference,
    query_error,
    seed_means,
)

FEWEST_SEEDS = 3  # with two, the variance between seeds rests on one degree of freedom
FEW_DIFFERING = 20  # with fewer queries that differ, the bootstrap's interval is too narrow


@dataclass(frozen=True)
class Estimate:
    """The mean of a measure over the collections, and its uncertainty.

    Args:
        mean: the macro mean.
        queries: the interval over other queries with these seeds: a bootstrap of the means over seeds, within each
            collection.
        training: the interval over other training seeds with these queries: a t-interval of the means over k-means
            seeds and queries; None with one training seed.
        kmeans: the interval over other k-means seeds, likewise from the means over training seeds and queries.
        error: the standard error over other queries *and* other seeds (``combined_error``); None if a collection has
            one query.
        degrees: the degrees of freedom of ``error``.
        limits: the values that the mean can take; no interval goes beyond them.
    """

    mean: float
    queries: ConfidenceInterval
    training: ConfidenceInterval | None
    kmeans: ConfidenceInterval | None
    error: float | None
    degrees: float | None
    limits: tuple[float, float] = (-inf, inf)

    @property
    def combined(self) -> ConfidenceInterval | None:
        """The interval over queries and seeds together: the t-interval from ``error``; None if there is no error.

        It is widened to contain the intervals over queries, training seeds and k-means seeds. Without that, it covers
        the mean in 87 % of cases only, where two seeds vary more than the queries.
        """
        if self.error is None or self.degrees is None:
            return None
        alone = [found for found in (self.queries, self.training, self.kmeans) if found]
        ends = [t_interval(self.mean, StandardError(self.error, self.degrees), self.limits), *alone]
        return ConfidenceInterval(min(one.low for one in ends), max(one.high for one in ends))


@dataclass(frozen=True)
class Contrast:
    """A difference that is zero if a setting has no effect, tested as one of a family of tests.

    Args:
        difference: the difference of the measure.
        p: p-value (†) of the two-sided paired randomisation test of the means over seeds, Holm-adjusted over the
            family. It is about other queries with these models.
        detectable: the smallest true difference that this test detects with power .8 at the level of Holm's first
            step; None if it can detect nothing, because too few queries differ for its p to fall below the level.
        differing: the number of queries that differ.
        trained_apart: whether what differs was trained, so that another seed would have given another difference.
        p_recipes: p-value (‡) that is also about other training seeds (``recipe_test``), Holm-adjusted; None if what
            differs was not trained, or with one training seed.
        detectable_recipes: the smallest true difference that ‡ detects with power of about .8; None where ``p_recipes``
            or ``detectable`` is None, and with ``few_seeds``.
        few_seeds: whether there are two training seeds or two k-means seeds, too few to say what ‡ detects.
    """

    difference: Estimate
    p: float
    detectable: float | None
    differing: int
    trained_apart: bool = False
    p_recipes: float | None = None
    detectable_recipes: float | None = None
    few_seeds: bool = False

    @property
    def significant(self) -> bool:
        """Whether the adjusted p of † is below .05."""
        return self.p < LEVEL

    @property
    def significant_recipes(self) -> bool:
        """Whether the adjusted p of ‡ is below .05; it is not where there is no such test."""
        return self.p_recipes is not None and self.p_recipes < LEVEL

    @property
    def narrow(self) -> bool:
        """Whether so few queries differ that the interval over queries is too narrow."""
        return 0 < self.differing < FEW_DIFFERING


def paired_test(first: ArrayLike, second: ArrayLike, seed: int) -> float:
    """Compute the two-sided p-value of a paired randomisation test of two systems on one collection.

    Args:
        first: per-query values of a system, [num_queries].
        second: per-query values of another system, [num_queries], for the queries in the same order.
        seed: the seed of the resamples.

    >>> paired_test([1.0, 0.5, 0.0], [1.0, 0.5, 0.0], seed=0)
    1.0
    """
    return randomisation_test([np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)], seed)


def randomisation_test(differences: Sequence[Values], seed: int) -> float:
    """Compute the two-sided p-value of Fisher's randomisation test of a mean difference over a suite.

    The null hypothesis is that the two systems are exchangeable: which of them has which value of a query is chance, so
    the difference of every query has a symmetric distribution around 0. No shape of distribution is assumed beyond that
    (RR@10 takes only eleven values). It is not a test of equal means alone: if the differences are very skewed (a few
    large gains, many small losses), it can reject too often although the means are equal. The test agrees with the
    t-test on large sets (Smucker et al., CIKM 2007; Urbano et al., SIGIR 2019).

    The signs of the differences are flipped within each collection, and the statistic is the macro mean: each of the n
    differences of one of C collections is multiplied by 1/(C·n) and all are added. The test is exact if 2^d is at most
    9,999 for d differences other than 0; otherwise it uses 9,999 seeded resamples.

    Args:
        differences: per-query differences [num_queries] of each collection.
        seed: the seed of the resamples.

    >>> randomisation_test([np.array([0.5, 0.2, 0.1]), np.array([0.3, 0.4, 0.0])], seed=0)  # 5 of 5 are greater
    0.0625
    """
    from scipy import stats

    # A common factor changes no p, so the first collection's is 1 and one collection's values are tested as they are.
    scaled = np.concatenate([one * (len(differences[0]) / len(one)) for one in differences])
    if np.isnan(scaled).any():
        return nan
    scaled = scaled[scaled != 0]  # flipping the sign of zero changes nothing
    if len(scaled) < 2:  # with one sign to flip both outcomes are equally extreme
        return 1.0
    result = stats.permutation_test(
        (scaled,),
        lambda values, axis: values.sum(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=max(1, BATCH_VALUES // len(scaled)),
        rng=np.random.default_rng(seed),
    )
    return float(min(result.pvalue, 1.0))


def smallest_p(differing: int) -> float:
    """The smallest p that the randomisation test can give if this many queries differ.

    >>> smallest_p(3), smallest_p(1000)
    (0.25, 0.0002)
    """
    return min(1.0, 2.0 * max(2.0**-differing, 1 / (RESAMPLES + 1)))


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


def estimate(strata: Strata, seed: int, limits: tuple[float, float] = (0.0, 1.0)) -> Estimate:
    """Compute the macro mean of a measure and its intervals.

    Args:
        strata: values ``[training seeds, k-means seeds, queries]`` of each collection.
        seed: the seed of the resamples.
        limits: between which a mean lies if all values do; no interval then goes beyond them.

    >>> estimate([np.arange(12.0).reshape(3, 1, 4)], seed=0).training  # 1.5, 5.5 and 9.5
    ConfidenceInterval(low=-4.436..., high=15.436...)
    """
    if any(np.isnan(values).any() for values in strata):
        return Estimate(nan, ConfidenceInterval(nan, nan), None, None, None, None)
    if any(values.min() < limits[0] or values.max() > limits[1] for values in strata):
        limits = (-inf, inf)
    low, high = stratified_intervals([values.mean(axis=(0, 1))[:, None] for values in strata], seed)[0].tolist()
    means = seed_means(strata)
    error, degrees = combined_error(strata) or (None, None)
    return Estimate(
        mean=float(np.mean([values.mean() for values in strata])),
        queries=ConfidenceInterval(low, high),
        training=seeds_interval(means.mean(axis=1), limits),
        kmeans=seeds_interval(means.mean(axis=0), limits),
        error=error,
        degrees=degrees,
        limits=limits,
    )


def recipe_test(strata: Strata, p: float) -> float:
    """The p-value (‡) of a difference between recipes: with other queries and other training seeds.

    It is the largest of three: that of †, that of the t-test with ``combined_error``, and that of the t-test of the
    means of each training seed. So ‡ is never easier to get than any of its parts. The middle one is the only one that
    asks about queries and seeds at once, but with few seeds its error can come out too small by chance.

    Args:
        strata: differences ``[training seeds, k-means seeds, queries]`` of each collection.
        p: the p-value of the randomisation test.

    Returns:
        NaN with one training seed.
    """
    means = seed_means(strata).mean(axis=1)
    between, combined = error_of_seeds(means), combined_error(strata)
    if between is None or isnan(p):
        return nan
    mean = float(means.mean())
    return max(p, t_test(mean, between), t_test(mean, combined) if combined else 1.0)


def contrasts(
    family: Sequence[Strata], seed: int, trained_apart: Sequence[bool] = (), reach: float = 1.0
) -> list[Contrast]:
    """Test differences together as one family.

    Args:
        family: differences ``[training seeds, k-means seeds, queries]`` of each collection, for each test.
        seed: the seed of the resamples.
        trained_apart: for each test, whether what differs was trained; empty if it was not in any.
        reach: the largest difference that is possible where all values are differences of at most this size.

    Returns:
        one contrast for each test, with p-values adjusted over the family.

    >>> [contrast] = contrasts([[np.full((1, 1, 8), 0.25)]], seed=0)
    >>> contrast.difference.mean, contrast.p  # eight of eight queries are better
    (0.25, 0.0078125)
    """
    # In floating point .3 − .1 − .2 is not 0, and a test of many such values would find their common sign.
    family = [[np.round(values, 12) for values in strata] for strata in family]
    per_query = [[np.round(values.mean(axis=(0, 1)), 12) for values in strata] for strata in family]
    raw = [randomisation_test(differences, seed) for differences in per_query]
    asked = trained_apart or [False] * len(family)
    raw_recipes = [
        recipe_test(strata, p) if apart else nan for strata, p, apart in zip(family, raw, asked, strict=True)
    ]
    p_values = holm(raw)
    p_recipes = np.maximum(holm(raw_recipes), p_values)  # † is one of its parts, but may be in a larger family
    tests, recipe_tests = (int(np.count_nonzero(~np.isnan(found))) for found in (raw, raw_recipes))
    found = []
    for place, (strata, differences) in enumerate(zip(family, per_query, strict=True)):
        differing = sum(int(np.count_nonzero(np.nan_to_num(one))) for one in differences)
        few = any(1 < seeds < FEWEST_SEEDS for seeds in strata[0].shape[:2])
        shown = recipes = None
        if not isnan(raw[place]) and smallest_p(differing) * tests < LEVEL and (error := query_error(strata)):
            shown = detectable_difference(error, tests)
            if not isnan(raw_recipes[place]) and not few:
                recipes = detectable_recipes(strata, recipe_tests, shown)
        found.append(
            Contrast(
                difference=estimate(strata, seed, (-reach, reach)),
                p=float(p_values[place]),
                detectable=shown,
                differing=differing,
                trained_apart=asked[place],
                p_recipes=None if isnan(p_recipes[place]) else float(p_recipes[place]),
                detectable_recipes=recipes,
                few_seeds=few,
            )
        )
    return found


def detectable_recipes(strata: Strata, comparisons: int, shown: float) -> float:
    """The smallest true difference that ‡ detects: the largest of those that its parts detect.

    Args:
        strata: differences ``[training seeds, k-means seeds, queries]`` of each collection.
        comparisons: the number of tests of recipes in the family.
        shown: what † detects.
    """
    parts = [error_of_seeds(seed_means(strata).mean(axis=1)), combined_error(strata)]
    return max([shown, *(detectable_difference(part, comparisons) for part in parts if part)])
