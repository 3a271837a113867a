"""A random rotation and a few bits per dimension, without centroids: RaBitQ and TurboQuant.

RaBitQ (Gao and Long, SIGMOD 2024, arXiv 2405.12497) keeps the signs of a randomly rotated vector. TurboQuant (Zandieh
et al., arXiv 2504.19874) keeps a few bits per rotated dimension, with the levels of Lloyd and Max for the distribution
that the dimensions of a rotated unit vector have.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from colbertv2.compression.codec import Arrays, Codec, LookupTables, Nbits, whole_bytes
from colbertv2.errors import InputError
from colbertv2.schema import Seed, checked

if TYPE_CHECKING:
    from colbertv2.compression.clustering.clustering import Clusters

SAMPLED = 50_000  # vectors for the mean
GRID, ITERATIONS = 2**16, 1000


@checked
class RotatedCodec(Codec):
    """Encode a vector as one of 2^nbits levels per dimension, after a random rotation.

    The variance of token vectors differs much between dimensions. A random rotation makes it nearly the same in all of
    them, whatever the vectors are, so one set of levels fits, and nothing need be learned. At 128 dimensions a vector
    takes 16, 32 or 64 bytes for 1, 2 or 4 bits.

    Differences from the papers: decoded vectors are L2-normalised, since token vectors are. RaBitQ and TurboQuant's
    second variant store a correction per vector instead, so that estimates of inner products are unbiased.

    Args:
        nbits: bits per dimension: 1, 2, 4 or 8. With 1, documents are binary and queries are not.
        rotate: false leaves out the rotation.
        center: subtract the mean of a sample of the vectors first, and add it when decoding.
        seed: seed of the rotation.

    Raises:
        InputError: a value is out of range.

    >>> from colbertv2.compression.clustering.clustering import Clusters
    >>> vectors = np.random.default_rng(0).normal(size=(3, 128)).astype(np.float32)
    >>> codec = RotatedCodec(nbits=1)
    >>> codec.learn(Clusters(None, vectors[:0]))
    >>> {name: array.shape for name, array in codec.encode(vectors).items()}, codec.bytes_per_vector(128)
    ({'levels': (3, 16)}, 16)
    """

    def __init__(self, nbits: Nbits, rotate: bool = True, center: bool = False, seed: Seed = 0) -> None:
        self.nbits = nbits
        self.rotate = rotate
        self.center = center
        self.seed = seed
        self.sample_vectors = SAMPLED if center else 0
        self.weights = np.zeros(0, np.float32)  # [2^nbits], ascending
        self.rotation = np.zeros((0, 0), np.float32)  # [dim, dim]: vectors @ rotation
        self.mean = np.zeros(0, np.float32)  # [dim], rotated

    @property
    def settings(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {name: getattr(self, name) for name in ("nbits", "rotate", "center", "seed")}

    @property
    def label(self) -> str:
        """The codec's name in tables."""
        bits = f"{self.nbits} bit{'s' if self.nbits > 1 else ''}"
        return ", ".join([bits, *["rotated"] * self.rotate, *["centred"] * self.center, "no centroids"])

    def bytes_per_vector(self, dim: int) -> int:
        """``nbits`` bytes for every eight dimensions."""
        return dim * self.nbits // 8

    def check(self, dim: int) -> list[str]:
        """Why ``dim`` dimensions do not fill whole bytes; empty if they do."""
        return whole_bytes(dim, self.nbits)

    def learn(self, clusters: Clusters, queries: NDArray[np.float32] | None = None) -> None:
        """Draw the rotation, compute the levels, and learn the mean if the codec centres."""
        super().learn(clusters)
        sample = clusters.held_out
        dim = sample.shape[1]
        self.rotation = random_rotation(dim, self.seed) if self.rotate else np.eye(dim, dtype=np.float32)
        mean, scale = np.zeros(dim, np.float32), 1.0
        if self.center:
            mean = sample.mean(axis=0)
            scale = float(np.sqrt(np.square(sample - mean).sum(axis=1).mean()))
        self.mean = mean @ self.rotation
        self.weights = (scale * sphere_levels(dim, self.nbits)).astype(np.float32)

    def encode(self, vectors: NDArray[np.float32], codes: NDArray[np.int32] | None = None) -> Arrays:
        """Encode ``[n, dim]`` as ``levels`` uint8 ``[n, dim · nbits / 8]``, each value at its nearest level."""
        from colbertv2.compression.bitpack import reversed_bits
        from colbertv2.kernels.codecs import pack_buckets

        dim = self.fitted_dim()
        if vectors.shape[1] != dim:
            raise InputError(f"This {type(self).__name__} was fitted for {dim} dimensions, found {vectors.shape[1]}.")
        cutoffs = (self.weights[1:] + self.weights[:-1]) / 2
        packed, same = np.empty((len(vectors), dim * self.nbits // 8), np.uint8), np.zeros(len(vectors), np.int32)
        pack_buckets(
            self.rotated(vectors, self.rotation), same, self.mean[None], cutoffs, reversed_bits(self.nbits), packed
        )
        return {"levels": packed}

    def decode(self, arrays: Arrays) -> NDArray[np.float32]:
        """Decode to float32 ``[n, dim]``: the mean plus the levels, rotated back and L2-normalised."""
        from colbertv2.compression.quantisers import added_up

        return self.rotated(added_up(self.lookup_tables(self.fitted_dim()), arrays), self.rotation.T)

    def rotated(self, vectors: NDArray[np.float32], rotation: NDArray[np.float32]) -> NDArray[np.float32]:
        """``vectors [n, dim] @ rotation``; the vectors themselves if the codec does not rotate."""
        from colbertv2.kernels.products import product

        return product(vectors, rotation) if self.rotate else np.ascontiguousarray(vectors, np.float32)

    def lookup_tables(self, dim: int) -> LookupTables:
        """Tables in the rotated space, with one codebook for all bytes, and the mean as the only centroid."""
        from colbertv2.compression.bitpack import byte_values

        codebook = np.ascontiguousarray(self.weights[byte_values(self.nbits)][None])
        mean, queries = self.mean[None] if self.center else None, self.rotation if self.rotate else None
        return LookupTables(mean, codebook, normalise=True, queries=queries, stored="levels")

    def fitted_dim(self) -> int:
        """The number of dimensions; raises InputError before ``learn``."""
        if not len(self.weights):
            raise InputError(f"This {type(self).__name__} has not been fitted; call learn or load_codec first.")
        return len(self.mean)

    @property
    def learned(self) -> Arrays:
        """The levels, the rotation and the rotated mean."""
        return {"weights": self.weights, "rotation": self.rotation, "mean": self.mean}

    def restore(self, learned: Arrays) -> None:
        """Restore what ``learned`` returned; raises InputError if a shape does not match the settings."""
        weights, rotation, mean = (learned[name] for name in ("weights", "rotation", "mean"))
        expected = [(2**self.nbits,), (mean.size, mean.size), (mean.size,)]
        if [weights.shape, rotation.shape, mean.shape] != expected:
            raise InputError(
                f"Levels, rotation and mean have the shapes {weights.shape}, {rotation.shape} and {mean.shape}; "
                f"expected {expected[0]}, {expected[1]} and {expected[2]}."
            )
        self.weights, self.rotation, self.mean = weights, rotation, mean


def random_rotation(dim: int, seed: int) -> NDArray[np.float32]:
    """``[dim, dim]``: an orthogonal matrix, uniformly distributed over all of them.

    It is the Q of a QR decomposition of independent normal numbers, with the signs for which the diagonal of R is
    positive; without these signs it would not be uniform (Mezzadri, Notices of the AMS 2007).

    >>> rotation = random_rotation(4, seed=0)
    >>> bool(np.allclose(rotation @ rotation.T, np.eye(4), atol=1e-6))
    True
    """
    directions, triangle = np.linalg.qr(np.random.default_rng(seed).normal(size=(dim, dim)))
    return (directions * np.where(np.diagonal(triangle) < 0, -1, 1)).astype(np.float32)


@cache
def sphere_levels(dim: int, nbits: int) -> NDArray[np.float64]:
    """``[2^nbits]``: the levels with the least squared error for a dimension of a uniformly random unit vector.

    Its density is proportional to (1 − x²)^((dim − 3) / 2), close to a normal distribution of variance 1/dim. Levels
    are computed by Lloyd's algorithm over a fine grid of the positive half; the others are their negatives.

    >>> (np.sqrt(1000) * sphere_levels(1000, nbits=1)).round(2).tolist()  # ±√(2/π)
    [-0.8, 0.8]
    """
    edges = np.linspace(0, min(1.0, 12 / np.sqrt(dim)), GRID + 1)  # beyond 12 standard deviations there is nothing
    x = (edges[1:] + edges[:-1]) / 2
    density = (1 - x**2) ** ((dim - 3) / 2)
    mass, moment = (np.concatenate([[0.0], np.cumsum(one)]) for one in (density, density * x))
    # Levels start where the cube root of the density has equal shares, which is nearly optimal for many levels.
    share = np.cumsum(np.cbrt(density))
    number = 2 ** (nbits - 1)
    levels = x[np.searchsorted(share, (np.arange(number) + 0.5) / number * share[-1])]
    for _ in range(ITERATIONS):
        ends = np.concatenate([[0.0], (levels[1:] + levels[:-1]) / 2, edges[-1:]])
        weights, moments = (np.diff(np.interp(ends, edges, one)) for one in (mass, moment))
        levels = np.where(weights > 0, moments / np.where(weights > 0, weights, 1), levels)
    return np.concatenate([-levels[::-1], levels])
