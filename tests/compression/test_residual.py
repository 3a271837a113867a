import numpy as np
import pytest

from colbertv2.compression.bitpack import unpack
from colbertv2.compression.clustering import assignment as assignment_module
from colbertv2.compression.clustering.clustering import Clustering
from colbertv2.compression.clustering.kmeans import normalised
from colbertv2.compression.codec import load_codec
from colbertv2.compression.quantisers import quantile_buckets
from colbertv2.compression.residual import ResidualCodec
from colbertv2.errors import InputError

DIM = 32


def token_vectors(num_vectors, seed=0):
    """Unit vectors around 50 directions, because token embeddings cluster by token."""
    random = np.random.default_rng(seed)
    directions = np.random.default_rng(99).normal(size=(50, DIM))
    return normalised(
        (directions[random.integers(50, size=num_vectors)] + random.normal(size=(num_vectors, DIM)) / 2).astype(
            np.float32
        )
    )


def fitted(bits=2, seed=0, vectors=None, **settings):
    codec, clustering = ResidualCodec(bits), Clustering(**{"num_centroids": 32, "kmeans_iterations": 4, **settings})
    vectors = token_vectors(3000) if vectors is None else vectors
    codec.learn(clustering.fit(vectors, num_documents=len(vectors), average_length=1.0, seed=seed, device="cpu"))
    return codec


def error(codec, vectors):
    return float(np.linalg.norm(codec.decode(codec.encode(vectors)) - vectors, axis=1).mean())


def test_error_falls_with_bits_and_is_below_that_of_centroids_alone():
    vectors = token_vectors(1000, seed=1)
    errors = [error(fitted(bits), vectors) for bits in (1, 2, 4, 8)]
    centroids = fitted().fitted()
    centroids_only = float(np.linalg.norm(centroids.vectors[centroids.nearest(vectors)] - vectors, axis=1).mean())
    assert centroids_only > errors[0] > errors[1] > errors[2] > errors[3]
    assert errors[3] < 0.1 * errors[0]


def test_decoded_vectors_are_normalised():
    codec = fitted()
    decoded = codec.decode(codec.encode(token_vectors(100)))
    assert decoded.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(decoded, axis=1), 1, atol=1e-5)


def test_decoding_is_centroid_plus_weight_of_the_bucket_renormalised():
    codec, vectors = fitted(), token_vectors(50, seed=2)
    arrays = codec.encode(vectors)
    centroids = codec.fitted().vectors[arrays["codes"]]
    np.testing.assert_array_equal(arrays["codes"], (vectors @ codec.fitted().vectors.T).argmax(1))
    buckets = unpack(arrays["residuals"], 2)
    differences = vectors - centroids
    for place in np.ndindex(differences.shape):
        assert buckets[place] == sum(differences[place] > cutoff for cutoff in codec.cutoffs)
    expected = normalised(centroids + codec.weights[buckets])
    np.testing.assert_allclose(codec.decode(arrays), expected, atol=1e-6)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_buckets_are_the_stated_quantiles(bits):
    values = np.random.default_rng(0).permutation(1025).astype(np.float32).reshape(41, 25)  # quantile q is 1024·q
    cutoffs, weights = quantile_buckets(values, bits)
    number = 2**bits
    np.testing.assert_allclose(cutoffs, [1024 * i / number for i in range(1, number)])
    np.testing.assert_allclose(weights, [1024 * (i + 0.5) / number for i in range(number)])


def test_buckets_are_about_equally_full_for_held_out_vectors():
    codec = fitted()
    counts = np.bincount(unpack(codec.encode(token_vectors(3000, seed=5))["residuals"], 2).ravel(), minlength=4)
    np.testing.assert_allclose(counts / counts.sum(), 0.25, atol=0.02)


def test_encoding_in_blocks_is_encoding_at_once(monkeypatch):
    codec, vectors = fitted(), token_vectors(500, seed=3)
    whole = codec.encode(vectors)
    monkeypatch.setattr(assignment_module, "BLOCK_PRODUCTS", 32 * 7)
    for name, array in codec.encode(vectors).items():
        np.testing.assert_array_equal(array, whole[name])
    halves = [codec.encode(vectors[:123]), codec.encode(vectors[123:])]
    for name in whole:
        np.testing.assert_array_equal(np.concatenate([half[name] for half in halves]), whole[name])


@pytest.mark.parametrize(("bits", "expected"), [(1, 20), (2, 36), (4, 68), (8, 132)])
def test_bytes_per_vector(bits, expected):
    vectors = np.random.default_rng(0).normal(size=(100, 128)).astype(np.float32)
    codec = fitted(bits, vectors=vectors, num_centroids=4)
    assert codec.bytes_per_vector(128) == expected
    assert sum(array.nbytes for array in codec.encode(vectors).values()) == 100 * expected


def test_number_of_centroids_by_the_rule_times_the_factor():
    vectors = token_vectors(2000)
    for factor, expected in ((1.0, 512), (0.5, 256), (0.1, 51)):  # 16·√2000 = 715.5 → 512
        codec = fitted(vectors=vectors, num_centroids=None, centroid_factor=factor, kmeans_iterations=1)
        assert len(codec.fitted()) == expected
        assert codec.notes == []


def test_rule_takes_the_collection_not_the_sample():
    found = Clustering(kmeans_iterations=1).fit(
        token_vectors(1000), num_documents=20, average_length=20.0, seed=0, device="cpu"
    )
    assert len(found.centroids) == 256  # 16·√400 = 320


@pytest.mark.parametrize("num_vectors", [1, 2, 10, 19, 25])
def test_tiny_samples_clamp_the_centroids_and_say_so(num_vectors):
    vectors = token_vectors(num_vectors)
    codec = fitted(vectors=vectors, num_centroids=None, centroid_factor=64.0)
    assert 1 <= len(codec.fitted()) <= num_vectors
    assert any("clamped" in note for note in codec.notes)
    assert any("residuals" in note for note in codec.notes) == (num_vectors < 20)
    decoded = codec.decode(codec.encode(vectors))
    assert (decoded * vectors).sum(axis=1).min() > (0.99 if num_vectors < 20 else 0.3)


def test_more_centroids_than_vectors_are_refused_where_they_are_named():
    with pytest.raises(InputError, match="more than the 9"):
        fitted(vectors=token_vectors(9), num_centroids=64)


def test_every_knob_moves_the_decoded_vectors():
    vectors = token_vectors(200, seed=4)
    reference = fitted()
    outcome = reference.decode(reference.encode(vectors))
    repeated = fitted()
    np.testing.assert_array_equal(repeated.decode(repeated.encode(vectors)), outcome)
    for knob in (
        {"bits": 4},
        {"num_centroids": 16},
        {"num_centroids": None},
        {"kmeans_iterations": 1},
        {"max_points_per_centroid": 10},
        {"group_search_radius": 0.1},
        {"centroid_bits": 8},
        {"seed": 1},
    ):
        codec = fitted(**knob)
        assert not np.array_equal(codec.decode(codec.encode(vectors)), outcome), knob


@pytest.mark.parametrize("settings", [{}, {"group_search_radius": 0.7}, {"centroid_bits": 8}])
def test_saved_and_loaded_is_the_same(tmp_path, settings):
    codec, vectors = fitted(num_centroids=None, centroid_factor=1000.0, **settings), token_vectors(100, seed=6)
    codec.save(tmp_path / "codec")
    loaded = load_codec(tmp_path / "codec")
    assert isinstance(loaded, ResidualCodec)
    assert repr(loaded) == repr(codec)
    assert loaded.notes == codec.notes != []
    assert loaded.average_residual == codec.average_residual > 0
    arrays = codec.encode(vectors)
    for name, array in loaded.encode(vectors).items():
        np.testing.assert_array_equal(array, arrays[name])
    np.testing.assert_array_equal(loaded.decode(arrays), codec.decode(arrays))


@pytest.mark.parametrize("name", ["codec.json", "centroids.npy", "weights.npy"])
def test_missing_or_damaged_files_are_input_errors(tmp_path, name):
    fitted().save(tmp_path)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[:-20])
    with pytest.raises(InputError, match="damaged"):
        load_codec(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(InputError, match=f"{name} is missing"):
        load_codec(tmp_path)


@pytest.mark.parametrize("settings", [{"nbits": 3}, {"nbits": 2, "buckets": "round"}])
def test_bad_values_are_refused_at_construction(settings):
    with pytest.raises(InputError):
        ResidualCodec(**settings)


def test_check_names_dimensions_that_do_not_fill_bytes():
    assert ResidualCodec(1).check(128) == []
    assert ResidualCodec(4).check(6) == []
    assert "12 dimensions of 1 bits" in ResidualCodec(1).check(12)[0]
    with pytest.raises(InputError, match="do not fill"):
        fitted(1, vectors=np.ones((5, 12), np.float32), num_centroids=1)


def test_unfitted_codec_says_so():
    with pytest.raises(InputError, match="not been fitted"):
        ResidualCodec(2).encode(np.ones((1, 8), np.float32))
