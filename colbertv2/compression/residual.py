"""Residual compression: a centroid and a few bits per dimension (ColBERTv2 §3.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from colbertv2.compression.codec import Arrays, Codec, LookupTables, Nbits, whole_bytes
from colbertv2.compression.quantisers import BUCKETS, BucketRule
from colbertv2.errors import InputError
from colbertv2.schema import checked

if TYPE_CHECKING:
    from colbertv2.compression.clustering.clustering import Clusters


@checked
class ResidualCodec(Codec):
    """Encode a vector as a centroid plus a residual, with one of 2^nbits buckets per dimension.

    At 128 dimensions a vector takes 20, 36 or 68 bytes for 1, 2 or 4 bits: an int32 code and the packed residual.

    Args:
        nbits: bits per dimension: 1, 2, 4 or 8.
        buckets: ``quantile`` for equally full buckets as in the official code; ``lloyd`` for the least squared error
            (Lloyd and Max). The format is the same.

    Raises:
        InputError: a value is out of range.

    >>> from colbertv2.compression.clustering.clustering import Clustering
    >>> vectors = np.random.default_rng(0).normal(size=(1000, 128)).astype(np.float32)
    >>> clusters = Clustering(num_centroids=16).fit(vectors, num_documents=10, average_length=100, seed=0, device="cpu")
    >>> codec = ResidualCodec(nbits=2)
    >>> codec.learn(clusters)
    >>> {name: array.shape for name, array in codec.encode(vectors[:3]).items()}, codec.bytes_per_vector(128)
    ({'codes': (3,), 'residuals': (3, 32)}, 36)
    """

    has_centroids = True

    def __init__(self, nbits: Nbits, buckets: BucketRule = "quantile") -> None:
        self.nbits = nbits
        self.buckets = buckets
        self.cutoffs = np.zeros(0, np.float32)
        self.weights = np.zeros(0, np.float32)
        self.average_residual = 0.0

    @property
    def settings(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"nbits": self.nbits, "buckets": self.buckets}

    @property
    def label(self) -> str:
        """The codec's name in tables."""
        return f"{self.nbits} bit{'s' if self.nbits > 1 else ''}" + (", lloyd" if self.buckets == "lloyd" else "")

    def bytes_per_vector(self, dim: int) -> int:
        """Four bytes for the code, and ``nbits`` bytes for every eight dimensions."""
        return 4 + dim * self.nbits // 8

    def check(self, dim: int) -> list[str]:
        """Why the residual does not fill whole bytes; empty if it does."""
        return whole_bytes(dim, self.nbits)

    def learn(self, clusters: Clusters, queries: NDArray[np.float32] | None = None) -> None:
        """Set the centroids, and learn buckets from the residuals of held-out vectors."""
        super().learn(clusters)
        self.fit_buckets(clusters.held_out)

    def fit_buckets(self, held_out: NDArray[np.float32]) -> None:
        """Learn cutoffs and weights from the residuals of ``held_out [n, dim]``; the centroids must be set."""
        residuals = self.fitted().residuals(held_out)
        self.cutoffs, self.weights = BUCKETS[self.buckets](residuals, self.nbits)
        self.average_residual = float(np.abs(residuals).mean())

    @classmethod
    def from_tables(
        cls,
        nbits: int,
        centroids: NDArray[Any],
        cutoffs: NDArray[Any] | None = None,
        weights: NDArray[Any] | None = None,
        average_residual: float = 0.0,
    ) -> ResidualCodec:
        """Make a codec from tables that were learned elsewhere. Without cutoffs and weights, call ``fit_buckets`` next.

        Args:
            centroids: ``[K, dim]``.
            cutoffs: ``[2^nbits − 1]``, ascending.
            weights: ``[2^nbits]``.
            average_residual: mean absolute value of the residuals.

        Raises:
            InputError: the shape of a table does not match ``nbits``, or a table holds NaN or infinity.
        """
        from colbertv2.compression.clustering.centroids import Centroids

        codec = cls(cast(Nbits, nbits))  # the constructor validates it
        codec.centroids = Centroids.rounded(np.asarray(centroids))
        codec.average_residual = average_residual
        if cutoffs is not None and weights is not None:
            codec.cutoffs, codec.weights = np.asarray(cutoffs, np.float32), np.asarray(weights, np.float32)
            codec.check_buckets()
        if not all(np.isfinite(table).all() for table in (codec.centroids.vectors, codec.cutoffs, codec.weights)):
            raise InputError("The centroids, cutoffs or weights hold NaN or infinity; the codec is damaged.")
        for problem in codec.check(codec.centroids.dim):
            raise InputError(problem)
        return codec

    def check_buckets(self) -> None:
        """Raise InputError if the number of cutoffs or weights does not match ``nbits``."""
        if self.cutoffs.shape != (2**self.nbits - 1,) or self.weights.shape != (2**self.nbits,):
            raise InputError(
                f"Found {len(self.cutoffs)} cutoffs and {len(self.weights)} weights for {self.nbits} bits; "
                f"expected {2**self.nbits - 1} and {2**self.nbits}."
            )

    def encode(self, vectors: NDArray[np.float32], codes: NDArray[np.int32] | None = None) -> Arrays:
        """Encode ``[n, dim]`` as ``codes`` int32 ``[n]`` and ``residuals`` uint8 ``[n, dim · nbits / 8]``."""
        from colbertv2.compression.bitpack import reversed_bits
        from colbertv2.kernels.codecs import pack_buckets

        vectors, centroids = np.ascontiguousarray(vectors, dtype=np.float32), self.fitted()
        codes = centroids.nearest(vectors) if codes is None else codes
        packed = np.empty((len(vectors), centroids.dim * self.nbits // 8), np.uint8)
        pack_buckets(vectors, codes, centroids.vectors, self.cutoffs, reversed_bits(self.nbits), packed)
        return {"codes": codes, "residuals": packed}

    def decode(self, arrays: Arrays) -> NDArray[np.float32]:
        """Decode to float32 ``[n, dim]``: centroid plus the weight of each dimension's bucket, L2-normalised."""
        from colbertv2.compression.quantisers import added_up

        return added_up(self.lookup_tables(self.fitted().dim), arrays)

    def lookup_tables(self, dim: int) -> LookupTables:
        """Tables with one codebook for all bytes: the bucket weights of the dimensions packed into a byte."""
        from colbertv2.compression.bitpack import byte_values

        codebook = self.weights[byte_values(self.nbits)].astype(np.float32)
        return LookupTables(self.fitted().vectors, np.ascontiguousarray(codebook[None]), normalise=True)

    @property
    def learned(self) -> Arrays:
        """Cutoffs, weights and the mean absolute residual."""
        average = np.array(self.average_residual)
        return {"cutoffs": self.cutoffs, "weights": self.weights, "average_residual": average}

    def restore(self, learned: Arrays) -> None:
        """Restore what ``learned`` returned; raises InputError if a shape does not match ``nbits``."""
        self.cutoffs, self.weights = learned["cutoffs"], learned["weights"]
        self.average_residual = float(learned["average_residual"])
        self.check_buckets()
