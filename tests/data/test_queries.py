import pickle

import pytest

from colbertv2.data.queries import Queries
from colbertv2.errors import InputError


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "collection.tsv").write_text("a\tone\nb\ttwo\n")
    (tmp_path / "queries.tsv").write_text("q1\tfirst\nq2\tsecond\nq3\tthird\n")
    (tmp_path / "qrels.test.tsv").write_text("q1 0 a 1\nq1 0 b 2\nq2 0 a 0\n")
    return tmp_path


def test_only_queries_with_a_relevant_document_are_kept(folder):
    queries = Queries(f"folder:{folder}/test")
    assert list(queries) == [("q1", "first")]
    assert len(queries) == 1
    assert list(queries.qrels) == ["q1"] and queries.qrels.relevant("q1") == ["b", "a"]
    assert queries.texts(["q1", "q1"]) == ["first", "first"]
    with pytest.raises(InputError, match="no query 'q2'"):
        queries.texts(["q2"])


def test_without_judgements_all_are_kept(folder):
    queries = Queries(f"folder:{folder}")
    assert len(queries) == 3
    with pytest.raises(InputError, match="no relevance judgements"):
        _ = queries.qrels


def test_nothing_left_is_an_error(folder):
    (folder / "qrels.dev.tsv").write_text("q1 0 a 0\n")
    with pytest.raises(InputError, match="no query with a relevant document, of 3"):
        len(Queries(f"folder:{folder}/dev"))


def test_parts_are_disjoint_complete_and_of_the_size_asked_for():
    everything = set(Queries("stdlib/train"))
    train = set(Queries("stdlib/train", part="train", dev_fraction=0.2))
    dev = set(Queries("stdlib/train", part="dev", dev_fraction=0.2))
    assert not train & dev and train | dev == everything
    assert abs(len(dev) / len(everything) - 0.2) < 0.02
    assert set(Queries("stdlib/train", part="dev", dev_fraction=0.1)) < dev


@pytest.mark.parametrize(
    ("part", "dev_fraction"), [("test", 0.2), ("train", 0.0), ("dev", 1.0), (None, 0.2), ("dev", float("nan"))]
)
def test_part_and_dev_fraction_must_fit(part, dev_fraction):
    with pytest.raises(InputError, match=r"part|dev_fraction"):
        Queries("stdlib/train", part=part, dev_fraction=dev_fraction)


def test_identity_covers_texts_and_judgements(folder):
    before = Queries(f"folder:{folder}/test").identity()
    assert before == Queries(f"folder:{folder}/test").identity()
    (folder / "qrels.test.tsv").write_text("q1 0 a 1\n")
    assert Queries(f"folder:{folder}/test").identity() != before
    whole = Queries("stdlib/train").identity()
    assert whole != Queries("stdlib/train", part="train", dev_fraction=0.2).identity()


def test_missing_id_and_id_without_queries():
    with pytest.raises(InputError, match="found None"):
        Queries(None)
    with pytest.raises(InputError, match="no queries"):
        Queries("stdlib")


def test_benchmarks(shared_collections):
    assert len(Queries("beir/scifact/train")) == 809 and len(Queries("beir/scifact/test")) == 300
    cranfield = Queries("cranfield")
    assert len(cranfield) == 225
    assert min(grade for grades in cranfield.qrels.values() for grade in grades.values()) <= 0
    assert all(cranfield.qrels.relevant(query_id) for query_id in cranfield.qrels)
    assert len(Queries("vaswani")) == 93


def test_a_protocol_moves_the_identity_by_its_name_alone(folder):
    plain = Queries(f"folder:{folder}/test").identity()
    assert Queries(f"folder:{folder}/test", protocol="trec").identity() == plain
    assert Queries(f"folder:{folder}/test", protocol="beir").identity() == {**plain, "protocol": "beir"}


def test_a_file_of_ids_keeps_a_subset(folder):
    (folder / "qrels.test.tsv").write_text("q1 0 a 1\nq2 0 a 1\nq3 0 a 0\n")
    ids = folder / "ids.txt"
    ids.write_text("q2\nq3\n\n")
    queries = Queries(f"folder:{folder}/test", ids=str(ids))
    assert list(queries) == [("q2", "second")] and list(queries.qrels) == ["q2"]
    everything = Queries(f"folder:{folder}/test", ids=str(ids), unlabelled=True)
    assert [query_id for query_id, _ in everything] == ["q2", "q3"]
    again = pickle.loads(pickle.dumps(everything))
    assert list(again) == list(everything) and again.identity() == everything.identity() != queries.identity()
    ids.write_text("q1\nq9\nq1\n")
    with pytest.raises(InputError) as raised:
        len(Queries(f"folder:{folder}/test", ids=str(ids)))
    assert "line 2: 'folder:" in str(raised.value) and "no query 'q9'" in str(raised.value)
    assert "line 3: the query 'q1' is listed twice" in str(raised.value)
    ids.write_text("q3\n")
    with pytest.raises(InputError, match=r"no query with a relevant document among those of .*ids\.txt, of 3"):
        len(Queries(f"folder:{folder}/test", ids=str(ids)))
    with pytest.raises(InputError, match=r"nowhere\.txt can't be read"):
        len(Queries(f"folder:{folder}/test", ids=str(folder / "nowhere.txt")))
