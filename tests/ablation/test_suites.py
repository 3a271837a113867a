"""A sweep on several collections: its means, each collection, and what they say together."""

import numpy as np
import pytest
from support import made_cells

from colbertv2.ablation.findings import find
from colbertv2.evaluation.statistics import holm, paired_test

AXES = {"codec.nbits": ["2", "1", "4"], "nprobe": ["1", "2"]}
SUITE = {"a": 40, "b": 25, "c": 60}


def one_bit(setting):
    return -0.03 * (setting["codec.nbits"] == "1")


@pytest.fixture(scope="module")
def findings():
    return find(made_cells(AXES, one_bit, queries=SUITE, measures=("RR@10", "R@50"), seeds=(2, 1)), 0)


def test_differences_are_those_of_the_macro_mean(findings):
    cells = findings.cells
    for cell in cells.others:
        means = [
            cell.per_query("R@50", name).mean() - cells.baseline.per_query("R@50", name).mean()
            for name in cells.collections
        ]
        assert findings.comparisons["R@50"][cell.name].difference.mean == pytest.approx(np.mean(means))
        assert findings.estimates["R@50"][cell.name].mean == pytest.approx(cell.mean("R@50"))
    [bits] = [one for one in findings.effects["RR@10"].main if (one.factor, one.level) == ("codec.nbits", "1")]
    levels = {level: [one for one in cells.cells if one.factors["codec.nbits"] == level] for level in ("1", "2")}
    expected = np.mean([one.mean("RR@10") for one in levels["1"]]) - np.mean([one.mean("RR@10") for one in levels["2"]])
    assert bits.contrast.difference.mean == pytest.approx(expected) and bits.contrast.significant


def test_every_collection_is_tested_and_all_are_one_family(findings):
    cells, measure = findings.cells, "RR@10"
    raw, adjusted = [], []
    for name in cells.collections:
        for cell in cells.others:
            raw.append(paired_test(cell.per_query(measure, name), cells.baseline.per_query(measure, name), 0))
            adjusted.append(findings.by_collection[name][measure][cell.name].p)
    np.testing.assert_allclose(adjusted, holm(raw))
    assert len(raw) == 3 * 5


def test_summaries_count_the_tests_of_each_collection(findings):
    for measure in findings.cells.measures:
        for cell in findings.cells.others:
            found = findings.summaries[measure][cell.name]
            alone = [findings.by_collection[name][measure][cell.name] for name in SUITE]
            shown = [one.difference.mean for one in alone if one.significant]
            assert found.shown.wins == sum(one > 0 for one in shown)
            assert found.shown.losses == sum(one < 0 for one in shown) and sum(found.shown) == sum(found.signs) == 3


def test_a_sweep_of_one_collection_is_a_suite_of_one(findings):
    alone = findings.cells.of("b")
    assert alone.collections == ["b"] and len(alone.complete) == 6 and alone.title == "Made up: b"
    assert alone.baseline is alone.cells[0] and alone.of("b") is alone
    found = find(alone, 0)
    assert found.by_collection == {} and found.summaries == {}
    for name, contrast in found.comparisons["RR@10"].items():
        other = findings.by_collection["b"]["RR@10"][name]
        assert contrast.difference == other.difference and contrast.p <= other.p  # in a smaller family


def test_a_cell_that_lacks_a_collection_is_compared_on_the_others():
    cells = made_cells(AXES, one_bit, queries=SUITE)
    lacking = cells.cells[2]
    del lacking.values["RR@10"]["c"]
    assert len(cells.complete) == 5
    found = find(cells, 0)
    assert lacking.name not in found.comparisons["RR@10"] and lacking.name not in found.summaries["RR@10"]
    assert lacking.name in found.by_collection["a"]["RR@10"] and lacking.name not in found.by_collection["c"]["RR@10"]
    assert "The grid is not complete: 1 of 6" in found.effects["RR@10"].explanation
    assert len(cells.of("a").complete) == 6 and len(cells.of("c").complete) == 5
    del cells.baseline.values["RR@10"]["a"]
    found = find(cells, 0)
    assert found.comparisons["RR@10"] == {} and found.summaries["RR@10"] == {}
    assert found.by_collection["a"]["RR@10"] == {} and len(found.by_collection["b"]["RR@10"]) == 5


def test_models_trained_apart_are_so_on_every_collection():
    found = find(made_cells(AXES, one_bit, queries=SUITE, seeds=(3, 1), trained="nprobe"), 0)
    for name, contrast in found.by_collection["b"]["RR@10"].items():
        assert contrast.trained_apart == ("nprobe=2" in name) == (contrast.p_recipes is not None)
    apart = {(one.factor, one.level): one.contrast.trained_apart for one in found.effects["RR@10"].main if one.contrast}
    assert apart == {("codec.nbits", "1"): False, ("codec.nbits", "4"): False, ("nprobe", "2"): True}
    assert all(one.contrast.trained_apart for one in found.effects["RR@10"].interactions)
