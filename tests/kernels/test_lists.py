import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from colbertv2.kernels.lists import PADDING, best_low_bits, decode_list, encode_list
from colbertv2.kernels.reference import coded_list

GAPS = st.one_of(st.integers(0, 3), st.integers(0, 300), st.integers(2**16, 2**20))


@given(st.lists(st.lists(GAPS, max_size=60), min_size=1, max_size=5))
def test_lists_end_to_end_are_as_defined_and_come_back(lists):
    numbers = [np.cumsum(np.array(gaps, np.int64) + 1) - 1 for gaps in lists]
    chosen = [best_low_bits(one) for one in numbers]
    data = np.zeros(sum(size for _, size in chosen) + PADDING, np.uint8)
    start = 0
    for one, (low_bits, size) in zip(numbers, chosen, strict=True):
        encode_list(one, low_bits, data, start)
        assert data[start : start + size].tobytes() == coded_list(one, low_bits).tobytes()
        assert size <= min(len(coded_list(one, other)) for other in range(max(0, low_bits - 2), 21))
        start += size
    start = 0
    for one, (low_bits, size) in zip(numbers, chosen, strict=True):
        out = np.empty(len(one), np.int64)
        assert decode_list(data, start, start + size, low_bits, out)
        np.testing.assert_array_equal(out, one)
        start += size


@given(st.lists(GAPS, min_size=1, max_size=60), st.data())
def test_a_list_that_ends_too_early_is_found_out(gaps, data):
    numbers = np.cumsum(np.array(gaps, np.int64) + 1) - 1
    low_bits, size = best_low_bits(numbers)
    bytes = np.zeros(size + PADDING, np.uint8)
    encode_list(numbers, low_bits, bytes, 0)
    end = data.draw(st.integers(0, size - 1))
    bytes[end:] = 0
    assert not decode_list(bytes, 0, end, low_bits, np.empty(len(numbers), np.int64))


def test_random_numbers_take_little_more_than_their_entropy():
    random = np.random.default_rng(0)
    for number, among in ((1000, 2**20), (500, 5000), (60, 5183)):
        size = best_low_bits(np.sort(random.choice(among, number, replace=False)))[1]
        share = number / among
        entropy = -among * (share * np.log2(share) + (1 - share) * np.log2(1 - share))
        assert size * 8 < 1.06 * entropy + 8
