import logging

from colbertv2.data.collection import Collection
from colbertv2.data.queries import Qrels, Queries


def test_relevant_documents_come_by_grade_then_id():
    qrels = Qrels({"q": {"c": 1, "a": 1, "b": 3, "d": 0, "e": -1}, "none": {"a": 0}})
    assert qrels.relevant("q") == ["b", "a", "c"]
    assert qrels.relevant("none") == [] and qrels.relevant("unknown") == []
    assert len(qrels) == 2 and qrels["q"]["b"] == 3 and "unknown" not in qrels
    assert repr(qrels) == "Qrels(2 queries, 6 judgements)"


def test_unknown_documents_are_counted_in_a_warning(tmp_path, caplog):
    (tmp_path / "collection.tsv").write_text("a\tone\n")
    with caplog.at_level(logging.WARNING):
        assert Qrels({"q": {"a": 1, "x": 1}, "p": {"y": 0}}).unknown(Collection(f"folder:{tmp_path}")) == ["x", "y"]
    assert "2 of 3 judged documents" in caplog.text


def test_benchmarks_judge_known_documents(shared_collections, caplog):
    for documents, queries in (("beir/scifact", "beir/scifact/test"), ("vaswani", "vaswani")):
        assert Queries(queries).qrels.unknown(Collection(documents)) == []
