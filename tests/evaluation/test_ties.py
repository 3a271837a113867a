"""Expected values against all orders of tied documents, cuts and depths."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colbertv2.errors import InputError
from colbertv2.evaluation.measures import evaluate, parse, tie_note, unknown
from colbertv2.evaluation.ranking import Ranking

USUAL = ["RR@3", "RR", "R@4", "R(rel=2)@2", "P@3", "Success@2", "nDCG@3", "nDCG", "nDCG(dcg='exp-log2')@4"]


def expected(name):
    """The name of a measure's expected value."""
    if "(" in name:
        return name.replace("(", "(ties='expected', ")
    kind, at, cutoff = name.partition("@")
    return f"{kind}(ties='expected'){at}{cutoff}"


def orders(found):
    """All orders of documents of equal scores."""
    found = sorted(found.items(), key=lambda result: -result[1])
    groups = [list(members) for _, members in itertools.groupby(found, key=lambda result: result[1])]
    return [list(itertools.chain(*chosen)) for chosen in itertools.product(*map(itertools.permutations, groups))]


@settings(max_examples=80)
@given(
    st.dictionaries(st.sampled_from("abcde"), st.sampled_from([0.0, 1.0, 2.0]), min_size=1),
    st.dictionaries(st.sampled_from("abcdefg"), st.integers(-1, 3), min_size=1),
)
def test_an_expected_value_is_the_mean_over_all_orders(found, grades):
    every = {
        str(number): [(doc_id, -float(rank)) for rank, (doc_id, _) in enumerate(one)]
        for number, one in enumerate(orders(found))
    }
    means = evaluate(Ranking(every), dict.fromkeys(every, grades), USUAL).mean()
    value = evaluate(Ranking({"q": list(found.items())}), {"q": grades}, list(map(expected, USUAL))).loc["q"]
    np.testing.assert_allclose(value.to_numpy(), means.to_numpy(), atol=1e-5)  # gdeval gives five decimals


def test_thirty_copies_of_which_one_is_relevant():
    ranking = Ranking({"q": [(f"d{number:02}", 1.0) for number in range(30)]})
    names = ["RR(ties='expected')@10", "RR@10", "R(ties='expected')@10", "Success(ties='expected')@10"]
    harmonic = sum(1 / rank for rank in range(1, 11))
    for relevant, usual in (("d29", 1.0), ("d25", 1 / 5), ("d00", 0.0)):
        values = evaluate(ranking, {"q": {relevant: 1}}, names).loc["q"].tolist()
        assert values == pytest.approx([harmonic / 30, usual, 1 / 3, 1 / 3])
    # The same from a ranking that goes on where the cut-off is inside the copies: then it is not known.
    cut = ranking.top(10)
    values = evaluate(cut, {"q": {"d25": 1}}, names, depth=10).loc["q"]
    assert values["RR@10"] == 1 / 5 and values.drop("RR@10").isna().all()
    reasons = unknown(names, 10, cut, ["q"])
    assert set(reasons) == set(names) - {"RR@10"}
    reason = "for 1 queries documents tied with the last one may be missing; raise the depth"
    assert reasons["RR(ties='expected')@10"] == reason


def test_only_measures_with_a_closed_form_have_an_expected_value():
    assert list(parse(["RR(ties='expected')", "nDCG(ties='expected', dcg='exp-log2')@10"]))
    for wrong in ("AP(ties='expected')", "RR(rel=2, ties='expected')@10", "nDCG(ties='expected', gains={0: 1})@5"):
        with pytest.raises(InputError, match="of RR, R, P, Success, nDCG"):
            parse([wrong])


def test_a_measure_beyond_the_depth_is_not_known():
    ranking = Ranking({"q": [(f"d{number}", -float(number)) for number in range(5)]})
    qrels = {"q": {f"d{number}": 1 for number in range(20)}, "r": {"x": 1}}
    names = ["R@1000", "nDCG@10", "R@5", "RR", "AP", "RR@6"]
    values = evaluate(ranking, qrels, names, depth=5)
    assert values.isna().all().to_dict() == {name: name in ("R@1000", "nDCG@10", "RR@6") for name in names}
    assert values.loc["q", ["R@5", "RR", "AP"]].tolist() == [0.25, 1.0, 0.25]
    assert evaluate(ranking, qrels, names).notna().all(axis=None)
    reason = "the ranking keeps 5 documents per query"
    assert unknown([*names, "overlap@10"], 5) == dict.fromkeys(["R@1000", "nDCG@10", "RR@6"], reason)
    assert unknown(names, 1000) == unknown(names, None) == {}


def test_the_note_counts_queries_whose_ties_cross_a_cut():
    results = {
        "a": [("x", 2.0), ("y", 1.0), ("z", 1.0)],  # crosses 2
        "b": [("x", 2.0), ("y", 2.0), ("z", 1.0)],  # crosses 1
        "c": [("x", 2.0), ("y", 1.5), ("z", 1.0)],  # goes on beyond 3
    }
    ranking = Ranking(results, tied_beyond=["c"])
    note = tie_note(ranking, ["a", "b", "c", "lost"], ["RR@1", "R@2", "R@3", "AP", "RR@7"])
    assert note is not None and note.startswith(
        "Ties across a cut-off: at 1 in 1, at 2 in 1, at 3 in 1, at the depth in 1 of 4 queries;"
    )
    assert tie_note(ranking, ["b"], ["R@2"]) is None
    assert math.isnan(evaluate(ranking, {"c": {"q": 1}}, ["P(ties='expected')@3"])["P(ties='expected')@3"].item())
    assert evaluate(ranking, {"c": {"x": 1}}, ["P(ties='expected')@2"])["P(ties='expected')@2"].item() == 0.5
