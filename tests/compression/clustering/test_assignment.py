import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from colbertv2.compression.clustering import assignment as assignment_module
from colbertv2.compression.clustering.assignment import FIRST_GROUPS, Assignment


def random_vectors(number, dim, seed):
    return np.random.default_rng(seed).normal(size=(number, dim)).astype(np.float32)


def scores_of(vectors, centroids, euclidean):
    """The reference in plain numpy: scores ``[n, K]``."""
    scores = vectors.astype(np.float64) @ centroids.T.astype(np.float64)
    return scores - np.square(centroids.astype(np.float64)).sum(1) / 2 if euclidean else scores


shapes = {
    "number": st.integers(0, 40),
    "num_centroids": st.integers(1, 70),
    "dim": st.integers(1, 9),
    "seed": st.integers(0, 99),
    "euclidean": st.booleans(),
}


@settings(max_examples=50)
@given(**shapes)
def test_without_a_radius_it_is_the_nearest_of_all(number, num_centroids, dim, seed, euclidean):
    vectors, centroids = random_vectors(number, dim, seed), random_vectors(num_centroids, dim, seed + 1)
    codes, scores = Assignment(centroids, euclidean=euclidean, group_search_radius=None, device="cpu").search(vectors)
    assert codes.dtype == np.int32 and codes.shape == scores.shape == (number,)
    expected = scores_of(vectors, centroids, euclidean)
    np.testing.assert_allclose(expected[np.arange(number), codes], expected.max(1), atol=1e-5)
    np.testing.assert_allclose(scores, expected.max(1), atol=1e-5)


@settings(max_examples=50)
@given(group_search_radius=st.sampled_from([1e-3, 0.3, 0.7, 9.0]), **shapes)
def test_with_a_radius_it_is_the_nearest_of_the_hopeful_groups(
    number, num_centroids, dim, seed, euclidean, group_search_radius
):
    vectors, centroids = random_vectors(number, dim, seed), random_vectors(num_centroids, dim, seed + 1)
    assignment = Assignment(centroids, euclidean=euclidean, group_search_radius=group_search_radius, device="cpu")
    codes, scores = assignment.search(vectors)
    expected = scores_of(vectors, centroids, euclidean)
    if assignment.grouped:
        assert sorted(assignment.order.tolist()) == list(range(num_centroids))
        groups = np.split(assignment.order.numpy(), assignment.ends[:-1])
        for row, vector in enumerate(vectors):
            hopes, best = [], []
            for members in groups:
                spread = np.sqrt(np.square(centroids[members] - centroids[members].mean(0)).sum(1).mean())
                hopes.append(expected[row, members].mean() + group_search_radius * spread * np.linalg.norm(vector))
                best.append(expected[row, members].max())
            hopes, best = np.array(hopes), np.array(best)
            first = np.argsort(-hopes)[:FIRST_GROUPS]
            hopeful = np.union1d(first, np.flatnonzero(hopes > best[first].max()))
            assert scores[row] == pytest.approx(best[hopeful].max(), abs=1e-4)
    else:
        np.testing.assert_allclose(scores, expected.max(1), atol=1e-5)
    np.testing.assert_allclose(expected[np.arange(number), codes], scores, atol=1e-5)
    if group_search_radius == 9.0 and number:  # in groups of at most 81, all members are within 9 spreads
        np.testing.assert_allclose(scores, expected.max(1), atol=1e-5)


def test_nearly_all_clustered_vectors_find_their_nearest_centroid_and_more_at_a_larger_radius():
    centers = random_vectors(40, 16, 0)
    draw = np.random.default_rng(1)
    centroids, vectors = (
        centers[draw.integers(40, size=size)] + draw.normal(size=(size, 16)).astype("f4") for size in (1000, 2000)
    )
    exact = Assignment(centroids, euclidean=True, group_search_radius=None, device="cpu").nearest(vectors)
    shares = []
    for radius in (0.01, 0.7, 2.0):
        found = Assignment(centroids, euclidean=True, group_search_radius=radius, device="cpu").nearest(vectors)
        shares.append((found == exact).mean())
    assert 0.7 < shares[0] < shares[1] < shares[2] and shares[1] > 0.9 and shares[2] > 0.99


@pytest.mark.parametrize("radius", [None, 0.7])
def test_blocks_do_not_matter(monkeypatch, radius):
    vectors, centroids = random_vectors(500, 16, 0), random_vectors(100, 16, 1)
    whole = Assignment(centroids, euclidean=False, group_search_radius=radius, device="cpu").nearest(vectors)
    monkeypatch.setattr(assignment_module, "BLOCK_PRODUCTS", 700)
    monkeypatch.setattr(assignment_module, "BLOCK_VECTORS", 7)
    again = Assignment(centroids, euclidean=False, group_search_radius=radius, device="cpu")
    np.testing.assert_array_equal(again.nearest(vectors), whole)


def test_equal_centroids():
    same = np.ones((50, 4), np.float32)
    assert (Assignment(same, euclidean=True, group_search_radius=0.7, device="cpu").search(same)[1] == 2).all()


def test_it_runs_where_it_is_told_to():
    with pytest.raises(Exception, match="meta"):  # a device without data, whose results cannot be copied
        Assignment(random_vectors(5, 4, 0), euclidean=True, group_search_radius=None, device="meta").nearest(
            random_vectors(3, 4, 1)
        )
    assert Assignment(
        random_vectors(5, 4, 0), euclidean=True, group_search_radius=None, device="cpu"
    ).device == torch.device("cpu")
