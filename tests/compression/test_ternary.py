"""Tests of ternary residuals against their definition in plain numpy, and of their packing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as numpy_arrays
from support import unit

from colbertv2.compression.bitpack import pack_ternary, ternary_values, unpack_ternary
from colbertv2.compression.clustering.clustering import Clustering
from colbertv2.compression.codec import load_codec
from colbertv2.compression.residual import ResidualCodec
from colbertv2.compression.ternary import TernaryCodec, ternary_weight
from colbertv2.errors import InputError

DIGITS = st.integers(0, 12).flatmap(
    lambda dim: numpy_arrays(np.uint8, st.tuples(st.integers(0, 4), st.just(dim)), elements=st.integers(0, 2))
)


@given(DIGITS)
def test_packing_is_base_three_and_loses_nothing(digits):
    packed = pack_ternary(digits)
    assert packed.dtype == np.uint8 and packed.shape == (len(digits), -(-digits.shape[1] // 5))
    for row, own in zip(digits.tolist(), packed.tolist(), strict=True):
        text = "".join(map(str, row)).ljust(5 * len(own), "1")
        assert own == [int(text[start : start + 5], 3) for start in range(0, len(text), 5)]
    np.testing.assert_array_equal(unpack_ternary(packed, digits.shape[1]), digits)


def test_every_byte_that_occurs_survives_the_other_way_round():
    bytes_ = np.arange(243, dtype=np.uint8)[:, None]
    np.testing.assert_array_equal(pack_ternary(unpack_ternary(bytes_, 5)), bytes_)
    assert ternary_values().shape == (256, 5) and ternary_values().max() == 2


def vectors_of(number, dim, seed=0):
    random = np.random.default_rng(seed)
    directions = np.random.default_rng(99).normal(size=(20, dim))
    return unit(directions[random.integers(20, size=number)] + random.normal(size=(number, dim)) / 2)


def fitted(codec, dim):
    clustering = Clustering(num_centroids=16, kmeans_iterations=4)
    codec.learn(clustering.fit(vectors_of(2000, dim), num_documents=10, average_length=1, seed=0, device="cpu"))
    return codec


@pytest.mark.parametrize("dim", [3, 20, 32])
def test_codes_and_decoded_vectors_are_those_of_the_definition(dim):
    codec, vectors = fitted(TernaryCodec(), dim), vectors_of(50, dim, seed=1)
    arrays = codec.encode(vectors)
    centroids = codec.fitted().vectors[arrays["codes"]]
    levels = np.array([-codec.weight, 0, codec.weight], np.float32)
    digits = np.abs((vectors - centroids)[:, :, None] - levels).argmin(2)
    np.testing.assert_array_equal(unpack_ternary(arrays["residuals"], dim), digits)
    np.testing.assert_allclose(codec.decode(arrays), unit(centroids + levels[digits]), atol=1e-5)


def test_its_size_and_its_error_are_between_those_of_one_and_two_bits():
    vectors = vectors_of(1000, 40, seed=1)
    codecs = [ResidualCodec(1, buckets="lloyd"), TernaryCodec(), ResidualCodec(2, buckets="lloyd")]
    errors = [
        np.square(codec.decode(codec.encode(vectors)) - vectors).sum(1).mean()
        for codec in (fitted(one, 40) for one in codecs)
    ]
    assert errors[0] > 1.2 * errors[1] > 1.2 * 1.2 * errors[2]
    assert [codec.bytes_per_vector(128) for codec in codecs] == [20, 30, 36]


@settings(max_examples=50)
@given(numpy_arrays(np.float32, st.integers(0, 60), elements=st.floats(-1, 1, width=32)))
def test_the_weight_is_a_fixed_point_that_beats_its_start(values):
    weight = ternary_weight(values)

    def squares(weight):
        return (np.square(values[:, None].astype(float) - [-weight, 0, weight]).min(1)).sum()

    above = np.abs(values)[np.abs(values) > weight / 2]
    assert weight == 0 or abs(weight - above.mean()) < 1e-6
    assert squares(weight) <= squares(float(np.abs(values).mean()) if len(values) else 0.0) + 1e-6


def test_a_damaged_weight_is_named(tmp_path):
    fitted(TernaryCodec(), 20).save(tmp_path)
    np.save(tmp_path / "weight.npy", np.array([0.1, 0.2]))
    with pytest.raises(InputError, match="expected one number"):
        load_codec(tmp_path)
