"""Where the documents of an index are: in one piece, or in shards, several indexes of consecutive documents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from colbertv2.errors import InputError
from colbertv2.indexing.packed import offsets_of

SHARDS = "shards.json"  # in the directory of an index in several shards


class Shard(NamedTuple):
    """A shard's directory, and which documents and which vectors of all it holds."""

    path: Path
    documents: slice
    rows: slice


def shards_of(out: Path, lengths: NDArray[np.integer], num_shards: int) -> list[Shard]:
    """The shards of an index: a single one is in ``out`` itself, several are in its subdirectories ``0``, ``1``, ….

    They have equal numbers of documents, up to one.

    Args:
        lengths: ``[num_documents]``, the number of vectors of each document.

    Raises:
        InputError: there are more shards than documents.

    >>> [shard.rows for shard in shards_of(Path("index"), np.array([3, 1, 2]), 2)]
    [slice(0, 3, None), slice(3, 6, None)]
    """
    if num_shards > len(lengths):
        raise InputError(f"num_shards is {num_shards}, more than the {len(lengths)} documents; lower it.")
    offsets = offsets_of(lengths).tolist()
    bounds = [number * len(lengths) // num_shards for number in range(num_shards + 1)]
    return [
        Shard(out / str(number) if num_shards > 1 else out, slice(*ends), slice(*(offsets[end] for end in ends)))
        for number, ends in enumerate(pairwise(bounds))
    ]


def shard_problems(num_shards: int, num_documents: int) -> Iterator[str]:
    """Yield a sentence if a configuration wants more shards than there are documents; a single one may be empty."""
    if num_shards > max(1, num_documents):
        yield f"num_shards is {num_shards}, more than the {num_documents} documents; lower index_shards."


def parts_within(ranges: Iterable[slice], size: int) -> list[int]:
    """The bounds of parts of at most ``size`` items, none of which is in two of the adjacent ``ranges``.

    Part n has the items from ``bounds[n]`` to ``bounds[n + 1]``.

    >>> parts_within([slice(0, 5), slice(5, 5), slice(5, 7)], 3)
    [0, 3, 5, 7]
    """
    listed = list(ranges)
    return [*(start for one in listed for start in range(one.start, one.stop, size)), listed[-1].stop]
