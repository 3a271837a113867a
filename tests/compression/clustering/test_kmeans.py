import numpy as np
import pytest

from colbertv2.compression.clustering.clustering import num_centroids_rule, num_sampled_documents_rule
from colbertv2.compression.clustering.kmeans import kmeans, normalised
from colbertv2.errors import InputError


def clusters(points, num_centroids, **changed):
    settings = {"iterations": 5, "max_points_per_centroid": 256, "seed": 0, "device": "cpu"}
    return kmeans(points, num_centroids, **{**settings, **changed})


def random_points(num_points, dim=8, seed=0):
    return normalised(np.random.default_rng(seed).normal(size=(num_points, dim)).astype(np.float32))


@pytest.mark.parametrize(
    ("num_vectors", "expected"),
    [(0, 1), (1, 16), (4, 32), (10_000, 1024), (300_000, 8192), (600_000_000, 262144)],  # 16·√10000 = 1600 → 1024
)
def test_num_centroids_rule(num_vectors, expected):
    assert num_centroids_rule(num_vectors) == expected


@pytest.mark.parametrize(
    ("num_documents", "expected"),
    # Up to 16²·120 = 30720, all are sampled; 16·√(120·120000) = 60715.7; MS MARCO: 16·√(120·8841823) = 521172.3.
    [(1, 1), (100, 100), (30_720, 30_720), (120_000, 60_716), (8_841_823, 521_173)],
)
def test_num_sampled_documents_rule(num_documents, expected):
    assert num_sampled_documents_rule(num_documents) == expected


def test_centroids_are_normalised():
    centroids = clusters(random_points(500), 16)
    np.testing.assert_allclose(np.linalg.norm(centroids, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("num_points", [1, 2, 3, 7])
def test_as_many_centroids_as_points_at_most(num_points):
    points = random_points(num_points)
    for num_centroids in range(1, num_points + 3):
        found = clusters(points, num_centroids)
        assert found.shape == (min(num_centroids, num_points), 8)
        assert np.isfinite(found).all()
    nearest = (points @ clusters(points, num_points).T).max(axis=1)
    np.testing.assert_allclose(nearest, 1, atol=1e-5)  # with one point per centroid, every point is a centroid


def test_identical_points():
    assert np.isfinite(clusters(np.tile(random_points(1), (50, 1)), 8)).all()


def test_separate_clusters_are_found():
    truth = np.eye(8, dtype=np.float32)[:4]
    points = normalised(np.repeat(truth, 100, axis=0) + 0.05 * random_points(400))
    assert (truth @ clusters(points, 4, iterations=20).T).max(axis=1).min() > 0.99


def test_seed_and_iterations_and_sample_size_matter_and_the_same_seed_repeats():
    points = random_points(1000)
    reference = clusters(points, 16)
    np.testing.assert_array_equal(clusters(points, 16), reference)
    for changed in ({"seed": 1}, {"iterations": 1}, {"max_points_per_centroid": 20}):
        assert not np.array_equal(clusters(points, 16, **changed), reference), changed


def test_no_points():
    with pytest.raises(InputError, match="no vector"):
        clusters(np.zeros((0, 8), np.float32), 4)


def test_normalised_keeps_zeros():
    np.testing.assert_allclose(normalised(np.array([[0, 0], [3, 4]], np.float32)), [[0, 0], [0.6, 0.8]], rtol=1e-6)
