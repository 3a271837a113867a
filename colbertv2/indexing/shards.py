"""Indexes of parts of a collection, searched apart or merged into one."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from colbertv2.errors import InputError
from colbertv2.indexing.building import BLOCK_VECTORS, building, create_arrays, finish, write_block
from colbertv2.indexing.index import Index
from colbertv2.search.engine import Engine
from colbertv2.search.searcher import Searcher


class ShardedSearcher:
    """Several indexes, searched as if they were one.

    With the same codec in all (``Index.build_fitted``), what is found is what one index over all their documents would
    give, by an engine that scores every document; an engine that drops candidates keeps as many of each index, so finds
    at least as much.

    Args:
        indexes: in the order of the collection, of one dimension, with different document ids.

    Raises:
        InputError: there is no index, or their dimensions differ.
    """

    def __init__(self, indexes: Sequence[Index], engine: Engine) -> None:
        if len({index.dim for index in indexes}) != 1:
            raise InputError(
                f"{len(indexes)} indexes of {[index.dim for index in indexes]} dimensions; expected at least one, "
                "and the same dimension in all, from the same model."
            )
        self.searchers = [Searcher(index, engine) for index in indexes]

    def search(self, queries: Sequence[NDArray[np.float32]], k: int) -> list[list[tuple[str, float]]]:
        """As ``Searcher.search``: at most ``k`` (document id, score) for each query, best first, ties in corpus order.

        Raises:
            InputError: as there.
        """
        found = [searcher.search(queries, k) for searcher in self.searchers]
        return [best_of(parts, k) for parts in zip(*found, strict=True)]


def best_of(parts: Iterable[Sequence[tuple[str, float]]], k: int) -> list[tuple[str, float]]:
    """The best ``k`` of several rankings, best first; of equal scores those of the earlier ranking come first.

    >>> best_of([[("a", 3.0), ("b", 1.0)], [("c", 3.0), ("d", 2.0)]], k=3)
    [('a', 3.0), ('c', 3.0), ('d', 2.0)]
    """
    return sorted((one for part in parts for one in part), key=lambda one: -one[1])[:k]


def merge(indexes: Sequence[Index], out: Path) -> Index:
    """Write into ``out`` the index that one build over the documents of all ``indexes`` would have made, and open it.

    Args:
        indexes: in the order of the collection, of the same codec.

    Raises:
        InputError: there is none, their codecs differ, or ``out`` is one of them or is being built.
    """
    if len({codec_bytes(index) for index in indexes}) != 1:
        raise InputError(
            f"{len(indexes)} indexes of different codecs; expected at least one, and all built with one fitted codec."
        )
    if out.resolve() in [index.path.resolve() for index in indexes]:
        raise InputError(f"{out} is one of the indexes to be merged; name a new directory.")
    first, lengths = indexes[0], np.concatenate([index.lengths for index in indexes])
    with building(out):
        create_arrays(out, first.codec, first.dim, [doc_id for index in indexes for doc_id in index.doc_ids], lengths)
        start = 0
        for index in indexes:
            for place in range(0, index.num_vectors, BLOCK_VECTORS):
                end = min(place + BLOCK_VECTORS, index.num_vectors)
                write_block(out, first.codec, start + place, index.encoded(slice(place, end)))
            start += index.num_vectors
        finish(out, first.codec, first.dim, lengths, first.num_sampled_documents)
    return Index.open(out)


def codec_bytes(index: Index) -> tuple[bytes, ...]:
    """Everything that was stored of an index's codec."""
    return tuple(file.read_bytes() for file in sorted((index.path / "codec").iterdir()))
