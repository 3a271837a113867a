"""Tests of rotation and scalar quantisation against the papers' formulas in plain numpy and scipy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import ndtr, ndtri
from scipy.stats import ortho_group
from support import unit

from colbertv2.compression.binary import BinaryCodec
from colbertv2.compression.bitpack import unpack
from colbertv2.compression.clustering.clustering import Clusters
from colbertv2.compression.codec import load_codec
from colbertv2.compression.rotated import RotatedCodec, random_rotation, sphere_levels
from colbertv2.errors import InputError

DIM = 64


def anisotropic(number, seed=0, shift=0.0):
    """Unit vectors whose variance is concentrated in a few dimensions; with a ``shift``, around a common direction."""
    random = np.random.default_rng(seed)
    return unit(random.normal(size=(number, DIM)) * np.linspace(1, 0.02, DIM) ** 2 + shift)


def fitted(nbits, vectors=None, **how):
    codec = RotatedCodec(nbits, **how)
    codec.learn(Clusters(None, anisotropic(500) if vectors is None else vectors))
    return codec


def error(codec, vectors):
    """The mean of 1 − cosine: what counts for unit vectors, whatever the norms of decoded vectors."""
    return float(1 - (unit(codec.decode(codec.encode(vectors))) * vectors).sum(1).mean())


def gaussian_levels(number):
    """The levels of Lloyd and Max for a standard normal value, by its closed forms."""
    levels = ndtri((np.arange(number) + 0.5) / number)
    for _ in range(2000):
        ends = np.concatenate([[-np.inf], (levels[1:] + levels[:-1]) / 2, [np.inf]])
        levels = -np.diff(np.exp(-(ends**2) / 2) / np.sqrt(2 * np.pi)) / np.diff(ndtr(ends))
    return levels


@pytest.mark.parametrize("nbits", [1, 2, 4])
def test_levels_are_those_of_a_normal_value_in_many_dimensions(nbits):
    np.testing.assert_allclose(100 * sphere_levels(10_000, nbits), gaussian_levels(2**nbits), atol=2e-3)


@pytest.mark.parametrize("dim", [8, 128])
@pytest.mark.parametrize("nbits", [1, 2, 4])
def test_each_level_is_the_mean_of_what_is_nearest_to_it(dim, nbits):
    levels = sphere_levels(dim, nbits)
    ends = np.concatenate([[-1.0], (levels[1:] + levels[:-1]) / 2, [1.0]])
    for level, low, high in zip(levels, ends[:-1], ends[1:], strict=True):
        mass, moment = (quad(lambda x, p=p: x**p * (1 - x * x) ** ((dim - 3) / 2), low, high)[0] for p in (0, 1))
        assert abs(level - moment / mass) < 1e-4


def test_the_distortion_is_that_of_the_paper():
    """TurboQuant, Theorem 1: about 0.36, 0.117 and 0.009 for unit vectors that are not normalised after decoding."""
    vectors = anisotropic(3000)
    for nbits, expected in ((1, 1 - 2 / np.pi), (2, 0.117), (4, 0.009)):
        rotated = vectors @ random_rotation(DIM, seed=3)
        levels = sphere_levels(DIM, nbits)
        nearest = levels[np.abs(rotated[:, :, None] - levels).argmin(2)]
        assert abs(np.square(nearest - rotated).sum(1).mean() / expected - 1) < 0.06


@settings(max_examples=20)
@given(st.sampled_from([1, 2, 4, 8]), st.booleans(), st.booleans(), st.integers(0, 5), st.integers(0, 99))
def test_codes_and_decoded_vectors_are_those_of_the_formula(nbits, rotate, center, number, seed):
    sample, vectors = anisotropic(50, seed, shift=0.1), anisotropic(number, seed + 1, shift=0.1)
    codec = fitted(nbits, sample, rotate=rotate, center=center, seed=seed)
    rotation = random_rotation(DIM, seed).astype(float) if rotate else np.eye(DIM)
    mean = sample.mean(0) if center else np.zeros(DIM)
    scale = np.sqrt(np.square(sample - mean).sum(1).mean())
    values = (vectors - mean) @ rotation
    levels = scale * sphere_levels(DIM, nbits)
    arrays = codec.encode(vectors)
    found = unpack(arrays["levels"], nbits)
    distances = np.abs(values[:, :, None] - levels)
    at = np.take_along_axis(distances, found[:, :, None].astype(int), 2)[:, :, 0]
    np.testing.assert_allclose(at, distances.min(2), atol=1e-5)
    expected = levels[found] @ rotation.T + mean
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(codec.decode(arrays), expected, atol=1e-5)


def test_a_rotation_keeps_inner_products_and_is_as_random_as_scipys():
    vectors, rotation = anisotropic(20), random_rotation(DIM, seed=1)
    np.testing.assert_allclose((vectors @ rotation) @ (vectors @ rotation).T, vectors @ vectors.T, atol=1e-5)
    assert not np.array_equal(rotation, random_rotation(DIM, seed=2))
    ours = np.array([np.trace(random_rotation(3, seed)) for seed in range(400)])
    theirs = ortho_group.rvs(3, 400, random_state=0).trace(axis1=1, axis2=2)
    assert abs(ours.mean()) < 0.15 and abs(ours.std() / theirs.std() - 1) < 0.15  # the trace has mean 0, variance 1


def test_error_falls_with_bits():
    errors = [error(fitted(nbits), anisotropic(500, seed=1)) for nbits in (1, 2, 4, 8)]
    assert errors[0] > 3 * errors[1] > 3 * 3 * errors[2] > 3 * 3 * 3 * errors[3]


def test_at_equal_bytes_rotated_signs_err_less_than_signs_of_uneven_dimensions():
    vectors = anisotropic(500, seed=1)
    codec = fitted(1)
    assert codec.bytes_per_vector(DIM) == BinaryCodec().bytes_per_vector(DIM)
    assert error(codec, vectors) < 0.6 * error(BinaryCodec(), vectors)
    assert abs(1 - error(codec, vectors) - np.sqrt(2 / np.pi)) < 0.01  # RaBitQ §3: about 0.8, for any vectors


def test_centring_helps_where_vectors_have_a_common_direction():
    sample, vectors = anisotropic(500, shift=0.4), anisotropic(500, seed=1, shift=0.4)
    plain, centred = (fitted(1, sample, center=center) for center in (False, True))
    assert error(centred, vectors) < 0.7 * error(plain, vectors)


def test_without_rotation_and_centring_one_bit_is_the_sign():
    vectors = anisotropic(50, seed=1)
    codec, binary = fitted(1, rotate=False), BinaryCodec()
    np.testing.assert_array_equal(codec.encode(vectors)["levels"], binary.encode(vectors)["signs"])
    decoded = codec.decode(codec.encode(vectors))
    np.testing.assert_allclose(decoded, binary.decode(binary.encode(vectors)), atol=1e-6)


def test_nothing_is_learned_from_vectors_unless_they_are_centred(tmp_path):
    first, second = (fitted(2, anisotropic(100, seed)) for seed in (1, 2))
    np.testing.assert_array_equal(first.weights, second.weights)
    assert first.sample_vectors == 0 < RotatedCodec(2, center=True).sample_vectors
    fitted(2, np.zeros((0, DIM), np.float32)).save(tmp_path)
    np.save(tmp_path / "weights.npy", np.zeros(3))
    with pytest.raises(InputError, match=r"expected \(4,\), \(64, 64\) and \(64,\)"):
        load_codec(tmp_path)


def test_what_does_not_fit_is_refused():
    assert "12 dimensions of 1 bits" in RotatedCodec(1).check(12)[0]
    with pytest.raises(InputError, match="not been fitted"):
        RotatedCodec(2).encode(anisotropic(1))
    with pytest.raises(InputError, match="64 dimensions, found 8"):
        fitted(2).encode(np.ones((1, 8), np.float32))
    with pytest.raises(InputError, match="'nbits' is 3"):
        RotatedCodec(3)
