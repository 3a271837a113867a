"""Residuals with three levels per dimension: log2(3) = 1.58 bits, between the paper's 1 and 2 bits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from colbertv2.compression.codec import Arrays, Codec, LookupTables
from colbertv2.errors import InputError

if TYPE_CHECKING:
    from colbertv2.compression.clustering.clustering import Clusters

ITERATIONS = 100


class TernaryCodec(Codec):
    """Encode a vector as a centroid plus a residual of −w, 0 or w per dimension; five dimensions share a byte.

    At 128 dimensions a vector takes 30 bytes: an int32 code and 26 bytes of digits. The residual is quantised, and not
    the vector itself, so that only the number of levels differs from the rows with 1 bit (20 bytes) and 2 bits (36).

    The levels are symmetric, because residuals are; w is the one that minimises the squared error (Lloyd and Max).
    Decoded vectors are L2-normalised.

    >>> from colbertv2.compression.clustering.clustering import Clustering
    >>> vectors = np.random.default_rng(0).normal(size=(1000, 128)).astype(np.float32)
    >>> clusters = Clustering(num_centroids=16).fit(vectors, num_documents=10, average_length=100, seed=0, device="cpu")
    >>> codec = TernaryCodec()
    >>> codec.learn(clusters)
    >>> {name: array.shape for name, array in codec.encode(vectors[:3]).items()}, codec.bytes_per_vector(128)
    ({'codes': (3,), 'residuals': (3, 26)}, 30)
    """

    has_centroids = True

    def __init__(self) -> None:
        self.weight = 0.0

    @property
    def label(self) -> str:
        """The codec's name in tables."""
        return "1.58 bits"

    def bytes_per_vector(self, dim: int) -> int:
        """Four bytes for the code, and one for every five dimensions; the last byte may have fewer."""
        return 4 + -(-dim // 5)

    def learn(self, clusters: Clusters, queries: NDArray[np.float32] | None = None) -> None:
        """Set the centroids, and learn w from the residuals of held-out vectors."""
        super().learn(clusters)
        self.weight = ternary_weight(self.fitted().residuals(clusters.held_out))

    def encode(self, vectors: NDArray[np.float32], codes: NDArray[np.int32] | None = None) -> Arrays:
        """Encode ``[n, dim]`` as ``codes`` int32 ``[n]`` and ``residuals`` uint8 ``[n, ⌈dim / 5⌉]``.

        A value beyond w/2 becomes the level of its sign, any other becomes 0.
        """
        from colbertv2.compression.bitpack import pack_ternary

        centroids = self.fitted()
        codes = centroids.nearest(vectors) if codes is None else codes
        residuals = centroids.residuals(vectors, codes)
        half = np.float32(self.weight / 2)
        digits = (residuals >= -half).view(np.uint8) + (residuals > half).view(np.uint8)
        return {"codes": codes, "residuals": pack_ternary(digits)}

    def decode(self, arrays: Arrays) -> NDArray[np.float32]:
        """Decode to float32 ``[n, dim]``: centroid plus the level of each dimension, L2-normalised."""
        from colbertv2.compression.quantisers import added_up

        dim = self.fitted().dim
        return np.ascontiguousarray(added_up(self.lookup_tables(dim), arrays)[:, :dim])

    def lookup_tables(self, dim: int) -> LookupTables:
        """Tables of vectors that are padded with zeros to a multiple of five dimensions."""
        from colbertv2.compression.bitpack import ternary_values

        padding = -dim % 5
        centroids = np.pad(self.fitted().vectors, ((0, 0), (0, padding)))
        codebook = (ternary_values().astype(np.float32) - 1) * np.float32(self.weight)
        queries = np.eye(dim, dim + padding, dtype=np.float32) if padding else None
        return LookupTables(centroids, codebook[None], normalise=True, queries=queries)

    @property
    def learned(self) -> Arrays:
        """The weight w."""
        return {"weight": np.array(self.weight)}

    def restore(self, learned: Arrays) -> None:
        """Restore what ``learned`` returned; InputError if it is not one number of at least 0."""
        weight = learned["weight"]
        if weight.shape != () or not 0 <= weight < np.inf:
            raise InputError(f"The weight of a ternary codec is {weight!r}; expected one number of at least 0.")
        self.weight = float(weight)


def ternary_weight(residuals: NDArray[np.float32]) -> float:
    """The w for which rounding every value to the nearest of −w, 0 and w has the least squared error.

    Found by Lloyd's algorithm from the mean absolute value: w is the mean of the absolute values above w/2.

    >>> ternary_weight(np.array([0, 0.1, -1, 1.5], np.float32))
    1.25
    """
    values = np.sort(np.abs(residuals).ravel()).astype(np.float64)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    weight = float(values.mean()) if len(values) else 0.0
    for _ in range(ITERATIONS):
        first = int(np.searchsorted(values, weight / 2, side="right"))
        if first == len(values):
            return 0.0
        weight = float((sums[-1] - sums[first]) / (len(values) - first))
    return weight
