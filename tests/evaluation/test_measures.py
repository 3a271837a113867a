import math

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given
from hypothesis import strategies as st

from colbertv2.errors import InputError
from colbertv2.evaluation.measures import evaluate
from colbertv2.evaluation.ranking import Ranking

ALL = ["RR@10", "nDCG@10", "R@10", "R@50", "R@100", "R@1000", "Success@5"]


def test_a_case_computed_by_hand():
    ranking = Ranking({"q1": [("a", 3.0), ("b", 2.0), ("c", 1.0)], "q2": [("x", 1.0)], "unjudged": [("a", 1.0)]})
    qrels = {"q1": {"b": 2, "c": 1, "z": 1}, "q2": {"y": 1}, "lost": {"a": 1}}
    values = evaluate(ranking, qrels, ["RR@10", "nDCG@10", "R@10", "Success@1"])
    assert list(values.index) == ["q1", "q2", "lost"] and values.index.name == "query_id"
    assert list(values.columns) == ["RR@10", "nDCG@10", "R@10", "Success@1"]
    gain = 2 / math.log2(3) + 1 / math.log2(4)
    ideal = 2 + 1 / math.log2(3) + 1 / math.log2(4)
    np.testing.assert_allclose(values.loc["q1"], [1 / 2, gain / ideal, 2 / 3, 0], rtol=1e-6)
    assert (values.loc[["q2", "lost"]] == 0).all(axis=None)


def test_the_cutoff_of_reciprocal_rank():
    ranking = Ranking({"q": [(f"d{i:02}", -float(i)) for i in range(20)]})
    values = [evaluate(ranking, {"q": {f"d{i:02}": 1}}, ["RR@10"]).iloc[0, 0] for i in range(12)]
    np.testing.assert_allclose(values, [1 / (i + 1) if i < 10 else 0 for i in range(12)])


DOCUMENTS = st.sampled_from([f"d{i}" for i in range(12)] + ["é", "ü", "文", "Z", "z"])
RUN = st.dictionaries(DOCUMENTS, st.sampled_from([0.0, 0.5, 0.1, 0.1 + 1e-12, 1.0]), min_size=1)


@given(st.dictionaries(st.sampled_from("pqr"), RUN, min_size=1), st.data())
def test_agrees_with_pytrec_eval_ties_included(results, data):
    grades = st.dictionaries(DOCUMENTS, st.integers(-1, 3), min_size=1)
    qrels = {query_id: data.draw(grades) for query_id in "pqr"}
    measures = {"RR": "recip_rank", "nDCG@10": "ndcg_cut_10", "R@10": "recall_10", "Success@5": "success_5"}
    ranking = Ranking({query_id: list(found.items()) for query_id, found in results.items()})
    values = evaluate(ranking, qrels, list(measures))
    theirs = pytrec_eval.RelevanceEvaluator(qrels, set(measures.values())).evaluate(results)
    for query_id in qrels:
        for ours, name in measures.items():
            expected = theirs[query_id][name] if query_id in results else 0
            assert values.loc[query_id, ours] == pytest.approx(expected, abs=1e-6)
    # at most 17 documents: the cut-off of RR@10 is the only difference
    cut = evaluate(ranking, qrels, ["RR@10"])["RR@10"]
    np.testing.assert_allclose(cut, values["RR"].where(values["RR"] >= 0.0999, 0), atol=1e-6)


def test_an_empty_ranking_is_worth_nothing():
    assert (evaluate(Ranking({}), {"q": {"a": 1}}, ALL) == 0).all(axis=None)


@pytest.mark.parametrize(
    "wrong", [["RR@x"], ["Recal@10"], ["R@"], ["P"], ["RR@10", "RR@10"], [], ["nDCG@10", "MRR@10@3"]]
)
def test_unknown_measures(wrong):
    with pytest.raises(InputError, match=r"expected names such as RR@10"):
        evaluate(Ranking({}), {"q": {"a": 1}}, wrong)


def test_all_unknown_measures_are_named():
    with pytest.raises(InputError, match=r"'Foo@1', 'Bar@2'"):
        evaluate(Ranking({}), {"q": {"a": 1}}, ["Foo@1", "RR@10", "Bar@2"])


def test_no_judgements():
    with pytest.raises(InputError, match="no judgements"):
        evaluate(Ranking({}), {}, ["RR@10"])


def test_a_query_with_negative_grades_alone_has_no_relevant_document():
    """pytrec_eval looped for ever in its nDCG when such a query came after one with positive grades."""
    random = np.random.default_rng(0)
    names = ["RR", "R@4", "P@3", "nDCG@3", "nDCG", "AP", "Bpref", "nDCG(dcg='exp-log2')@4"]
    for _ in range(40):
        order = random.permutation(list("abcde")).tolist()
        results = {query_id: [(doc_id, -float(rank)) for rank, doc_id in enumerate(order)] for query_id in "qrst"}
        positive = {doc_id: int(random.integers(-1, 4)) for doc_id in "abcdefg"} | {"a": 3}
        negative = {doc_id: -int(random.integers(1, 3)) for doc_id in random.permutation(list("abcdefg"))[:3]}
        values = evaluate(Ranking(results), {"q": positive, "r": negative, "s": positive, "t": negative}, names)
        assert (values.loc[["r", "t"]] == 0).all(axis=None) and (values.loc[["q", "s"], "RR"] > 0).all()


EXPONENTIAL = ["ERR@10", "nDCG(dcg='exp-log2')@10"]  # computed by gdeval, which reads files


@pytest.mark.parametrize("query_id", ["q", "PLAIN-1", "1", "文", "7.0", "q" * 300])
@pytest.mark.parametrize("other", ["b", "b c", "b c 2 d", "x\ny", "", "文'\"#\\", "0"])
def test_no_id_of_a_query_or_a_judged_document_is_odd(query_id, other):
    ranking = Ranking({query_id: [("z", 2.0), ("a", 1.0)]})
    values = evaluate(ranking, {query_id: {other: 1, "a": 1}}, EXPONENTIAL).loc[query_id]
    assert values["ERR@10"] == pytest.approx(1 / 16 / 2, abs=1e-5)  # (2^1 − 1) / 2^4 at rank 2
    ideal = 1 + 1 / math.log2(3)
    assert values["nDCG(dcg='exp-log2')@10"] == pytest.approx(1 / math.log2(3) / ideal, abs=1e-5)


def test_grades_that_gdeval_does_not_take_are_refused(capfd):
    ranking, qrels = Ranking({"q": [("a", 1.0)]}), {"q": {"a": 5}}
    with pytest.raises(InputError, match="grades up to 4 and failed; the largest grade here is 5"):
        evaluate(ranking, qrels, ["ERR@10", "RR@10"])
    assert evaluate(ranking, qrels, ["RR@10", "nDCG@10"]).loc["q"].tolist() == [1, 1]
