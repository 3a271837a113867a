"""Exact search: MaxSim of every document, the reference for the approximate engines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from colbertv2.indexing.packed import Packed, blocks
from colbertv2.search.scoring import DECODED_VECTORS, best_documents, maxsim

if TYPE_CHECKING:
    from colbertv2.search.engine import Found

BATCH_QUERIES = 1024  # bounds the scores held at once; a block is decoded once for so many queries


class Documents(Protocol):
    """Vectors of documents that follow one another: an index, or anything that can stand for one."""

    offsets: NDArray[np.int64]  # [num_documents + 1]

    def decode(self, positions: NDArray[np.int64]) -> Packed:
        """The vectors of documents at positions that follow one another."""
        ...


@dataclass(frozen=True)
class Exhaustive:
    """Scores all decoded vectors, block by block; works with every codec and has no knobs.

    Documents without vectors are never returned.
    """

    needs_centroids = False

    def search(self, index: Documents, queries: Sequence[NDArray[np.float32]], k: int) -> list[Found]:
        """The exact top ``k`` of each query ``[Lq, dim]``."""
        return [
            found
            for start in range(0, len(queries), BATCH_QUERIES)
            for found in search_batch(index, queries[start : start + BATCH_QUERIES], k)
        ]


def search_batch(index: Documents, queries: Sequence[NDArray[np.float32]], k: int) -> list[Found]:
    """As ``Exhaustive.search``, holding the scores of all ``queries`` against one block of documents a thread."""
    from colbertv2.parallel import parallel_map

    def search_block(block: tuple[int, int]) -> list[Found]:
        positions = np.arange(*block)
        return [best_documents(positions, scores, k) for scores in maxsim(queries, index.decode(positions))]

    best: list[Found] = [(np.zeros(0, np.int64), np.zeros(0, np.float32)) for _ in queries]
    for found in parallel_map(search_block, blocks(index.offsets, DECODED_VECTORS)):
        # What came first has the lower positions, so equal scores stay in corpus order.
        best = [
            best_documents(np.concatenate([old[0], new[0]]), np.concatenate([old[1], new[1]]), k)
            for old, new in zip(best, found, strict=True)
        ]
    return best
