"""One query's similarities to an index's centroids, and scoring documents with them: roughly, by estimates, exactly."""

import math
import threading
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from colbertv2.errors import InputError
from colbertv2.indexing.index import Index
from colbertv2.kernels import scoring as kernels
from colbertv2.kernels.intrinsics import LANES
from colbertv2.kernels.queries import quantise
from colbertv2.search.scoring import Found, best_documents

CACHE_LINE = 64  # bytes
ROUNDING = np.float32(1e-5)  # of the greatest possible similarity: more than sums of 32-bit floats in any order differ


class Buffers(threading.local):
    """Memory that a thread reuses for every query, because new pages would cost as much time as filling them."""

    shape: tuple[int, int] | None = None
    arrays: tuple[NDArray[np.float32], NDArray[np.uint8]]

    def of(self, num_centroids: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Arrays for similarities ``[K, W]`` as float32 and as uint8."""
        if self.shape != (shape := (num_centroids, width)):
            self.shape, self.arrays = shape, (aligned(shape, np.float32), aligned(shape, np.uint8))
        return self.arrays


BUFFERS = Buffers()


def aligned(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """An uninitialised array that begins at a cache line, so that a row of 32 values uses as few lines as possible."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(size + CACHE_LINE, np.uint8)
    start = -memory.ctypes.data % CACHE_LINE
    return memory[start : start + size].view(dtype).reshape(shape)


class QueryTables:
    """One query's similarities to every centroid of an index, and the query in bytes.

    All tables of a thread share memory, so only the latest one is valid.

    Args:
        index: an index with lookup tables and K centroids; without centroids, K is 1, and all vectors share that row.
        query: float32 ``[L, dim]``.

    Attributes:
        similarities: float32 ``[K, W]`` to the centroids. W is L rounded up to a multiple of ``LANES``; the columns
            beyond L are 0.

    Raises:
        InputError: the codec has no lookup tables.
    """

    def __init__(self, index: Index, query: NDArray[np.float32]) -> None:
        self.index = index
        if index.tables is None:
            raise InputError(f"{index.codec!r} has no lookup tables; use search=exhaustive or search=plaid.")
        self.tables = tables = index.tables
        self.ids = index.codes_or_zeros.bytes, index.codes_or_zeros.width
        query = query if tables.queries is None else query @ tables.queries
        self.num_query_vectors, dim = query.shape
        self.centroids = np.zeros((1, dim), np.float32) if tables.centroids is None else tables.centroids
        width = -(-len(query) // LANES) * LANES
        self.query = np.zeros((width, dim), np.float32)
        self.query[: len(query)] = query
        self.similarities, self._bytes = BUFFERS.of(len(self.centroids), width)
        np.matmul(self.centroids, self.query.T, out=self.similarities)

    def centroid_scores(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """float32 ``[D]``: MaxSim with every vector replaced by its centroid, and similarities rounded to bytes."""
        scale = np.float32(255 / max(self.similarities.max(), 1e-6))
        quantise(self.similarities, scale, self._bytes)
        scores = np.empty(len(positions), np.float32)
        kernels.scan(self._bytes, *self.ids, self.index.offsets, positions, scores)
        return (scores / scale).astype(np.float32)

    def estimates(self, positions: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Estimates ``[D]`` of MaxSim over the decoded vectors, and ``[D]`` how far from it they are at most.

        A document without vectors has the estimate -inf.
        """
        scores, bounds = np.empty(len(positions), np.float32), np.empty(len(positions), np.float32)
        kernels.estimate(*self.arguments, self.index.offsets, positions, scores, bounds)
        return scores, bounds

    def exact_scores(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """float32 ``[D]``: MaxSim over the decoded vectors; -inf for a document without vectors."""
        scores = np.empty(len(positions), np.float32)
        query = self.query[: self.num_query_vectors]
        kernels.score(query, *self.arguments, self.index.offsets, positions, scores)
        return scores

    def best(self, positions: NDArray[np.int64], k: int) -> Found:
        """The ``k`` best of the documents at ``positions``, by their exact scores, as if all of them were computed.

        Documents get exact scores in the order of the greatest score that they can have, until none of the others can
        be better than the ``k`` best, nor tied with the last of them.
        """
        estimates, bounds = self.estimates(positions)
        order = np.argsort(-(estimates + bounds), kind="stable")
        positions, greatest = positions[order], (estimates + bounds)[order]
        scores, done, number = np.empty(len(positions), np.float32), 0, k + 1
        while done < len(positions):
            if done >= number:
                least = np.partition(scores[:done], done - number)[done - number]
                if greatest[done] < least:
                    break
            end = min(done + (number // 4 + 1 if done else number), len(positions))
            scores[done:end] = self.exact_scores(positions[done:end])
            done = end
        return best_documents(positions[:done], scores[:done], k, self.index.ranks)

    @cached_property
    def arguments(self) -> tuple[Any, ...]:
        """The common arguments of ``kernels.estimate`` and ``kernels.score``."""
        index, tables, codebook = self.index, self.tables, self.index.byte_codebook
        in_bytes = codebook.query(self.query)
        gains = np.zeros(0, np.uint8) if tables.gains is None else index.arrays["gains"]
        norms = np.sqrt(np.square(self.query).sum(axis=1))
        longest = tables.longest_centroid + np.abs(tables.gain_values).max() * codebook.norm
        errors = np.stack([in_bytes.errors, ROUNDING * longest * norms, norms])[:, : self.num_query_vectors]
        return (
            self.similarities, in_bytes.columns, in_bytes.zeros, in_bytes.units, codebook.words, codebook.step,
            index.residuals, *self.ids, gains, tables.gain_values, index.factors,
            self.centroids, tables.codebook, tables.normalise, np.ascontiguousarray(errors, np.float32),
        )  # fmt: skip
