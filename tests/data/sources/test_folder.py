import json

import ir_datasets
import pytest

from colbertv2.data.collection import Collection
from colbertv2.data.queries import Queries
from colbertv2.errors import InputError


def jsonl(path, records):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


@pytest.fixture
def beir(tmp_path):
    documents = [
        {"_id": "münchen/1", "title": "A title", "text": "tab\there\nand a newline", "metadata": {"url": "x"}},
        {"_id": "文-2", "title": "", "text": "no title 🙂"},
    ]
    jsonl(tmp_path / "corpus.jsonl", documents)
    jsonl(tmp_path / "queries.jsonl", [{"_id": "q1", "text": "first"}, {"_id": "q2", "text": "second"}])
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\tmünchen/1\t1\n", encoding="utf-8")
    (tmp_path / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nq2\t文-2\t2\n", encoding="utf-8")
    return tmp_path


@pytest.fixture
def plain(tmp_path):
    (tmp_path / "collection.tsv").write_text("a\tone\nb\ttwo\n")
    (tmp_path / "queries.tsv").write_text("q1\tfirst\nq2\tsecond\n")
    (tmp_path / "queries.dev.tsv").write_text("q9\tninth\n")
    (tmp_path / "qrels.train.tsv").write_text("q1 0 a 1\n")
    (tmp_path / "qrels.dev.tsv").write_text("q9 0 b 1\n")
    return tmp_path


def test_beir_layout(beir):
    collection = Collection(f"folder:{beir}/test")
    assert list(collection) == [("münchen/1", "A title tab\there\nand a newline"), ("文-2", "no title 🙂")]
    assert collection.identity() == Collection(f"folder:{beir}").identity()
    assert list(Queries(f"folder:{beir}/test")) == [("q1", "first")]
    train = Queries(f"folder:{beir}/train")
    assert list(train) == [("q2", "second")] and train.qrels.relevant("q2") == ["文-2"]


def test_plain_layout(plain):
    assert list(Collection(f"folder:{plain}/train")) == [("a", "one"), ("b", "two")]
    assert list(Queries(f"folder:{plain}/train")) == [("q1", "first")]
    assert list(Queries(f"folder:{plain}/dev")) == [("q9", "ninth")]
    assert list(Queries(f"folder:{plain}")) == [("q1", "first"), ("q2", "second")]


def test_relative_paths(plain, monkeypatch):
    monkeypatch.chdir(plain.parent)
    assert len(Collection(f"folder:{plain.name}")) == 2


def test_it_speaks_ir_datasets(beir):
    dataset = ir_datasets.load(f"folder:{beir}/test")
    assert [document.doc_id for document in dataset.docs_iter()[1:]] == ["文-2"]
    assert dataset.docs_store().get("文-2").text == "no title 🙂"
    assert dataset.docs_count() == 2 and dataset.has_qrels()


def test_judgements_must_name_known_queries_and_documents(plain):
    (plain / "qrels.train.tsv").write_text("q1 0 a 1\nq8 0 a 1\nq2 0 x 1\n")
    with pytest.raises(InputError) as raised:
        len(Queries(f"folder:{plain}/train"))
    message = str(raised.value)
    assert "line 2: no query 'q8' in queries.tsv" in message and "line 3: no document 'x' in collection.tsv" in message
    assert "qrels.train.tsv" in message


def test_a_faulty_collection_leaves_nothing_half_built(tmp_path):
    path = tmp_path / "collection.tsv"
    path.write_text("a\tone\nb\n")
    for _ in range(2):  # the second time, the file is still faulty
        with pytest.raises(InputError, match="line 2"):
            list(Collection(f"folder:{tmp_path}"))
    path.write_text("a\tone\nb\tmended\n")
    assert list(Collection(f"folder:{tmp_path}")) == [("a", "one"), ("b", "mended")]


def test_missing_folders_files_and_splits(tmp_path, plain):
    with pytest.raises(InputError, match="no such folder"):
        Collection(f"folder:{tmp_path}/nowhere/at/all")
    (tmp_path / "empty").mkdir()
    (tmp_path / "collection.tsv").unlink()
    with pytest.raises(InputError, match="found none of them"):
        Collection(f"folder:{tmp_path}/empty")
    (tmp_path / "collection.tsv").write_text("a\tone\n")
    with pytest.raises(InputError, match="split 'test'; its splits: dev, train"):
        Queries(f"folder:{plain}/test")
    (tmp_path / "corpus.jsonl").write_text("")
    with pytest.raises(InputError, match=r"found corpus\.jsonl and collection\.tsv"):
        Collection(f"folder:{tmp_path}")
