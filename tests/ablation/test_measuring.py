"""The measures that a report is about, from the tables of the points."""

import numpy as np
import pandas as pd
import pytest

from colbertv2.ablation.measuring import choose_measures
from colbertv2.errors import InputError

LEADING = {"a": "Success@5", "b": "nDCG@10"}


def table(**values: float) -> pd.DataFrame:
    return pd.DataFrame({name: [value] * 3 for name, value in values.items()}, index=["q0", "q1", "q2"])


def points(a: dict[str, float], b: dict[str, float]) -> list[dict[str, pd.DataFrame]]:
    """Two points, of which the second lacks a collection."""
    return [{"a": table(**a), "b": table(**b)}, {"a": table(**a)}]


def test_collections_without_a_measure_in_common_are_compared_by_their_own():
    found = choose_measures(points({"Success@5": 0.5}, {"nDCG@10": 0.25}), LEADING, None, [])
    assert found.measures == ["Success@5 / nDCG@10"] and found.leading == LEADING
    for held in found.tables:
        assert {name: one[found.measures[0]].mean() for name, one in held.items()} == pytest.approx(
            {name: {"a": 0.5, "b": 0.25}[name] for name in held}
        )
    with pytest.raises(InputError, match="no measure in common"):
        choose_measures(points({"Success@5": 0.5}, {"nDCG@10": 0.25}), {}, None, [])


def test_a_measure_that_is_asked_for_leads_everywhere():
    both = {"Success@5": 0.5, "nDCG@10": 0.25}
    found = choose_measures(points(both, both), LEADING, "nDCG@10", [])
    assert list(found.measures) == ["nDCG@10", "Success@5"] and not found.leading and not found.remarks


def test_a_leading_measure_that_is_not_known_leads_nowhere_and_a_remark_says_so():
    both = {"nDCG@10": 0.25, "Success@5": np.nan}
    found = choose_measures(points(both, both), LEADING, None, [])
    assert found.measures[0] == "nDCG@10" and not found.leading
    assert found.remarks == [
        "Success@5 leads on a, but is not known at every point, so this is about nDCG@10 on all collections."
    ]
    with pytest.raises(InputError, match=r"No measure is known at every point\. As it is\."):
        choose_measures(points({"Success@5": np.nan}, {"nDCG@10": 0.25}), LEADING, None, ["As it is."])
