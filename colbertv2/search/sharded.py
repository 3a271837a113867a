"""Searching an index in shards: each shard apart, and the results merged."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from colbertv2.errors import InputError
from colbertv2.indexing.packed import offsets_of
from colbertv2.search.engine import BoundEngine, Engine
from colbertv2.search.scoring import Found, best_documents

if TYPE_CHECKING:
    import torch

    from colbertv2.indexing.index import Index
    from colbertv2.indexing.sharded_index import ShardedIndex


def merged(found: Sequence[Found], index: Index | ShardedIndex, k: int) -> Found:
    """The ``k`` best of what a query found in each shard of an index, in the order that one index would give.

    Args:
        found: at most ``k`` documents of each shard, with their positions there.
        index: the index in shards, or in one piece.
    """
    positions = [one.positions + start for one, start in zip(found, index.starts, strict=False)]
    best = best_documents(np.concatenate(positions), np.concatenate([one.scores for one in found]), k, index.ranks)
    # A shard may have left out a document with the score of its last one.
    beyond = any(one.tied and one.scores[-1] == best.scores[-1] for one in found)
    return best._replace(tied=best.tied or beyond)


def save_found(file: Path, found: Sequence[Found]) -> None:
    """Write what several queries found to ``file``, for ``load_found``."""
    arrays = {
        "positions": np.concatenate([np.zeros(0, np.int64), *(one.positions for one in found)]),
        "scores": np.concatenate([np.zeros(0, np.float32), *(one.scores for one in found)]),
        "lengths": np.array([len(one.positions) for one in found], np.int64),
        "tied": np.array([one.tied for one in found], bool),
    }
    np.savez(file, **arrays)


def load_found(file: Path) -> list[Found]:
    """Read what ``save_found`` wrote.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "found.npz"
    >>> save_found(file, [Found(np.array([2]), np.array([1], np.float32), tied=True)])
    >>> load_found(file)
    [Found(positions=array([2]), scores=array([1.], dtype=float32), tied=True)]
    """
    with np.load(file) as arrays:
        places = offsets_of(arrays["lengths"])[1:-1]
        positions, scores = (np.split(arrays[name], places) for name in ("positions", "scores"))
        return [Found(*one) for one in zip(positions, scores, arrays["tied"].tolist(), strict=True)]


class BoundShards:
    """An engine bound to every shard of an index.

    An exact engine finds what it would find in one index. An engine that keeps the best of some documents keeps so
    many of every shard, so it scores more of them exactly.

    Engines bound on a GPU are kept as long as the shards fit there together; else one shard at a time is there, and is
    copied for every search. So search for many queries at once.

    Raises:
        InputError: a shard does not fit into the device's memory, or the engine cannot search with its codec.
    """

    def __init__(self, engine: Engine, index: Index | ShardedIndex, device: torch.device | str) -> None:
        self.unbound, self.index, self.device = engine, index, device
        self.kept: dict[int, BoundEngine] = {}
        self.lock = threading.Lock()
        self.description = f"{self.bound(0)}, {len(index.shards)} shards"

    def __str__(self) -> str:
        return self.description

    def bound(self, shard: int) -> BoundEngine:
        """The engine bound to a shard; others are let go if both do not fit into the device's memory."""
        with self.lock:
            if shard not in self.kept:
                try:
                    self.kept[shard] = self.unbound.bound(self.index.shards[shard], self.device)
                except InputError:
                    if not self.kept:
                        raise
                    self.kept.clear()
                    self.kept[shard] = self.unbound.bound(self.index.shards[shard], self.device)
            return self.kept[shard]

    def search(self, queries: Sequence[NDArray[np.float32]], k: int) -> list[Found]:
        """As ``BoundEngine.search``, with positions in the whole index."""
        found = [self.bound(shard).search(queries, k) for shard in range(len(self.index.shards))]
        return [merged(of_query, self.index, k) for of_query in zip(*found, strict=True)]

    def rerank(self, query: NDArray[np.float32], positions: NDArray[np.int64], k: int) -> Found:
        """As ``BoundEngine.rerank``, with positions in the whole index."""
        starts = self.index.starts
        own = np.split(positions, np.searchsorted(positions, starts[1:-1]))
        found = [self.bound(shard).rerank(query, one - starts[shard], k) for shard, one in enumerate(own)]
        return merged(found, self.index, k)
