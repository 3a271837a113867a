"""Inverted list: for each centroid the documents that have a vector there (PLAID §4.1; ColBERTv2 listed vectors)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from colbertv2.retrieval.packed import blocks, offsets_of, ranges
from colbertv2.retrieval.stored import open_array

BLOCK_VECTORS = 2**22  # sorted in memory at once


class Inverted:
    """The lists of all centroids end to end.

    Args:
        documents: ``[P]`` int32, ascending and unique within one centroid.
        lengths: ``[num_centroids]`` int64, summing to P.

    >>> inverted = Inverted(np.array([0, 2, 1], np.int32), np.array([2, 0, 1]))
    >>> inverted.documents_of(np.array([0, 2])).tolist()
    [0, 1, 2]
    """

    def __init__(self, documents: NDArray[np.int32], lengths: NDArray[np.int64]) -> None:
        self.documents = documents
        self.lengths = lengths
        self.offsets = offsets_of(lengths)

    def documents_of(self, centroids: NDArray[Any]) -> NDArray[np.int64]:
        """Ascending positions of the documents that have a vector at any of these centroids."""
        centroids = np.unique(centroids)
        return np.unique(self.documents[ranges(self.offsets[centroids], self.lengths[centroids])]).astype(np.int64)

    @classmethod
    def open(cls, path: Path, num_pairs: int, num_centroids: int) -> "Inverted":
        """Memory-map what ``build_inverted`` wrote; InputError if it is damaged or of another size."""
        documents = open_array(path / "inverted.documents.npy", "int32", (num_pairs,))
        return cls(documents, open_array(path / "inverted.lengths.npy", "int64", (num_centroids,)))


def build_inverted(codes: NDArray[np.int32], lengths: NDArray[np.integer[Any]], num_centroids: int, path: Path) -> int:
    """Write the lists into ``path`` in two passes over ``codes [T]``, in memory bounded by a block of documents.

    Returns:
        The number of pairs of centroid and document.
    """
    counts = np.zeros(num_centroids, dtype=np.int64)
    for centroids, _ in pairs(codes, lengths):
        counts += np.bincount(centroids, minlength=num_centroids)
    total = int(counts.sum())
    ends = offsets_of(counts)[:-1].copy()  # where the next document of each centroid goes
    documents = open_memmap(path / "inverted.documents.npy", mode="w+", dtype=np.int32, shape=(total,))
    for centroids, found in pairs(codes, lengths):
        block_counts = np.bincount(centroids, minlength=num_centroids)
        documents[ranges(ends, block_counts)] = found
        ends += block_counts
    documents.flush()
    np.save(path / "inverted.lengths.npy", counts)
    return total


def pairs(
    codes: NDArray[np.int32], lengths: NDArray[np.integer[Any]]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Unique (centroid, document) pairs, block of documents by block, each block ordered by centroid then document."""
    offsets = offsets_of(lengths)
    for first, last in blocks(offsets, BLOCK_VECTORS):
        documents = np.repeat(np.arange(last - first), lengths[first:last])
        keys = np.unique(codes[offsets[first] : offsets[last]].astype(np.int64) * (last - first) + documents)
        yield keys // (last - first), keys % (last - first) + first
