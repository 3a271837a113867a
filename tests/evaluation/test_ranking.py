import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from colbertv2.data.readers import is_id
from colbertv2.errors import InputError
from colbertv2.evaluation.ranking import Ranking, tied_groups, ties_beside

START, END = "# ir_metadata.start\n", "# ir_metadata.end\n"
IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(is_id)
SCORES = st.floats(allow_nan=False, width=32) | st.sampled_from([0.0, 1.0, 1.0 + 2**-23, 0.1])
RESULTS = st.dictionaries(IDS, st.dictionaries(IDS, SCORES, min_size=1, max_size=8), max_size=4)


@given(RESULTS)
@example({"0": {"0": -3.4028234663852886e38, "1": -3.4028234663852886e38, "00": -math.inf}})
def test_a_run_file_keeps_the_order_and_has_no_ties(tmp_path_factory, results):
    ranking = Ranking({query_id: list(found.items()) for query_id, found in results.items()})
    path = tmp_path_factory.mktemp("runs") / "run.trec"
    ranking.write(path, tag="test")
    with_ties = Ranking.read(path)
    assert {query_id: tied_groups(found) for query_id, found in with_ties.items()} == {
        query_id: tied_groups(found) for query_id, found in ranking.items()
    }
    ties_beside(path).unlink(missing_ok=True)  # what other tools see
    again = Ranking.read(path)
    assert list(again) == list(ranking) == list(with_ties)
    for query_id, found in ranking.items():
        for read in (again, with_ties):
            assert [doc_id for doc_id, _ in read[query_id]] == [doc_id for doc_id, _ in found]
        scores = [score for _, score in again[query_id] if score > -math.inf]
        assert len(set(scores)) == len(scores)
        untied = [score for _, score in found]
        if len(set(untied)) == len(untied):
            assert again[query_id] == found


@given(RESULTS)
def test_order_is_by_score_then_by_greater_id(results):
    for found in Ranking({query_id: list(found.items()) for query_id, found in results.items()}).values():
        keys = [(score, doc_id) for doc_id, score in found]
        assert keys == sorted(keys, reverse=True)


def test_scores_that_differ_beyond_float32_are_ties():
    ranking = Ranking({"q": [("a", 1.0 + 1e-12), ("b", 1.0)]})
    assert ranking["q"] == [("b", 1.0), ("a", 1.0)]


def test_top_and_mapping_access():
    ranking = Ranking({"q": [("a", 1.0), ("b", 3.0), ("c", 2.0)], "empty": []})
    assert ranking.top(2)["q"] == [("b", 3.0), ("c", 2.0)]
    assert list(ranking) == ["q", "empty"] and len(ranking) == 2 and ranking["empty"] == [] and "x" not in ranking
    assert repr(ranking) == "Ranking(2 queries, 3 documents)"


def test_run_file_has_six_columns_and_ranks_from_one(tmp_path):
    Ranking({"q": [("a", 0.1), ("b", 2.0)]}).write(tmp_path / "run.trec", tag="mine")
    lines = (tmp_path / "run.trec").read_text().splitlines()
    assert lines == ["q Q0 b 1 2 mine", "q Q0 a 2 0.100000001 mine"]


@pytest.mark.parametrize(
    ("results", "fault"),
    [
        ({"q": [("a", 1.0), ("a", 2.0)]}, "'a' twice"),
        ({"q": [("a", 1.0), ("b", float("nan"))]}, "NaN as the score of document 'b'"),
        ({"q": [("a b", 1.0)]}, "document id 'a b'"),
        ({"": [("a", 1.0)]}, "query id ''"),
    ],
)
def test_refused_results(results, fault):
    with pytest.raises(InputError, match=fault):
        Ranking(results)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("q Q0 a 1 2.0 t\nq Q0 b 2 1.0\n", "line 2: expected 6 columns .* found 5"),
        ("q Q0 a 1 high t\n", "line 1: expected a number as score, found 'high'"),
        ("q Q0 a 1 nan t\n", "line 1: the score is NaN"),
        ("q Q0 a 1 2 t\nq Q0 a 2 1 t\n", "line 2: query 'q' has document 'a' already"),
    ],
)
def test_malformed_run_files(tmp_path, content, fault):
    path = tmp_path / "run.trec"
    path.write_text(content)
    with pytest.raises(InputError, match=fault) as raised:
        Ranking.read(path)
    assert str(path) in str(raised.value)


def test_reading_orders_by_score_not_by_rank(tmp_path):
    (tmp_path / "run.trec").write_text("q Q0 a 1 1.0 t\nq Q0 b 2 5.0 t\n")
    assert Ranking.read(tmp_path / "run.trec")["q"] == [("b", 5.0), ("a", 1.0)]


def test_a_tag_is_one_word(tmp_path):
    with pytest.raises(InputError, match="tag"):
        Ranking({}).write(tmp_path / "run.trec", tag="two words")


def test_ties_and_what_lies_beyond_survive_writing(tmp_path):
    ranking = Ranking({"q": [("a", 1.0), ("b", 1.0), ("c", 0.5)], "r": [("a", 1.0)]}, tied_beyond=["r"])
    ranking.write(tmp_path / "run.trec", tag="t")
    again = Ranking.read(tmp_path / "run.trec")
    assert dict(again) == dict(ranking) and again.tied_beyond == {"r"}
    Ranking({"q": [("a", 1.0)]}).write(tmp_path / "run.trec", tag="t")
    assert not ties_beside(tmp_path / "run.trec").exists()


def test_ties_of_another_ranking_are_refused(tmp_path):
    Ranking({"q": [("a", 1.0), ("b", 1.0)]}).write(tmp_path / "run.trec", tag="t")
    ties = ties_beside(tmp_path / "run.trec")
    for wrong in ('{"groups": {"r": [[0, 2]]}, "beyond": []}', '{"groups": {"q": [[0, 3]]}, "beyond": []}', "{}"):
        ties.write_text(wrong)
        with pytest.raises(InputError, match="does not belong to the run file"):
            Ranking.read(tmp_path / "run.trec")


def test_a_cut_ranking_knows_which_of_its_ends_are_tied():
    ranking = Ranking({"q": [("a", 1.0), ("b", 1.0), ("c", 0.5)], "r": [("a", 1.0)]}, tied_beyond=["r", "q"])
    assert [sorted(ranking.top(k).tied_beyond) for k in (1, 2, 3)] == [["q", "r"], ["r"], ["q", "r"]]
    only = ranking.of(["r", "z"])
    assert list(only) == ["r"] and only.tied_beyond == {"r"}


def test_a_header_of_ir_metadata_is_skipped_if_it_is_first_and_ends(tmp_path):
    run = tmp_path / "run.trec"
    six = "# a line of six words here\n"
    run.write_text(f"{START}{six}{END}q Q0 d 1 2.5 tag\n")
    assert dict(Ranking.read(run)) == {"q": [("d", 2.5)]}
    for content, message in [
        (f"{START}{six}q Q0 d 1 2.5 tag\n", r"line 1: the header that begins here has no end \(# ir_metadata\.end\)"),
        (f"q Q0 d 1 2.5 tag\n{START}{END}", "line 2: expected 6 columns.*\n.*line 3"),
    ]:
        run.write_text(content)
        with pytest.raises(InputError, match=message):
            Ranking.read(run)
