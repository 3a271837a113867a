import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from colbertv2.indexing.packed import Packed
from colbertv2.search import scoring
from colbertv2.search.scoring import best_documents, maxsim, score_documents, top_k


@given(st.lists(st.integers(-3, 3), max_size=40), st.integers(0, 45), st.integers(0, 99))
def test_top_k_is_the_first_k_of_the_whole_order(scores, k, seed):
    random = np.random.default_rng(seed)
    positions, ranks = np.sort(random.permutation(60)[: len(scores)]), random.permutation(60)
    expected = sorted(range(len(scores)), key=lambda place: (-scores[place], ranks[positions[place]]))
    values = np.array(scores, dtype=np.float32)
    assert top_k(positions, values, k, ranks).tolist() == expected[:k]
    found = best_documents(positions, values, k, ranks)
    assert found.positions.tolist() == positions[expected[:k]].tolist()
    assert found.tied == (0 < k < len(scores) and values[expected[k - 1]] == values[expected[k]])


@pytest.mark.parametrize("together", [1, 5, 2**9])
def test_maxsim_is_its_definition_however_queries_are_grouped(monkeypatch, together):
    monkeypatch.setattr(scoring, "QUERY_VECTORS", together)
    random = np.random.default_rng(0)
    lengths = np.array([3, 0, 12, 1, 1, 0])
    vectors = random.normal(size=(lengths.sum(), 4)).astype(np.float32)
    queries = [random.normal(size=(length, 4)).astype(np.float32) for length in (1, 6, 2, 17)]
    found, floored = (maxsim(queries, Packed(vectors, lengths), floor) for floor in (-np.inf, 0.25))
    for number, query in enumerate(queries):
        for document, own in enumerate(np.split(vectors, np.cumsum(lengths)[:-1])):
            best = (query @ own.T).max(axis=1, initial=-np.inf)
            assert found[number, document] == pytest.approx(best.sum(), rel=1e-5)
            assert floored[number, document] == pytest.approx(np.maximum(best, 0.25).sum(), rel=1e-5)


def test_maxsim_refuses_other_dimensions():
    with pytest.raises(ValueError, match="Queries of 3 dimensions, documents of 4"):
        maxsim([np.ones((2, 3), np.float32)], Packed(np.ones((1, 4), np.float32), np.array([1])))


def test_score_documents_in_blocks_and_in_any_order(monkeypatch, world, residual_index):
    query = world.queries(1)[0]
    positions = np.array([30, 2, 7, 99, 3])  # document 7 is empty
    whole = score_documents(residual_index, query, positions)
    monkeypatch.setattr(scoring, "DECODED_VECTORS", 1)
    np.testing.assert_allclose(score_documents(residual_index, query, positions), whole, rtol=1e-5)
    assert whole[2] == -np.inf and np.isfinite(np.delete(whole, 2)).all()
    kept = best_documents(positions, whole, 5, residual_index.ranks)
    assert sorted(kept.positions.tolist()) == [2, 3, 30, 99]
