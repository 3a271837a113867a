import numpy as np
import pytest

from colbertv2.compression import Float16Codec
from colbertv2.errors import InputError
from colbertv2.retrieval import Exhaustive, Index, PaperEngine, Plaid, Searcher

ENGINES = [Exhaustive(), Plaid(), PaperEngine()]


@pytest.mark.parametrize("engine", ENGINES, ids=repr)
def test_nothing_sticks_from_one_search_to_the_next(world, residual_index, engine):
    queries, used = world.queries(6), Searcher(residual_index, engine)
    for k in (5, 200, 50, 5, 1, 10):
        fresh = Searcher(Index.open(residual_index.path), type(engine)()).search(queries, k)
        assert used.search(queries, k) == fresh


@pytest.mark.parametrize("engine", ENGINES, ids=repr)
def test_results_are_ids_best_first_without_empty_documents(world, residual_index, engine):
    for result in Searcher(residual_index, engine).search(world.queries(6), 150):
        ids, scores = zip(*result, strict=True)
        assert len(set(ids)) == len(ids) <= 148
        assert not {"d7", "d149"} & set(ids)  # these have no vectors
        assert list(scores) == sorted(scores, reverse=True)
        assert all(type(score) is float for score in scores)


def test_equal_scores_come_in_corpus_order(new_world):
    world = new_world(40)
    halves = 0.5 * np.eye(16, dtype=np.float32).reshape(4, 4, 16).sum(axis=1)  # their dot products are exact
    world.documents = [halves[[number % 4]] for number in range(40)]
    searcher = Searcher(world.index(Float16Codec()), Exhaustive())
    expected = [(f"d{number}", 1.0) for number in range(2, 40, 4)] + [("d0", 0.0), ("d1", 0.0)]
    assert searcher.search([halves[[2]]], 12)[0] == expected
    assert searcher.search([halves[[2]]], 3)[0] == expected[:3]


def test_rerank_is_the_exhaustive_order_of_the_candidates(world, residual_index):
    searcher, queries = Searcher(residual_index, Plaid()), world.queries(3)
    candidates = [["d9", "d3", "d7", "d3"], [], ["d140", "d12", "d4"]]
    exact = Searcher(residual_index, Exhaustive()).search(queries, 150)
    for found, own, everything in zip(searcher.rerank(queries, candidates, 5), candidates, exact, strict=True):
        expected = [result for result in everything if result[0] in own]
        assert [doc_id for doc_id, _ in found] == [doc_id for doc_id, _ in expected]
        np.testing.assert_allclose([s for _, s in found], [s for _, s in expected], atol=2e-5)
    assert len(searcher.rerank(queries, candidates, 1)[0]) == 1


def test_no_queries(residual_index):
    assert Searcher(residual_index, Exhaustive()).search([], 5) == []


@pytest.mark.parametrize(
    ("query", "k", "message"),
    [
        (np.ones((2, 16), np.float32), 0, "k is 0"),
        (np.ones((2, 8), np.float32), 5, r"shape \[2, 8\]; expected \[at least 1, 16\]"),
        (np.ones((0, 16), np.float32), 5, "shape"),
        (np.ones(16, np.float32), 5, "shape"),
        (np.full((1, 16), np.nan, np.float32), 5, "NaN"),
    ],
)
def test_bad_searches_are_input_errors(residual_index, query, k, message):
    with pytest.raises(InputError, match=message):
        Searcher(residual_index, Exhaustive()).search([query], k)


def test_bad_candidates_are_input_errors(world, residual_index):
    searcher, queries = Searcher(residual_index, Exhaustive()), world.queries(2)
    with pytest.raises(InputError, match="'nowhere' is not in the index"):
        searcher.rerank(queries, [["d1"], ["nowhere"]], 5)
    with pytest.raises(InputError, match="2 queries and 1 lists"):
        searcher.rerank(queries, [["d1"]], 5)
