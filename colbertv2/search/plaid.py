"""PLAID: find, prune and rank candidates using only centroids, and decode only a few of them (PLAID §4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, NamedTuple

import numpy as np
from annotated_types import Interval
from numpy.typing import NDArray

from colbertv2.schema import LARGEST, PositiveInt, checked
from colbertv2.search.engine import Engine
from colbertv2.search.scoring import (
    Found,
    best_documents,
    centroid_similarities,
    kept_positions,
    nearest_centroids,
    score_documents,
)

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
    """Search in four stages, of which only the last decodes residuals (PLAID §4).

    1. Find the documents with a vector at one of the ``nprobe`` nearest centroids of a query vector.
    2. Replace vectors by their centroids, and leave out vectors whose centroid has a similarity below
       ``centroid_score_threshold`` to every query vector. Keep the best ``ndocs``. A document with no vectors left
       ranks last.
    3. Replace vectors by their centroids without leaving any out. Keep the best ``ndocs // 4``.
    4. Score these by exact MaxSim.

    If a setting is None, each search uses the preset for its ``k`` (PLAID Table 2). A search returns at most
    ``ndocs // 4`` documents, and only documents with a vector at a probed centroid.

    There are some differences from colbert-ai 0.2.22. Its searcher keeps the presets for the ``k`` of its first search;
    this engine chooses them for every search. To a document with no vectors left, its GPU code gives 0 or −9999 per
    query vector, depending on its batches of 2^20; its CPU code and this engine rank such a document last. On a GPU it
    computes the centroid scores in fp16. Of documents with equal scores, its CPU code keeps the later passage; this
    engine keeps the document with the greater id, as all engines here do. This matters if pruning has left many
    documents without vectors, so that they are tied at the bottom.

    Args:
        nprobe: centroids per query vector, or all centroids if there are fewer. The preset is 1 for k ≤ 10, 2 for
            k ≤ 100, and 4 for greater k.
        centroid_score_threshold: the presets for the same k are 0.5, 0.45 and 0.4; -2 leaves no vector out.
        ndocs: the presets for the same k are 256, 1024 and max(4k, 4096). At least 4, because a quarter of them is
            decoded.

    Raises:
        InputError: nprobe is below 1, ndocs below 4, or the threshold is NaN.
    """

    nprobe: PositiveInt | None = None
    centroid_score_threshold: Annotated[float, Interval(ge=-2, le=2)] | None = None
    ndocs: Annotated[int, Interval(ge=4, le=LARGEST)] | None = None

    needs_centroids = True

    def settings(self, k: int) -> tuple[int, float, int]:
        """The ``nprobe``, ``centroid_score_threshold`` and ``ndocs`` used in a search for ``k`` documents.

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
        """The number of centroids that each query vector probes in a search for ``k`` documents."""
        return self.settings(k)[0]

    def search(self, index: Index, queries: Sequence[NDArray[np.float32]], k: int) -> list[Found]:
        """The top ``k`` of each query ``[Lq, dim]``; InputError if the codec has no centroids."""
        from colbertv2.parallel import parallel_map

        return list(parallel_map(lambda query: self.search_one(index, query, k), queries))

    def search_one(self, index: Index, query: NDArray[np.float32], k: int) -> Found:
        """As ``search``, but for one query."""
        positions = self.candidates(index, query, k).ranked
        return best_documents(positions, score_documents(index, query, positions), k, index.ranks)

    def candidates(self, index: Index, query: NDArray[np.float32], k: int) -> Candidates:
        """The documents that are kept by each of the first three stages, for one query ``[Lq, dim]``."""
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
    """``[D]``: MaxSim with every vector replaced by its centroid, over vectors at kept centroids only.

    A document without vectors at kept centroids scores -inf.

    Args:
        similarities: ``[num_centroids, Lq]``, of the centroids to the query vectors.
        positions: ``[D]``, the documents.
        kept: bool ``[num_centroids]``.
    """
    from colbertv2.kernels import scoring as kernels

    scores = np.empty(len(positions), dtype=np.float32)
    assert index.stored_codes is not None  # similarities exist only with centroids
    ids = index.stored_codes.bytes, index.stored_codes.width
    kernels.scan_kept(similarities, kept, *ids, index.offsets, positions, scores)
    return scores
