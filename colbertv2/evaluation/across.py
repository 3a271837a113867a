"""What the differences of two systems on several collections say together, and about a further collection.

The macro mean of a suite is about these collections. A random-effects summary regards them as drawn from many: the true
difference varies from collection to collection with a standard deviation τ around a mean. Few collections tell little
about τ: that of three rests on two degrees of freedom.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from colbertv2.evaluation.intervals import ConfidenceInterval, t_interval
from colbertv2.evaluation.statistics import Contrast
from colbertv2.evaluation.variance import StandardError, Strata, Values, query_error

MIXED = "The mean is over different measures."
FEW_COLLECTIONS = 5  # with fewer, a summary over collections says little about others


class Tally(NamedTuple):
    """On how many collections a system is better than another, equal, and worse."""

    wins: int
    ties: int
    losses: int


@dataclass(frozen=True)
class RandomEffects:
    """A random-effects summary of the differences on several collections.

    Args:
        mean: the mean, each collection weighted by 1/(s² + τ²), with s for the standard error of its difference.
        interval: the 95 % interval of the mean over other collections (Hartung and Knapp, 2001).
        tau: the standard deviation τ of the true differences, in units of the measure (Paule and Mandel, 1982).
        heterogeneity: I², the share of the variation between the differences that is not due to queries (Higgins and
            Thompson, 2002).
        q: Cochran's Q, the weighted sum of squares around the mean for τ = 0.
        p: the p-value of Q: of the hypothesis that the true difference is the same on all collections.
        prediction: the interval for the true difference on a further collection (Higgins et al., 2009); None with two
            collections.
    """

    mean: float
    interval: ConfidenceInterval
    tau: float
    heterogeneity: float
    q: float
    p: float
    prediction: ConfidenceInterval | None


@dataclass(frozen=True)
class Summary:
    """What the differences of a system from the baseline on several collections say together.

    Args:
        shown: by the collection's test (†, Holm-adjusted over all systems and collections); a tie was not shown.
        signs: by the sign of the difference of the means.
        collections: the number of collections.
        random_effects: None if on some collection no query differs, or there is only one query.
    """

    shown: Tally
    signs: Tally
    collections: int
    random_effects: RandomEffects | None


def random_effects(
    differences: ArrayLike, errors: ArrayLike, limits: tuple[float, float] = (-inf, inf)
) -> RandomEffects:
    """Summarise differences by a random-effects model.

    With weights w = 1/(s² + τ²) and the weighted mean μ of k differences y, Q(τ²) = Σ w (y − μ)². Paule and Mandel's τ²
    is where Q(τ²) = k − 1, or 0 if Q(0) is smaller. The standard error of μ is √(max(1, Q(τ²)/(k − 1)) / Σ w), with
    k − 1 degrees of freedom: Hartung and Knapp's, never below that of equal differences (Röver et al., 2015). The
    prediction interval is μ ± t √(τ² + error²), with k − 2 degrees of freedom. I² is max(0, 1 − (k − 1)/Q(0)).

    Args:
        differences: of k ≥ 2 collections.
        errors: their standard errors over queries, all above 0.
        limits: of what is possible.

    >>> found = random_effects([0.01, 0.03], [0.01, 0.01])
    >>> [round(value, 3) for value in (found.mean, found.tau, found.q, found.p)]
    [0.02, 0.01, 2.0, 0.157]
    """
    from scipy import optimize, stats

    y, variances = np.asarray(differences, dtype=np.float64), np.asarray(errors, dtype=np.float64) ** 2
    degrees = len(y) - 1

    def weighted(between: float) -> tuple[float, Values, float]:
        weights = 1 / (variances + between)
        middle = float((weights * y).sum() / weights.sum())
        return middle, weights, float((weights * (y - middle) ** 2).sum())

    q = weighted(0.0)[2]
    between = 0.0
    if q > degrees:
        most = float(((y - y.mean()) ** 2).sum())  # there Q is below 1
        between = float(optimize.brentq(lambda value: weighted(value)[2] - degrees, 0.0, most, xtol=1e-15))  # pyright: ignore[reportArgumentType]
    mean, weights, left = weighted(between)
    error = float(np.sqrt(max(1.0, left / degrees) / weights.sum()))
    return RandomEffects(
        mean=mean,
        interval=t_interval(mean, StandardError(error, degrees), limits),
        tau=float(np.sqrt(between)),
        heterogeneity=max(0.0, 1 - degrees / q) if q else 0.0,
        q=q,
        p=float(stats.chi2.sf(q, degrees)),
        prediction=t_interval(mean, StandardError(float(np.sqrt(between + error**2)), degrees - 1), limits)
        if degrees > 1
        else None,
    )


def summarise(strata: Strata, tested: Sequence[Contrast]) -> Summary:
    """Summarise the differences of a system from the baseline.

    The errors are those over queries with these seeds. The seeds are the same on all collections, so their variation
    moves all differences together and is not in τ.

    Args:
        strata: the differences ``[training seeds, k-means seeds, queries]`` of each collection.
        tested: the contrast of each collection alone.
    """
    means = [round(float(values.mean()), 12) for values in strata]
    errors = [found.error for values in strata if (found := query_error([np.round(values, 12)]))]
    known = len(errors) == len(strata) and all(errors)
    return Summary(
        shown=tally([contrast.difference.mean if contrast.significant else 0.0 for contrast in tested]),
        signs=tally(means),
        collections=len(strata),
        random_effects=random_effects(means, errors, tested[0].difference.limits) if known else None,
    )


def tally(differences: Sequence[float]) -> Tally:
    """Count the differences above, equal to and below 0.

    >>> tally([0.1, 0.0, -0.2, 0.3])
    Tally(wins=2, ties=1, losses=1)
    """
    wins, losses = (sum(sign * one > 0 for one in differences) for sign in (1, -1))
    return Tally(wins, len(differences) - wins - losses, losses)
