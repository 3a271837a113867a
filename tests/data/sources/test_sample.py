import hashlib

import ir_datasets
import pytest
from support import tiny_folder

from colbertv2.data.collection import Collection
from colbertv2.data.queries import Queries
from colbertv2.data.sources.sample import Sample, order
from colbertv2.errors import InputError


def naive(id: str, documents: int, queries: int) -> tuple[dict[str, str], set[str]]:
    """Compute the sample naively in memory: document id → text, and the ids of the queries."""
    texts, labels = dict(Collection(id)), Queries(id).qrels
    ordered = sorted(labels, key=order)[:queries]
    relevant = list(dict.fromkeys(doc_id for query_id in ordered for doc_id in labels.relevant(query_id)))[:documents]
    others = sorted(texts.keys() - set(relevant), key=order)[: documents - len(relevant)]
    kept = {*relevant, *others}
    chosen = {query_id for query_id in ordered if kept & set(labels.relevant(query_id))}
    return {doc_id: text for doc_id, text in texts.items() if doc_id in kept}, chosen


@pytest.mark.parametrize(
    ("id", "documents", "queries"),
    [("stdlib-small/test", 300, 40), ("stdlib-small/test", 10, 40), ("beir/scifact/test", 200, 20), ("vaswani", 50, 9)],
)
def test_agrees_with_a_naive_sample(id, documents, queries, request):
    if not id.startswith("stdlib"):
        request.getfixturevalue("shared_collections")
    found = f"sample:{documents}:{queries}:{id}"
    texts, chosen = naive(id, documents, queries)
    assert list(Collection(found)) == list(texts.items()) and len(Collection(found)) == documents
    sampled, labels = Queries(found), Queries(id).qrels
    assert {query_id for query_id, _ in sampled} == chosen
    for query_id in sampled.qrels:
        expected = {doc_id: grade for doc_id, grade in labels[query_id].items() if doc_id in texts}
        assert sampled.qrels[query_id] == expected
    assert sampled.qrels.mismatch(Collection(found)) == []


def test_what_there_is_if_more_is_asked_for(tmp_path):
    folder = f"folder:{tiny_folder(tmp_path / 'folder')}/train"
    assert list(Collection(f"sample:999:999:{folder}")) == list(Collection(folder))
    assert list(Queries(f"sample:999:999:{folder}")) == list(Queries(folder))


def test_the_order_is_not_that_of_held_out_parts():
    queries = Queries("sample:200:100:stdlib-small/train", part="dev", dev_fraction=0.5)
    assert 25 < len(queries) < 75


def test_drawn_once_in_one_pass_and_kept_by_content(tmp_path, monkeypatch):
    folder = tiny_folder(tmp_path / "folder")
    passes = []
    documents = Sample.documents
    monkeypatch.setattr(Sample, "documents", lambda self: passes.append(self.id) or documents(self))
    id = f"sample:5:3:folder:{folder}/train"
    first = list(Collection(id))
    assert list(Collection(id)) == first and len(Queries(id)) == 3 and len(passes) == 1

    def again() -> list:
        ir_datasets.registry._registered.pop(id)  # as in another process
        return list(Collection(id))

    assert again() == first and len(passes) == 1
    corpus = folder / "corpus.jsonl"
    corpus.write_text(corpus.read_text().replace("return(value)", "return value"))
    assert [text.replace("return value", "return(value)") for _, text in again()] == [text for _, text in first]
    assert len(passes) == 2


def test_one_sample_of_another(tmp_path):
    folder = f"folder:{tiny_folder(tmp_path / 'folder')}/train"
    inner = f"sample:12:5:{folder}"
    assert len(Queries(f"sample:6:2:{inner}")) == 2
    assert set(Collection(f"sample:6:2:{inner}")) < set(Collection(inner))


@pytest.mark.parametrize(
    ("id", "message"),
    [
        ("sample:0:5:stdlib/test", "at least 1"),
        ("sample:5:5:stdlib", "lacks documents, queries or judgements"),
        ("sample:5:5:stdlb/test", "stdlib/test"),
        ("sample:5:stdlib/test", "No dataset is called"),
    ],
)
def test_what_can_not_be_drawn(id, message):
    with pytest.raises(InputError, match=message):
        Collection(id)


def test_the_hash_is_fixed():
    digest = hashlib.sha256(b"sample\tmodule:name").digest()
    assert order("module:name") == int.from_bytes(digest[:8], "big")
