"""The rows of many documents, end to end, and the number of rows of each document."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray


def offsets_of(lengths: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """int64 ``[D + 1]``: where each document begins, and where the last one ends, from ``lengths [D]``."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def ranges(starts: NDArray[np.int64], lengths: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """The numbers of all ranges, end to end. Range i is ``starts[i]``, ``starts[i] + 1``, …, ``lengths[i]`` numbers.

    >>> ranges(np.array([5, 0]), np.array([2, 3])).tolist()
    [5, 6, 0, 1, 2]
    """
    offsets = offsets_of(lengths)
    return np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)


def blocks(offsets: NDArray[np.int64], num_vectors: int) -> Iterator[tuple[int, int]]:
    """Divide documents into consecutive ranges ``(first, end)`` with at most ``num_vectors`` vectors each.

    A document with more vectors gets a range of its own.

    Args:
        offsets: ``[D + 1]``, where each document begins.

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
    """The T token vectors of D documents, end to end, without padding.

    Args:
        vectors: ``[T, dim]``.
        lengths: ``[D]``, the number of vectors of each document, which may be 0; they sum to T.

    >>> Packed(np.zeros((3, 2), np.float32), np.array([1, 2])).offsets.tolist()
    [0, 1, 3]
    """

    vectors: NDArray[Any]
    lengths: NDArray[np.integer[Any]]

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """int64 ``[D + 1]``: document d has the rows from ``offsets[d]`` to ``offsets[d + 1]``."""
        return offsets_of(self.lengths)

    def __len__(self) -> int:
        return len(self.lengths)
