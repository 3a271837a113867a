"""What every search engine offers, and what a search returns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from colbertv2.indexing.index import Index

Found = tuple[NDArray[np.int64], NDArray[np.float32]]  # positions and scores, best first


class Engine(Protocol):
    """A way to search; holds its knobs and nothing of a search."""

    needs_centroids: bool

    def search(self, index: Index, queries: Sequence[NDArray[np.float32]], k: int) -> list[Found]:
        """For each query ``[Lq, dim]`` at most ``k`` positions and scores, best first, ties in corpus order."""
        ...
