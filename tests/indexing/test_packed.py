import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from colbertv2.indexing.packed import Packed, blocks, offsets_of, ranges

lengths_lists = st.lists(st.integers(0, 9), max_size=30)


@given(lengths_lists, st.integers(1, 20))
def test_blocks_cover_all_documents_once_and_stay_in_bounds(lengths, num_vectors):
    offsets = offsets_of(np.array(lengths, dtype=np.int32))
    found = list(blocks(offsets, num_vectors))
    assert [document for first, last in found for document in range(first, last)] == list(range(len(lengths)))
    for first, last in found:
        assert offsets[last] - offsets[first] <= num_vectors or last == first + 1


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 5)), max_size=20))
def test_ranges_is_the_loop(pairs):
    starts = np.array([start for start, _ in pairs], dtype=np.int64)
    lengths = np.array([length for _, length in pairs], dtype=np.int32)
    expected = [start + i for start, length in pairs for i in range(length)]
    assert ranges(starts, lengths).tolist() == expected


def test_packed_length_is_the_number_of_documents():
    assert len(Packed(np.zeros((3, 2), np.float32), np.array([3, 0]))) == 2
