"""XTR's scoring from retrieved tokens alone, with WARP's estimate of the similarities that were not retrieved."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from colbertv2.indexing.packed import offsets_of, ranges
from colbertv2.schema import PositiveInt, checked
from colbertv2.search.engine import Engine
from colbertv2.search.scoring import (
    DECODED_VECTORS,
    Found,
    best_documents,
    centroid_similarities,
    nearest_of_each,
)

if TYPE_CHECKING:
    from colbertv2.compression.codec import Arrays
    from colbertv2.indexing.index import Index

NEAREST = 128  # centroids of each query vector that are looked at first to estimate a missing similarity


@checked
@dataclass(frozen=True)
class XTR(Engine):
    """Score documents by the tokens that were retrieved, and decode no others (XTR, arXiv 2304.01982, §3.2).

    1. Retrieve tokens for each query vector: those at its ``nprobe`` nearest centroids, with the similarities of their
       decoded vectors; of these the best ``num_tokens``. Tokens that are as similar as the last one stay too.
    2. The score of a document with a retrieved token is the sum over query vectors of the greatest similarity among its
       tokens that this query vector retrieved. If it retrieved none, an estimate takes the place of this similarity.

    The estimate is the same for all documents that a query vector did not retrieve. In XTR it is the least similarity
    that the query vector retrieved (``imputation_tokens`` null): no other token can be closer. WARP (arXiv 2501.17788)
    retrieves fewer tokens and looks further: it goes through the centroids by falling similarity, until their clusters
    hold ``imputation_tokens`` tokens, and takes the similarity of the last of these centroids.

    The scores are estimates of MaxSim, and the documents that are found first have the best estimates. With all
    centroids probed, all tokens kept and ``normalise`` nothing is estimated, and this is exhaustive search. XTR divides
    a score by the number of query vectors, which changes no ranking and is left out.

    With WARP's settings, rankings are those of xtr-warp-rs 2.1 (``make agree``), but for what that adds by default: it
    leaves out query vectors whose nearest centroid is less similar than a threshold, looks at a bounded number of
    centroids for the estimate, adds up similarities in 8 bits, and derives ``nprobe`` and t' from the index.

    Args:
        nprobe: centroids per query vector; null, or a number above theirs, is all. WARP was evaluated with up to 32.
            Memory holds 20 bytes for every pair of a query vector and a token that it retrieves, so null is for
            small collections.
        num_tokens: tokens to retrieve per query vector, k' in XTR; null keeps all tokens at probed centroids, as WARP
            does. WARP's authors evaluated XTR with 1,000 and 40,000.
        imputation_tokens: t' in WARP; null for XTR's estimate. ``sqrt`` is √(8 · tokens in the index), WARP's default
            for up to 2^16 centroids; its code rounds this down to thousands, which would leave 0 for small collections.
        normalise: whether similarities are those of vectors that the codec scales to length 1 after decoding. WARP
            leaves them as they are: the centroid plus the residual. It changes nothing with a codec that does not scale
            them either, such as ``product``.

    Raises:
        InputError: a value is out of range.
    """

    nprobe: PositiveInt | None = 32
    num_tokens: PositiveInt | None = None
    imputation_tokens: PositiveInt | Literal["sqrt"] | None = "sqrt"
    normalise: bool = True
    neutral: ClassVar[dict[str, bool]] = {"normalise": True}

    needs_centroids = True

    def probes(self, k: int) -> int | None:
        """The number of centroids that each query vector probes in a search for ``k`` documents; None to scan all."""
        return self.nprobe

    def search(self, index: Index, queries: Sequence[NDArray[np.float32]], k: int) -> list[Found]:
        """The top ``k`` of each query ``[Lq, dim]``; InputError if the codec has no centroids."""
        from colbertv2.parallel import parallel_map

        _ = index.token_lists  # made once, before the threads need them
        return list(parallel_map(lambda query: self.search_one(index, query, k), queries))

    def search_one(self, index: Index, query: NDArray[np.float32], k: int) -> Found:
        """As ``search``, but for one query."""
        to_centroids, length = centroid_similarities(index, query), len(query)
        found = retrieve(index, query, to_centroids, self.nprobe, self.normalise)
        if self.num_tokens is not None:
            found = best_tokens(found, length, self.num_tokens)
        missing = self.missing_similarities(index, to_centroids, found)
        documents = np.searchsorted(index.offsets, found.rows, side="right") - 1
        starts = np.diff(documents, prepend=-1) > 0  # rows ascend, so the tokens of a document are adjacent
        best = np.full((np.count_nonzero(starts), length), -np.inf, np.float32)
        np.maximum.at(best.reshape(-1), (np.cumsum(starts) - 1) * length + found.query_vectors, found.similarities)
        scores = np.where(best > -np.inf, best, missing).sum(axis=1)
        return best_documents(documents[starts], scores, k, index.ranks)

    def missing_similarities(
        self, index: Index, to_centroids: NDArray[np.float32], retrieved: Retrieved
    ) -> NDArray[np.float32]:
        """``[Lq]``: for each query vector the estimate of a similarity that it did not retrieve.

        Args:
            to_centroids: ``[num_centroids, Lq]``.
        """
        if self.imputation_tokens is None:
            least = np.full(to_centroids.shape[1], np.inf, np.float32)
            np.minimum.at(least, retrieved.query_vectors, retrieved.similarities)
            return np.where(least < np.inf, least, np.float32(0))  # the same for all documents if nothing was retrieved
        number = math.isqrt(8 * index.num_vectors) if self.imputation_tokens == "sqrt" else self.imputation_tokens
        sizes = np.diff(index.token_lists[1])
        for centroids in widening(to_centroids):
            reached = np.cumsum(sizes[centroids], axis=1) >= number
            if reached[:, -1].all():
                break
        reached[:, -1] = True  # the farthest, if there are fewer tokens in all
        chosen = np.take_along_axis(centroids, reached.argmax(axis=1)[:, None], axis=1)[:, 0]
        return to_centroids[chosen, np.arange(len(chosen))]


class Retrieved(NamedTuple):
    """P pairs of a token and a query vector that retrieved it.

    Args:
        rows: int64 ``[P]``, ascending; a token is there once for each query vector that retrieved it.
        query_vectors: int64 ``[P]``.
        similarities: float32 ``[P]``, of the decoded vectors.
    """

    rows: NDArray[np.int64]
    query_vectors: NDArray[np.int64]
    similarities: NDArray[np.float32]


def retrieve(
    index: Index, query: NDArray[np.float32], to_centroids: NDArray[np.float32], nprobe: int | None, normalise: bool
) -> Retrieved:
    """The tokens at the ``nprobe`` nearest centroids of each vector of ``query [Lq, dim]``; None for all tokens.

    Args:
        to_centroids: ``[num_centroids, Lq]``.
        normalise: see :class:`XTR`.
    """
    from colbertv2.kernels.products import pair_products

    decode, query = (index.codec.decode, query) if normalise else unscaled(index, query)
    listed, offsets = index.token_lists
    num_centroids = len(to_centroids)
    probed = nearest_of_each(to_centroids, num_centroids if nprobe is None else nprobe)
    # The query vectors that probe a centroid, for one centroid after another.
    order = np.argsort(probed, axis=None, kind="stable")
    probing = order // probed.shape[1]
    counts = np.bincount(probed.reshape(-1), minlength=num_centroids)
    begins = offsets_of(counts)[:-1]
    cells = np.flatnonzero(counts)
    rows = np.sort(listed[ranges(offsets[cells], np.diff(offsets)[cells])]).astype(np.int64)
    rows_of_pairs, of_query, similarities = [rows[:0]], [rows[:0]], [np.zeros(0, np.float32)]
    for start in range(0, len(rows), DECODED_VECTORS):
        block = rows[start : start + DECODED_VECTORS]
        encoded = index.encoded(block)
        codes = encoded["codes"]
        tokens = np.repeat(np.arange(len(block)), counts[codes])
        query_vectors = probing[ranges(begins[codes], counts[codes])]
        products = np.empty(len(tokens), np.float32)
        pair_products(query, decode(encoded), query_vectors, tokens, products)
        rows_of_pairs.append(block[tokens])
        of_query.append(query_vectors)
        similarities.append(products)
    return Retrieved(np.concatenate(rows_of_pairs), np.concatenate(of_query), np.concatenate(similarities))


def unscaled(
    index: Index, query: NDArray[np.float32]
) -> tuple[Callable[[Arrays], NDArray[np.float32]], NDArray[np.float32]]:
    """A function that decodes without scaling to length 1, and ``query [Lq, dim]`` in the dimensions of its vectors."""
    from colbertv2.compression.quantisers import added_up

    tables = index.tables
    if tables is None or not tables.normalise:
        return index.codec.decode, query
    decode = partial(added_up, replace(tables, normalise=False))
    return decode, query if tables.queries is None else query @ tables.queries


def best_tokens(found: Retrieved, length: int, number: int) -> Retrieved:
    """Of each of ``length`` query vectors the ``number`` most similar tokens, and those as similar as the last."""
    order = np.lexsort((-found.similarities, found.query_vectors))
    counts = np.bincount(found.query_vectors, minlength=length)
    last = np.full(length, -np.inf, np.float32)
    enough = counts >= number
    last[enough] = found.similarities[order[offsets_of(counts)[:-1][enough] + number - 1]]
    kept = found.similarities >= last[found.query_vectors]
    return Retrieved(found.rows[kept], found.query_vectors[kept], found.similarities[kept])


def widening(similarities: NDArray[np.float32]) -> Iterator[NDArray[np.int64]]:
    """Yield ``nearest_of_each`` of ``similarities [num_centroids, Lq]`` for more and more centroids, at last all."""
    number = NEAREST
    while True:
        yield nearest_of_each(similarities, number)
        if number >= len(similarities):
            return
        number *= 8
