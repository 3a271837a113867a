"""What every codec keeps to, and the two without centroids."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as numpy_arrays

from colbertv2.compression.binary import BinaryCodec
from colbertv2.compression.codec import Codec, fit
from colbertv2.compression.loading import load_codec
from colbertv2.compression.residual import ResidualCodec
from colbertv2.compression.uncompressed import Float16Codec
from colbertv2.errors import InputError


def fitted(codec: Codec, dim=16) -> Codec:
    sample = np.random.default_rng(0).normal(size=(200, dim)).astype(np.float32)
    fit(codec, sample, num_documents=10, average_length=20.0, seed=0, device="cpu")
    return codec


CODECS = [lambda: ResidualCodec(2, num_centroids=8), Float16Codec, BinaryCodec]


@pytest.mark.parametrize("make", CODECS)
@pytest.mark.parametrize("number", [0, 1, 7])
def test_arrays_have_the_vectors_first_and_their_stated_size(make, number):
    codec = fitted(make())
    vectors = np.random.default_rng(1).normal(size=(number, 16)).astype(np.float32)
    arrays = codec.encode(vectors)
    assert all(len(array) == number for array in arrays.values())
    assert sum(array.nbytes for array in arrays.values()) == number * codec.bytes_per_vector
    kinds = {name: (array.dtype, array.shape[1:]) for name, array in codec.encode(vectors[:0]).items()}
    assert kinds == {name: (array.dtype, array.shape[1:]) for name, array in arrays.items()}
    decoded = codec.decode(arrays)
    assert decoded.shape == (number, 16) and decoded.dtype == np.float32


@pytest.mark.parametrize("make", CODECS)
def test_save_and_load(make, tmp_path):
    codec = fitted(make())
    codec.save(tmp_path)
    loaded = load_codec(tmp_path)
    assert type(loaded) is type(codec)
    assert loaded.bytes_per_vector == codec.bytes_per_vector
    assert not list(tmp_path.rglob("*.pkl")) and {file.suffix for file in tmp_path.iterdir()} <= {".json", ".npy"}


def test_sizes_at_128_dimensions():
    assert fitted(Float16Codec(), 128).bytes_per_vector == 256
    assert fitted(BinaryCodec(), 128).bytes_per_vector == 16


@given(numpy_arrays(np.float32, (3, 16), elements=st.floats(-1, 1, width=16)))
def test_float16_keeps_16_bit_values(vectors):
    codec = Float16Codec()
    np.testing.assert_array_equal(codec.decode(codec.encode(vectors)), vectors)


@given(numpy_arrays(np.float32, (3, 16), elements=st.floats(-1, 1, width=32)))
def test_binary_keeps_signs_at_norm_one(vectors):
    codec = BinaryCodec()
    decoded = codec.decode(codec.encode(vectors))
    np.testing.assert_allclose(decoded, np.where(vectors > 0, 0.25, -0.25))


def test_only_the_residual_codec_has_centroids():
    assert fitted(ResidualCodec(1, num_centroids=4)).centroids.shape == (4, 16)
    assert Float16Codec().centroids is None and BinaryCodec().centroids is None


def test_binary_needs_whole_bytes():
    assert BinaryCodec().check(24) == []
    assert "multiple of 8" in BinaryCodec().check(20)[0]
    assert Float16Codec().check(7) == []
    with pytest.raises(InputError):
        fitted(BinaryCodec(), dim=20)


def test_unknown_codec_is_named(tmp_path):
    (tmp_path / "codec.json").write_text('{"codec": "ZipCodec"}')
    with pytest.raises(InputError, match="ZipCodec"):
        load_codec(tmp_path)
