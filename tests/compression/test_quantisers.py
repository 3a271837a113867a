import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colbertv2.compression.quantisers import columns, learn_codewords
from colbertv2.kernels.codecs import nearest_codewords, shapes_and_gains
from colbertv2.kernels.intrinsics import CODEWORDS


def random_vectors(number, dim, seed, size=1.0):
    return (size * np.random.default_rng(seed).normal(size=(number, dim))).astype(np.float32)


def found(vectors, codebook):
    packed = np.empty((len(vectors), len(codebook)), np.uint8)
    nearest_codewords(vectors, *columns(codebook), packed)
    return packed


def distances(residuals, codebook):
    """The reference in plain numpy: distances ``[n, M, 256]``."""
    parts = residuals.reshape(len(residuals), len(codebook), 1, codebook.shape[2]).astype(np.float64)
    return np.square(parts - codebook[None]).sum(3)


@settings(max_examples=40)
@given(st.integers(0, 20), st.integers(1, 5), st.integers(1, 8), st.integers(0, 99), st.sampled_from([1e-3, 1.0, 30.0]))
def test_each_part_gets_its_nearest_codeword(number, num_parts, width, seed, size):
    vectors = random_vectors(number, num_parts * width, seed + number, size)
    codebook = random_vectors(num_parts * CODEWORDS, width, seed, size).reshape(num_parts, CODEWORDS, width)
    packed = found(vectors, codebook)
    expected = distances(vectors, codebook)
    at = np.take_along_axis(expected, packed[:, :, None].astype(np.int64), 2)[:, :, 0]
    np.testing.assert_allclose(at, expected.min(2), atol=1e-5 * size**2)


@settings(max_examples=40)
@given(st.integers(0, 20), st.integers(1, 5), st.integers(1, 8), st.integers(0, 99), st.sampled_from([1e-3, 1.0, 30.0]))
def test_a_residual_is_its_nearest_shape_at_the_best_gain(number, num_parts, width, seed, size):
    vectors, centroids = (random_vectors(n, num_parts * width, s, size) for n, s in ((number, seed), (3, seed + 1000)))
    codes = np.random.default_rng(seed).integers(3, size=number).astype(np.int32)
    codebook = random_vectors(num_parts * CODEWORDS, width, seed, 0.5).reshape(num_parts, CODEWORDS, width)
    packed, gains = np.empty((number, num_parts), np.uint8), np.empty(number, np.float32)
    shapes_and_gains(vectors, codes, centroids, *columns(codebook), packed, gains)
    residuals = vectors - centroids[codes]
    expected = distances(residuals / np.linalg.norm(residuals, axis=1, keepdims=True), codebook)
    at = np.take_along_axis(expected, packed[:, :, None].astype(np.int64), 2)[:, :, 0]
    np.testing.assert_allclose(at, expected.min(2), atol=1e-5)
    shapes = codebook[np.arange(num_parts), packed].reshape(number, num_parts * width)
    best = np.maximum((residuals * shapes).sum(1), 0) / np.square(shapes).sum(1)
    np.testing.assert_allclose(gains, best, atol=1e-4 * size)


def test_a_vector_on_its_centroid_has_no_gain():
    one, codebook = np.ones((1, 2), np.float32), random_vectors(CODEWORDS, 2, 0)[None]
    packed, gains = np.empty((1, 1), np.uint8), np.empty(1, np.float32)
    shapes_and_gains(one, np.zeros(1, np.int32), one, *columns(codebook), packed, gains)
    assert gains[0] == 0


def test_the_first_of_equal_codewords_is_taken():
    codebook = np.ones((1, CODEWORDS, 2), np.float32)
    vectors = random_vectors(5, 2, 0)
    assert (found(vectors, codebook) == 0).all()
    codebook[0, 77:] = vectors[3]
    assert found(vectors[3:4], codebook)[0, 0] == 77


@pytest.mark.parametrize("num_parts", [4, 8, 16])
def test_codes_are_those_of_faiss(num_parts):
    residuals = random_vectors(2000, 16, 0)
    quantiser = faiss.ProductQuantizer(16, num_parts, 8)
    quantiser.cp.min_points_per_centroid = 1
    quantiser.train(residuals)
    codebook = faiss.vector_to_array(quantiser.centroids).reshape(num_parts, CODEWORDS, -1)
    same = found(residuals, codebook) == quantiser.compute_codes(residuals)
    assert same.mean() > 0.9999  # except for near ties


@pytest.mark.parametrize("num_parts", [2, 8])
def test_learned_codewords_err_as_little_as_those_of_faiss(num_parts):
    residuals = random_vectors(6000, 16, 0) * np.linspace(1, 0.1, 16, dtype=np.float32)
    quantiser = faiss.ProductQuantizer(16, num_parts, 8)
    quantiser.cp.min_points_per_centroid = 1
    quantiser.train(residuals)
    theirs = faiss.vector_to_array(quantiser.centroids).reshape(num_parts, CODEWORDS, -1)
    ours = learn_codewords(residuals, num_parts, iterations=25, seed=0)
    test = random_vectors(1000, 16, 1) * np.linspace(1, 0.1, 16, dtype=np.float32)
    mine, other = (distances(test, codebook).min(2).sum(1).mean() for codebook in (ours, theirs))
    assert mine < 1.02 * other


@pytest.mark.parametrize("number", [1, 2, 100, 256])
def test_few_vectors_are_their_own_codewords(number):
    residuals = random_vectors(number, 6, 0)
    codebook = learn_codewords(residuals, 3, iterations=3, seed=0)
    assert codebook.shape == (3, CODEWORDS, 2) and codebook.dtype == np.float32
    assert distances(residuals, codebook).min(2).max() < 1e-8


def test_codewords_that_nothing_is_nearest_to_are_put_to_use():
    residuals = np.concatenate([np.zeros((5000, 2)), random_vectors(255, 2, 0)]).astype(np.float32)
    assert distances(residuals, learn_codewords(residuals, 1, iterations=25, seed=0)).min(2).max() < 1e-2


def test_the_seed_and_the_iterations_matter():
    residuals = random_vectors(2000, 4, 0)
    reference = learn_codewords(residuals, 2, iterations=3, seed=0)
    np.testing.assert_array_equal(learn_codewords(residuals, 2, iterations=3, seed=0), reference)
    for changed in ({"seed": 1}, {"iterations": 4}):
        assert not np.array_equal(learn_codewords(residuals, 2, **{"iterations": 3, "seed": 0, **changed}), reference)
