import numpy as np
import pytest
from scipy import stats
from support import COLLECTION, made_cells

from colbertv2.ablation.findings import compare_cells
from colbertv2.evaluation.intervals import bootstrap_intervals
from colbertv2.evaluation.statistics import holm, paired_test


def test_a_comparison_is_the_statistics_of_the_paired_differences():
    gain = {"2": 0.0, "1": -0.05, "4": 0.001}
    cells = made_cells({"codec.nbits": ["2", "1", "4"]}, lambda s: gain[s["codec.nbits"]], seeds=(3, 2))
    found = compare_cells(cells, "RR@10", seed=7)
    assert list(found) == ["codec.nbits=1", "codec.nbits=4"]
    base = cells.baseline.values["RR@10"][COLLECTION]
    p_values = []
    for cell in cells.others:
        values = cell.values["RR@10"][COLLECTION] - base
        difference = found[cell.name].difference
        per_query = np.array([values[:, :, q].mean() for q in range(50)])
        assert difference.mean == pytest.approx(per_query.mean())
        np.testing.assert_allclose(difference.queries, bootstrap_intervals(per_query[:, None], 7)[0], atol=1e-12)
        for interval, means in (
            (difference.training, [values[t].mean() for t in range(3)]),
            (difference.kmeans, [values[:, k].mean() for k in range(2)]),
        ):
            expected = stats.t.interval(0.95, len(means) - 1, np.mean(means), stats.sem(means))
            np.testing.assert_allclose(interval, expected)
        p_values.append(
            paired_test(cell.per_query("RR@10", COLLECTION), cells.baseline.per_query("RR@10", COLLECTION), 7)
        )
    np.testing.assert_allclose([contrast.p for contrast in found.values()], holm(p_values))
    assert found["codec.nbits=1"].significant and not found["codec.nbits=4"].significant


def test_cells_that_failed_are_left_out_and_a_failed_baseline_compares_nothing():
    axis = {"codec.nbits": ["2", "1", "4"]}
    assert list(compare_cells(made_cells(axis, fails=lambda s: s["codec.nbits"] == "1"), "RR@10", 0)) == [
        "codec.nbits=4"
    ]
    assert compare_cells(made_cells(axis, fails=lambda s: s["codec.nbits"] == "2"), "RR@10", 0) == {}
