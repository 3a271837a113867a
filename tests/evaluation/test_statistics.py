import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from colbertv2.evaluation.intervals import bootstrap_intervals
from colbertv2.evaluation.statistics import compare, holm, paired_test


def reciprocal_ranks(rng, n, shift=0.0):
    ranks = np.maximum(1, rng.geometric(0.3, n) - (rng.random(n) < shift))
    return np.where(ranks > 10, 0.0, 1 / ranks)


def test_identical_systems():
    values = reciprocal_ranks(np.random.default_rng(0), 500)
    assert paired_test(values, values, seed=0) == 1.0
    assert paired_test([0.5], [0.1], seed=0) == 1.0
    assert compare([values, values], values, seed=0).tolist() == [1.0, 1.0]


def test_small_samples_are_exact():
    # three differences of one sign: 2 of the 8 sign patterns are as extreme; equal queries do not count
    assert paired_test([1, 1, 1, 0.3], [0, 0.5, 0.2, 0.3], seed=0) == pytest.approx(2 / 8)
    assert paired_test([1] * 8, [0] * 8, seed=0) == pytest.approx(2 / 256)


def test_agrees_with_the_t_test_on_many_queries_and_is_symmetric():
    rng = np.random.default_rng(1)
    for shift in (0.02, 0.1):
        one = reciprocal_ranks(rng, 800)
        other = np.where(rng.random(800) < shift, 1.0, one) * np.where(rng.random(800) < 0.05, 0.5, 1)
        p = paired_test(one, other, seed=0)
        assert p == pytest.approx(stats.ttest_rel(one, other).pvalue, abs=0.02)
        assert paired_test(other, one, seed=0) == pytest.approx(p, abs=0.02)
        assert paired_test(one, other, seed=0) == p


def test_false_alarms_are_as_rare_as_promised():
    rng = np.random.default_rng(2)
    p_values = [paired_test(rng.normal(size=12), rng.normal(size=12), seed=0) for _ in range(80)]
    assert np.mean(np.array(p_values) < 0.05) < 0.12


def test_two_thousand_queries_are_fast():
    rng = np.random.default_rng(3)
    started = time.perf_counter()
    paired_test(rng.random(2000), rng.random(2000), seed=0)
    assert time.perf_counter() - started < 10


def test_holm_by_hand():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.5, 0.9]), [1.0, 1.0])
    assert holm([]).shape == (0,)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_keeps_the_order_and_lies_between_p_and_bonferroni(p_values):
    values, adjusted = np.array(p_values), holm(p_values)
    assert (adjusted >= values).all() and (adjusted <= np.minimum(1, values * len(values)) + 1e-12).all()
    order = np.argsort(values, kind="stable")
    assert (np.diff(adjusted[order]) >= 0).all()


def test_intervals_cover_the_mean_about_as_often_as_they_say():
    rng = np.random.default_rng(4)
    truth = np.mean(reciprocal_ranks(rng, 200_000))
    covered = 0
    for seed in range(60):
        sample = reciprocal_ranks(rng, 150)
        ((low, high),) = bootstrap_intervals(sample[:, None], seed)
        assert low < sample.mean() < high
        covered += low <= truth <= high
    assert covered >= 50  # 57 expected


def test_intervals_narrow_with_the_root_of_the_queries_and_repeat():
    rng = np.random.default_rng(5)
    widths = [np.diff(bootstrap_intervals(rng.normal(size=(n, 2)), 0), axis=1) for n in (100, 1600)]
    np.testing.assert_allclose(widths[0] / widths[1], 4, rtol=0.25)
    np.testing.assert_allclose(widths[1], 2 * 1.96 / 40, rtol=0.1)
    values = rng.random((50, 3))
    assert np.array_equal(bootstrap_intervals(values, 7), bootstrap_intervals(values, 7))


def test_one_query_and_constant_values_have_no_width():
    assert bootstrap_intervals([[0.3, 1.0]], 0).tolist() == [[0.3, 0.3], [1.0, 1.0]]
    assert bootstrap_intervals(np.ones((20, 1)), 0).tolist() == [[1.0, 1.0]]
