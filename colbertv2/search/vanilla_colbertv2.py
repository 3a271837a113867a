"""The engine of the ColBERTv2 paper, which PLAID calls vanilla ColBERTv2 (ColBERTv2 §3.5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from colbertv2.indexing.packed import Packed, blocks, offsets_of, ranges
from colbertv2.schema import PositiveInt, checked
from colbertv2.search.engine import Engine
from colbertv2.search.scoring import (
    DECODED_VECTORS,
    Found,
    best_documents,
    centroid_similarities,
    kept_positions,
    maxsim,
    nearest_centroids,
    score_documents,
)

if TYPE_CHECKING:
    from colbertv2.indexing.index import Index


@checked
@dataclass(frozen=True)
class VanillaColBERTv2(Engine):
    """Search in three stages: probe centroids, compute lower bounds of the scores, score the best exactly.

    1. Find the vectors at the ``nprobe`` nearest centroids of every query vector, and their documents.
    2. If there are more than ``ncandidates`` documents, compute a lower bound of each score: MaxSim over the vectors
       found in stage 1, where a missing or negative maximum counts as 0. (It is a bound unless a true maximum is
       negative.) Keep the best ``ncandidates``.
    3. Decode all vectors of these documents and score them exactly.

    Documents without a vector at a probed centroid are never returned.

    Args:
        nprobe: centroids per query vector, or all centroids if there are fewer. The paper uses 2 by default, and 4 for
            MS MARCO and Wikipedia.
        ncandidates: None for the paper's default, nprobe · 2^12. The paper uses nprobe · 2^14 for MS MARCO.

    Raises:
        InputError: a value is below 1.
    """

    nprobe: PositiveInt = 2
    ncandidates: PositiveInt | None = None

    needs_centroids = True

    def probes(self, k: int) -> int:
        """The number of centroids that each query vector probes in a search for ``k`` documents."""
        return self.nprobe

    def search(self, index: Index, queries: Sequence[NDArray[np.float32]], k: int) -> list[Found]:
        """The top ``k`` of each query ``[Lq, dim]``; InputError if the codec has no centroids."""
        from colbertv2.parallel import parallel_map

        return list(parallel_map(lambda query: self.search_one(index, query, k), queries))

    def search_one(self, index: Index, query: NDArray[np.float32], k: int) -> Found:
        """As ``search``, but for one query."""
        to_centroids = centroid_similarities(index, query)
        cells = nearest_centroids(to_centroids, self.nprobe)
        positions = index.inverted(cells)
        ncandidates = self.nprobe * 2**12 if self.ncandidates is None else self.ncandidates
        if len(positions) > ncandidates:
            probed = np.zeros(len(to_centroids), dtype=bool)
            probed[cells] = True
            bounds = lower_bounds(index, query, positions, probed)
            positions = kept_positions(positions, bounds, ncandidates, index.ranks)
        return best_documents(positions, score_documents(index, query, positions), k, index.ranks)


def lower_bounds(
    index: Index, query: NDArray[np.float32], positions: NDArray[np.int64], probed: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """float32 ``[D]``: MaxSim of ``query [Lq, dim]`` over the vectors of each document whose centroid was probed.

    A missing or negative maximum counts as 0.

    Args:
        positions: ``[D]``, the documents.
        probed: bool ``[num_centroids]``.
    """
    scores = np.empty(len(positions), dtype=np.float32)
    for first, last in blocks(offsets_of(index.lengths[positions]), DECODED_VECTORS):
        block = positions[first:last]
        taken = probed[index.codes(block)]
        rows = ranges(index.offsets[block], index.lengths[block])[taken]
        lengths = np.add.reduceat(taken, offsets_of(index.lengths[block])[:-1], dtype=np.int64)
        scores[first:last] = maxsim([query], Packed(index.decode_rows(rows), lengths), floor=0)[0]
    return scores
