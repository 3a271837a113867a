"""Only the centroid of a vector, without a residual: the smallest code that an index with inverted lists can have."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from colbertv2.compression.codec import Arrays, Codec, LookupTables


class CentroidCodec(Codec):
    """Encode a vector as the number of its nearest centroid: 4 bytes, whatever the dimension.

    This is the residual codec (ColBERTv2 §3.3) with 0 bits per dimension: what its residuals are worth is the
    difference to this row. Decoded vectors are the centroids, L2-normalised.

    >>> from colbertv2.compression.clustering.clustering import Clustering
    >>> vectors = np.random.default_rng(0).normal(size=(1000, 128)).astype(np.float32)
    >>> clusters = Clustering(num_centroids=16).fit(vectors, num_documents=10, average_length=100, seed=0, device="cpu")
    >>> codec = CentroidCodec()
    >>> codec.learn(clusters)
    >>> {name: array.shape for name, array in codec.encode(vectors[:3]).items()}, codec.bytes_per_vector(128)
    ({'codes': (3,)}, 4)
    """

    has_centroids = True

    @property
    def label(self) -> str:
        """The codec's name in tables."""
        return "centroids"

    def bytes_per_vector(self, dim: int) -> int:
        """Four bytes for the code."""
        return 4

    def encode(self, vectors: NDArray[np.float32], codes: NDArray[np.int32] | None = None) -> Arrays:
        """Encode ``[n, dim]`` as ``codes`` int32 ``[n]``."""
        return {"codes": self.fitted().nearest(vectors) if codes is None else codes}

    def decode(self, arrays: Arrays) -> NDArray[np.float32]:
        """Decode to float32 ``[n, dim]``: the centroids, L2-normalised."""
        from colbertv2.compression.clustering.kmeans import normalised

        return normalised(self.fitted().vectors[arrays["codes"]])  # again, because storing centroids has rounded them

    def lookup_tables(self, dim: int) -> LookupTables:
        """Tables without a codebook."""
        from colbertv2.compression.clustering.kmeans import normalised

        nothing = np.zeros((0, 256, dim), np.float32)
        return LookupTables(normalised(self.fitted().vectors), nothing, normalise=False, stored=None)
