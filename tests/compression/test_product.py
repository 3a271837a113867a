import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colbertv2.compression.clustering.clustering import Clustering
from colbertv2.compression.clustering.kmeans import normalised
from colbertv2.compression.codec import load_codec
from colbertv2.compression.product import ProductCodec, balanced_axes, square_root
from colbertv2.compression.quantisers import lloyd_buckets, quantile_buckets
from colbertv2.compression.residual import ResidualCodec
from colbertv2.errors import InputError

DIM = 32


def token_vectors(number, seed=0):
    random = np.random.default_rng(seed)
    directions = np.random.default_rng(99).normal(size=(50, DIM))
    return normalised(
        (directions[random.integers(50, size=number)] + random.normal(size=(number, DIM)) / 2).astype("f4")
    )


def query_vectors(number, seed=1):
    """Query vectors whose variance is concentrated in a few dimensions."""
    vectors = np.random.default_rng(seed).normal(size=(number, DIM)) * np.linspace(1, 0.02, DIM) ** 2
    return normalised(vectors.astype("f4"))


def clusters_of(vectors, **settings):
    clustering = Clustering(**{"num_centroids": 32, "kmeans_iterations": 4, **settings})
    return clustering.fit(vectors, num_documents=len(vectors), average_length=1.0, seed=0, device="cpu")


def fitted(codec, queries=None, **settings):
    codec.learn(clusters_of(token_vectors(4000), **settings), queries)
    return codec


def similarity_error(codec, vectors, queries):
    return float(np.square(queries @ (codec.decode(codec.encode(vectors)) - vectors).T).mean())


def test_error_falls_with_bits():
    vectors = token_vectors(1000, seed=1)
    errors = [
        float(np.square(codec.decode(codec.encode(vectors)) - vectors).sum(1).mean())
        for codec in (fitted(ProductCodec(bits)) for bits in (1, 2, 4, 8))
    ]
    assert errors[0] > errors[1] > errors[2] > errors[3] and errors[3] < 0.02 * errors[0]


def test_seeing_queries_beats_not_seeing_them_beats_buckets():
    vectors, queries = token_vectors(1000, seed=1), query_vectors(500, seed=2)
    buckets = fitted(ResidualCodec(2))
    blind, seeing = (fitted(ProductCodec(2), seen) for seen in (None, query_vectors(500)))
    errors = [similarity_error(codec, vectors, queries) for codec in (buckets, blind, seeing)]
    assert errors[0] > 1.1 * errors[1] > 1.1 * 1.1 * errors[2]
    assert blind.bytes_per_vector(32) == buckets.bytes_per_vector(32) + 1  # the byte of the gain


def test_saved_and_loaded_it_encodes_and_decodes_the_same(tmp_path):
    codec = fitted(ProductCodec(2), query_vectors(100))
    codec.save(tmp_path)
    loaded, vectors = load_codec(tmp_path), token_vectors(50, seed=3)
    arrays = codec.encode(vectors)
    for name, array in loaded.encode(vectors).items():
        np.testing.assert_array_equal(array, arrays[name])
    np.testing.assert_array_equal(loaded.decode(arrays), codec.decode(arrays))
    assert repr(loaded) == repr(codec)
    np.save(tmp_path / "codebook.npy", np.zeros((2, 256, 4)))
    with pytest.raises(InputError, match="expected \\(8, 256, 4\\)"):
        load_codec(tmp_path)


def test_every_setting_changes_what_is_encoded():
    vectors = token_vectors(300, seed=4)
    settings = [{}, {"nbits": 4}, {"shrinkage": 1.0}, {"seed": 1}]
    found = [fitted(ProductCodec(**{"nbits": 2} | one), query_vectors(100)).encode(vectors) for one in settings]
    found += [fitted(ProductCodec(2), query_vectors(100), num_centroids=16).encode(vectors)]
    assert len({arrays["codes"].tobytes() + arrays["residuals"].tobytes() for arrays in found}) == len(settings) + 1


def test_few_vectors_are_enough():
    codec = ProductCodec(2)
    codec.learn(clusters_of(token_vectors(3), num_centroids=None))
    np.testing.assert_allclose(codec.decode(codec.encode(token_vectors(3))), token_vectors(3), atol=0.01)


@pytest.mark.parametrize("settings", [{"nbits": 3}, {"nbits": 2, "shrinkage": 0}, {"nbits": 2, "num_queries": 0}])
def test_bad_settings_are_refused(settings):
    with pytest.raises(InputError, match=f"'{list(settings)[-1]}' is"):
        ProductCodec(**settings)


def test_the_root_and_its_inverse():
    moment = np.cov(np.random.default_rng(0).normal(size=(8, 100)))
    root, inverse = square_root(moment, shrinkage=1e-9)
    np.testing.assert_allclose(root @ root, moment, atol=1e-5)
    np.testing.assert_allclose(root @ inverse, np.eye(8), atol=1e-4)


def test_axes_are_a_rotation_with_balanced_groups():
    residuals = np.random.default_rng(0).normal(size=(5000, 16)) * np.geomspace(1, 0.05, 16)
    axes = balanced_axes(residuals, 4)
    np.testing.assert_allclose(axes.T @ axes, np.eye(16), atol=1e-5)
    products = np.log((residuals @ axes).var(0)).reshape(4, 4).sum(1)
    assert np.ptp(products) < 0.5 < np.ptp(np.log(residuals.var(0)).reshape(4, 4).sum(1))


@settings(max_examples=50)
@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=200), st.sampled_from([1, 2, 4]))
def test_lloyd_never_errs_more_than_quantiles(values, bits):
    values = np.array(values, np.float32)

    def error(cutoffs, weights):
        return np.square(weights[np.searchsorted(cutoffs, values)] - values).sum()

    cutoffs, weights = lloyd_buckets(values, bits)
    assert (np.diff(cutoffs) >= 0).all() and (np.diff(weights) >= 0).all()
    _, start = quantile_buckets(values, bits)
    assert error(cutoffs, weights) <= error((start[1:] + start[:-1]) / 2, start) + 1e-5
