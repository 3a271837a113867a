import math

import pytest

from colbertv2.data.collection import Collection
from colbertv2.data.queries import Queries
from colbertv2.errors import InputError
from colbertv2.evaluation.measures import evaluate
from colbertv2.search.bm25 import BM25

DOCUMENTS = [
    ("a", "the whale swims and the whale sings"),
    ("b", "whales"),
    ("c", "a cat sings"),
    ("d", "def getFileName(path): return os.path.base_name(path)"),
]


def bm25(tokenizer="words", k1=1.2, b=0.75):
    return BM25(k1=k1, b=b, tokenizer=tokenizer)


def test_scores_follow_the_formula():
    documents = [("a", "whale whale song"), ("b", "cat"), ("c", "song")]
    index = bm25().index(documents)
    ((found, score),) = index.search_one("whale", depth=10)
    idf = math.log(1 + (3 - 1 + 0.5) / (1 + 0.5))
    average = 5 / 3
    assert found == "a"
    assert score == pytest.approx(idf * 2 / (2 + 1.2 * (1 - 0.75 + 0.75 * 3 / average)), rel=1e-5)


def test_stemming_stopwords_and_order():
    index = bm25().index(DOCUMENTS)
    assert {doc_id for doc_id, _ in index.search_one("whaling whale the and", depth=10)} == {"a", "b"}
    assert index.search_one("the and of", depth=10) == []
    assert index.search_one("zebra", depth=10) == []
    ranking = index.search([("q", "singing cats"), ("none", "zebra")], depth=10)
    assert [doc_id for doc_id, _ in ranking["q"]] == ["c", "a"] and ranking["none"] == []


def test_code_splits_identifiers_and_keeps_them():
    assert bm25().index(DOCUMENTS).search_one("file name", depth=10) == []
    index = bm25("code").index(DOCUMENTS)
    for query in ("file name", "getFileName", "base name", "base_name"):
        assert index.search_one(query, depth=10)[0][0] == "d"
    assert bm25("code").tokens(["Plain words, HTTPServer2 __init__"]) == bm25().tokens(
        ["Plain words, HTTPServer2 HTTP Server 2 __init__ init"]
    )


def test_depth_and_tiny_collections():
    index = bm25().index(DOCUMENTS)
    assert len(index.search_one("whale cat", depth=1)) == 1
    assert len(index.search_one("whale cat", depth=1000)) == 3
    assert bm25().index([("only", "one document")]).search_one("document", depth=10)[0][0] == "only"
    assert bm25().index([("empty", ""), ("stop", "the and")]).search_one("the document", depth=10) == []
    assert bm25().index([]).search_one("document", depth=10) == []
    assert index.num_bytes > 0 == bm25().index([]).num_bytes


@pytest.mark.parametrize("wrong", [{"tokenizer": "Words"}, {"k1": -1.0}, {"b": 1.5}])
def test_wrong_values(wrong):
    with pytest.raises(InputError):
        bm25(**wrong)


def test_it_reaches_what_is_known_of_scifact(shared_collections):
    queries = Queries("beir/scifact/test")
    ranking = bm25().index(Collection("beir/scifact")).search(queries, depth=100)
    assert 0.66 < evaluate(ranking, queries.qrels, ["nDCG@10"])["nDCG@10"].mean() < 0.70  # BEIR's table: .665


def test_split_identifiers_help_on_code():
    queries = Queries("stdlib-small/dev")
    means = {}
    for tokenizer in ("words", "code"):
        ranking = bm25(tokenizer).index(Collection("stdlib-small")).search(queries, depth=10)
        means[tokenizer] = evaluate(ranking, queries.qrels, ["RR@10"])["RR@10"].mean()
    assert 0.25 < means["words"] < means["code"] - 0.04
