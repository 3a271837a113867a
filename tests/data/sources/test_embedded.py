import ir_datasets
import pytest

from colbertv2.data.collection import Collection
from colbertv2.data.queries import Queries

SPLITS = ("train", "dev", "test")


@pytest.mark.parametrize("name", ["stdlib", "stdlib-small"])
def test_every_query_has_one_relevant_document_that_exists(name):
    documents = dict(Collection(name))
    seen = set()
    for split in SPLITS:
        queries = Queries(f"{name}/{split}")
        assert len(queries) == len(queries.qrels) > 200
        for query_id, text in queries:
            (relevant,) = queries.qrels.relevant(query_id)
            assert relevant in documents and text not in documents[relevant]
            assert relevant not in seen
            seen.add(relevant)
    assert seen == set(documents)


def test_small_is_half_and_keeps_the_splits():
    assert 0.45 < len(Collection("stdlib-small")) / len(Collection("stdlib")) < 0.55
    for split in SPLITS:
        assert set(Queries(f"stdlib-small/{split}")) < set(Queries(f"stdlib/{split}"))


def test_it_speaks_ir_datasets():
    dataset = ir_datasets.load("stdlib/dev")
    documents = list(dataset.docs_iter())
    assert len(documents) == dataset.docs_count()
    assert list(dataset.docs_iter()[10:20:3]) == documents[10:20:3]
    assert dataset.docs_iter()[7] == documents[7]
    assert dataset.docs_store().get(documents[3].doc_id) == documents[3]
    assert dataset.docs_store().get_many(["nowhere"]) == {}
    assert sum(1 for _ in dataset.queries_iter()) == dataset.queries_count() == dataset.qrels_count()
    assert ir_datasets.docs_parent_id("stdlib/dev") == "stdlib"
    assert not ir_datasets.load("stdlib").has_queries()


def test_documents_and_queries_have_their_module_as_pool_and_the_functions_name_as_answer():
    dataset = ir_datasets.load("stdlib-small/test")
    pools = {document.doc_id: document.pool_id for document in dataset.docs_iter()}
    for query in dataset.queries_iter():
        own = query.query_id.removeprefix("q-")
        assert query.pool_id == pools[own] == own.split(":")[0].split(".")[0]
        assert len(query.answers) == 1 and own.endswith(query.answers[0])
