"""Inverted lists: for each centroid, the documents that have a vector there (PLAID §4.1).

The lists of ColBERTv2 §3.4 contain vectors instead of documents.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from colbertv2.errors import InputError
from colbertv2.indexing.codes import CODES, Codes
from colbertv2.indexing.packed import blocks, offsets_of
from colbertv2.indexing.storage import open_array, save_unsigned, shape_array, write_rows
from colbertv2.kernels.lists import PADDING, collect, concatenation, encode_lists, union

BLOCK_VECTORS = 2**24  # vectors whose documents are held at once: 64 MiB
READ_VECTORS = 2**20  # codes read at once


class Inverted:
    """The lists of all centroids, end to end, each stored as Rice codes (:mod:`~colbertv2.kernels.lists`).

    Args:
        data: uint8, the encoded lists and ``PADDING`` more bytes.
        sizes: ``[num_centroids]``, bytes of each list.
        lengths: ``[num_centroids]``, number of documents in each list.
        low_bits: uint8 ``[num_centroids]``, the parameter of each list's Rice code.
        num_documents: number of documents in the index; all positions in the lists are below it.
        path: the directory, for error messages.
    """

    def __init__(
        self,
        data: NDArray[np.uint8],
        sizes: NDArray[Any],
        lengths: NDArray[Any],
        low_bits: NDArray[np.uint8],
        num_documents: int,
        path: Path,
    ) -> None:
        self.data = data
        self.offsets = offsets_of(sizes)
        self.lengths = lengths.astype(np.int64)
        self.low_bits = low_bits
        self.num_documents = num_documents
        self.path = path

    def documents_of(self, centroids: NDArray[Any]) -> NDArray[np.int64]:
        """Ascending positions of the documents that have a vector at any of ``centroids``.

        Raises:
            InputError: a list is damaged.
        """
        centroids = np.asarray(centroids, dtype=np.int64)
        starts, ends = self.offsets[:-1][centroids], self.offsets[1:][centroids]
        found, whole = union(
            self.data, starts, ends, self.lengths[centroids], self.low_bits[centroids], self.num_documents
        )
        if not whole:
            raise self.damaged()
        return found

    @property
    def documents(self) -> NDArray[np.int32]:
        """int32 ``[P]``: all lists decoded, end to end. Positions are ascending and unique within each list.

        Raises:
            InputError: a list is damaged.
        """
        found, whole = concatenation(self.data, self.offsets, self.lengths, self.low_bits, self.num_documents)
        if not whole:
            raise self.damaged()
        return found

    def damaged(self) -> InputError:
        """The error to raise if a list does not decode to valid positions."""
        return InputError(f"The inverted list in {self.path} is damaged; build this directory again.")

    @classmethod
    def open(cls, path: Path, num_centroids: int, num_documents: int) -> "Inverted":
        """Memory-map the files that ``build_inverted`` wrote; InputError if a file is missing or has a wrong size."""
        sizes, lengths = (open_array(path / f"inverted.{name}.npy", None, (num_centroids,)) for name in SIZES)
        low_bits = open_array(path / "inverted.low_bits.npy", "uint8", (num_centroids,))
        data = open_array(path / "inverted.lists.npy", "uint8", (int(sizes.sum()) + PADDING,))
        return cls(data, sizes, lengths, low_bits, num_documents, path)


SIZES = ("sizes", "lengths")


def build_inverted(path: Path, lengths: NDArray[np.integer[Any]], num_centroids: int) -> None:
    """Build the inverted lists from ``codes.npy`` and write them into the same directory.

    Centroids are processed in blocks of about ``BLOCK_VECTORS`` vectors, and each block reads all ids once. In addition
    to one block, memory holds only a few numbers per document and per centroid.

    Args:
        path: a directory with ``codes.npy``.
        lengths: ``[num_documents]``, the number of vectors of each document.
    """
    counts = np.zeros(num_centroids, dtype=np.int64)
    for _, _, codes in read_codes(path, lengths, num_centroids):
        counts += np.bincount(codes, minlength=num_centroids)
    num_pairs, low_bits, sizes = (np.zeros(num_centroids, dtype=np.int64) for _ in range(3))
    file, done = path / "inverted.lists.npy", 0
    shape_array(file, np.dtype(np.uint8), (0,))
    for first, last in blocks(offsets_of(counts), BLOCK_VECTORS):
        starts = offsets_of(counts[first:last])
        ends = starts[:-1].copy()  # where the next document of each centroid is written
        documents = np.empty(starts[-1], np.int32)
        for document, own, codes in read_codes(path, lengths, num_centroids):
            collect(codes, own, document, first, starts, ends, documents)
        data = encode_lists(documents, starts, ends, low_bits[first:last], sizes[first:last])
        num_pairs[first:last] = ends - starts[:-1]
        write_rows(file, done, data)
        done += len(data)
    shape_array(file, np.dtype(np.uint8), (done + PADDING,))
    save_unsigned(path / "inverted.sizes.npy", sizes)
    save_unsigned(path / "inverted.lengths.npy", num_pairs)
    np.save(path / "inverted.low_bits.npy", low_bits.astype(np.uint8))


def read_codes(
    path: Path, lengths: NDArray[np.integer[Any]], num_centroids: int
) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int32]]]:
    """Yield the documents of an index in blocks: the position of the first one, their lengths and their centroid ids.

    Args:
        path: the directory of the index.
        lengths: ``[num_documents]``, the number of vectors of each document.
        num_centroids: all ids must be below it.

    Yields:
        position; lengths, int64 ``[D]``; ids of all vectors of the block, end to end, int32 ``[T]``.
    """
    offsets = offsets_of(lengths)
    for first, last in blocks(offsets, READ_VECTORS):
        # Mapped again for each block, because the pages that were read from a mapping count as memory.
        codes = Codes.open(path / CODES, int(offsets[-1]), num_centroids)
        yield first, lengths[first:last].astype(np.int64), codes[offsets[first] : offsets[last]]
