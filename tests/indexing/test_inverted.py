import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from colbertv2.errors import InputError
from colbertv2.indexing import inverted
from colbertv2.indexing.codes import create_codes, write_codes
from colbertv2.indexing.inverted import Inverted, build_inverted


def built(path, codes, lengths, num_centroids) -> Inverted:
    create_codes(path / "codes.npy", len(codes), num_centroids)
    write_codes(path / "codes.npy", 0, codes, num_centroids)
    build_inverted(path, lengths, num_centroids)
    return Inverted.open(path, num_centroids, len(lengths))


def plain(codes, lengths, num_centroids) -> list[list[int]]:
    documents = np.repeat(np.arange(len(lengths)), lengths)
    return [np.unique(documents[codes == centroid]).tolist() for centroid in range(num_centroids)]


def lists_of(found: Inverted) -> list[list[int]]:
    return [part.tolist() for part in np.split(found.documents, np.cumsum(found.lengths)[:-1])]


@pytest.mark.parametrize("block", [1, 10, 2**22])
@pytest.mark.parametrize("read", [1, 7, 2**20])
def test_lists_are_the_unique_documents_of_each_centroid(tmp_path, monkeypatch, block, read):
    monkeypatch.setattr(inverted, "BLOCK_VECTORS", block)
    monkeypatch.setattr(inverted, "READ_VECTORS", read)
    random = np.random.default_rng(0)
    lengths = random.integers(0, 8, 60)
    codes = random.integers(0, 12, lengths.sum()).astype(np.int32)
    lists, expected = built(tmp_path, codes, lengths, 15), plain(codes, lengths, 15)
    assert lists_of(lists) == expected
    for centroid in range(15):
        assert lists.documents_of(np.array([centroid])).tolist() == expected[centroid]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), st.integers(1, 40), st.integers(1, 300))
def test_documents_of_several_centroids_are_a_union(tmp_path, data, num_centroids, num_documents):
    random = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    lengths = random.integers(0, 6, num_documents)
    codes = random.integers(0, num_centroids, lengths.sum())
    lists, members = built(tmp_path, codes, lengths, num_centroids), plain(codes, lengths, num_centroids)
    assert lists_of(lists) == members
    centroids = data.draw(st.lists(st.integers(0, num_centroids - 1)))
    expected = sorted(set().union(*(members[centroid] for centroid in centroids)))
    found = lists.documents_of(np.array(centroids, dtype=np.int64))
    assert found.dtype == np.int64 and found.tolist() == expected


def test_a_gap_beyond_16_bits(tmp_path):
    lengths = np.zeros(300_000, np.int32)
    lengths[[0, 1, 200_000, 299_999]] = 1
    lists = built(tmp_path, np.array([0, 1, 1, 1]), lengths, 2)
    assert lists_of(lists) == [[0], [1, 200_000, 299_999]]
    assert lists.documents_of(np.arange(2)).tolist() == [0, 1, 200_000, 299_999]


def test_damaged_lists_are_input_errors(tmp_path):
    lists = built(tmp_path, np.arange(400) % 4, np.full(100, 4), 4)
    zeros = Inverted(lists.data * 0, np.diff(lists.offsets), lists.lengths, lists.low_bits, 100, tmp_path)
    beyond = Inverted(lists.data, np.diff(lists.offsets), lists.lengths, lists.low_bits, 99, tmp_path)
    for damaged in (zeros, beyond):
        with pytest.raises(InputError, match=r"inverted list in .* is damaged"):
            damaged.documents_of(np.array([2]))
        with pytest.raises(InputError, match=r"inverted list in .* is damaged"):
            _ = damaged.documents
    with pytest.raises(IndexError):
        lists.documents_of(np.array([4]))
