from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import COLLECTION, made_cells

from colbertv2.ablation.findings import compare_cells, find_effects
from colbertv2.evaluation.intervals import bootstrap_intervals
from colbertv2.evaluation.statistics import holm, paired_test

AXES = {"codec.nbits": ["2", "1", "4"], "num_centroids": ["64", "128"], "nprobe": ["1", "2"]}


def knobs(setting):
    """Bits and centroids have an effect, and a larger one together; nprobe has none."""
    one_bit, many = setting["codec.nbits"] == "1", setting["num_centroids"] == "128"
    return -0.06 * one_bit + 0.03 * many + 0.05 * (one_bit and many)


@pytest.fixture(scope="module")
def cells():
    return made_cells(AXES, knobs, seeds=(2, 2), queries=80)


@pytest.fixture(scope="module")
def effects(cells):
    return find_effects(cells, "RR@10", seed=0)


def mean_over_seeds(cells, **levels):
    """The mean value per query of the cells with these levels, computed in a loop (``_nbits`` means ``.nbits``)."""
    total, count = np.zeros(len(cells.queries[COLLECTION])), 0
    for cell in cells.cells:
        if all(cell.factors[factor.replace("_nbits", ".nbits")] == level for factor, level in levels.items()):
            for seeds in cell.values["RR@10"][COLLECTION]:
                for values in seeds:
                    total, count = total + values, count + 1
    return total / count


def test_main_effects_are_differences_of_marginal_means(cells, effects):
    assert [(effect.factor, effect.level) for effect in effects.main] == [
        (factor, level) for factor, levels in AXES.items() for level in levels
    ]
    found = {(effect.factor, effect.level): effect for effect in effects.main}
    p_values = []
    for factor, levels in AXES.items():
        key = factor.replace(".", "_")
        assert found[factor, levels[0]].contrast is None
        for level in levels:
            per_query = mean_over_seeds(cells, **{key: level})
            assert found[factor, level].mean.mean == pytest.approx(per_query.mean())
        for level in levels[1:]:
            first, second = mean_over_seeds(cells, **{key: level}), mean_over_seeds(cells, **{key: levels[0]})
            difference = found[factor, level].contrast.difference
            assert difference.mean == pytest.approx(first.mean() - second.mean())
            expected = bootstrap_intervals((first - second)[:, None], 0)[0]
            np.testing.assert_allclose(difference.queries, expected, atol=1e-9)
            p_values.append(paired_test(first, second, 0))
    tested = [effect.contrast.p for effect in effects.main if effect.contrast]
    np.testing.assert_allclose(tested, holm(p_values))


def test_what_was_put_in_is_found_and_nothing_else(effects):
    found = {(effect.factor, effect.level): effect.contrast for effect in effects.main if effect.contrast}
    assert found["codec.nbits", "1"].difference.mean == pytest.approx(-0.06 + 0.05 / 2, abs=0.004)
    assert found["num_centroids", "128"].difference.mean == pytest.approx(0.03 + 0.05 / 3, abs=0.004)
    assert {key for key, contrast in found.items() if contrast.significant} == {
        ("codec.nbits", "1"),
        ("num_centroids", "128"),
    }
    together = {(*one.factors, *one.levels): one.contrast for one in effects.interactions}
    assert len(together) == 2 * 1 + 2 * 1 + 1
    there = ("codec.nbits", "num_centroids", "1", "128")
    assert together[there].difference.mean == pytest.approx(0.05, abs=0.006)
    assert [key for key, contrast in together.items() if contrast.significant] == [there]


def test_an_interaction_is_four_marginal_means(cells, effects):
    p_values = []
    for one in effects.interactions:
        first, second = (factor.replace(".", "_") for factor in one.factors)
        zero = [AXES[factor][0] for factor in one.factors]
        per_query = (
            mean_over_seeds(cells, **{first: one.levels[0], second: one.levels[1]})
            - mean_over_seeds(cells, **{first: one.levels[0], second: zero[1]})
            - mean_over_seeds(cells, **{first: zero[0], second: one.levels[1]})
            + mean_over_seeds(cells, **{first: zero[0], second: zero[1]})
        )
        assert one.contrast.difference.mean == pytest.approx(per_query.mean(), abs=1e-9)
        p_values.append(paired_test(per_query, np.zeros(80), 0))
    np.testing.assert_allclose([one.contrast.p for one in effects.interactions], holm(p_values))


def test_shares_are_those_of_sums_of_squares_written_out(cells, effects):
    means = np.array([cell.mean("RR@10") for cell in cells.cells]).reshape(3, 2, 2)
    grand = means.mean()
    total = ((means - grand) ** 2).sum()
    bits = sum(4 * (means[a].mean() - grand) ** 2 for a in range(3)) / total
    both = (
        sum(
            2 * (means[a, b].mean() - means[a].mean() - means[:, b].mean() + grand) ** 2
            for a in range(3)
            for b in range(2)
        )
        / total
    )
    assert effects.shares[("codec.nbits",)] == pytest.approx(bits)
    assert effects.shares["codec.nbits", "num_centroids"] == pytest.approx(both)
    assert sum(effects.shares.values()) == pytest.approx(1) and len(effects.shares) == 7


@given(st.integers(2, 3), st.integers(2, 3), st.floats(-0.1, 0.1), st.floats(-0.1, 0.1))
@settings(max_examples=15)
def test_effects_that_add_up_have_no_interaction(levels, others, first, second):
    axes = {"a": [str(level) for level in range(levels)], "b": [str(level) for level in range(others)]}
    cells = made_cells(axes, lambda s: first * int(s["a"]) + second * int(s["b"]), queries=6, noise=(0.0, 0.0, 0.0))
    found = find_effects(cells, "RR@10", seed=0)
    assert all(one.contrast.p == 1 and abs(one.contrast.difference.mean) < 1e-9 for one in found.interactions)
    assert found.shares.get(("a", "b"), 0.0) == pytest.approx(0, abs=1e-9)


def test_the_order_of_the_cells_does_not_matter(cells, effects):
    turned = find_effects(replace(cells, cells=cells.cells[::-1]), "RR@10", seed=0)
    assert turned.shares == pytest.approx(effects.shares)
    assert [effect.mean.mean for effect in turned.main] == pytest.approx([e.mean.mean for e in effects.main])


def test_a_grid_with_a_hole_has_no_effects_but_a_reason():
    cells = made_cells(AXES, fails=lambda s: s["codec.nbits"] == "1" and s["nprobe"] == "2")
    found = find_effects(cells, "RR@10", seed=0)
    assert not found.main and not found.interactions and not found.shares
    assert "2 of 12 cells lack values (codec.nbits=1, num_centroids=64, nprobe=2; " in found.explanation
    star = find_effects(made_cells(AXES, grid=False), "RR@10", seed=0)
    assert "7 of 12" in star.explanation and "; …)" in star.explanation


def test_one_factor_is_its_comparisons():
    cells = made_cells({"codec.nbits": ["2", "1"]})
    found = find_effects(cells, "RR@10", seed=0)
    assert not found.interactions and "one factor" in found.explanation
    assert found.main[1].contrast == compare_cells(cells, "RR@10", 0)["codec.nbits=1"]


def test_one_factor_needs_no_complete_grid_but_its_baseline():
    axis = {"codec.nbits": ["2", "1", "4"]}
    found = find_effects(made_cells(axis, fails=lambda s: s["codec.nbits"] == "1"), "RR@10", seed=0)
    assert [effect.level for effect in found.main] == ["2", "4"]
    found = find_effects(made_cells(axis, fails=lambda s: s["codec.nbits"] == "2"), "RR@10", seed=0)
    assert not found.main and "The baseline codec.nbits=2 has no values" in found.explanation


def test_cells_that_are_alike_share_nothing():
    found = find_effects(made_cells({"a": ["1", "2"], "b": ["1", "2"]}, noise=(0.0, 0.0, 0.0)), "RR@10", seed=0)
    assert found.shares == {} and all(effect.contrast.p == 1 for effect in found.main if effect.contrast)
