"""One query's similarities to an index's centroids and to what its residual bytes stand for, and scoring by them."""

import numpy as np
from numpy.typing import NDArray

from colbertv2.errors import InputError
from colbertv2.retrieval import kernels
from colbertv2.retrieval.index import Index
from colbertv2.retrieval.lanes import LANES

MAX_DOCUMENT_TOKENS = 2**15 - 1  # a token's place within its document takes 16 bits


class QueryTables:
    """What one query needs to know of an index: its similarity to every centroid and to what every byte stands for.

    Args:
        query: ``[L, dim]``.

    Attributes:
        similarities: ``[K, L]`` to the centroids.

    Raises:
        InputError: the codec has no centroids, or a document is too long.
    """

    def __init__(self, index: Index, query: NDArray[np.float32]) -> None:
        self.index = index
        if (longest := int(index.lengths.max(initial=0))) > MAX_DOCUMENT_TOKENS:
            raise InputError(
                f"A document of {index.path} has {longest} tokens; the cascade takes at most {MAX_DOCUMENT_TOKENS}. "
                "Use search=exhaustive, or set document_maxlen."
            )
        self.additive = additive = index.additive
        assert index.stored_codes is not None
        self.codes = index.stored_codes[:]
        self.query = query if additive.queries is None else query @ additive.queries
        self.num_query_vectors = len(query)
        width = -(-len(query) // LANES) * LANES
        self.similarities = additive.centroids @ self.query.T
        self.byte_scale = np.float32(255 / max(float(self.similarities.max()), 1e-6))
        self.order, similarities, self.energy = byte_similarities(additive.book, self.query)
        # No sum that a token can come to is beyond 16 bits; sums on the way may be, as they wrap around.
        largest = np.abs(self.similarities).max(axis=0) + np.abs(similarities).max(axis=1).sum(axis=0)
        if additive.normalise:
            largest = np.maximum(largest, np.sqrt((self.query**2).sum(axis=1)))
        self.scale = (32000 / np.maximum(largest, 1e-12)).astype(np.float32)
        shape = (len(additive.centroids), width)
        self.bytes, self.start = np.zeros(shape, np.uint8), np.zeros(shape, np.int16)
        kernels.quantise(self.similarities, self.byte_scale, self.scale, self.bytes, self.start)
        self.tables = np.zeros((*similarities.shape[:2], width), np.int16)
        self.tables[:, :, : len(query)] = np.rint(similarities * self.scale)

    def centroid_scores(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """``[D]``: MaxSim with every vector at its centroid."""
        scores = np.empty(len(positions), np.float32)
        kernels.scan(self.bytes, self.codes, self.index.offsets, positions, scores)
        return (scores / self.byte_scale).astype(np.float32)

    def residual_scores(self, positions: NDArray[np.int64], margin: float, share: float) -> NDArray[np.float32]:
        """``[D]``: MaxSim over the tokens within ``margin``, by the bytes that carry ``share`` of the variance."""
        energy = np.cumsum(self.energy)
        num_bytes = min(int(np.searchsorted(energy, share * energy[-1])) + 1, len(self.order))
        return self.refine(positions, margin, num_bytes)[0]

    def exact_scores(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """``[D]``: MaxSim over the decoded vectors; -inf for a document without vectors."""
        _, where = self.refine(positions, np.inf, len(self.order))
        scores = np.empty(len(positions), np.float32)
        additive, arrays = self.additive, self.index.arrays
        kernels.rescore(
            self.query, self.codes, arrays["residuals"], self.index.offsets,
            additive.centroids, additive.book, additive.normalise, positions, where, scores,
        )  # fmt: skip
        return scores

    def refine(
        self, positions: NDArray[np.int64], margin: float, num_bytes: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int16]]:
        """Scores ``[D]`` by the ``num_bytes`` bytes that matter most, and ``[D, W]`` the token of each maximum."""
        index, additive = self.index, self.additive
        scores = np.empty(len(positions), np.float32)
        where = np.empty((len(positions), self.bytes.shape[1]), np.int16)
        kernels.refine(
            self.bytes, self.start, self.tables, self.order[:num_bytes], index.arrays["residuals"],
            self.codes, index.offsets, index.factors, additive.centroids, additive.book, additive.normalise,
            int(min(np.ceil(margin * self.byte_scale), 255)), 1 / self.scale, positions, scores, where,
        )  # fmt: skip
        return scores, where


def byte_similarities(
    book: NDArray[np.float32], query: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
    """``query``'s similarity to what every value of every byte stands for, the bytes that matter most first.

    Args:
        book: ``[M or 1, 256, d]``. query: ``[L, M · d]``.

    Returns:
        ``[M]`` which byte each is; ``[M, 256, L]`` similarities; ``[M]`` the variance that it brings about, over all
        values and query vectors.
    """
    parts = query.reshape(len(query), -1, book.shape[2]).transpose(1, 2, 0)  # [M, d, L]
    deviation = book - book.mean(axis=1, keepdims=True)
    covariance = deviation.transpose(0, 2, 1) @ deviation  # [M or 1, d, d]
    energy = (covariance * (parts @ parts.transpose(0, 2, 1))).sum(axis=(1, 2))
    order = np.argsort(-energy, kind="stable")
    own = book[order] if len(book) > 1 else book
    return order, own @ np.ascontiguousarray(parts[order]), energy[order]
