"""What each benchmark's protocol makes of one ranking."""

import logging

import pytest
import released
from released import any_disk  # noqa: F401

from colbertv2.data.queries import PROTOCOLS, Queries
from colbertv2.errors import InputError
from colbertv2.evaluation.measures import evaluate
from colbertv2.evaluation.protocols import RULES, judged, unjudgeable
from colbertv2.evaluation.ranking import Ranking
from colbertv2.stages import evaluate as stage


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "collection.tsv").write_text("a\tone\nb\ttwo\nq1\tfirst\n")
    (tmp_path / "queries.tsv").write_text("q1\tfirst\nq2\tsecond\n")
    (tmp_path / "qrels.test.tsv").write_text("q1 0 a 1\nq2 0 b 1\n")
    return f"folder:{tmp_path}/test"


def reciprocal_ranks(ranking: Ranking, queries: Queries, measure: str = "RR@10") -> dict:
    return evaluate(*judged(ranking, queries), [measure])[measure].to_dict()


RANKING = Ranking({"q1": [("q1", 3.0), ("b", 2.0), ("a", 1.0)]})


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [("trec", {"q1": 1 / 3, "q2": 0.0}), ("beir", {"q1": 1 / 2, "q2": 0.0}), ("peerqa", {"q1": 1 / 3})],
)
def test_labels(folder, protocol, expected):
    queries = Queries(folder, protocol=protocol)
    assert reciprocal_ranks(RANKING, queries) == pytest.approx(expected)
    assert list(unjudgeable(queries)) == []


def test_every_name_has_a_rule(folder):
    assert set(RULES) == set(PROTOCOLS)
    with pytest.raises(InputError, match="expected one of trec, beir"):
        Queries(folder, protocol="bier")


RANKED = Ranking({"0": [("3", 2.0), ("1", 1.0)], "1": [("3", 3.0), ("2", 2.0)], "2": [("1", 2.0), ("2", 1.0)]})


@pytest.mark.usefixtures("any_disk")
@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        ("dpr", {"0": 1 / 2, "1": 1 / 2, "2": 0.0, "3": 0.0}),
        ("dpr_title", {"0": 1 / 2, "1": 1.0, "2": 1 / 2, "3": 0.0}),  # passage 3 is called New York
        ("dpr_regex", {"0": 1 / 2, "1": 1 / 2, "2": 0.0, "3": 0.0}),
    ],
)
def test_answers(protocol, expected):
    queries = Queries(f"dpr-qas:{released.dpr()}", protocol=protocol)
    assert list(unjudgeable(queries)) == [] and stage.check(None, queries, ["Success@5"]) == []
    assert reciprocal_ranks(RANKED, queries) == expected  # query 3 has no results, and counts
    found = reciprocal_ranks(RANKED, queries, "Success@1")
    assert found == {query_id: float(value == 1) for query_id, value in expected.items()}


@pytest.mark.usefixtures("any_disk")
def test_regular_expressions_are_searched(tmp_path):
    (tmp_path / "qa.csv").write_text("when was it\t['18[89]\\\\d']\n")
    queries = Queries(f"dpr-qas:{tmp_path}/qa.csv", protocol="dpr_regex")
    released.dpr()
    assert reciprocal_ranks(Ranking({"0": [("1", 2.0), ("2", 1.0)]}), queries) == {"0": 1 / 2}


@pytest.mark.usefixtures("any_disk")
def test_only_the_first_thousand_are_looked_at(monkeypatch):
    monkeypatch.setattr("colbertv2.evaluation.protocols.LOOKED_AT", 1)
    queries = Queries(f"dpr-qas:{released.dpr()}", protocol="dpr")
    assert sum(reciprocal_ranks(RANKED, queries).values()) == 0


@pytest.mark.usefixtures("any_disk")
def test_answers_need_answers_and_the_documents_that_were_ranked(folder):
    with pytest.raises(InputError, match=r"have no answers, only query_id, text"):
        list(unjudgeable(Queries(folder, protocol="dpr")))
    queries = Queries(f"dpr-qas:{released.dpr()}", protocol="dpr")
    with pytest.raises(InputError, match="does not have, such as 'elsewhere'"):
        judged(Ranking({"0": [("elsewhere", 1.0)]}), queries)


def test_the_labels_of_other_documents_are_refused(tmp_path, folder, caplog):
    """The check looks at the documents that are ranked, whatever the queries' own id has."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "collection.tsv").write_text("x\tone\ny\ttwo\n")

    def problems(path) -> list[str]:
        from colbertv2.artifacts.reader import parse

        documents = {"_target_": "colbertv2.data.collection.Collection", "id": f"folder:{path}"}
        queries = {"_target_": "colbertv2.data.queries.Queries", "id": folder}
        bm25 = {"_target_": "colbertv2.search.bm25.BM25", "k1": 1.2, "b": 0.75, "tokenizer": "words"}
        inputs = {"documents": documents, "queries": queries, "bm25": bm25, "depth": 10}
        ranking = parse({"_target_": "colbertv2.stages.bm25.run", **inputs})
        return stage.check(ranking, Queries(folder), ["RR@10"])

    assert problems(tmp_path) == []
    [problem] = problems(tmp_path / "other")
    assert "lacks 2 of 2 documents that are judged relevant, such as 'a'" in problem
    (tmp_path / "other" / "collection.tsv").write_text("x\tone\na\ttwo\n")
    with caplog.at_level(logging.WARNING):
        assert problems(tmp_path / "other") == []
    assert "lacks 1 of 2 relevant documents" in caplog.text
