"""Residuals by product quantisation, in the space where queries look (beyond the paper)."""

from __future__ import annotations

from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from colbertv2.compression.buckets import lloyd_buckets
from colbertv2.compression.clustering.clustering import Clustering
from colbertv2.compression.clustering.clusters import Clusters
from colbertv2.compression.codec import Arrays, LookupTables, check_bits, write_settings
from colbertv2.data.queries import Queries
from colbertv2.errors import InputError

if TYPE_CHECKING:
    import torch

    from colbertv2.compression.clustering.assignment import Assignment

CODEWORD_ITERATIONS = 25
GAIN_BITS = 8


class ProductCodec:
    """A vector is its centroid plus, for every 8 / ``nbits`` dimensions, one of 256 learned pieces, times a gain.

    What counts is not the error of a vector but that of its similarity to queries, and these are far from evenly
    spread: so vectors are first mapped by the square root of the queries' second moment, where Euclidean distance is
    the expected squared error of the similarity. A rotation to the residuals' principal axes, dealt out so that every
    byte has axes of about the same product of variances, does what optimised product quantisation does (Ge et al.,
    CVPR 2013). Decoded vectors are not normalised: that would undo what the weighting bought.

    Args:
        nbits: 1, 2, 4 or 8 a dimension.
        num_centroids, centroid_factor, kmeans_iterations, max_points_per_centroid, group_search_radius, centroid_bits:
            as in ``ResidualCodec``.
        queries: to learn from which directions queries look, such as training queries, never those of an evaluation;
            None counts all directions alike.
        num_queries: at most so many of them are encoded, drawn by the seed.
        shrinkage: of the queries' second moment towards its mean, as a share of that.

    Raises:
        InputError: a value is out of range.

    >>> from colbertv2.compression.codec import fit
    >>> vectors = np.random.default_rng(0).normal(size=(1000, 128)).astype(np.float32)
    >>> codec = ProductCodec(nbits=2, num_centroids=16, kmeans_iterations=4)
    >>> codec.fit_query_moment(vectors[:100])
    >>> fit(codec, vectors, num_documents=10, average_length=100.0, seed=0, device="cpu")
    >>> {name: array.shape for name, array in codec.encode(vectors[:3]).items()}, codec.bytes_per_vector
    ({'codes': (3,), 'residuals': (3, 32), 'gains': (3,)}, 37)
    """

    has_centroids = True
    shares_codes = False  # the rotation depends on the bits, and it is in the rotated space that centroids are rounded

    def __init__(
        self,
        nbits: int,
        num_centroids: int | None = None,
        centroid_factor: float = 1.0,
        kmeans_iterations: int = 20,
        max_points_per_centroid: int = 256,
        group_search_radius: float | None = None,
        centroid_bits: int = 16,
        queries: Queries | None = None,
        num_queries: int = 1000,
        shrinkage: float = 0.05,
    ) -> None:
        check_bits(nbits)
        if num_queries < 1:
            raise InputError(f"codec.num_queries is {num_queries}; expected at least 1.")
        if not shrinkage > 0:
            raise InputError(f"codec.shrinkage is {shrinkage}; expected a positive number.")
        self.clustering = Clustering(
            num_centroids,
            centroid_factor,
            kmeans_iterations,
            max_points_per_centroid,
            group_search_radius,
            centroid_bits,
        )
        self.nbits = nbits
        self.queries = queries
        self.num_queries = num_queries
        self.shrinkage = shrinkage
        self.notes: list[str] = []
        self.query_second_moment: NDArray[np.float64] | None = None  # [dim, dim] of the queries
        self.transform = np.zeros((0, 0), np.float32)  # [dim, dim]: vectors @ transform
        self.inverse = np.zeros((0, 0), np.float32)
        self.clusters: NDArray[np.float32] | None = None  # [K, dim], transformed
        self.codebook = np.zeros((0, 0, 0), np.float32)  # [M, 256, dim / M], transformed
        self.cutoffs, self.gains = np.zeros(0, np.float32), np.zeros(0, np.float32)  # [255], [256]
        self.device: torch.device | str = "cpu"

    @property
    def settings(self) -> dict[str, Any]:
        """The constructor's arguments, without the queries, which have left their mark."""
        others = {"num_queries": self.num_queries, "shrinkage": self.shrinkage}
        return {"nbits": self.nbits, **asdict(self.clustering), **others}

    def __repr__(self) -> str:
        return f"ProductCodec({', '.join(f'{name}={value!r}' for name, value in self.settings.items())})"

    @property
    def label(self) -> str:
        """Its name in tables."""
        return f"{self.nbits} bit{'s' if self.nbits > 1 else ''}, product"

    @property
    def bytes_per_vector(self) -> int:
        """Four for the code, one for the gain and ``nbits`` for eight dimensions."""
        return 5 + self.fitted().shape[1] * self.nbits // 8

    def check(self, dim: int) -> list[str]:
        """The residual has to fill whole bytes."""
        if dim * self.nbits % 8:
            return [f"{dim} dimensions of {self.nbits} bits do not fill bytes; change codec.nbits or the model's dim."]
        return []

    def max_sample(self, num_documents: int, average_length: float) -> int | None:
        """As many vectors as k-means draws and as are held out."""
        return self.clustering.max_sampled_vectors(num_documents * average_length)

    def fit_query_moment(self, vectors: NDArray[np.float32]) -> None:
        """Learn from query vectors ``[n, dim]`` where queries look; before ``cluster``."""
        self.query_second_moment = vectors.T.astype(np.float64) @ vectors / len(vectors)

    def cluster_settings(self) -> dict[str, Any]:
        """All knobs of the centroids and of the space they lie in, whatever the bits."""
        queries = None if self.queries is None else {**self.queries.identity(), "number": self.num_queries}
        return {**asdict(self.clustering), "queries": queries, "shrinkage": self.shrinkage}

    def cluster(
        self,
        sample: NDArray[np.float32],
        *,
        num_documents: int,
        average_length: float,
        seed: int,
        device: torch.device | str,
    ) -> Clusters:
        """Centroids and held-out vectors, weighted by where queries look."""
        for problem in self.check(sample.shape[1]):
            raise InputError(problem)
        found = self.clustering.fit(
            sample @ self.weights(self.query_second_moment, sample.shape[1])[0],
            num_documents=num_documents, average_length=average_length, seed=seed, device=device, spherical=False,
        )  # fmt: skip
        return Clusters(*found, self.query_second_moment)

    def weights(self, moment: NDArray[np.float64] | None, dim: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """``[dim, dim]`` to and from the space where distances are what queries see."""
        return square_root(np.eye(dim) if moment is None else moment, self.shrinkage)

    def learn(self, clusters: Clusters, *, seed: int, device: torch.device | str) -> None:
        """Take over the centroids, and learn pieces from the residuals of held-out vectors."""
        from colbertv2.compression.codewords import learn_codewords

        self.device, self.notes = device, list(clusters.notes)
        centroids, held_out = clusters.centroids, clusters.held_out
        dim = centroids.shape[1]
        weigh, unweigh = self.weights(clusters.query_second_moment, dim)
        codes = self.clustering.assignment(centroids, self.device, euclidean=True).nearest(held_out)
        num_parts = dim * self.nbits // 8
        rotation = balanced_axes(held_out - centroids[codes], num_parts)
        self.transform, self.inverse = weigh @ rotation, rotation.T @ unweigh
        self.clusters = self.clustering.rounded(centroids @ rotation)
        self.__dict__.pop("assignment", None)  # of centroids that were there before
        transformed = np.ascontiguousarray(held_out @ rotation)
        residuals = transformed - self.clusters[codes]
        norms = np.maximum(np.sqrt(np.einsum("nd,nd->n", residuals, residuals)), 1e-12, dtype=np.float32)
        codebook = learn_codewords(residuals / norms[:, None], num_parts, CODEWORD_ITERATIONS, seed)
        # Rounded at once, so that a codec encodes the same before it is saved and after it is loaded.
        self.codebook = codebook.astype(np.float16).astype(np.float32)
        self.cutoffs, self.gains = lloyd_buckets(self.shapes(transformed, codes)[1], GAIN_BITS)

    def fitted(self) -> NDArray[np.float32]:
        """The transformed centroids, which are there after ``fit`` or ``load``."""
        if self.clusters is None:
            raise InputError("This ProductCodec has not been fitted; call learn or load_codec first.")
        return self.clusters

    @cached_property
    def assignment(self) -> Assignment:
        """What finds the centroid of a transformed vector."""
        return self.clustering.assignment(self.fitted(), self.device, euclidean=True)

    @property
    def centroids(self) -> NDArray[np.float32]:
        """``[K, dim]`` in the space of the vectors, of any norm."""
        return self.fitted() @ self.inverse

    def encode(self, vectors: NDArray[np.float32], codes: NDArray[np.int32] | None = None) -> Arrays:
        """``[n, dim]`` to ``codes`` int32 ``[n]``, ``residuals`` uint8 ``[n, dim · bits / 8]`` and ``gains`` uint8."""
        transformed = np.asarray(vectors, dtype=np.float32) @ self.transform
        codes = self.assignment.nearest(transformed) if codes is None else codes
        packed, gains = self.shapes(transformed, codes)
        return {"codes": codes, "residuals": packed, "gains": np.searchsorted(self.cutoffs, gains).astype(np.uint8)}

    def shapes(
        self, transformed: NDArray[np.float32], codes: NDArray[np.int32]
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """The codewords ``[n, M]`` of residuals at norm 1, and the gains ``[n]`` that go with them."""
        from colbertv2.compression.codewords import columns, shapes_and_gains

        packed, gains = np.empty((len(codes), len(self.codebook)), np.uint8), np.empty(len(codes), np.float32)
        shapes_and_gains(transformed, codes, self.fitted(), *columns(self.codebook), packed, gains)
        return packed, gains

    def decode(self, arrays: Arrays) -> NDArray[np.float32]:
        """Centroid plus gain times pieces, float32 ``[n, dim]``, of any norm."""
        from colbertv2.compression.decoding import added_up

        return added_up(self.lookup_tables(), arrays) @ self.inverse

    def lookup_tables(self) -> LookupTables:
        """In the transformed space, where the similarity to a query is that to ``query @ inverse.T``."""
        queries = np.ascontiguousarray(self.inverse.T)
        return LookupTables(self.fitted(), self.codebook, normalise=False, queries=queries, gains=self.gains)

    def save(self, path: Path) -> None:
        """Write ``codec.json`` and the tables."""
        write_settings(path, "ProductCodec", {"settings": self.settings, "notes": self.notes})
        self.clustering.save(path, self.fitted())
        np.save(path / "codebook.npy", self.codebook.astype(np.float16))
        np.save(path / "cutoffs.npy", self.cutoffs)
        np.save(path / "gains.npy", self.gains)
        np.save(path / "transform.npy", self.transform)
        np.save(path / "inverse.npy", self.inverse)

    @classmethod
    def load(cls, path: Path, settings: dict[str, Any]) -> ProductCodec:
        """From what ``save`` wrote; use ``load_codec``."""
        from colbertv2.compression.codewords import CODEWORDS

        codec = cls(**settings["settings"])
        codec.notes = settings["notes"]
        codec.clusters = codec.clustering.load(path)
        codec.codebook = np.load(path / "codebook.npy").astype(np.float32)
        codec.transform, codec.inverse = np.load(path / "transform.npy"), np.load(path / "inverse.npy")
        codec.cutoffs, codec.gains = np.load(path / "cutoffs.npy"), np.load(path / "gains.npy")
        dim = codec.fitted().shape[1]
        expected = (dim * codec.nbits // 8, CODEWORDS, 8 // codec.nbits)
        if codec.codebook.shape != expected or codec.transform.shape != (dim, dim) or codec.inverse.shape != (dim, dim):
            raise InputError(
                f"The tables in {path} are {codec.codebook.shape}, {codec.transform.shape} and {codec.inverse.shape}; "
                f"expected {expected} and twice {(dim, dim)}."
            )
        return codec


def square_root(moment: NDArray[Any], shrinkage: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The symmetric root of ``moment [dim, dim]`` shrunk towards its mean eigenvalue, and that root's inverse.

    >>> [root.diagonal().tolist() for root in square_root(np.diag([3.5, 0.5]), shrinkage=0.25)]
    [[2.0, 1.0], [0.5, 1.0]]
    """
    values, axes = np.linalg.eigh(moment)
    root = np.sqrt(np.maximum(values, 0) + shrinkage * max(values.mean(), 1e-12))
    return ((axes * root) @ axes.T).astype(np.float32), ((axes / root) @ axes.T).astype(np.float32)


def balanced_axes(residuals: NDArray[np.float32], num_groups: int) -> NDArray[np.float32]:
    """``[dim, dim]``: principal axes as columns, such that equal groups of them have about equal products of variances.

    The axes are dealt out by falling variance, each to the group of the smallest product that has room (Ge et al.,
    CVPR 2013, §4.3).
    """
    values, axes = np.linalg.eigh(np.cov(residuals.T, bias=True))
    # In units of the least one that counts, so that every further axis makes a group's product grow.
    logs = np.log(np.maximum(values / max(values.max() * 1e-6, 1e-30), 1.0))
    room = len(values) // num_groups
    groups: list[list[int]] = [[] for _ in range(num_groups)]
    for axis in np.argsort(-values, kind="stable"):
        open_groups = (group for group in groups if len(group) < room)
        min(open_groups, key=lambda group: logs[group].sum()).append(int(axis))
    return np.ascontiguousarray(axes[:, np.concatenate(groups)], dtype=np.float32)
