"""Tables of one query's similarities to an index's centroids and codebook entries, and scoring with these tables."""

import math
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from colbertv2.errors import InputError
from colbertv2.indexing.index import Index
from colbertv2.kernels import queries as query_kernels
from colbertv2.kernels import scoring as kernels
from colbertv2.kernels.intrinsics import LANES, ONE

CACHE_LINE = 64  # bytes


class Buffers(threading.local):
    """Memory that a thread reuses for every query, because new pages would cost as much time as filling them."""

    shape: tuple[int, int, int] | None = None
    arrays: tuple[NDArray[Any], ...] = ()

    def of(self, num_centroids: int, num_bytes: int, width: int) -> tuple[NDArray[Any], ...]:
        """Arrays for similarities as float32, uint8 and int16 ``[K, W]``, and for tables int16 ``[M, 256, W]``."""
        if self.shape != (shape := (num_centroids, num_bytes, width)):
            rows = num_centroids, width
            self.arrays = (
                aligned(rows, np.float32),
                aligned(rows, np.uint8),
                aligned(rows, np.int16),
                aligned((num_bytes, 256, width), np.int16),
            )
            self.shape = shape
        return self.arrays


BUFFERS = Buffers()


def aligned(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """An uninitialised array that begins at a cache line, so that a row of 32 values uses as few lines as possible."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(size + CACHE_LINE, np.uint8)
    start = -memory.ctypes.data % CACHE_LINE
    return memory[start : start + size].view(dtype).reshape(shape)


class QueryTables:
    """One query's similarities to every centroid and every codebook entry of an index.

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
        self.codec_tables = tables = index.tables
        self.ids = index.codes_or_zeros.bytes, index.codes_or_zeros.width
        query = query if tables.queries is None else query @ tables.queries
        length, codebook, dim = len(query), tables.codebook, query.shape[1]
        self.centroids = np.zeros((1, dim), np.float32) if tables.centroids is None else tables.centroids
        width = -(-length // LANES) * LANES
        num_bytes, size = dim // codebook.shape[2] if len(codebook) else 0, codebook.shape[2]
        self.num_query_vectors = length
        self.query = np.zeros((width, dim), np.float32)
        self.query[:length] = query
        self.residuals = np.zeros((0, 0), np.uint8) if tables.stored is None else index.arrays[tables.stored]
        self.similarities, self.bytes, self.start, self.tables = BUFFERS.of(len(self.centroids), num_bytes, width)
        np.matmul(self.centroids, self.query.T, out=self.similarities)
        pieces = self.query[:, : num_bytes * size].reshape(width, num_bytes, size)
        parts = np.ascontiguousarray(pieces.transpose(1, 2, 0))
        self.energy = (tables.covariance * (parts @ parts.transpose(0, 2, 1))).sum(axis=(1, 2))
        self.order = np.argsort(-self.energy, kind="stable")
        largest, of_pieces = np.zeros(width, np.float32), np.zeros(width, np.float32)
        query_kernels.extents(self.similarities, largest)
        query_kernels.piece_extents(codebook, parts, of_pieces)
        self.byte_scale = np.float32(255 / max(largest.max(), 1e-6))
        self.gain_values = tables.gain_values
        self.gains = np.zeros(0, np.uint8) if tables.gains is None else index.arrays["gains"]
        largest += self.gain_values.max() * of_pieces
        if tables.normalise:
            largest = np.maximum(largest, np.sqrt((self.query**2).sum(axis=1)))
        # Every token's final sum fits into 16 bits. Intermediate sums need not, because they wrap around.
        self.scale = (32000 / np.maximum(largest, 1e-6)).astype(np.float32)
        # Numbers that are multiplied by a gain must fit too.
        gain_unit = np.float32(1 if tables.gains is None else 32000 / max((of_pieces * self.scale).max(), 1e-6))
        self.gain_units = np.rint(self.gain_values * (ONE / gain_unit)).astype(np.int16)
        query_kernels.quantise(self.similarities, self.byte_scale, self.scale, self.bytes, self.start)
        parts *= self.scale * gain_unit
        query_kernels.piece_tables(codebook, parts, self.order, self.tables)

    def centroid_scores(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """float32 ``[D]``: MaxSim with every vector replaced by its centroid."""
        scores = np.empty(len(positions), np.float32)
        kernels.scan(self.bytes, *self.ids, self.index.offsets, positions, scores)
        return (scores / self.byte_scale).astype(np.float32)

    def residual_scores(
        self, positions: NDArray[np.int64], centroid_margin: float, residual_variance_fraction: float
    ) -> NDArray[np.float32]:
        """float32 ``[D]``: MaxSim over the tokens and residual bytes selected as in the second stage of ``Cascade``."""
        energy = np.cumsum(self.energy[self.order])
        enough = residual_variance_fraction * energy[-1:].sum()  # 0 if there are no bytes
        num_bytes = min(int(np.searchsorted(energy, enough)) + 1, len(self.order))
        scores = np.empty(len(positions), np.float32)
        kernels.refine(
            self.bytes, *self.sums(num_bytes), int(min(np.ceil(centroid_margin * self.byte_scale), 255)),
            1 / self.scale[: self.num_query_vectors], positions, scores,
        )  # fmt: skip
        return scores

    def exact_scores(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """float32 ``[D]``: MaxSim over the decoded vectors; -inf for a document without vectors."""
        scores = np.empty(len(positions), np.float32)
        # How far two sums can be apart if rounding changed their order: half a unit per rounded number, and at most 3
        # per product. A vector of norm 1/2 doubles this; shorter vectors are always compared exactly.
        slack = (len(self.order) + 12) * (2 if self.codec_tables.normalise else 1)
        kernels.score(self.query[: self.num_query_vectors], *self.sums(len(self.order)), slack, positions, scores)
        return scores

    def sums(self, num_bytes: int) -> tuple[Any, ...]:
        """The common arguments of ``kernels.refine`` and ``kernels.score``, for the most important ``num_bytes``."""
        index, tables = self.index, self.codec_tables
        return (
            self.start, self.tables, self.order[:num_bytes], self.residuals, *self.ids,
            self.gains, self.gain_units, self.gain_values, index.offsets, index.factors,
            self.centroids, tables.codebook, tables.normalise,
        )  # fmt: skip
