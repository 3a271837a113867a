import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from colbertv2.retrieval import inverted
from colbertv2.retrieval.inverted import Inverted, build_inverted


@pytest.mark.parametrize("block", [1, 10, 2**22])
def test_lists_are_the_unique_documents_of_each_centroid(tmp_path, monkeypatch, block):
    monkeypatch.setattr(inverted, "BLOCK_VECTORS", block)
    random = np.random.default_rng(0)
    lengths = random.integers(0, 8, 60)
    codes = random.integers(0, 12, lengths.sum()).astype(np.int32)
    num_pairs = build_inverted(codes, lengths, 15, tmp_path)
    lists = Inverted.open(tmp_path, num_pairs, 15)
    documents = np.repeat(np.arange(60), lengths)
    for centroid in range(15):
        expected = sorted(set(documents[codes == centroid].tolist()))
        start = lists.offsets[centroid]
        assert lists.documents[start : start + lists.lengths[centroid]].tolist() == expected
        assert lists.documents_of(np.array([centroid])).tolist() == expected


@given(st.lists(st.integers(0, 5)))
def test_documents_of_several_centroids_are_a_union(centroids):
    lists = Inverted(np.array([0, 1, 2, 1, 3, 0], np.int32), np.array([2, 0, 1, 2, 1, 0]))
    members = [{0, 1}, set(), {2}, {1, 3}, {0}, set()]
    expected = sorted(set().union(*(members[centroid] for centroid in centroids)))
    assert lists.documents_of(np.array(centroids, dtype=np.int64)).tolist() == expected
