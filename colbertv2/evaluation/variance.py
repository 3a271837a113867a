"""Standard errors of a mean over the collections of a suite, and the differences that can be detected with them.

A *suite* is one or more collections on which the same systems are evaluated; one collection is a suite of one. Its mean
is the macro mean: the unweighted mean over the collections of their means. Training seeds and k-means seeds are crossed
with the collections, since the same checkpoint is evaluated on all of them; each collection has its own queries.
"""

from collections.abc import Sequence
from itertools import combinations
from math import prod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.05
POWER = 0.8
QUERIES = 2  # the axis of the queries

Values = NDArray[np.float64]
Strata = Sequence[Values]  # [training seeds, k-means seeds, queries] of each collection, with the same seeds


class StandardError(NamedTuple):
    """An estimated standard error of a mean.

    Args:
        error: in units of the measure.
        degrees: its degrees of freedom.
    """

    error: float
    degrees: float


def seed_means(strata: Strata) -> Values:
    """The macro mean with each pair of seeds: ``[training seeds, k-means seeds]``."""
    return np.mean([values.mean(axis=QUERIES) for values in strata], axis=0)


def query_error(strata: Strata) -> StandardError | None:
    """The standard error of the macro mean over other queries, with these seeds.

    With s² for the variance of a collection's per-query means over seeds, n for its number of queries and C for the
    number of collections, the error is √(Σ s²/n) / C. Its degrees of freedom are those of Welch (1947) and
    Satterthwaite (1946), (Σ s²/n)² / Σ (s²/n)²/(n − 1); for one collection, n − 1.

    Returns:
        None if a collection has only one query, which says nothing about others.

    >>> query_error([np.array([[[0.0, 1.0, 2.0]]])])
    StandardError(error=0.577..., degrees=2.0)
    """
    if any(values.shape[QUERIES] < 2 for values in strata):
        return None
    per_query = [values.mean(axis=(0, 1)) for values in strata]
    parts = [Part(1, float(one.var(ddof=1)) / len(one) / len(strata) ** 2, len(one) - 1) for one in per_query]
    return summed(parts)


class Part(NamedTuple):
    """A term of an estimated variance: its sign, its size, and its degrees of freedom."""

    sign: int
    size: float
    degrees: float


def summed(parts: Sequence[Part]) -> StandardError:
    """The root of the signed sum of independent terms, with the degrees of freedom of Satterthwaite (1946)."""
    total = sum(part.sign * part.size for part in parts)
    if not any(part.size for part in parts):
        return StandardError(0.0, float(sum(part.degrees for part in parts)))
    return StandardError(float(np.sqrt(total)), float(total**2 / sum(part.size**2 / part.degrees for part in parts)))


def combined_error(strata: Strata) -> StandardError | None:
    """The standard error of the macro mean when queries and seeds are all samples, and its degrees of freedom.

    The model of a collection has completely crossed random effects: a value is the mean plus an effect of the training
    seed t, the k-means seed k and the query q, of each pair of them and of all three, with variances σ². The mean of
    T·K·Q values then has the variance

        σ²_t/T + σ²_k/K + σ²_q/Q + σ²_tk/TK + σ²_tq/TQ + σ²_kq/KQ + σ²_tkq/TKQ.

    (If k-means seeds mean something different under every training seed, then σ²_k = σ²_kq = 0.) The expected mean
    square M of a set of factors is the sum of the variances of all effects that contain these factors, each times the
    number of values that share the effect. Therefore, the signed sum

        (M_t + M_k + M_q − M_tk − M_tq − M_kq + M_tkq) / TKQ

    is an unbiased estimate of the variance (Cornfield and Tukey, 1956). A factor with one level drops out: with one
    seed of each kind, M_q/Q remains, the square of the usual standard error.

    Of C collections, the effects of the seeds (t, k, tk) are those of the macro means ``[training, k-means]``, because
    a seed's effects on several collections are not independent. The queries of different collections are, so each term
    with q is the sum over the collections of the collection's term, times 1/C². The same argument shows that the signed
    sum is unbiased.

    The sum's degrees of freedom are Satterthwaite's (1946), (Σ ±M)² / Σ (M² / degrees of M). The sum can be smaller
    than its terms for t, for k or for q, although its expectation is not. In that case the largest of these three is
    used, so that the error is never below that of one factor alone.

    Args:
        strata: ``[training seeds, k-means seeds, queries]`` of each collection.

    Returns:
        None if a collection has only one query, which says nothing about other queries.
    """
    if any(values.shape[QUERIES] < 2 for values in strata):
        return None
    effects = [effects_of(values) for values in strata]
    parts: dict[tuple[int, ...], list[Part]] = {}
    for factors in effects[0]:
        if QUERIES in factors:
            terms = [
                term(factors, found[factors], values.shape, 1 / len(strata) ** 2)
                for found, values in zip(effects, strata, strict=True)
            ]
        else:
            over = np.mean([found[factors] for found in effects], axis=0)
            terms = [term(factors, over, strata[0].shape)]
        if factors and terms[0].degrees:
            parts[factors] = terms
    whole = [part for terms in parts.values() for part in terms]
    alone = [summed(terms) for factors, terms in parts.items() if len(factors) == 1]
    largest = max(alone, key=lambda one: one.error)
    total = sum(part.sign * part.size for part in whole)
    return largest if total <= largest.error**2 else summed(whole)


def term(factors: tuple[int, ...], effect: Values, shape: tuple[int, ...], weight: float = 1.0) -> Part:
    """The signed term of a set of factors in the variance of the mean of an array of this shape, times ``weight``."""
    degrees = prod(shape[axis] - 1 for axis in factors)
    levels = prod(shape[axis] for axis in factors)
    size = weight * float((effect**2).sum()) / degrees / levels if degrees else 0.0
    return Part(1 if len(factors) % 2 else -1, size, degrees)


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


def detectable_difference(found: StandardError, comparisons: int) -> float:
    """The smallest true difference that a two-sided t-test with this error detects with probability .8.

    The level is .05 / comparisons, the strictest step of Holm's procedure, and c the critical value with ν degrees of
    freedom. A difference of d standard errors is detected with probability E[Φ(d − c·S) + Φ(−d − c·S)], where
    S² = χ²_ν / ν accounts for the uncertainty of the estimated error. The randomisation test detects as much where many
    queries differ.

    Args:
        found: the standard error of the difference.
        comparisons: the number of tests that the p-values are adjusted for.

    Returns:
        the difference, in units of the measure.

    >>> round(detectable_difference(StandardError(1.0, 1000.0), 1), 1)
    2.8
    """
    from scipy import optimize, stats

    critical = float(stats.t.isf(LEVEL / comparisons / 2, found.degrees))
    middles = (np.arange(2000) + 0.5) / 2000  # the expectation over S as a mean over its quantiles
    thresholds = critical * np.sqrt(stats.chi2.ppf(middles, found.degrees) / found.degrees)

    def lacking(distance: float) -> float:
        power = stats.norm.cdf(distance - thresholds) + stats.norm.cdf(-distance - thresholds)
        return float(power.mean()) - POWER

    return found.error * float(optimize.brentq(lacking, 0.0, thresholds[-1] + 10.0))  # pyright: ignore[reportArgumentType]
