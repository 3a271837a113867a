import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from colbertv2.errors import InputError
from colbertv2.indexing.codes import Codes, code_width, create_codes, write_codes


@given(st.data(), st.integers(1, 2**31 - 1))
def test_every_id_is_the_low_bytes_of_32_bits(data, num_centroids):
    ids = data.draw(st.lists(st.integers(0, num_centroids - 1)))
    width = code_width(num_centroids)
    assert 256 ** (width - 1) < num_centroids <= 256**width or width == num_centroids == 1
    codes = Codes.packed(np.array(ids, np.int64), width)
    assert len(codes) == len(ids) and codes[:].dtype == np.int32 and codes[:].tolist() == ids
    for place, expected in enumerate(ids):
        word = int.from_bytes(codes.bytes[place * width : place * width + 4].tobytes(), "little")
        assert word % 256**width == expected
    rows = np.array(data.draw(st.lists(st.integers(0, len(ids) - 1)) if ids else st.just([])), np.int64)
    assert codes[rows].tolist() == [ids[row] for row in rows]


@pytest.mark.parametrize("num_centroids", [200, 60_000, 10**6, 2**30])
def test_written_in_parts_in_any_order(tmp_path, num_centroids):
    ids = np.random.default_rng(0).integers(0, num_centroids, 100)
    create_codes(tmp_path / "codes.npy", 100, num_centroids)
    for start in (60, 0, 30):
        write_codes(tmp_path / "codes.npy", start, ids[start : start + 40], num_centroids)
    codes = Codes.open(tmp_path / "codes.npy", 100, num_centroids)
    np.testing.assert_array_equal(codes[:], ids)
    assert codes.bytes.tobytes() == Codes.packed(ids, codes.width).bytes.tobytes()
    with pytest.raises(InputError, match=r"codes\.npy: expected"):
        Codes.open(tmp_path / "codes.npy", 101, num_centroids)
