"""Statistics of suites of several collections; one collection is a suite of one (test_contrasts, test_statistics)."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from colbertv2.evaluation.across import random_effects, summarise, tally
from colbertv2.evaluation.intervals import bootstrap_intervals, stratified_intervals
from colbertv2.evaluation.statistics import contrasts, estimate, paired_test, randomisation_test, smallest_p
from colbertv2.evaluation.variance import combined_error, detectable_difference, query_error, seed_means

SIZES = (40, 15, 90)


def suite(rng, seeds=(1, 1), sizes=SIZES, deviations=(0.0, 0.0, 1.0, 0.5), mean=0.0):
    """Values of seeds that are crossed with collections; deviations of training seeds, k-means seeds, queries, rest."""
    seed_effects = rng.normal(0, deviations[0], (seeds[0], 1, 1)) + rng.normal(0, deviations[1], (1, seeds[1], 1))
    return [
        mean + seed_effects + rng.normal(0, deviations[2], n) + rng.normal(0, deviations[3], (*seeds, n)) for n in sizes
    ]


def test_the_mean_of_a_suite_is_that_of_the_means_of_its_collections():
    strata = suite(np.random.default_rng(0), (3, 2))
    found = estimate(strata, 0)
    by_collection = [values.mean() for values in strata]
    assert found.mean == pytest.approx(np.mean(by_collection)) != pytest.approx(np.concatenate(strata, axis=2).mean())
    np.testing.assert_allclose(seed_means(strata), np.mean([values.mean(axis=2) for values in strata], axis=0))
    by_seed = [np.mean([values[t].mean() for values in strata]) for t in range(3)]
    np.testing.assert_allclose(found.training, stats.t.interval(0.95, 2, np.mean(by_seed), stats.sem(by_seed)))


def test_the_test_of_the_mean_flips_signs_within_collections():
    strata = [np.array([0.5, -0.2, 0.4]), np.array([0.1, 0.3, 0.0, 0.2, -0.1])]
    observed = abs(np.mean([one.mean() for one in strata]))
    extreme = total = 0
    for signs in product([-1, 1], repeat=8):
        flipped = [strata[0] * signs[:3], strata[1] * signs[3:]]
        extreme += abs(np.mean([one.mean() for one in flipped])) >= observed - 1e-12
        total += 1
    assert randomisation_test(strata, 0) == pytest.approx(extreme / total)
    pooled = paired_test(np.concatenate(strata), np.zeros(8), 0)  # of all queries alike: another question
    assert pooled != pytest.approx(extreme / total)


@pytest.mark.parametrize("differing", [1, 2, 3, 6, 13])
def test_the_smallest_p_is_that_of_differences_of_one_sign(differing):
    values = np.concatenate([np.linspace(1, 2, differing), np.zeros(20)])
    assert smallest_p(differing) == randomisation_test([values], 0)


def test_queries_are_drawn_again_within_their_collection():
    rng = np.random.default_rng(1)
    apart = [np.zeros((20, 1)), np.ones((500, 1))]  # all variation is between the collections, which stay
    np.testing.assert_allclose(stratified_intervals(apart, 0), [[0.5, 0.5]])
    strata = [rng.normal(size=(n, 1)) for n in (50, 400)]
    ((low, high),) = stratified_intervals(strata, 0)
    error = np.sqrt(sum(one.var() / len(one) for one in strata)) / 2
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.04)
    table = rng.random((30, 2))
    assert np.array_equal(stratified_intervals([table], 3), bootstrap_intervals(table, 3))
    one_query = stratified_intervals([table, np.full((1, 2), 0.5)], 0)
    np.testing.assert_allclose(one_query, (bootstrap_intervals(table, 0) + 0.5) / 2, atol=0.01)
    assert np.isnan(stratified_intervals([np.full((5, 1), np.nan), np.ones((5, 1))], 0)).all()


def test_the_error_over_queries_is_that_of_welch():
    rng = np.random.default_rng(2)
    first, second = rng.normal(0, 1, 12), rng.normal(0, 3, 40)
    found = query_error([first[None, None], -second[None, None]])  # the mean of a suite is half a difference of means
    welch = stats.ttest_ind(first, second, equal_var=False)
    assert found.degrees == pytest.approx(welch.df)
    assert abs((first.mean() - second.mean()) / 2 / found.error) == pytest.approx(abs(welch.statistic))
    assert query_error([first[None, None], np.ones((1, 1, 1))]) is None


@given(st.integers(1, 3), st.integers(1, 3), st.integers(2, 8), st.integers(0, 1000))
@settings(max_examples=40)
def test_a_suite_of_the_same_collection_twice_has_the_seeds_of_one(t, k, q, seed):
    values = np.random.default_rng(seed).normal(size=(t, k, q))
    once, twice = estimate([values], 0), estimate([values, values], 0)
    assert twice.mean == pytest.approx(once.mean)
    for kind in ("training", "kmeans"):
        ends = getattr(once, kind)
        assert (ends is None) == (getattr(twice, kind) is None)
        if ends:
            np.testing.assert_allclose(getattr(twice, kind), ends)
    alone = query_error([values])
    both = query_error([values, values])
    np.testing.assert_allclose([both.error, both.degrees], [alone.error / np.sqrt(2), 2 * alone.degrees])


MODELS = [((1, 1), (0, 0, 1, 1)), ((5, 1), (0.3, 0, 1, 0.5)), ((5, 4), (0.15, 0.15, 0.5, 1))]


@pytest.mark.parametrize(("seeds", "deviations"), MODELS)
def test_the_combined_error_of_a_suite_is_that_of_its_mean(seeds, deviations):
    rng = np.random.default_rng(3)
    samples = [suite(rng, seeds, deviations=deviations) for _ in range(1200)]
    means = np.array([np.mean([values.mean() for values in strata]) for strata in samples])
    t, k, q, rest = (d**2 for d in deviations)
    T, K = seeds
    variance = t / T + k / K + sum(q / n + rest / (T * K * n) for n in SIZES) / len(SIZES) ** 2
    assert means.var() == pytest.approx(variance, rel=0.15)  # the simulation is of the model
    found = np.array([combined_error(strata) for strata in samples])
    assert 0.96 * variance <= (found[:, 0] ** 2).mean() <= 1.12 * variance
    covered = (np.abs(means) <= found[:, 0] * stats.t.isf(0.025, found[:, 1])).mean()
    assert 0.93 <= covered <= 0.98
    if T > 1:  # collections do not average the effects of seeds out, as they would if seeds were not crossed with them
        apart = np.array([np.sqrt(sum(combined_error([one]).error ** 2 for one in strata)) / 3 for strata in samples])
        assert (np.abs(means) <= 1.96 * apart).mean() < 0.9


def test_the_interval_over_both_contains_those_over_each():
    rng = np.random.default_rng(4)
    for seeds in ((1, 1), (2, 1), (3, 2), (1, 3)):
        for _ in range(20):
            found = estimate(suite(rng, seeds, deviations=(0.5, 0.5, 0.3, 0.3)), 0)
            for one in (found.queries, found.training, found.kmeans):
                assert one is None or (found.combined.low <= one.low and one.high <= found.combined.high)


def test_intervals_stay_within_what_is_possible():
    high = np.full((2, 1, 12), 0.99)
    high[1, 0, :6] = 1.0
    found = estimate([high], 0)
    assert found.training.high == 1.0 and found.combined.high == 1.0 and found.training.low < found.mean
    [contrast] = contrasts([[high]], 0)
    assert contrast.difference.training.high == 1.0 and contrast.difference.training.low < 0.98
    gains = np.zeros((2, 1, 12))
    gains[0] = 0.02
    assert contrasts([[gains]], 0)[0].difference.training.low < 0  # a difference may be negative if none was
    assert estimate([gains], 0).training.low == 0.0  # a mean of such values may not
    assert estimate([gains + 5], 0).training.low < 5  # of a measure beyond 1 nothing is known


def test_recipes_are_harder_to_tell_apart_than_models():
    rng = np.random.default_rng(5)
    family = [suite(rng, (3, 1), deviations=(0.3, 0, 0.5, 0.5), mean=mean) for mean in (0.0, 0.1, 0.5, 2.0)]
    found = contrasts(family, 0, [True] * 4)
    assert all(one.p_recipes >= one.p and one.detectable_recipes >= one.detectable for one in found)
    assert found[3].significant_recipes
    mixed = contrasts(family, 0, [True, False, False, True])
    assert mixed[1].p_recipes is None and not mixed[1].trained_apart
    assert all(one.p_recipes >= one.p for one in mixed if one.p_recipes is not None)  # in spite of the smaller family
    single = contrasts([suite(rng, (1, 2), mean=2.0)], 0, [True])[0]
    assert single.significant and single.p_recipes is None and single.detectable_recipes is None
    equal_seeds = np.broadcast_to(rng.normal(1, 0.1, (1, 1, 30)), (2, 1, 30))
    assert contrasts([[equal_seeds]], 0, [True])[0].significant_recipes  # no variation between seeds is no obstacle


def test_the_detectable_mean_difference_is_found_four_times_in_five():
    rng = np.random.default_rng(6)
    error = query_error(suite(rng, deviations=(0, 0, 1.0, 0.0), sizes=(4000, 1500, 9000)))
    error = error._replace(error=error.error * 10)  # the collections of SIZES have a hundredth of these queries
    amount = detectable_difference(error, 1)
    found = [
        randomisation_test([values[0, 0] for values in suite(rng, deviations=(0, 0, 1.0, 0.0), mean=amount)], 0) < 0.05
        for _ in range(200)
    ]
    assert abs(np.mean(found) - 0.8) < 3 * np.sqrt(0.8 * 0.2 / 200)


def test_random_effects_by_their_definitions():
    differences, errors = np.array([0.10, 0.30, 0.35, 0.65, 0.45]), np.array([0.05, 0.08, 0.10, 0.06, 0.20])
    found = random_effects(differences, errors)
    weights = 1 / (errors**2 + found.tau**2)
    assert (weights * (differences - found.mean) ** 2).sum() == pytest.approx(4)  # Paule and Mandel
    assert found.mean == pytest.approx(np.average(differences, weights=weights))
    fixed = 1 / errors**2
    q = (fixed * (differences - np.average(differences, weights=fixed)) ** 2).sum()
    assert found.q == pytest.approx(q) and found.p == pytest.approx(stats.chi2.sf(q, 4))
    assert found.heterogeneity == pytest.approx(1 - 4 / q)
    error = np.sqrt((weights * (differences - found.mean) ** 2).sum() / 4 / weights.sum())  # Hartung and Knapp
    np.testing.assert_allclose(found.interval, stats.t.interval(0.95, 4, found.mean, error))
    spread = np.sqrt(found.tau**2 + error**2)
    np.testing.assert_allclose(found.prediction, stats.t.interval(0.95, 3, found.mean, spread))


def test_equal_differences_are_one_and_vary_not_less_than_by_chance():
    found = random_effects([0.02, 0.02, 0.02], [0.01, 0.01, 0.01])
    assert found.tau == found.heterogeneity == found.q == 0 and found.p == 1
    np.testing.assert_allclose(found.interval, stats.t.interval(0.95, 2, 0.02, 0.01 / np.sqrt(3)))
    assert random_effects([0.0, 0.1], [0.01, 0.01]).prediction is None
    wide = random_effects([-0.9, 0.1, 0.9], [0.01, 0.01, 0.01], (-1.0, 1.0))
    assert wide.prediction == (-1, 1) and wide.tau == pytest.approx(np.std([-0.9, 0.1, 0.9], ddof=1), abs=1e-3)


@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(0.001, 1)), min_size=2, max_size=12))
@settings(max_examples=60)
def test_random_effects_are_found_for_any_differences(pairs):
    differences, errors = zip(*pairs, strict=True)
    found = random_effects(differences, errors)
    assert min(differences) - 1e-9 <= found.mean <= max(differences) + 1e-9
    assert found.tau >= 0 and 0 <= found.heterogeneity <= 1 and found.mean in found.interval
    turned = random_effects([-one for one in differences], errors)
    assert turned.mean == pytest.approx(-found.mean, abs=1e-6) and turned.tau == pytest.approx(found.tau, abs=1e-6)


def test_collections_are_counted_by_what_was_shown_and_by_sign():
    rng = np.random.default_rng(7)
    strata = [rng.normal(mean, 0.1, (1, 1, 60)) for mean in (0.2, 0.005, -0.2)]
    tested = contrasts([[one] for one in strata], 0)
    found = summarise(strata, tested)
    assert found.shown == (1, 1, 1) and found.signs == tally([values.mean() for values in strata])
    assert found.collections == 3 and found.random_effects.mean == pytest.approx(0, abs=0.05)
    same = [*strata[:2], np.zeros((1, 1, 60))]
    equal = summarise(same, contrasts([[one] for one in same], 0))
    assert equal.random_effects is None and equal.signs.ties == 1
