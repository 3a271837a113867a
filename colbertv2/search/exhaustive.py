"""Exact search: MaxSim of every document. It is the reference for the approximate engines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from colbertv2.indexing.packed import Packed, blocks
from colbertv2.search.engine import BoundEngine, Engine
from colbertv2.search.scoring import BATCH_QUERIES, DECODED_VECTORS, Found, best_documents, maxsim

if TYPE_CHECKING:
    import torch

    from colbertv2.indexing.index import Index


class Decodable(Protocol):
    """An index, or anything else that can decode the vectors of adjacent documents."""

    offsets: NDArray[np.int64]  # [num_documents + 1]

    @property
    def ranks(self) -> NDArray[np.int32]:
        """As ``Index.ranks``."""
        ...

    def decode(self, positions: NDArray[np.int64]) -> Packed:
        """The vectors of the documents at ``positions``, which are consecutive."""
        ...


@dataclass(frozen=True)
class Exhaustive(Engine):
    """Score all decoded vectors. This works with every codec and has no settings.

    If the codec has lookup tables, all documents get an estimate with a known largest error, and exact scores are only
    computed for those that can be among the best. ``search_decoded`` finds the same with any codec, several times as
    slowly. Documents without vectors are never returned.
    """

    def search(self, index: Index, queries: Sequence[NDArray[np.float32]], k: int) -> list[Found]:
        """The exact top ``k`` of each query ``[Lq, dim]``."""
        if index.tables is None:
            return search_decoded(index, queries, k)
        from colbertv2.parallel import parallel_map
        from colbertv2.search.query_tables import QueryTables

        def search_one(query: NDArray[np.float32]) -> Found:
            return QueryTables(index, query).best(index.full, k)

        return list(parallel_map(search_one, queries))

    def on_device(self, index: Index, device: torch.device | str) -> BoundEngine:
        """Exhaustive search on a device; it decodes block by block and scores a block for many queries at once."""
        from colbertv2.search.device_search import DeviceExhaustive

        return DeviceExhaustive(index, device)


def search_decoded(index: Decodable, queries: Sequence[NDArray[np.float32]], k: int) -> list[Found]:
    """The exact top ``k`` of each query ``[Lq, dim]`` by decoding all vectors.

    It is slower than tables, and shares with them only the selection of documents; so tests compare the two.
    """
    return [
        found
        for start in range(0, len(queries), BATCH_QUERIES)
        for found in search_batch(index, queries[start : start + BATCH_QUERIES], k)
    ]


def search_batch(index: Decodable, queries: Sequence[NDArray[np.float32]], k: int) -> list[Found]:
    """As ``search_decoded``, with the scores of all ``queries`` for one block of documents per thread in memory."""
    from colbertv2.parallel import parallel_map

    def search_block(block: tuple[int, int]) -> list[Found]:
        positions = np.arange(*block)
        vectors = index.decode(positions)
        return [best_documents(positions, scores, k + 1, index.ranks) for scores in maxsim(queries, vectors)]

    best = [Found(np.zeros(0, np.int64), np.zeros(0, np.float32)) for _ in queries]
    for found in parallel_map(search_block, blocks(index.offsets, DECODED_VECTORS)):
        best = [
            best_documents(
                np.concatenate([old.positions, new.positions]),
                np.concatenate([old.scores, new.scores]),
                k + 1,  # one more, to see whether the last document is tied
                index.ranks,
            )
            for old, new in zip(best, found, strict=True)
        ]
    return [best_documents(one.positions, one.scores, k, index.ranks) for one in best]
