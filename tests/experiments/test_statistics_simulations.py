"""The simulations of the statistics, made small: rates are what they should be, within what so few experiments tell."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from experiments.statistics import simulations
from experiments.statistics.__main__ import SECTIONS, differences, to_markdown
from experiments.statistics.simulations import Rate


@pytest.fixture(scope="module")
def pools() -> dict[str, np.ndarray]:
    """Differences per query of two settings of BM25 on the built-in collection, as if of three collections."""
    found = differences("stdlib_small")
    order = np.random.default_rng(0).permutation(len(found))
    return {name: found[part] for name, part in zip("abc", np.split(order, [200, 300]), strict=True)}


def at_most(rate: Rate, meant: float) -> bool:
    """Whether this many alarms are not too many (one false alarm of this check in 10,000)."""
    return rate.times <= stats.binom.ppf(0.9999, rate.runs, meant)


def at_least(rate: Rate, meant: float) -> bool:
    """Whether this many hits are not too few (likewise)."""
    return rate.times >= stats.binom.ppf(0.0001, rate.runs, meant)


def test_the_checks_can_fail():
    assert at_most(Rate("", "", 20, 400, 0.05), 0.05) and not at_most(Rate("", "", 41, 400, 0.05), 0.05)
    assert at_least(Rate("", "", 380, 400, 0.95), 0.95) and not at_least(Rate("", "", 352, 400, 0.95), 0.95)


def test_systems_that_are_equally_good_are_not_told_apart(pools):
    rates = {rate.where: rate for rate in simulations.false_alarms(pools, 40, np.random.default_rng(1))}
    assert list(rates) == ["a", "b", "c", "any collection, Holm-adjusted", "macro mean"]
    assert all(at_most(rate, 0.05) for rate in rates.values())


@pytest.mark.parametrize("sizes", [[300], [7000], [200, 100, 234]])
def test_recipes_that_are_equally_good_are_not_told_apart(pools, sizes):
    rng = np.random.default_rng(2)
    of = list(pools.values()) if len(sizes) > 1 else [np.concatenate(list(pools.values()))]
    rates = list(simulations.recipe_alarms(of, sizes, 300, rng))
    recipes = [rate for rate in rates if rate.what.startswith("‡")]
    models = [rate for rate in rates if rate.what.startswith("†")]
    assert len(models) == 3 and len(recipes) == 2 and all(at_most(rate, 0.05) for rate in recipes)
    if sizes == [7000]:  # † is about the models, and finds that these differ
        assert not any(at_most(rate, 0.05) for rate in models)


def test_intervals_cover_the_truth(pools):
    rng = np.random.default_rng(3)
    whole = np.concatenate(list(pools.values()))
    over_queries = list(simulations.query_coverage(pools, 120, rng))
    assert len(over_queries) == 4 and all(at_least(rate, 0.93) for rate in over_queries)
    few, many = simulations.few_coverage(whole, 100, 400, rng, few=(4, 40))
    assert not at_least(few, 0.95) and at_least(many, 0.93)  # as the mark § says
    dominated = list(simulations.seed_coverage(pools, 0.02, 40, rng))
    assert all(at_least(rate, 0.95) for rate in dominated if rate.what == "interval over queries and seeds")


def test_the_detectable_difference_is_found(pools):
    alone = {"a": pools["a"]}
    rates = list(simulations.power(alone, 40, np.random.default_rng(4)))
    assert len(rates) == 4 and all(0.55 <= rate.share <= 0.97 for rate in rates)  # the queries are skewed


def test_summaries_over_collections_cover(pools):
    rates = list(simulations.effect_coverage(200, np.random.default_rng(5)))
    means = [rate for rate in rates if rate.what == "random-effects mean"]
    assert len(rates) == 18 and all(at_least(rate, 0.93) for rate in means)


def test_the_report_has_every_section(pools):
    rate = Rate("†", "here", 12, 200, 0.05)
    low, high = rate.limits
    assert low < rate.share == 0.06 < high
    rows = [{"section": one, **rate._asdict(), "share": rate.share, "low": low, "high": high} for one in SECTIONS]
    text = to_markdown(pd.DataFrame(rows), pools, 120.0)
    assert (
        all(f"## {section}\n" in text for section in SECTIONS) and "| † | here | 6.0 | 3.5 to 10.2 | 5 | 200 |" in text
    )
