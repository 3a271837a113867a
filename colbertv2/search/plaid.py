"""PLAID: candidates by centroids, pruned and ranked by centroids alone, and only a few decoded (PLAID §4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, NamedTuple

import numpy as np
from annotated_types import Interval
from numpy.typing import NDArray

from colbertv2.schema import LARGEST, PositiveInt, checked
from colbertv2.search.engine import Engine, Found
from colbertv2.search.scoring import best_documents, kept_positions, score_documents

if TYPE_CHECKING:
    from colbertv2.indexing.index import Index


class Candidates(NamedTuple):
    """Ascending document positions after PLAID's stages 1 (``probed``), 2 (``pruned``) and 3 (``ranked``)."""

    probed: NDArray[np.int64]
    pruned: NDArray[np.int64]
    ranked: NDArray[np.int64]


@checked
@dataclass(frozen=True)
class Plaid(Engine):
    """Four stages, of which only the last decodes residuals.

    1. Documents with a vector at one of the ``nprobe`` nearest centroids of a query vector.
    2. Vectors whose centroid is less similar than ``centroid_score_threshold`` to all query vectors are left out, the
       others stand for their centroids; the best ``ndocs`` stay. A document without any left ranks last.
    3. The same without leaving vectors out; the best ``ndocs // 4`` stay.
    4. Exact MaxSim of these.

    Where this differs from colbert-ai 0.2.22: its parameters stick to the first ``k`` that a Searcher was asked for,
    these are taken anew; its GPU code scores a document without any vector left 0 or −9999 a query vector, depending
    on its batch of 2^20, its CPU code and this one rank it last; on a GPU it scores centroids in fp16. Of equal
    scores its CPU code keeps the later passage, this one the document of the greater id, as everywhere: it matters
    where documents have lost all their vectors to pruning and are equal at the bottom.

    None takes the preset for the ``k`` of each search (PLAID Table 2), anew for every search. At most ``ndocs // 4``
    documents are returned, and none without a vector in a probed cell.

    Args:
        nprobe: preset 1 for k up to 10, 2 up to 100, else 4; all centroids if there are fewer.
        centroid_score_threshold: preset 0.5, 0.45, 0.4; -2 leaves nothing out.
        ndocs: preset 256, 1024, max(4k, 4096); at least 4, as a fourth of them is decoded.

    Raises:
        InputError: nprobe is below 1, ndocs below 4, or the threshold is NaN.
    """

    nprobe: PositiveInt | None = None
    centroid_score_threshold: Annotated[float, Interval(ge=-2, le=2)] | None = None
    ndocs: Annotated[int, Interval(ge=4, le=LARGEST)] | None = None

    needs_centroids = True

    def settings(self, k: int) -> tuple[int, float, int]:
        """``nprobe``, ``centroid_score_threshold`` and ``ndocs`` of a search for ``k`` documents.

        >>> Plaid().settings(10), Plaid(ndocs=64).settings(1000)
        ((1, 0.5, 256), (4, 0.4, 64))
        """
        nprobe, threshold, ndocs = (
            (1, 0.5, 256) if k <= 10 else (2, 0.45, 1024) if k <= 100 else (4, 0.4, max(4 * k, 4096))
        )
        return (
            nprobe if self.nprobe is None else self.nprobe,
            threshold if self.centroid_score_threshold is None else self.centroid_score_threshold,
            ndocs if self.ndocs is None else self.ndocs,
        )

    def probes(self, k: int) -> int:
        """Centroids that each query vector probes in a search for ``k`` documents."""
        return self.settings(k)[0]

    def search(self, index: Index, queries: Sequence[NDArray[np.float32]], k: int) -> list[Found]:
        """The top ``k`` of each query ``[Lq, dim]``; InputError if the codec has no centroids."""
        from colbertv2.parallel import parallel_map

        return list(parallel_map(lambda query: self.search_one(index, query, k), queries))

    def search_one(self, index: Index, query: NDArray[np.float32], k: int) -> Found:
        """As ``search``, for one query."""
        positions = self.candidates(index, query, k).ranked
        return best_documents(positions, score_documents(index, query, positions), k, index.ranks)

    def candidates(self, index: Index, query: NDArray[np.float32], k: int) -> Candidates:
        """The documents that are left after each of the first three stages, for one query ``[Lq, dim]``."""
        from colbertv2.search.probing import centroid_similarities, nearest_centroids

        nprobe, threshold, ndocs = self.settings(k)
        similarities = centroid_similarities(index, query)
        probed = pruned = index.inverted(nearest_centroids(similarities, nprobe))
        if len(probed) > ndocs:
            kept = similarities.max(axis=1) >= threshold
            scores = centroid_scores(index, similarities, probed, kept)
            pruned = kept_positions(probed, scores, ndocs, index.ranks)
        ranked = pruned
        if len(pruned) > ndocs // 4:
            everything = np.ones(len(similarities), dtype=bool)
            scores = centroid_scores(index, similarities, pruned, everything)
            ranked = kept_positions(pruned, scores, ndocs // 4, index.ranks)
        return Candidates(probed, pruned, ranked)


def centroid_scores(
    index: Index, similarities: NDArray[np.float32], positions: NDArray[np.int64], kept: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """``[D]``: MaxSim with every vector replaced by its centroid, over vectors at ``kept [num_centroids]`` alone.

    Args:
        similarities: ``[num_centroids, Lq]``.
        positions: ``[D]`` documents. One of which nothing is kept scores -inf.
    """
    from colbertv2.kernels import scoring as kernels

    scores = np.empty(len(positions), dtype=np.float32)
    assert index.stored_codes is not None  # or there were no similarities
    ids = index.stored_codes.bytes, index.stored_codes.width
    kernels.scan_kept(similarities, kept, *ids, index.offsets, positions, scores)
    return scores
