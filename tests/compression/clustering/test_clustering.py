"""The knobs that the codecs with centroids share."""

import numpy as np
import pytest

from colbertv2.compression.binary import BinaryCodec
from colbertv2.compression.clustering.clustering import MAX_HELD_OUT, Clustering
from colbertv2.compression.clustering.kmeans import normalised
from colbertv2.compression.codec import fit
from colbertv2.compression.loading import load_codec
from colbertv2.compression.product import ProductCodec
from colbertv2.compression.residual import ResidualCodec
from colbertv2.compression.uncompressed import Float16Codec
from colbertv2.errors import InputError

KINDS = [ResidualCodec, ProductCodec]


def token_vectors(number, seed=0, dim=32):
    random = np.random.default_rng(seed)
    directions = np.random.default_rng(99).normal(size=(50, dim))
    return normalised(
        (directions[random.integers(50, size=number)] + random.normal(size=(number, dim)) / 2).astype("f4")
    )


def clustering(**changed):
    start = {"num_centroids": None, "centroid_factor": 1.0, "kmeans_iterations": 2, "max_points_per_centroid": 256}
    return Clustering(**{**start, "group_search_radius": None, "centroid_bits": 16, **changed})


def fitted(kind, **settings):
    codec = kind(2, **{"num_centroids": 256, "kmeans_iterations": 4, **settings})
    fit(codec, token_vectors(3000), num_documents=3000, average_length=1.0, seed=0, device="cpu")
    return codec


def error(codec, vectors):
    return float(np.square(codec.decode(codec.encode(vectors)) - vectors).sum(1).mean())


@pytest.mark.parametrize("size", [1e-9, 0.3, 100.0])
def test_centroids_of_8_bits_are_bytes_that_16_bit_floats_hold(tmp_path, size):
    knobs, centroids = clustering(centroid_bits=8), np.float32(size) * token_vectors(40)
    rounded = knobs.rounded(centroids)
    np.testing.assert_array_equal(rounded.astype(np.float16), rounded)
    np.testing.assert_array_equal(knobs.rounded(rounded), rounded)
    assert np.abs(rounded - centroids).max() <= max(np.abs(centroids).max() / 127, 2.0**-25)
    knobs.save(tmp_path, rounded)
    assert np.load(tmp_path / "centroids.npy").dtype == np.int8
    np.testing.assert_array_equal(knobs.load(tmp_path), rounded)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("settings", [{"centroid_bits": 8}, {"group_search_radius": 0.3}])
def test_both_knobs_move_what_is_encoded_but_little_of_the_error_and_survive_saving(tmp_path, kind, settings):
    vectors = token_vectors(1000, seed=1)
    plain, codec = fitted(kind), fitted(kind, **settings)
    assert any(not np.array_equal(array, plain.encode(vectors)[name]) for name, array in codec.encode(vectors).items())
    assert error(codec, vectors) < 1.1 * error(plain, vectors)
    codec.save(tmp_path)
    loaded = load_codec(tmp_path)
    assert repr(loaded) == repr(codec)
    for name, array in loaded.encode(vectors).items():
        np.testing.assert_array_equal(array, codec.encode(vectors)[name])


def test_as_many_vectors_are_sampled_as_are_used():
    limit = 256 * 3 + MAX_HELD_OUT  # 16·√400 = 320 → 256 centroids
    assert ResidualCodec(2, max_points_per_centroid=3).max_sample(20, 20.0) == limit
    assert ProductCodec(2, max_points_per_centroid=3).max_sample(20, 20.0) == limit
    assert ResidualCodec(2, num_centroids=10).max_sample(20, 20.0) == 2560 + MAX_HELD_OUT
    assert Float16Codec().max_sample(20, 20.0) == BinaryCodec().max_sample(20, 20.0) == 1


@pytest.mark.parametrize("reach", [None, 0.7])
def test_what_kmeans_does_not_draw_is_held_out(reach):
    knobs = clustering(num_centroids=4, max_points_per_centroid=5, group_search_radius=reach)
    centroids, held_out, _ = knobs.fit(
        token_vectors(100), num_documents=100, average_length=1.0, seed=0, device="cpu", spherical=True
    )
    assert len(centroids) == 4 and len(held_out) == 80


@pytest.mark.parametrize("kind", KINDS)
def test_fitted_again_it_assigns_to_its_new_centroids(kind):
    vectors = token_vectors(300, seed=4)
    again, fresh = fitted(kind), kind(2, num_centroids=256, kmeans_iterations=4)
    again.encode(vectors)
    for codec in (again, fresh):
        fit(codec, token_vectors(3000, seed=8), num_documents=3000, average_length=1.0, seed=3, device="cpu")
    np.testing.assert_array_equal(again.encode(vectors)["codes"], fresh.encode(vectors)["codes"])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("settings", "expected"),
    [({"group_search_radius": 0.0}, "a positive number"), ({"centroid_bits": 4}, "expected 8 or 16")],
)
def test_bad_values_are_refused(kind, settings, expected):
    with pytest.raises(InputError, match=expected):
        kind(2, **settings)
