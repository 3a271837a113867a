"""Tests of the settings shared by all codecs with centroids."""

import numpy as np
import pytest

from colbertv2.compression.clustering.centroids import Centroids
from colbertv2.compression.clustering.clustering import MAX_HELD_OUT, Clustering, Clusters
from colbertv2.compression.clustering.kmeans import normalised
from colbertv2.compression.codec import load_codec
from colbertv2.compression.product import ProductCodec
from colbertv2.compression.residual import ResidualCodec
from colbertv2.errors import InputError

KINDS = [ResidualCodec, ProductCodec]


def token_vectors(number, seed=0, dim=32):
    random = np.random.default_rng(seed)
    directions = np.random.default_rng(99).normal(size=(50, dim))
    return normalised(
        (directions[random.integers(50, size=number)] + random.normal(size=(number, dim)) / 2).astype("f4")
    )


def clusters_of(vectors, seed=0, **settings):
    clustering = Clustering(**{"num_centroids": 256, "kmeans_iterations": 4, **settings})
    return clustering.fit(vectors, num_documents=len(vectors), average_length=1.0, seed=seed, device="cpu")


def fitted(kind, **settings):
    codec = kind(2)
    codec.learn(clusters_of(token_vectors(3000), **settings))
    return codec


def error(codec, vectors):
    return float(np.square(codec.decode(codec.encode(vectors)) - vectors).sum(1).mean())


@pytest.mark.parametrize("size", [1e-9, 0.3, 100.0])
def test_centroids_of_8_bits_are_bytes_that_16_bit_floats_hold(tmp_path, size):
    centroids = np.float32(size) * token_vectors(40)
    rounded = Centroids.rounded(centroids, bits=8)
    np.testing.assert_array_equal(rounded.vectors.astype(np.float16), rounded.vectors)
    np.testing.assert_array_equal(Centroids.rounded(rounded.vectors, bits=8).vectors, rounded.vectors)
    assert np.abs(rounded.vectors - centroids).max() <= max(np.abs(centroids).max() / 127, 2.0**-25)
    rounded.save(tmp_path)
    assert np.load(tmp_path / "centroids.npy").dtype == np.int8
    np.testing.assert_array_equal(Centroids.load(tmp_path).vectors, rounded.vectors)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("settings", [{"centroid_bits": 8}, {"group_search_radius": 0.3}])
def test_both_knobs_move_what_is_encoded_but_little_of_the_error_and_survive_saving(tmp_path, kind, settings):
    vectors = token_vectors(1000, seed=1)
    plain, codec = fitted(kind), fitted(kind, **settings)
    assert any(not np.array_equal(array, plain.encode(vectors)[name]) for name, array in codec.encode(vectors).items())
    assert error(codec, vectors) < 1.1 * error(plain, vectors)
    codec.save(tmp_path)
    loaded = load_codec(tmp_path)
    assert repr(loaded) == repr(codec) and loaded.centroids.bits == codec.centroids.bits
    for name, array in loaded.encode(vectors).items():
        np.testing.assert_array_equal(array, codec.encode(vectors)[name])


def test_as_many_vectors_are_sampled_as_are_used():
    limit = 256 * 3 + MAX_HELD_OUT  # 16·√400 = 320 → 256 centroids
    assert Clustering(max_points_per_centroid=3).max_sampled_vectors(400.0) == limit
    assert Clustering(num_centroids=10).max_sampled_vectors(400.0) == 2560 + MAX_HELD_OUT


@pytest.mark.parametrize("radius", [None, 0.7])
def test_what_kmeans_does_not_draw_is_held_out(radius):
    found = clusters_of(token_vectors(100), num_centroids=4, max_points_per_centroid=5, group_search_radius=radius)
    assert len(found.centroids) == 4 and len(found.held_out) == 80


def test_clusters_survive_saving(tmp_path):
    found = clusters_of(token_vectors(30), num_centroids=None, centroid_factor=10.0)
    found.save(tmp_path)
    loaded = Clusters.load(tmp_path)
    np.testing.assert_array_equal(loaded.centroids.vectors, found.centroids.vectors)
    np.testing.assert_array_equal(loaded.held_out, found.held_out)
    assert loaded.notes == found.notes != []


@pytest.mark.parametrize("kind", KINDS)
def test_fitted_again_it_assigns_to_its_new_centroids(kind):
    vectors = token_vectors(300, seed=4)
    again, fresh = fitted(kind), kind(2)
    again.encode(vectors)
    for codec in (again, fresh):
        codec.learn(clusters_of(token_vectors(3000, seed=8), seed=3))
    for name, array in fresh.encode(vectors).items():
        np.testing.assert_array_equal(again.encode(vectors)[name], array)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"group_search_radius": 0.0}, "above 0 and of at most 2"),
        ({"centroid_bits": 4}, "one of 8, 16"),
        ({"num_centroids": 0}, "at least 1"),
        ({"kmeans_iterations": 0}, "at least 1"),
        ({"centroid_factor": 0.0}, "above 0"),
        ({"max_points_per_centroid": 0}, "at least 1"),
        ({"group_search_radius": -1.0}, "above 0"),
        ({"sample_documents": 0}, "at least 1"),
        ({"num_centroids": 4, "centroid_factor": 2.0}, "only one of the two"),
    ],
)
def test_bad_values_are_refused(settings, expected):
    with pytest.raises(InputError, match=expected):
        Clustering(**settings)
