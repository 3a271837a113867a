"""The ColBERTv2 paper's own engine, which PLAID calls vanilla ColBERTv2 (ColBERTv2 §3.5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from colbertv2.indexing.packed import Packed, blocks, offsets_of, ranges
from colbertv2.schema import PositiveInt, checked
from colbertv2.search.engine import Engine, Found
from colbertv2.search.scoring import DECODED_VECTORS, best_documents, kept_positions, maxsim, score_documents

if TYPE_CHECKING:
    from colbertv2.indexing.index import Index


@checked
@dataclass(frozen=True)
class VanillaColBERTv2(Engine):
    """Probe, bound from below, then score exactly.

    1. The ``nprobe`` nearest centroids of every query vector give the probed vectors and their documents.
    2. More than ``ncandidates`` documents: MaxSim over their probed vectors alone bounds each score from below (a
       maximum below 0 counts as 0, like a missing one), and the best ``ncandidates`` stay.
    3. These are decoded whole and scored exactly.

    Documents without a probed vector are never returned.

    Args:
        nprobe: the paper takes 2; 4 for MS MARCO and Wikipedia; all centroids if there are fewer.
        ncandidates: None for the paper's default, nprobe · 2^12; it takes nprobe · 2^14 for MS MARCO.

    Raises:
        InputError: a value is below 1.
    """

    nprobe: PositiveInt = 2
    ncandidates: PositiveInt | None = None

    needs_centroids = True

    def probes(self, k: int) -> int:
        """Centroids that each query vector probes in a search for ``k`` documents."""
        return self.nprobe

    def search(self, index: Index, queries: Sequence[NDArray[np.float32]], k: int) -> list[Found]:
        """The top ``k`` of each query ``[Lq, dim]``; InputError if the codec has no centroids."""
        from colbertv2.parallel import parallel_map

        return list(parallel_map(lambda query: self.search_one(index, query, k), queries))

    def search_one(self, index: Index, query: NDArray[np.float32], k: int) -> Found:
        """As ``search``, for one query."""
        from colbertv2.search.probing import centroid_similarities, nearest_centroids

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
    """``[D]``: MaxSim over those vectors of each document whose centroid is ``probed [num_centroids]``."""
    scores = np.empty(len(positions), dtype=np.float32)
    for first, last in blocks(offsets_of(index.lengths[positions]), DECODED_VECTORS):
        block = positions[first:last]
        taken = probed[index.codes(block)]
        rows = ranges(index.offsets[block], index.lengths[block])[taken]
        lengths = np.add.reduceat(taken, offsets_of(index.lengths[block])[:-1], dtype=np.int64)
        scores[first:last] = maxsim([query], Packed(index.decode_rows(rows), lengths), floor=0)[0]
    return scores
