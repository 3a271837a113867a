"""What every search engine offers, and what a search returns."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

    from colbertv2.compression.codec import Codec
    from colbertv2.indexing.index import Index

Found = tuple[NDArray[np.int64], NDArray[np.float32]]  # positions and scores, best first


class BoundEngine(Protocol):
    """An engine with an index, on a device; ``str`` says which, for records."""

    def search(self, queries: Sequence[NDArray[np.float32]], k: int) -> list[Found]:
        """For each query ``[Lq, dim]`` at most ``k`` positions and scores, best first, ties in corpus order."""
        ...

    def rerank(self, query: NDArray[np.float32], positions: NDArray[np.int64], k: int) -> Found:
        """The best ``k`` of the documents at ascending ``positions [D]`` for one query, by exact MaxSim."""
        ...


class Engine(ABC):
    """A way to search; holds its knobs, and nothing of a search. A new engine is a subclass and a YAML file.

    What an engine finds must not depend on the device, since the device is no part of an address.

    >>> class First(Engine):
    ...     def search(self, index, queries, k):
    ...         return [(np.arange(k), np.zeros(k, np.float32)) for _ in queries]
    >>> [positions.tolist() for positions, _ in First().search(None, [np.zeros((1, 2))], k=2)]
    [[0, 1]]
    """

    needs_centroids: ClassVar[bool] = False

    @abstractmethod
    def search(self, index: Index, queries: Sequence[NDArray[np.float32]], k: int) -> list[Found]:
        """For each query ``[Lq, dim]`` at most ``k`` positions and scores, best first, ties in corpus order."""

    def probes(self, k: int) -> int | None:
        """Centroids that each query vector probes in a search for ``k`` documents; None where all are scanned."""
        return None

    def check(self, codec: Codec, depth: int) -> Iterator[str]:
        """Why it can't search vectors of a codec to a depth."""
        if self.needs_centroids and not codec.has_centroids:
            own, name = type(self).__name__, type(codec).__name__
            yield f"{own} probes centroids, but {name} has none; use search=exhaustive or codec=residual."

    def on_device(self, index: Index, device: torch.device | str) -> BoundEngine | None:
        """This engine with an index in the memory of a GPU; None if it searches on the CPU alone."""
        return None

    def bound(self, index: Index, device: torch.device | str = "cpu") -> BoundEngine:
        """This engine with an index, on ``device`` if it can search there, else on the CPU.

        Raises:
            InputError: the index does not fit into the device's memory, or the engine does not go with the codec.
        """
        if str(device).startswith("cuda"):
            if (there := self.on_device(index, device)) is not None:
                return there
            say_once(
                f"{self} searches on the CPU; on a GPU search=exhaustive can, and search=cascade with nexact=null."
            )
        return OnCPU(self, index)


class OnCPU:
    """An engine with an index, by compiled kernels and numpy."""

    def __init__(self, engine: Engine, index: Index) -> None:
        if engine.needs_centroids and not index.codec.has_centroids:
            raise index.no_centroids()
        self.engine, self.index = engine, index

    def __str__(self) -> str:
        return f"{type(self.engine).__name__} on the CPU"

    def search(self, queries: Sequence[NDArray[np.float32]], k: int) -> list[Found]:
        """As ``BoundEngine.search``."""
        return self.engine.search(self.index, queries, k)

    def rerank(self, query: NDArray[np.float32], positions: NDArray[np.int64], k: int) -> Found:
        """As ``BoundEngine.rerank``."""
        from colbertv2.search.scoring import best_documents, score_documents

        return best_documents(positions, score_documents(self.index, query, positions), k)


@cache
def say_once(message: str) -> None:
    """Print ``message`` to stderr, unless this process has done so."""
    print(message, file=sys.stderr, flush=True)
