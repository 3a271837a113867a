"""Residuals by product quantisation, weighted by the directions of queries (beyond the paper)."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from colbertv2.compression.codec import Arrays, Codec, LookupTables, Nbits, whole_bytes
from colbertv2.compression.quantisers import lloyd_buckets
from colbertv2.data.queries import Queries
from colbertv2.errors import InputError
from colbertv2.schema import PositiveInt, Scale, Seed, checked

if TYPE_CHECKING:
    from colbertv2.compression.clustering.clustering import Clusters

CODEWORD_ITERATIONS = 25
GAIN_BITS = 8


@checked
class ProductCodec(Codec):
    """Encode a vector as a centroid plus a gain times codewords: one of 256 for every 8 / ``nbits`` dimensions.

    Search depends on the error of the similarities to queries, not on the error of the vectors, and query vectors are
    far from evenly distributed. Residuals are therefore multiplied by the square root of the second moment of query
    vectors: in that space the squared Euclidean distance is the expected squared error of the similarity. Then they are
    rotated to their principal axes, and the axes are assigned to bytes so that the product of the variances is about
    the same for every byte, as in optimised product quantisation (Ge et al., CVPR 2013). Decoded vectors are not
    normalised, because that would undo the benefit of the weighting.

    Args:
        nbits: bits per dimension: 1, 2, 4 or 8.
        queries: queries whose vectors give the second moment, such as training queries, never those of an evaluation;
            None weights all directions equally.
        num_queries: the largest number of queries to encode, drawn with the seed.
        shrinkage: how much of the mean eigenvalue is added to each eigenvalue of the second moment, as a share.
        seed: seed for drawing queries and for learning codewords.

    Raises:
        InputError: a value is out of range.

    >>> from colbertv2.compression.clustering.clustering import Clustering
    >>> vectors = np.random.default_rng(0).normal(size=(1000, 128)).astype(np.float32)
    >>> clusters = Clustering(num_centroids=16).fit(vectors, num_documents=10, average_length=100, seed=0, device="cpu")
    >>> codec = ProductCodec(nbits=2)
    >>> codec.learn(clusters, queries=vectors[:100])
    >>> {name: array.shape for name, array in codec.encode(vectors[:3]).items()}, codec.bytes_per_vector(128)
    ({'codes': (3,), 'residuals': (3, 32), 'gains': (3,)}, 37)
    """

    has_centroids = True

    def __init__(
        self,
        nbits: Nbits,
        queries: Queries | None = None,
        num_queries: PositiveInt = 1000,
        shrinkage: Scale = 0.05,
        seed: Seed = 0,
    ) -> None:
        self.nbits = nbits
        self.queries = queries
        self.num_queries = num_queries
        self.shrinkage = shrinkage
        self.seed = seed
        self.transform = np.zeros((0, 0), np.float32)  # [dim, dim]: vectors @ transform
        self.inverse = np.zeros((0, 0), np.float32)
        self.codebook = np.zeros((0, 256, 0), np.float32)  # [M, 256, dim / M], transformed
        self.cutoffs, self.gains = np.zeros(0, np.float32), np.zeros(0, np.float32)  # [255], [256]

    @property
    def settings(self) -> dict[str, Any]:
        """The constructor's arguments, without the queries: encoding needs only what was learned from them."""
        names = ("nbits", "num_queries", "shrinkage", "seed")
        return {name: getattr(self, name) for name in names}

    @property
    def label(self) -> str:
        """The codec's name in tables."""
        return f"{self.nbits} bit{'s' if self.nbits > 1 else ''}, product"

    def bytes_per_vector(self, dim: int) -> int:
        """Four bytes for the code, one for the gain, and ``nbits`` bytes for every eight dimensions."""
        return 5 + dim * self.nbits // 8

    def check(self, dim: int) -> list[str]:
        """Why the residual does not fill whole bytes; empty if it does."""
        return whole_bytes(dim, self.nbits)

    def sample_queries(self) -> list[str]:
        """At most ``num_queries`` of ``queries``, drawn with the seed."""
        texts = [] if self.queries is None else [text for _, text in self.queries]
        chosen = np.random.default_rng(self.seed).permutation(len(texts))[: self.num_queries]
        return [texts[place] for place in chosen]

    def learn(self, clusters: Clusters, queries: NDArray[np.float32] | None = None) -> None:
        """Set the centroids, and learn the transform, codewords and gains from the residuals of held-out vectors."""
        from colbertv2.compression.quantisers import learn_codewords

        super().learn(clusters)
        centroids, held_out = self.fitted(), clusters.held_out
        second_moment: NDArray[Any] = np.eye(centroids.dim)
        if queries is not None:
            second_moment = queries.T.astype(np.float64) @ queries / len(queries)
        weigh, unweigh = square_root(second_moment, self.shrinkage)
        codes = centroids.nearest(held_out)
        num_parts = centroids.dim * self.nbits // 8
        rotation = balanced_axes(centroids.residuals(held_out, codes) @ weigh, num_parts)
        self.transform, self.inverse = weigh @ rotation, rotation.T @ unweigh
        vars(self).pop("transformed_centroids", None)  # cached for earlier centroids
        transformed = np.ascontiguousarray(held_out @ self.transform, dtype=np.float32)
        residuals = transformed - self.transformed_centroids[codes]
        norms = np.maximum(np.sqrt(np.einsum("nd,nd->n", residuals, residuals)), 1e-12, dtype=np.float32)
        codebook = learn_codewords(residuals / norms[:, None], num_parts, CODEWORD_ITERATIONS, self.seed)
        # Rounded here, so that the codec encodes the same before saving and after loading.
        self.codebook = codebook.astype(np.float16).astype(np.float32)
        self.cutoffs, self.gains = lloyd_buckets(self.shapes(transformed, codes)[1], GAIN_BITS)

    @cached_property
    def transformed_centroids(self) -> NDArray[np.float32]:
        """The centroids ``[K, dim]`` in the space of the codebook."""
        return np.ascontiguousarray(self.fitted().vectors @ self.transform)

    def encode(self, vectors: NDArray[np.float32], codes: NDArray[np.int32] | None = None) -> Arrays:
        """Encode ``[n, dim]`` as ``codes`` int32 ``[n]``, ``residuals`` uint8 ``[n, dim · nbits / 8]`` and ``gains``.

        ``gains`` is uint8 ``[n]``.
        """
        from colbertv2.kernels.products import product

        vectors = np.asarray(vectors, dtype=np.float32)
        codes = self.fitted().nearest(vectors) if codes is None else codes
        packed, gains = self.shapes(product(vectors, self.transform), codes)
        return {"codes": codes, "residuals": packed, "gains": np.searchsorted(self.cutoffs, gains).astype(np.uint8)}

    def shapes(
        self, transformed: NDArray[np.float32], codes: NDArray[np.int32]
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """The codewords ``[n, M]`` of the L2-normalised residuals, and the gains ``[n]`` to multiply them by."""
        from colbertv2.compression.quantisers import columns
        from colbertv2.kernels.codecs import shapes_and_gains

        packed, gains = np.empty((len(codes), len(self.codebook)), np.uint8), np.empty(len(codes), np.float32)
        shapes_and_gains(transformed, codes, self.transformed_centroids, *columns(self.codebook), packed, gains)
        return packed, gains

    def decode(self, arrays: Arrays) -> NDArray[np.float32]:
        """Decode to float32 ``[n, dim]``: centroid plus gain times codewords, not normalised."""
        from colbertv2.compression.quantisers import added_up
        from colbertv2.kernels.products import product

        return product(added_up(self.lookup_tables(len(self.inverse)), arrays), self.inverse)

    def lookup_tables(self, dim: int) -> LookupTables:
        """Tables in the transformed space. There the query is ``query @ inverse.T``."""
        queries = np.ascontiguousarray(self.inverse.T)
        return LookupTables(
            self.transformed_centroids, self.codebook, normalise=False, queries=queries, gains=self.gains
        )

    @property
    def learned(self) -> Arrays:
        """The codebook, the gains with their cutoffs, and the transform with its inverse."""
        names = ("cutoffs", "gains", "transform", "inverse")
        return {"codebook": self.codebook.astype(np.float16), **{name: getattr(self, name) for name in names}}

    def restore(self, learned: Arrays) -> None:
        """Restore what ``learned`` returned; raises InputError if a shape does not match the settings."""
        self.codebook = learned["codebook"].astype(np.float32)
        self.transform, self.inverse = learned["transform"], learned["inverse"]
        self.cutoffs, self.gains = learned["cutoffs"], learned["gains"]
        dim = self.fitted().dim
        expected = (dim * self.nbits // 8, 256, 8 // self.nbits)
        if self.codebook.shape != expected or self.transform.shape != (dim, dim) or self.inverse.shape != (dim, dim):
            raise InputError(
                f"Codebook, transform and inverse have the shapes {self.codebook.shape}, {self.transform.shape} and "
                f"{self.inverse.shape}; expected {expected}, {(dim, dim)} and {(dim, dim)}."
            )


def square_root(second_moment: NDArray[Any], shrinkage: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The symmetric square root of ``second_moment [dim, dim]``, and the inverse of that root.

    Before that, ``shrinkage`` times the mean eigenvalue is added to every eigenvalue.

    >>> [root.diagonal().tolist() for root in square_root(np.diag([3.5, 0.5]), shrinkage=0.25)]
    [[2.0, 1.0], [0.5, 1.0]]
    """
    values, axes = np.linalg.eigh(second_moment)
    root = np.sqrt(np.maximum(values, 0) + shrinkage * max(values.mean(), 1e-12))
    return ((axes * root) @ axes.T).astype(np.float32), ((axes / root) @ axes.T).astype(np.float32)


def balanced_axes(residuals: NDArray[Any], num_groups: int) -> NDArray[np.float32]:
    """``[dim, dim]``: principal axes as columns, in groups of equal size with about equal products of variances.

    Axes are assigned by descending variance, each to the group that has the smallest product and is not full (Ge et
    al., CVPR 2013, §4.3).
    """
    values, axes = np.linalg.eigh(np.cov(residuals.T, bias=True))
    # In units of the smallest variance that counts, so that no axis makes a group's product smaller.
    logs = np.log(np.maximum(values / max(values.max() * 1e-6, 1e-30), 1.0))
    room = len(values) // num_groups
    groups: list[list[int]] = [[] for _ in range(num_groups)]
    for axis in np.argsort(-values, kind="stable"):
        open_groups = (group for group in groups if len(group) < room)
        min(open_groups, key=lambda group: logs[group].sum()).append(int(axis))
    return np.ascontiguousarray(axes[:, np.concatenate(groups)], dtype=np.float32)
