from itertools import pairwise

import numpy as np
import pytest

from colbertv2.compression.clustering import grouped_kmeans as grouped_kmeans_module
from colbertv2.compression.clustering.grouped_kmeans import grouped_kmeans
from colbertv2.compression.clustering.kmeans import kmeans, normalised
from colbertv2.errors import InputError


def token_vectors(number, seed=0, dim=16):
    random = np.random.default_rng(seed)
    directions = np.random.default_rng(99).normal(size=(60, dim))
    return normalised(
        (directions[random.integers(60, size=number)] + random.normal(size=(number, dim)) / 3).astype("f4")
    )


KNOBS = {"iterations": 5, "max_points_per_centroid": 256, "seed": 0, "device": "cpu", "spherical": False}


def clusters(points, num_centroids, **changed):
    return grouped_kmeans(points, num_centroids, **{**KNOBS, "group_search_radius": 0.7, **changed})


def error(points, centroids):
    return float(
        (np.square(points).sum(1)[:, None] - 2 * points @ centroids.T + np.square(centroids).sum(1)).min(1).mean()
    )


@pytest.mark.parametrize("spherical", [False, True])
def test_it_errs_as_little_as_faiss(spherical):
    points = token_vectors(4000)
    ours, theirs = (
        error(points, make(points, 200, **{**KNOBS, "spherical": spherical})) for make in (clusters_of, kmeans)
    )
    assert ours < 1.03 * theirs


def clusters_of(points, num_centroids, **knobs):
    return grouped_kmeans(points, num_centroids, group_search_radius=0.7, **knobs)


def test_compared_with_all_groups_it_is_plain_k_means(monkeypatch):
    monkeypatch.setattr(grouped_kmeans_module, "BLOCK_VECTORS", 100)
    points = token_vectors(500)
    drawn = points[np.random.default_rng(0).permutation(500)]
    centroids = drawn[:20]
    for part in (drawn[:125], drawn[:250], *[drawn] * 4):  # two passes over parts replace the first iteration
        codes = (part @ centroids.T - np.square(centroids).sum(1) / 2).argmax(1)
        centroids = np.stack([part[codes == code].mean(0) for code in range(20)])
    np.testing.assert_allclose(clusters(points, 20, group_search_radius=9.0), centroids, atol=1e-5)


def test_no_iteration_errs_more_than_the_one_before():
    points = token_vectors(3000)
    errors = [
        error(points, clusters(points, 100, iterations=number, group_search_radius=9.0)) for number in (1, 2, 4, 8)
    ]
    assert all(later <= earlier + 1e-6 for earlier, later in pairwise(errors))


def test_centroids_that_nothing_is_nearest_to_move_to_the_furthest_points():
    points = np.concatenate([np.tile([[1, 0]], (30, 1)), [[9, 9], [-9, 9], [0, -9]]]).astype(np.float32)
    assert error(points, clusters(points, 4, iterations=6)) == pytest.approx(0, abs=1e-5)
    assert np.isfinite(clusters(np.ones((50, 3), np.float32), 8)).all()


@pytest.mark.parametrize("num_points", [1, 2, 3, 7])
def test_as_many_centroids_as_points_at_most(num_points):
    points = token_vectors(num_points)
    for num_centroids in range(1, num_points + 3):
        found = clusters(points, num_centroids)
        assert found.shape == (min(num_centroids, num_points), 16) and np.isfinite(found).all()
    np.testing.assert_allclose(np.linalg.norm(clusters(points, 1, spherical=True), axis=1), 1, atol=1e-5)


def test_every_knob_matters_and_the_same_seed_repeats():
    points = token_vectors(3000)
    reference = clusters(points, 100)
    np.testing.assert_array_equal(clusters(points, 100), reference)
    for changed in (
        {"seed": 1},
        {"iterations": 1},
        {"max_points_per_centroid": 20},
        {"group_search_radius": 0.01},
        {"spherical": True},
    ):
        assert not np.array_equal(clusters(points, 100, **changed), reference), changed


def test_points_are_left_as_they_were():
    points = token_vectors(300)
    before = points.copy()
    clusters(points, 20, max_points_per_centroid=5)
    np.testing.assert_array_equal(points, before)


def test_no_points():
    with pytest.raises(InputError, match="no vector"):
        clusters(np.zeros((0, 8), np.float32), 4)
