"""The clustering that every codec with centroids starts from: settings, k-means, and its result (ColBERTv2 §3.3)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from annotated_types import Interval
from numpy.typing import NDArray

from colbertv2.artifacts.integrity import check_directory
from colbertv2.compression.clustering.centroids import Centroids
from colbertv2.errors import InputError
from colbertv2.files import read_array, read_json, write_json
from colbertv2.schema import PositiveInt, checked

if TYPE_CHECKING:
    import torch

HELD_OUT_SHARE, MAX_HELD_OUT = 0.05, 50_000


@dataclass(frozen=True, eq=False)
class Clusters:
    """The centroids and held-out vectors that a codec learns from.

    Args:
        centroids: None for a codec without centroids.
        held_out: float32 ``[n, dim]``, vectors that were not used for k-means.
        num_sampled_documents: the number of documents that all these vectors were drawn from.
        notes: where k-means had to deviate from its settings, such as a clamped number of centroids.
    """

    centroids: Centroids | None
    held_out: NDArray[np.float32]
    num_sampled_documents: int = 0
    notes: list[str] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Write the centroids, ``held_out.npy`` and ``clusters.json`` into the directory ``path``."""
        assert self.centroids is not None  # clusters without centroids are never saved
        self.centroids.save(path)
        np.save(path / "held_out.npy", self.held_out)
        settings = {"num_sampled_documents": self.num_sampled_documents, "notes": self.notes}
        write_json(path / "clusters.json", settings)

    @classmethod
    def load(cls, path: Path) -> Clusters:
        """Load the clusters that ``save`` wrote into the directory ``path``.

        Raises:
            InputError: a file is missing or damaged.
        """
        check_directory(path, mapped=True)
        settings, held_out = read_json(path / "clusters.json"), read_array(path / "held_out.npy")
        try:
            return cls(Centroids.load(path), held_out, settings["num_sampled_documents"], settings["notes"])
        except KeyError as error:
            raise InputError(f"{path / 'clusters.json'} lacks {error}; build {path} again.") from None


@checked
@dataclass(frozen=True)
class Clustering:
    """k-means on a sample of a collection's token vectors, with or without a search by groups of centroids.

    Args:
        num_centroids: None for the official rule, 2^⌊log2(16·√vectors)⌋. The result of the rule is clamped to the
            number of sampled vectors; ``Clusters.notes`` then says so.
        centroid_factor: multiplies the number of centroids that the rule gives, for ablations.
        kmeans_iterations: 20 in the official code at the time of the paper and in the released checkpoint; colbert-ai
            now uses 4.
        max_points_per_centroid: k-means uses at most this many vectors per centroid.
        group_search_radius: None compares every vector with all centroids, and runs k-means with faiss. With a number,
            vectors are compared only with groups of centroids that may contain the nearest one (see ``Assignment``),
            in k-means too. This is several times as fast. At 0.7 one in several hundred vectors misses its nearest
            centroid, at 1 almost none.
        centroid_bits: 16 for 16-bit floats, as in the official code, or 8 for signed bytes in units of a power of two.
        sample_documents: how many documents to draw vectors from; None for the official rule
            (``num_sampled_documents_rule``).

    Raises:
        InputError: a value is out of range, or both ``centroid_factor`` and ``num_centroids`` are set.

    >>> vectors = np.random.default_rng(0).normal(size=(1000, 8)).astype(np.float32)
    >>> clusters = Clustering(num_centroids=16).fit(vectors, num_documents=10, average_length=100, seed=0, device="cpu")
    >>> len(clusters.centroids), clusters.held_out.shape
    (16, (50, 8))
    """

    num_centroids: PositiveInt | None = None
    centroid_factor: Annotated[float, Interval(gt=0, le=1000)] = 1.0
    kmeans_iterations: PositiveInt = 20
    max_points_per_centroid: PositiveInt = 256
    group_search_radius: Annotated[float, Interval(gt=0, le=2)] | None = None
    centroid_bits: Literal[8, 16] = 16
    sample_documents: PositiveInt | None = None

    def __post_init__(self) -> None:
        if self.num_centroids is not None and self.centroid_factor != 1:
            raise InputError("centroid_factor multiplies the rule for num_centroids; set only one of the two.")

    def wanted(self, num_vectors: float) -> int:
        """The number of centroids that a collection of ``num_vectors`` vectors should get."""
        if self.num_centroids is not None:
            return self.num_centroids
        return max(1, int(self.centroid_factor * num_centroids_rule(num_vectors)))

    def max_sampled_vectors(self, num_vectors: float) -> int:
        """The largest sample that ``fit`` can use, in vectors, for a collection of ``num_vectors`` vectors."""
        return self.wanted(num_vectors) * self.max_points_per_centroid + MAX_HELD_OUT

    def sampled_documents(self, num_documents: int) -> int:
        """The number of documents to draw from a collection of ``num_documents`` documents."""
        return min(self.sample_documents or num_sampled_documents_rule(num_documents), num_documents)

    def fit(
        self,
        sample: NDArray[np.float32],
        *,
        num_documents: int,
        average_length: float,
        seed: int,
        device: torch.device | str,
    ) -> Clusters:
        """Cluster ``sample [n, dim]`` into L2-normalised centroids, and hold out vectors to learn residuals from.

        5 % of ``sample`` is held out, or all vectors that k-means would not use if these are more, but at most 50,000.
        In a sample of fewer than 20 vectors 5 % is less than one; then the same vectors are used for both, and a note
        says so.

        Args:
            num_documents: the number of documents in the complete collection, not only in the sample.
            average_length: the mean number of vectors per document.
            seed: seed of the split and of k-means.

        Raises:
            InputError: the sample is empty, or has fewer vectors than ``num_centroids``.
        """
        from colbertv2.compression.clustering.grouped_kmeans import grouped_kmeans
        from colbertv2.compression.clustering.kmeans import kmeans

        notes: list[str] = []
        wanted = self.wanted(num_documents * average_length)
        sample = sample[np.random.default_rng(seed).permutation(len(sample))]
        spare = len(sample) - wanted * self.max_points_per_centroid
        num_held_out = int(min(max(HELD_OUT_SHARE * len(sample), spare), MAX_HELD_OUT))
        points, held_out = sample[: len(sample) - num_held_out], sample[len(sample) - num_held_out :]
        if self.num_centroids is not None and self.num_centroids > len(points):
            raise InputError(
                f"num_centroids is {self.num_centroids}, more than the {len(points)} sampled vectors; lower it, "
                "or set it to null for the official rule, which is clamped to the sample."
            )
        if num_held_out == 0:
            held_out = sample
            notes.append(f"Only {len(sample)} vectors sampled: residuals are learned from those of the centroids.")
        how = {
            "iterations": self.kmeans_iterations,
            "max_points_per_centroid": self.max_points_per_centroid,
            "seed": seed,
            "device": device,
            "spherical": True,
        }
        if self.group_search_radius is None:
            centroids = kmeans(points, wanted, **how)
        else:
            centroids = grouped_kmeans(points, wanted, group_search_radius=self.group_search_radius, **how)
        if len(centroids) < wanted:
            notes.append(f"{wanted} centroids wanted, clamped to the {len(centroids)} vectors there are.")
        stored = Centroids.rounded(centroids, self.centroid_bits, self.group_search_radius)
        return Clusters(stored, held_out, notes=notes)


def num_centroids_rule(num_vectors: float) -> int:
    """The official number of centroids, 2^⌊log2(16·√vectors)⌋.

    ``num_vectors`` is the number of vectors in the collection. The official code estimates it as the number of
    documents times their mean length.

    >>> num_centroids_rule(600_000_000)  # MS MARCO passages: 2^18
    262144
    """
    return 2 ** max(0, math.floor(math.log2(16 * math.sqrt(num_vectors)))) if num_vectors > 0 else 1


def num_sampled_documents_rule(num_documents: int) -> int:
    """The official number of documents to learn centroids from, min(1 + ⌊16·√(120·documents)⌋, documents).

    It is the rule of colbert-ai (``CollectionIndexer._sample_pids``), which takes 120 tokens as the typical length of a
    document.

    >>> num_sampled_documents_rule(8_841_823), num_sampled_documents_rule(5_000)
    (521173, 5000)
    """
    return min(1 + int(16 * math.sqrt(120 * num_documents)), num_documents)
