import numpy as np
import pytest

from colbertv2.compression.uncompressed import Float16Codec
from colbertv2.errors import InputError
from colbertv2.indexing.index import Index
from colbertv2.search import device_search
from colbertv2.search.cascade import Cascade
from colbertv2.search.engine import say_once
from colbertv2.search.exhaustive import Exhaustive
from colbertv2.search.plaid import Plaid
from colbertv2.search.searcher import Searcher
from colbertv2.search.vanilla_colbertv2 import VanillaColBERTv2
from colbertv2.search.xtr import XTR

ENGINES = [Exhaustive(), Plaid(), VanillaColBERTv2(), XTR()]


@pytest.fixture
def graphics(monkeypatch):
    """Use the CPU in place of a CUDA device, so that a Searcher uses the torch engines."""

    real = device_search.DeviceIndex
    monkeypatch.setattr(device_search, "DeviceIndex", lambda index, device: real(index, "cpu"))
    return "cuda"


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


def test_of_equal_scores_the_greater_id_comes_first(new_world):
    world = new_world(40)
    halves = 0.5 * np.eye(16, dtype=np.float32).reshape(4, 4, 16).sum(axis=1)  # their dot products are exact
    world.documents = [halves[[number % 4]] for number in range(40)]
    searcher = Searcher(world.index(Float16Codec()), Exhaustive())
    same, others = range(2, 40, 4), (number for number in range(40) if number % 4 != 2)
    expected = [(one, 1.0) for one in sorted((f"d{number}" for number in same), reverse=True)]
    expected += [(one, 0.0) for one in sorted((f"d{number}" for number in others), reverse=True)[:2]]
    assert searcher.search([halves[[2]]], 12)[0] == expected
    assert searcher.search([halves[[2]]], 3)[0] == expected[:3]


@pytest.mark.parametrize("engine", [Exhaustive(), Cascade(ndocs=None)], ids=repr)
def test_a_device_finds_what_the_cpu_finds(world, residual_index, graphics, engine):
    queries = world.queries(6)
    here, there = Searcher(residual_index, engine), Searcher(residual_index, engine, graphics)
    assert here.path == f"{type(engine).__name__} on the CPU" and there.path.startswith(
        f"{type(engine).__name__} on cpu"
    )
    for one, other in zip(here.search(queries, 150), there.search(queries, 150), strict=True):
        assert [score for _, score in one] == pytest.approx([score for _, score in other], abs=1e-3)
        assert dict(one) == pytest.approx(dict(other), abs=1e-3)


@pytest.mark.parametrize(("engine", "device"), [(Plaid(), "cuda"), (VanillaColBERTv2(), "cuda:1"), (XTR(), "cuda")])
def test_what_no_device_does_is_done_on_the_cpu_and_said_once(world, residual_index, engine, device, capsys):
    say_once.cache_clear()
    searchers = [Searcher(residual_index, engine, device) for _ in range(2)]
    assert searchers[1].search(world.queries(1), 5) and searchers[1].path == f"{type(engine).__name__} on the CPU"
    assert capsys.readouterr().err.count(f"{engine} searches on the CPU") == 1


@pytest.mark.parametrize("make", [lambda *_: (Plaid(), "cpu"), lambda device: (Exhaustive(), device)])
def test_rerank_is_the_exhaustive_order_of_the_candidates(world, residual_index, graphics, make):
    searcher, queries = Searcher(residual_index, *make(graphics)), world.queries(3)
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
        (np.eye(3, 16) * [[1], [1.02], [1]], 5, r"Query 0, row 1 has norm 1\.02; expected L2-normalised rows"),
        (np.eye(3, 16) * [[1], [1], [0]], 5, r"row 2 has norm 0; expected .* leave out rows of zeros"),
    ],
)
def test_bad_searches_are_input_errors(residual_index, query, k, message):
    with pytest.raises(InputError, match=message):
        Searcher(residual_index, Exhaustive()).search([query], k)


def test_queries_normalised_in_16_bits_are_taken(world, residual_index):
    searcher, queries = Searcher(residual_index, Exhaustive()), world.queries(5)
    found = searcher.search([query.astype(np.float16) for query in queries], 1)
    for one, other in zip(found, searcher.search(queries, 1), strict=True):
        assert one[0][1] == pytest.approx(other[0][1], abs=1e-2)


def test_bad_candidates_are_input_errors(world, residual_index):
    searcher, queries = Searcher(residual_index, Exhaustive()), world.queries(2)
    with pytest.raises(InputError, match="'nowhere' is not in the index"):
        searcher.rerank(queries, [["d1"], ["nowhere"]], 5)
    with pytest.raises(InputError, match="2 queries and 1 lists"):
        searcher.rerank(queries, [["d1"]], 5)
