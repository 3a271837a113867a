import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from colbertv2.evaluation.statistics import contrasts, estimate, paired_test
from colbertv2.evaluation.variance import (
    StandardError,
    combined_error,
    detectable_difference,
    effects_of,
)


def drawn(rng, shape, deviations, mean=0.0):
    """Values of the crossed model: an effect of every axis, of every two and of all (t, k, q, tk, tq, kq, tkq)."""
    axes = [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]
    values = np.full(shape, mean)
    for held, deviation in zip(axes, deviations, strict=True):
        values = values + rng.normal(0, deviation, [shape[axis] if axis in held else 1 for axis in range(3)])
    return values


def true_variance(shape, deviations):
    t, k, q = shape
    return sum(d**2 / n for d, n in zip(deviations, [t, k, q, t * k, t * q, k * q, t * k * q], strict=True))


def by_hand(values):
    """The error and its degrees by sums of squares written out, two factors: seeds and queries."""
    seeds, queries = values.shape
    mean, by_seed, by_query = values.mean(), values.mean(1), values.mean(0)
    m_s = queries * sum((by_seed[s] - mean) ** 2 for s in range(seeds)) / (seeds - 1)
    m_q = seeds * sum((by_query[q] - mean) ** 2 for q in range(queries)) / (queries - 1)
    rest = sum((values[s, q] - by_seed[s] - by_query[q] + mean) ** 2 for s in range(seeds) for q in range(queries))
    m_sq = rest / ((seeds - 1) * (queries - 1))
    total = m_s + m_q - m_sq
    degrees = total**2 / (m_s**2 / (seeds - 1) + m_q**2 / (queries - 1) + m_sq**2 / ((seeds - 1) * (queries - 1)))
    return np.sqrt(total / values.size), degrees


def test_one_seed_says_nothing_of_seeds_and_one_query_nothing_of_queries():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(1, 1, 40))
    found = estimate([values], 0)
    assert found.training is None and found.kmeans is None
    assert found.error == pytest.approx(stats.sem(values.ravel())) and found.degrees == pytest.approx(39)
    np.testing.assert_allclose(found.combined, stats.t.interval(0.95, 39, values.mean(), stats.sem(values.ravel())))
    single = estimate([rng.normal(size=(3, 2, 1))], 0)
    assert single.error is None and single.combined is None and single.training is not None


def test_rounding_errors_are_no_difference():
    values = np.full((1, 1, 30), 0.3) - 0.1 - 0.2  # -5.6e-17 each
    assert values.all()
    [contrast] = contrasts([[values]], seed=0)
    assert contrast.p == 1 and contrast.difference.error == 0 and contrast.detectable is None


SEEDS = [
    ((1, 1), False),
    ((3, 1), False),
    ((1, 3), False),
    ((4, 3), False),
    ((2, 1), True),
    ((1, 2), True),
    ((3, 2), True),
]


@pytest.mark.parametrize(("seeds", "few"), SEEDS)
def test_what_is_detectable_belongs_to_the_test_that_is_printed(seeds, few):
    rng = np.random.default_rng(5)
    values = rng.normal(0, 0.02, (seeds[0], 1, 1)) + rng.normal(0, 0.02, (1, seeds[1], 1)) + rng.normal(size=(1, 1, 40))
    values = values + rng.normal(0, 0.1, (*seeds, 40))
    [contrast] = contrasts([[values]], seed=0, trained_apart=[True])
    assert contrast.few_seeds == few
    error = stats.sem(values.mean(axis=(0, 1)))  # of †, which is over queries: two seeds are no obstacle to it
    critical = stats.t.isf(0.025, 39)
    assert stats.nct.sf(critical, 39, contrast.detectable / error) == pytest.approx(0.8, abs=2e-3)
    if few or seeds[0] == 1:
        assert contrast.detectable_recipes is None
    else:
        between = stats.sem(values.mean(axis=(1, 2)))
        assert contrast.detectable_recipes >= detectable_difference(StandardError(between, seeds[0] - 1), 1)
        assert contrast.detectable_recipes >= detectable_difference(combined_error([values]), 1)
    assert (contrast.p_recipes is None) == (seeds[0] == 1)


@pytest.mark.parametrize("axis", [0, 1])
def test_the_combined_error_of_one_kind_of_seed_agrees_with_sums_of_squares(axis):
    rng = np.random.default_rng(1)
    values = rng.normal(size=(4, 1)) + rng.normal(size=(1, 30)) + rng.normal(size=(4, 30))
    np.testing.assert_allclose(combined_error([np.expand_dims(values, 1 - axis)]), by_hand(values))


@given(st.integers(1, 4), st.integers(1, 4), st.integers(2, 8), st.integers(0, 1000))
@settings(max_examples=60)
def test_effects_are_orthogonal_parts_of_the_values(t, k, q, seed):
    values = np.random.default_rng(seed).normal(size=(t, k, q))
    parts = effects_of(values)
    whole = [np.broadcast_to(part, values.shape).ravel() for part in parts.values()]
    np.testing.assert_allclose(sum(whole).reshape(values.shape), values, atol=1e-12)
    products = np.array(whole) @ np.array(whole).T
    np.testing.assert_allclose(products - np.diag(np.diag(products)), 0, atol=1e-9)


@given(st.integers(1, 4), st.integers(1, 4), st.integers(2, 8), st.integers(0, 1000))
@settings(max_examples=60)
def test_the_combined_error_is_below_that_of_no_factor_and_follows_the_scale(t, k, q, seed):
    values = np.random.default_rng(seed).normal(size=(t, k, q))
    error, degrees = combined_error([values])
    for axis in range(3):
        if values.shape[axis] > 1:
            left = tuple(other for other in range(3) if other != axis)
            assert error >= stats.sem(values.mean(axis=left)) - 1e-12
    assert degrees > 0
    np.testing.assert_allclose(combined_error([10 * values + 3]), (10 * error, degrees))


MODELS = [
    ((1, 1, 40), (0, 0, 1, 0, 0, 0, 1)),
    ((5, 1, 60), (0.3, 0, 1, 0, 1, 0, 0)),
    ((4, 3, 50), (0.25, 0, 1, 0.15, 0.5, 0.0, 1)),
    ((6, 4, 50), (0.2, 0.2, 1, 0.2, 0.5, 0.5, 1)),
]


@pytest.mark.parametrize(("shape", "deviations"), MODELS)
def test_the_combined_error_is_that_of_the_mean_over_other_queries_and_seeds(shape, deviations):
    rng = np.random.default_rng(2)
    samples = [drawn(rng, shape, deviations, mean=0.5) for _ in range(1500)]
    means = np.array([values.mean() for values in samples])
    variance = true_variance(shape, deviations)
    assert means.var() == pytest.approx(variance, rel=0.15)  # the simulation is of the model
    estimated = np.array([combined_error([values]) for values in samples])
    assert 0.97 * variance <= (estimated[:, 0] ** 2).mean() <= 1.12 * variance  # what the least value adds is little
    reach = estimated[:, 0] * stats.t.isf(0.025, estimated[:, 1])
    covered = (np.abs(means - 0.5) <= reach).mean()
    assert 0.93 <= covered <= 0.98
    if shape[0] > 1:  # without the seeds, the interval would be wrong
        queries = np.array([stats.sem(values.mean(axis=(0, 1))) for values in samples])
        assert (np.abs(means - 0.5) <= 1.96 * queries).mean() < 0.9


def expected_error(shape, deviations):
    """Of the model: the error, and Satterthwaite's degrees with the expectations of the mean squares."""
    t, k, q, *_ = (d**2 for d in deviations)
    tk, tq, kq, tkq = (d**2 for d in deviations[3:])
    T, K, Q = shape
    squares = {
        (0,): K * Q * t + Q * tk + K * tq + tkq,
        (1,): T * Q * k + Q * tk + T * kq + tkq,
        (2,): T * K * q + K * tq + T * kq + tkq,
        (0, 1): Q * tk + tkq,
        (0, 2): K * tq + tkq,
        (1, 2): T * kq + tkq,
        (0, 1, 2): tkq,
    }
    degrees = {held: np.prod([shape[axis] - 1 for axis in held]) for held in squares}
    squares = {held: square for held, square in squares.items() if degrees[held]}
    total = sum((-1) ** (len(held) + 1) * square for held, square in squares.items())
    assert total / (T * K * Q) == pytest.approx(true_variance(shape, deviations))
    return np.sqrt(total / (T * K * Q)), total**2 / sum(square**2 / degrees[held] for held, square in squares.items())


@pytest.mark.parametrize(("shape", "deviations"), MODELS)
def test_the_detectable_difference_is_detected_four_times_in_five(shape, deviations):
    comparisons = 4
    error, degrees = expected_error(shape, deviations)
    distance = detectable_difference(StandardError(error, degrees), comparisons)
    rng = np.random.default_rng(3)

    def power(mean):
        samples = [drawn(rng, shape, deviations, mean) for _ in range(800)]
        estimated = np.array([combined_error([values]) for values in samples])
        critical = stats.t.isf(0.05 / comparisons / 2, estimated[:, 1])
        return float((np.abs([values.mean() for values in samples]) > critical * estimated[:, 0]).mean())

    assert 0.73 <= power(distance) <= 0.87
    assert power(0.0) <= 0.03  # .0125 is meant
    assert power(0.8 * distance) < 0.7 and power(1.25 * distance) > 0.88


def test_the_randomisation_test_finds_the_detectable_difference_too():
    rng = np.random.default_rng(4)
    distance = detectable_difference(StandardError(1 / np.sqrt(40), 39), 1)
    found = [paired_test(rng.normal(distance, 1, 40), np.zeros(40), 0) < 0.05 for _ in range(150)]
    assert 0.7 <= np.mean(found) <= 0.9


@pytest.mark.parametrize("degrees", [1, 2.5, 7, 299])
@pytest.mark.parametrize("comparisons", [1, 11])
def test_the_detectable_difference_agrees_with_the_noncentral_t(degrees, comparisons):
    distance = detectable_difference(StandardError(2.0, degrees), comparisons)
    critical = stats.t.isf(0.05 / comparisons / 2, degrees)
    assert stats.nct.sf(critical, degrees, distance / 2) == pytest.approx(0.8, abs=2e-3)


def test_too_few_queries_that_differ_can_show_nothing_however_large():
    def made(differing, tests=1):
        values = np.zeros((1, 1, 50))
        values[..., :differing] = 1 + np.arange(differing) / 100
        return contrasts([[values]] * tests, seed=0)[0]

    assert made(6).detectable is not None  # p = 2/64 is possible
    assert made(5).detectable is None and made(5).p == 2 / 32  # the least
    assert made(6, tests=2).detectable is None
    assert made(3).detectable is None and made(3).p == 0.25 and made(3).differing == 3
