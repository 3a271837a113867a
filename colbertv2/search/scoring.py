"""What engines share: the result of a search, exact MaxSim, selecting the best documents, and probing centroids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from colbertv2.evaluation.ranking import Ranking
from colbertv2.indexing.packed import Packed, blocks, offsets_of

if TYPE_CHECKING:
    from colbertv2.indexing.index import Index

DECODED_VECTORS = 2**15  # vectors decoded at once by a thread: 16 MiB at 128 dimensions
QUERY_VECTORS = 2**9  # multiplied with one document after another: 256 KiB at 128 dimensions, which stay in the cache
BATCH_QUERIES = 1024  # queries for which a block is decoded once; bounds the scores in memory


class Found(NamedTuple):
    """The documents found by a search for ``k`` documents.

    Args:
        positions: positions of the documents, best first. Among equal scores, the document with the lower rank
            (``Index.ranks``) comes first.
        scores: their scores, in the same order.
        tied: whether a document beyond the first ``k`` has the same score as the last one.
    """

    positions: NDArray[np.int64]
    scores: NDArray[np.float32]
    tied: bool = False


def named(found: Found, doc_ids: Sequence[str]) -> list[tuple[str, float]]:
    """The found documents as pairs (document id, score)."""
    rows: Iterable[tuple[int, float]] = zip(found.positions.tolist(), found.scores.tolist(), strict=True)
    return [(doc_ids[place], score) for place, score in rows]


def ranking_of(found: Mapping[str, Found], doc_ids: Sequence[str]) -> Ranking:
    """Convert query id → found documents to a ranking."""
    results = {query_id: named(one, doc_ids) for query_id, one in found.items()}
    return Ranking(results, [query_id for query_id, one in found.items() if one.tied])


def maxsim(queries: Sequence[NDArray[np.float32]], documents: Packed, floor: float = -np.inf) -> NDArray[np.float32]:
    """Σᵢ maxⱼ qᵢ·dⱼ of every query with every document, ``[num_queries, D]`` (ColBERT §3.2).

    Equal documents get equal scores, to the last bit, on every processor: see :mod:`colbertv2.kernels.products`.

    Args:
        queries: arrays ``[Lq, dim]`` with Lq of at least 1, which may differ.
        floor: the least value that a maximum can have. With -inf, a document without vectors scores -inf.

    Raises:
        ValueError: queries and documents differ in ``dim``.

    >>> documents = Packed(np.eye(2, dtype=np.float32), np.array([2]))
    >>> maxsim([np.array([[1, 0], [0, 0.5]], np.float32)], documents)
    array([[1.5]], dtype=float32)
    """
    from colbertv2.kernels import products

    query_offsets = offsets_of(np.array([len(query) for query in queries], dtype=np.int64))
    vectors = np.ascontiguousarray(documents.vectors, np.float32)
    if any(query.shape[1] != vectors.shape[1] for query in queries):
        raise ValueError(f"Queries of {queries[0].shape[1]} dimensions, documents of {vectors.shape[1]}.")
    scores = np.empty((len(queries), len(documents)), dtype=np.float32)
    for first, last in blocks(query_offsets, QUERY_VECTORS):
        columns = products.in_columns(np.concatenate(queries[first:last]))
        bounds = query_offsets[first : last + 1] - query_offsets[first]
        products.maxsim(columns, bounds, vectors, documents.offsets, np.float32(floor), scores[first:last])
    return scores


def score_documents(index: Index, query: NDArray[np.float32], positions: NDArray[np.int64]) -> NDArray[np.float32]:
    """Exact MaxSim ``[D]`` of one query ``[Lq, dim]`` with the decoded documents at ``positions [D]``.

    Documents are decoded in blocks, so memory is bounded.
    """
    scores = np.empty(len(positions), dtype=np.float32)
    for first, last in blocks(offsets_of(index.lengths[positions]), DECODED_VECTORS):
        scores[first:last] = maxsim([query], index.decode(positions[first:last]))[0]
    return scores


def top_k(
    positions: NDArray[np.int64], scores: NDArray[np.float32], k: int, ranks: NDArray[np.int32]
) -> NDArray[np.int64]:
    """Places of the ``k`` greatest of ``scores [n]``, best first; equal scores are in ascending order of ranks.

    Args:
        positions: ``[n]``, the documents that have these scores.
        ranks: ranks of all documents by position, as ``Index.ranks``.

    >>> top_k(np.array([7, 2, 0, 5]), np.array([1, 3, 2, 3], np.float32), 3, ranks=np.arange(8)[::-1]).tolist()
    [3, 1, 2]
    """
    if 0 < k < len(scores):
        least = np.partition(scores, len(scores) - k)[len(scores) - k]
        above, equal = np.flatnonzero(scores > least), np.flatnonzero(scores == least)
        if (wanted := k - len(above)) < len(equal):
            equal = equal[np.argpartition(ranks[positions[equal]], wanted - 1)[:wanted]]
        places = np.concatenate([above, equal])
    else:
        places = np.arange(min(k, len(scores)))
    return places[np.lexsort((ranks[positions[places]], -scores[places]))]


def best_documents(
    positions: NDArray[np.int64], scores: NDArray[np.float32], k: int, ranks: NDArray[np.int32]
) -> Found:
    """The ``k`` best of ``positions [n]`` with their scores; fewer if there are fewer with vectors (scores above -inf).

    Args:
        ranks: ranks of all documents by position, as ``Index.ranks``; of equal scores, the lower rank is better.
    """
    best = top_k(positions, scores, k + 1, ranks)
    best = best[scores[best] > -np.inf]
    tied = bool(0 < k < len(best) and scores[best[k - 1]] == scores[best[k]])
    return Found(positions[best[:k]], scores[best[:k]], tied)


def inner_products(matrix: NDArray[np.float32], vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """``[n]``: the dot products of ``vector [d]`` with the rows of ``matrix [n, d]``; equal rows have equal ones.

    Not by BLAS, whose last bits depend on the row.

    >>> inner_products(np.eye(2, dtype=np.float32), np.array([3, 4], np.float32)).tolist()
    [3.0, 4.0]
    """
    return np.einsum("nd,d->n", matrix, vector)


def kept_positions(
    positions: NDArray[np.int64], scores: NDArray[np.float32], number: int, ranks: NDArray[np.int32]
) -> NDArray[np.int64]:
    """The ``number`` best of ``positions [n]``, in ascending order: what one stage of an engine passes to the next."""
    return np.sort(positions[top_k(positions, scores, number, ranks)])


def centroid_similarities(index: Index, query: NDArray[np.float32]) -> NDArray[np.float32]:
    """``[num_centroids, Lq]``: dot products of all centroids with a query's vectors ``[Lq, dim]``.

    Raises:
        InputError: the codec has no centroids.
    """
    return index.centroids @ query.T


def probed_documents(index: Index, query: NDArray[np.float32], nprobe: int | None) -> NDArray[np.int64]:
    """Ascending positions of the documents with a vector at one of the ``nprobe`` nearest centroids of a query vector.

    If ``nprobe`` is None, these are all documents.
    """
    if nprobe is None:
        return np.arange(index.num_documents)
    return index.inverted(nearest_centroids(centroid_similarities(index, query), nprobe))


def nearest_centroids(similarities: NDArray[np.float32], nprobe: int) -> NDArray[np.int64]:
    """Ascending, unique ids of the ``nprobe`` nearest centroids of each query vector; all of them if there are fewer.

    Args:
        similarities: ``[num_centroids, Lq]``.

    >>> nearest_centroids(np.array([[0.1, 0.2], [0.9, 0.8], [0.5, 0.1]], np.float32), nprobe=1).tolist()
    [1]
    """
    if nprobe >= len(similarities):
        return np.arange(len(similarities))
    return np.unique(nearest_of_each(similarities, nprobe))


def nearest_of_each(similarities: NDArray[np.float32], number: int) -> NDArray[np.int64]:
    """``[Lq, number]``: the nearest centroids of each query vector, the nearest first; all if there are fewer.

    Args:
        similarities: ``[num_centroids, Lq]``.

    >>> nearest_of_each(np.array([[0.1, 0.2], [0.9, 0.8], [0.5, 0.1]], np.float32), number=2).tolist()
    [[1, 2], [1, 0]]
    """
    num_centroids, length = similarities.shape
    if number >= num_centroids:
        return np.argsort(-similarities.T, axis=1, kind="stable")
    from colbertv2.kernels.queries import nearest_rows

    found = np.empty((length, number), np.int64)
    nearest_rows(similarities, found)
    return found
