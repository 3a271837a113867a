"""Inverted list: for each centroid the documents that have a vector there (PLAID §4.1; ColBERTv2 listed vectors)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from colbertv2.errors import InputError
from colbertv2.indexing import rice
from colbertv2.indexing.codes import Codes
from colbertv2.indexing.packed import blocks, offsets_of
from colbertv2.indexing.storage import open_array, save_unsigned, shape_array, write_rows
from colbertv2.kernels.compiled import compiled

BLOCK_VECTORS = 2**24  # whose documents are held at once: 64 MiB
READ_VECTORS = 2**20  # codes read at once


class Inverted:
    """The lists of all centroids end to end, each in Rice codes (:mod:`~colbertv2.indexing.rice`).

    Args:
        data: uint8, the lists and ``rice.PADDING`` bytes more. sizes: ``[num_centroids]`` bytes of each list.
        lengths: ``[num_centroids]`` documents in each list. low_bits: ``[num_centroids]``, uint8.
        num_documents: that there are; all numbers are below.
        path: named where a list turns out damaged.
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
        """Ascending positions of the documents that have a vector at any of these centroids.

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
        """``[P]``: all lists decoded, end to end; ascending and unique within one centroid.

        Raises:
            InputError: a list is damaged.
        """
        found, whole = concatenation(self.data, self.offsets, self.lengths, self.low_bits, self.num_documents)
        if not whole:
            raise self.damaged()
        return found

    def damaged(self) -> InputError:
        """The error for lists that hold something else than documents."""
        return InputError(f"The inverted list in {self.path} is damaged; build this directory again.")

    @classmethod
    def open(cls, path: Path, num_centroids: int, num_documents: int) -> "Inverted":
        """Memory-map what ``build_inverted`` wrote; InputError if a file is missing or of another size."""
        sizes, lengths = (open_array(path / f"inverted.{name}.npy", None, (num_centroids,)) for name in SIZES)
        low_bits = open_array(path / "inverted.low_bits.npy", "uint8", (num_centroids,))
        data = open_array(path / "inverted.lists.npy", "uint8", (int(sizes.sum()) + rice.PADDING,))
        return cls(data, sizes, lengths, low_bits, num_documents, path)


SIZES = ("sizes", "lengths")


def build_inverted(path: Path, lengths: NDArray[np.integer[Any]], num_centroids: int) -> None:
    """Write the lists of the ids in ``codes.npy`` beside it, centroids of ``BLOCK_VECTORS`` vectors at a time.

    Every block of centroids takes one reading of the ids. Beyond that block, memory holds a few numbers for each
    document and each centroid.

    Args:
        path: a directory with ``codes.npy``. lengths: ``[num_documents]`` vectors in each document.
    """
    counts = np.zeros(num_centroids, dtype=np.int64)
    for _, _, codes in read_codes(path, lengths, num_centroids):
        counts += np.bincount(codes, minlength=num_centroids)
    num_pairs, low_bits, sizes = (np.zeros(num_centroids, dtype=np.int64) for _ in range(3))
    file, done = path / "inverted.lists.npy", 0
    shape_array(file, np.dtype(np.uint8), (0,))
    for first, last in blocks(offsets_of(counts), BLOCK_VECTORS):
        starts = offsets_of(counts[first:last])
        ends = starts[:-1].copy()  # where the next document of each centroid goes
        documents = np.empty(starts[-1], np.int32)
        for document, own, codes in read_codes(path, lengths, num_centroids):
            collect(codes, own, document, first, starts, ends, documents)
        data = coded(documents, starts, ends, low_bits[first:last], sizes[first:last])
        num_pairs[first:last] = ends - starts[:-1]
        write_rows(file, done, data)
        done += len(data)
    shape_array(file, np.dtype(np.uint8), (done + rice.PADDING,))
    save_unsigned(path / "inverted.sizes.npy", sizes)
    save_unsigned(path / "inverted.lengths.npy", num_pairs)
    np.save(path / "inverted.low_bits.npy", low_bits.astype(np.uint8))


def read_codes(
    path: Path, lengths: NDArray[np.integer[Any]], num_centroids: int
) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int32]]]:
    """Block by block the first document, the lengths from there on, and the ids of all their vectors."""
    offsets = offsets_of(lengths)
    for first, last in blocks(offsets, READ_VECTORS):
        # Mapped anew each time, since what has been read of a mapping counts as memory.
        codes = Codes.open(path / "codes.npy", int(offsets[-1]), num_centroids)
        yield first, lengths[first:last].astype(np.int64), codes[offsets[first] : offsets[last]]


@compiled()
def collect(codes, lengths, document, first, starts, ends, documents):
    """Append every document of a block to the lists of its centroids, of the C from ``first`` on.

    Args:
        codes: ``[T]``. lengths: ``[D]`` of the block's documents. document: number of the first.
        starts: ``[C + 1]``, ends: ``[C]``: where each list begins and ends so far in ``documents``.
    """
    token = 0
    for length in lengths:
        for code in codes[token : token + length]:
            own = np.int64(code) - first
            if 0 <= own < len(ends):
                end = ends[own]
                if end == starts[own] or documents[end - 1] != document:
                    documents[end] = document
                    ends[own] = end + 1
        token += length
        document += 1


@compiled()
def coded(documents, starts, ends, low_bits, sizes):
    """The bytes of the lists from ``starts`` to ``ends``; fills in ``low_bits`` and ``sizes`` of each."""
    total = 0
    for i in range(len(ends)):
        low_bits[i], sizes[i] = rice.best_low_bits(documents[starts[i] : ends[i]])
        total += sizes[i]
    data = np.zeros(total, np.uint8)
    place = 0
    for i in range(len(ends)):
        rice.encode(documents[starts[i] : ends[i]], low_bits[i], data, place)
        place += sizes[i]
    return data


@compiled()
def union(data, starts, ends, lengths, low_bits, num_documents):
    """Ascending documents of some lists, by one bit for each document; and whether all lists are whole."""
    seen = np.zeros((num_documents + 63) >> 6, np.uint64)
    longest = 0
    for length in lengths:
        longest = max(longest, length)
    buffer = np.empty(longest, np.int64)
    count = 0
    for i in range(len(starts)):
        own = buffer[: lengths[i]]
        if not rice.decode(data, starts[i], ends[i], low_bits[i], own):
            return np.empty(0, np.int64), False
        if len(own) and own[-1] >= num_documents:
            return np.empty(0, np.int64), False
        for document in own:
            bit = np.uint64(1) << np.uint64(document & 63)
            count += np.int64(seen[document >> 6] & bit == 0)
            seen[document >> 6] |= bit
    found = np.empty(count, np.int64)
    count = 0
    for place in range(len(seen)):
        word = seen[place]
        while word != 0:
            found[count] = place * 64 + rice.trailing_zeros(word)
            word &= word - np.uint64(1)
            count += 1
    return found, True


@compiled()
def concatenation(data, offsets, lengths, low_bits, num_documents):
    """All lists end to end; and whether all are whole."""
    found = np.empty(lengths.sum(), np.int32)
    place = 0
    for i in range(len(lengths)):
        own = found[place : place + lengths[i]]
        if not rice.decode(data, offsets[i], offsets[i + 1], low_bits[i], own):
            return found, False
        if len(own) and own[-1] >= num_documents:
            return found, False
        place += lengths[i]
    return found, True
