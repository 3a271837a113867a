import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from colbertv2.compression.bitpack import pack, reversed_bits, unpack
from colbertv2.compression.codec import NBITS
from colbertv2.errors import InputError
from colbertv2.kernels.codecs import pack_buckets


@st.composite
def values_and_bits(draw):
    nbits = draw(st.sampled_from(NBITS))
    dim = 8 // nbits * draw(st.integers(1, 5))
    rows = draw(st.lists(st.lists(st.integers(0, 2**nbits - 1), min_size=dim, max_size=dim), max_size=6))
    return np.array(rows, dtype=np.uint8).reshape(len(rows), dim), nbits


def packed_naively(row, nbits):
    """The layout by its definition: a value's lowest bit first, values in order, the first bit highest in its byte."""
    stream = [(int(value) >> place) & 1 for value in row for place in range(nbits)]
    return [int("".join(map(str, stream[i : i + 8])), 2) for i in range(0, len(stream), 8)]


@given(values_and_bits())
def test_layout_is_that_of_a_naive_bit_loop(case):
    values, nbits = case
    packed = pack(values, nbits)
    assert packed.dtype == np.uint8
    assert packed.tolist() == [packed_naively(row, nbits) for row in values]


@given(values_and_bits())
def test_round_trip(case):
    values, nbits = case
    np.testing.assert_array_equal(unpack(pack(values, nbits), nbits), values)


def test_every_byte_survives_the_other_way_round():
    every_byte = np.arange(256, dtype=np.uint8)[:, None]
    for nbits in NBITS:
        np.testing.assert_array_equal(pack(unpack(every_byte, nbits), nbits), every_byte)


@pytest.mark.parametrize("nbits", [0, 3, 16])
def test_bits_that_do_not_fill_a_byte_are_refused(nbits):
    with pytest.raises(InputError, match="1, 2, 4 or 8"):
        pack(np.zeros((1, 8), np.uint8), nbits)


def test_rows_that_do_not_fill_bytes_are_refused():
    with pytest.raises(InputError, match="multiple of 4"):
        pack(np.zeros((1, 6), np.uint8), 2)


@settings(max_examples=100)
@given(st.sampled_from(NBITS), st.integers(0, 5), st.integers(1, 4), st.integers(0, 999))
def test_packed_buckets_are_those_of_bucketize_and_pack(nbits, number, num_bytes, seed):
    random = np.random.default_rng(seed)
    dim = 8 // nbits * num_bytes
    # Few distinct values, so that many values equal a cutoff and some cutoffs equal each other.
    vectors, centroids = (random.integers(-9, 10, (rows, dim)).astype(np.float32) / 8 for rows in (number, 3))
    cutoffs = np.sort(random.integers(-16, 17, 2**nbits - 1)).astype(np.float32) / 8
    codes = random.integers(3, size=number).astype(np.int32)
    packed = np.empty((number, num_bytes), np.uint8)
    pack_buckets(vectors, codes, centroids, cutoffs, reversed_bits(nbits), packed)
    buckets = torch.bucketize(torch.from_numpy(vectors - centroids[codes]), torch.from_numpy(cutoffs)).numpy()
    np.testing.assert_array_equal(packed, pack(buckets.astype(np.uint8), nbits))
