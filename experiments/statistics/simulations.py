"""Simulations of the statistics: how often a test rejects what is true, and how often an interval covers the truth.

The values are real: differences per query of two settings of BM25. The truth is made. For a null hypothesis, the two
systems are swapped at random for each query; otherwise the queries of a collection are the population from which the
queries of an experiment are drawn, so the true mean is that of the collection.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from colbertv2.evaluation.across import random_effects
from colbertv2.evaluation.intervals import stratified_intervals
from colbertv2.evaluation.statistics import estimate, holm, randomisation_test, recipe_test
from colbertv2.evaluation.variance import LEVEL, Values, detectable_difference, query_error

SEED_DEVIATION = 0.005  # of a model's mean between trainings by one recipe; a difference of two has √2 of it
OWN_SHARE = 0.25  # the share of the queries whose difference has another sign with another seed
RARE = 0.03  # the share of queries that gain, for skewed differences
FAMILY = 10  # comparisons of a family, for the power at the first step of Holm's procedure


class Rate(NamedTuple):
    """How often something happened.

    Args:
        what: the test or the interval.
        where: the situation.
        times: how often.
        runs: of how many experiments.
        meant: how often it should be.
    """

    what: str
    where: str
    times: int
    runs: int
    meant: float

    @property
    def share(self) -> float:
        """The share of the experiments."""
        return self.times / self.runs

    @property
    def limits(self) -> tuple[float, float]:
        """The 95 % interval (Wilson) of the share, given the number of experiments."""
        found = stats.binomtest(self.times, self.runs).proportion_ci(method="wilson")
        return float(found.low), float(found.high)


def drawn(rng: np.random.Generator, pool: Values, number: int) -> Values:
    """Differences of ``number`` queries, drawn with replacement."""
    return rng.choice(pool, number)


def swapped(rng: np.random.Generator, pool: Values, number: int) -> Values:
    """Differences of ``number`` queries of two systems that are equally good: each is swapped or not."""
    return drawn(rng, pool, number) * rng.choice([-1.0, 1.0], number)


def trained(rng: np.random.Generator, pool: Values, number: int, effects: Values) -> Values:
    """Differences ``[training seeds, 1, queries]`` of two recipes: equally good up to the effects of their seeds.

    Args:
        rng: random numbers.
        pool: real differences.
        number: of queries.
        effects: the mean difference with each training seed; only queries that differ carry it.
    """
    base = swapped(rng, pool, number)
    signs = np.where(rng.random((len(effects), number)) < OWN_SHARE, -1.0, 1.0)
    differing = base != 0
    return (base * signs + effects[:, None] * differing * number / max(1, differing.sum()))[:, None]


def shifted(pool: Values, amount: float) -> Values:
    """The differences with a mean of ``amount``; only those that are not 0 carry it."""
    differing = pool != 0
    return pool + (amount - pool.mean()) * differing * len(pool) / differing.sum()


def false_alarms(pools: Mapping[str, Values], runs: int, rng: np.random.Generator) -> Iterator[Rate]:
    """The rates of † on each collection, in any of them after Holm's adjustment, and on the macro mean."""
    alarms = {name: 0 for name in (*pools, "any", "mean")}
    for _ in range(runs):
        strata = [swapped(rng, pool, len(pool)) for pool in pools.values()]
        p_values = [randomisation_test([one], 0) for one in strata]
        for name, p in zip(pools, p_values, strict=True):
            alarms[name] += p < LEVEL
        alarms["any"] += bool(holm(p_values).min() < LEVEL)
        alarms["mean"] += randomisation_test(strata, 0) < LEVEL
    for name, times in alarms.items():
        where = {"any": "any collection, Holm-adjusted", "mean": "macro mean"}.get(name, name)
        yield Rate("†, no difference", where, times, runs, LEVEL)


def recipe_alarms(pools: Sequence[Values], sizes: Sequence[int], runs: int, rng: np.random.Generator) -> Iterator[Rate]:
    """The rates of † and ‡ for recipes of which none is better, with independent trainings.

    Args:
        pools: real differences of each collection.
        sizes: the number of queries of each.
        runs: the number of experiments.
        rng: random numbers.
    """
    where = f"{len(sizes)} collections, {sum(sizes):,} queries" if len(sizes) > 1 else f"{sizes[0]:,} queries"
    for seeds in (1, 2, 3):
        models = recipes = 0
        for _ in range(runs):
            effects = rng.normal(0, SEED_DEVIATION * np.sqrt(2), seeds)
            strata = [trained(rng, pool, size, effects) for pool, size in zip(pools, sizes, strict=True)]
            p = by_t_test(strata)
            models += p < LEVEL
            recipes += recipe_test(strata, p) < LEVEL  # NaN with one seed
        yield Rate("†, equal recipes", f"{where}, {seeds} seeds", models, runs, LEVEL)
        if seeds > 1:
            yield Rate("‡, equal recipes", f"{where}, {seeds} seeds", recipes, runs, LEVEL)


def skewed_alarms(runs: int, rng: np.random.Generator) -> Iterator[Rate]:
    """The rates of † where the means are equal, but not the systems: few queries gain much, the others lose little."""
    for number in (76, 300):
        gains = rng.random((runs, number)) < RARE
        samples = np.where(gains, 1 - RARE, -RARE)  # the mean is 0
        times = sum(randomisation_test([one], 0) < LEVEL for one in samples)
        yield Rate("†, equal means", f"{number:,} queries, {RARE:.0%} gain", times, runs, LEVEL)


def by_t_test(strata: Sequence[Values]) -> float:
    """The p-value of the t-test over queries, which takes no time, in place of the randomisation test."""
    found = query_error(strata)
    assert found is not None
    mean = float(np.mean([values.mean() for values in strata]))
    return 2 * float(stats.t.sf(abs(mean) / found.error, found.degrees))


def query_coverage(pools: Mapping[str, Values], runs: int, rng: np.random.Generator) -> Iterator[Rate]:
    """How often the interval over queries covers the true difference on each collection, and the macro mean."""
    covered = {name: 0 for name in (*pools, "macro mean")}
    for _ in range(runs):
        strata = {name: drawn(rng, pool, len(pool)) for name, pool in pools.items()}
        cases = {name: [name] for name in pools} | {"macro mean": list(pools)}
        for case, names in cases.items():
            ((low, high),) = stratified_intervals([strata[name][:, None] for name in names], 0).tolist()
            covered[case] += low <= np.mean([pools[name].mean() for name in names]) <= high
    for name, times in covered.items():
        differing = int(np.count_nonzero(pools[name])) if name in pools else 0
        where = f"{name}, {differing} of {len(pools[name])} queries differ" if differing else name
        yield Rate("interval over queries", where, times, runs, 1 - LEVEL)


def few_coverage(
    pool: Values, number: int, runs: int, rng: np.random.Generator, few: Sequence[int] = (5, 10, 20, 40)
) -> Iterator[Rate]:
    """How often the interval over queries covers the true difference where few of ``number`` queries differ."""
    apart = pool[pool != 0]
    for differing in few:
        covered = 0
        for _ in range(runs):
            sample = np.where(rng.random(number) < differing / number, drawn(rng, apart, number), 0.0)
            ((low, high),) = stratified_intervals([sample[:, None]], 0).tolist()
            covered += bool(low <= apart.mean() * differing / number <= high)
        yield Rate("interval over queries", f"{number} queries, about {differing} differ", covered, runs, 1 - LEVEL)


def seed_coverage(pools: Mapping[str, Values], deviation: float, runs: int, rng: np.random.Generator) -> Iterator[Rate]:
    """How often the interval over queries and seeds covers the macro mean, and the one of the error alone.

    Args:
        pools: real differences of each collection.
        deviation: of the difference between training seeds.
        runs: the number of experiments.
        rng: random numbers.
    """
    for seeds in (2, 3, 5):
        whole = alone = 0
        for _ in range(runs):
            effects = rng.normal(0, deviation, seeds)
            found = estimate([trained(rng, pool, len(pool), effects) for pool in pools.values()], 0, (-1.0, 1.0))
            assert found.combined and found.error is not None and found.degrees is not None
            whole += 0.0 in found.combined
            alone += abs(found.mean) <= found.error * float(stats.t.isf(LEVEL / 2, found.degrees))
        where = f"{len(pools)} collections, {seeds} seeds of sd {deviation}"
        yield Rate("interval over queries and seeds", where, whole, runs, 1 - LEVEL)
        yield Rate("the same from its error alone", where, alone, runs, 1 - LEVEL)


def power(pools: Mapping[str, Values], runs: int, rng: np.random.Generator) -> Iterator[Rate]:
    """How often † finds the difference that is called detectable: in a test alone, and in one of a family."""
    cases = {name: [name] for name in pools} | {"macro mean": list(pools)}
    for comparisons in (1, FAMILY):
        for case, names in cases.items():
            centred = [shifted(pools[name], 0.0) for name in names]
            error = query_error([one[None, None] for one in centred])
            assert error is not None
            amount = detectable_difference(error, comparisons)
            moved = [shifted(one, amount) for one in centred]
            found = 0
            for _ in range(runs):
                found += randomisation_test([drawn(rng, one, len(one)) for one in moved], 0) < LEVEL / comparisons
            yield Rate("† of the detectable difference", f"{case}, {comparisons} comparisons", found, runs, 0.8)


def effect_coverage(runs: int, rng: np.random.Generator) -> Iterator[Rate]:
    """How often the random-effects summary covers the mean over all collections, and that of a further one."""
    for number in (3, 5, 10):
        for tau in (0.0, 0.01, 0.03):
            means = further = 0
            for _ in range(runs):
                errors = rng.uniform(0.005, 0.015, number)
                observed = rng.normal(rng.normal(0, tau, number), errors)
                found = random_effects(observed, errors)
                assert found.prediction is not None
                means += 0.0 in found.interval
                further += float(rng.normal(0, tau)) in found.prediction
            where = f"{number} collections, τ {tau}"
            yield Rate("random-effects mean", where, means, runs, 1 - LEVEL)
            yield Rate("prediction of a further collection", where, further, runs, 1 - LEVEL)
