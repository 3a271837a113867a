"""Rows of many documents end to end, with the number of rows of each."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray


def offsets_of(lengths: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """``[D + 1]``: where each document begins, and the end of the last one."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def ranges(starts: NDArray[np.int64], lengths: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """The numbers start, start + 1, … of every range, end to end.

    >>> ranges(np.array([5, 0]), np.array([2, 3])).tolist()
    [5, 6, 0, 1, 2]
    """
    offsets = offsets_of(lengths)
    return np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)


def blocks(offsets: NDArray[np.int64], num_vectors: int) -> Iterator[tuple[int, int]]:
    """Consecutive ranges of documents of at most ``num_vectors`` vectors each, or of one longer document.

    >>> list(blocks(np.array([0, 2, 4, 9, 9]), num_vectors=4))
    [(0, 2), (2, 3), (3, 4)]
    """
    first, end = 0, len(offsets) - 1
    while first < end:
        last = int(np.searchsorted(offsets, offsets[first] + num_vectors, side="right")) - 1
        last = min(max(last, first + 1), end)
        yield first, last
        first = last


@dataclass(frozen=True)
class Packed:
    """Token vectors of D documents, T in all, without padding.

    Args:
        vectors: ``[T, dim]``.
        lengths: ``[D]``, summing to T; a document may have none.

    >>> Packed(np.zeros((3, 2), np.float32), np.array([1, 2])).offsets.tolist()
    [0, 1, 3]
    """

    vectors: NDArray[Any]
    lengths: NDArray[np.integer[Any]]

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """``[D + 1]``: document d has the rows from ``offsets[d]`` to ``offsets[d + 1]``."""
        return offsets_of(self.lengths)

    def __len__(self) -> int:
        return len(self.lengths)
