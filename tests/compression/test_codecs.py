"""Tests of properties of all codecs, and of the two codecs without centroids."""

import json
import sys
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as numpy_arrays
from support import CODECS

from colbertv2.compression.binary import BinaryCodec
from colbertv2.compression.clustering.clustering import Clustering
from colbertv2.compression.codec import Codec, load_codec
from colbertv2.compression.residual import ResidualCodec
from colbertv2.compression.uncompressed import Float16Codec
from colbertv2.errors import InputError


def fitted(codec: Codec, dim=16) -> Codec:
    sample = np.random.default_rng(0).normal(size=(200, dim)).astype(np.float32)
    for problem in codec.check(dim):
        raise InputError(problem)
    codec.learn(Clustering(num_centroids=8).fit(sample, num_documents=10, average_length=20, seed=0, device="cpu"))
    return codec


EVERY_CODEC = pytest.mark.parametrize("make", [partial(make, 2) for make in CODECS.values()], ids=CODECS.keys())


@EVERY_CODEC
@pytest.mark.parametrize("number", [0, 1, 7])
def test_arrays_have_the_vectors_first_and_their_stated_size(make, number):
    codec = fitted(make())
    vectors = np.random.default_rng(1).normal(size=(number, 16)).astype(np.float32)
    arrays = codec.encode(vectors)
    assert all(len(array) == number for array in arrays.values())
    assert sum(array.nbytes for array in arrays.values()) == number * codec.bytes_per_vector(16)
    kinds = {name: (array.dtype, array.shape[1:]) for name, array in codec.encode(vectors[:0]).items()}
    assert kinds == {name: (array.dtype, array.shape[1:]) for name, array in arrays.items()}
    decoded = codec.decode(arrays)
    assert decoded.shape == (number, 16) and decoded.dtype == np.float32


@EVERY_CODEC
def test_save_and_load(make, tmp_path):
    codec = fitted(make())
    codec.save(tmp_path)
    loaded = load_codec(tmp_path)
    assert type(loaded) is type(codec)
    assert repr(loaded) == repr(codec) and loaded.label == codec.label
    vectors = np.random.default_rng(1).normal(size=(5, 16)).astype(np.float32)
    for name, array in loaded.encode(vectors).items():
        np.testing.assert_array_equal(array, codec.encode(vectors)[name])
    assert not list(tmp_path.rglob("*.pkl")) and {file.suffix for file in tmp_path.iterdir()} <= {".json", ".npy"}


def test_sizes_at_128_dimensions():
    assert Float16Codec().bytes_per_vector(128) == 256
    assert BinaryCodec().bytes_per_vector(128) == 16


@given(numpy_arrays(np.float32, (3, 16), elements=st.floats(-1, 1, width=16)))
def test_float16_keeps_16_bit_values(vectors):
    codec = Float16Codec()
    np.testing.assert_array_equal(codec.decode(codec.encode(vectors)), vectors)


@given(numpy_arrays(np.float32, (3, 16), elements=st.floats(-1, 1, width=32)))
def test_binary_keeps_signs_at_norm_one(vectors):
    codec = BinaryCodec()
    decoded = codec.decode(codec.encode(vectors))
    np.testing.assert_allclose(decoded, np.where(vectors > 0, 0.25, -0.25))


def test_codecs_say_whether_they_have_centroids():
    assert fitted(ResidualCodec(1)).centroids.vectors.shape == (8, 16)
    assert Float16Codec().centroids is None and BinaryCodec().centroids is None


@EVERY_CODEC
def test_lookup_tables_add_up_to_the_decoded_vectors(make):
    codec = fitted(make())
    vectors = np.random.default_rng(1).normal(size=(7, 16)).astype(np.float32)
    arrays = codec.encode(vectors)
    if (tables := codec.lookup_tables(16)) is None:
        np.testing.assert_array_equal(arrays[codec.vectors_array].astype(np.float32), codec.decode(arrays))
        return
    expected = np.zeros((7, 1))
    if tables.stored is not None:
        parts = arrays[tables.stored].shape[1]
        own = np.arange(parts) if len(tables.codebook) > 1 else np.zeros(parts, int)
        expected = np.concatenate([tables.codebook[own[m], arrays[tables.stored][:, m]] for m in range(parts)], axis=1)
    if tables.gains is not None:
        expected *= tables.gains[arrays["gains"]][:, None]
    if tables.centroids is not None:
        expected = expected + tables.centroids[arrays.get("codes", np.zeros(7, int))]
    if tables.normalise:
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    queries = vectors if tables.queries is None else vectors @ tables.queries
    np.testing.assert_allclose(queries @ expected.T, vectors @ codec.decode(arrays).T, atol=1e-4)


def test_binary_needs_whole_bytes():
    assert BinaryCodec().check(24) == []
    assert "multiple of 8" in BinaryCodec().check(20)[0]
    assert Float16Codec().check(7) == []
    with pytest.raises(InputError):
        fitted(BinaryCodec(), dim=20)


def test_unknown_codec_is_named(tmp_path):
    (tmp_path / "codec.json").write_text('{"codec": "zipped.ZipCodec"}')
    with pytest.raises(InputError, match=r"'zipped\.ZipCodec', which is not known here; if it is your own, import"):
        load_codec(tmp_path)


@pytest.mark.parametrize("name", ["os.system", "colbertv2.compression.codec.Codec", "antigravity.Codec", "", 7])
def test_a_saved_codec_imports_and_runs_nothing(tmp_path, name):
    (tmp_path / "codec.json").write_text(json.dumps({"codec": name, "settings": {}, "learned": [], "notes": []}))
    with pytest.raises(InputError):
        load_codec(tmp_path)
    assert "antigravity" not in sys.modules
