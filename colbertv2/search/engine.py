"""The interface of search engines."""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from colbertv2.search.scoring import Found, best_documents, score_documents

if TYPE_CHECKING:
    import torch

    from colbertv2.compression.codec import Codec
    from colbertv2.indexing.index import Index
    from colbertv2.search.calibration import Calibration


class BoundEngine(Protocol):
    """An engine bound to an index, on a device. ``str`` describes both, for records."""

    def search(self, queries: Sequence[NDArray[np.float32]], k: int) -> list[Found]:
        """For each query ``[Lq, dim]``, at most ``k`` documents; equal scores are ordered by ``Index.ranks``."""
        ...

    def rerank(self, query: NDArray[np.float32], positions: NDArray[np.int64], k: int) -> Found:
        """The best ``k`` of the documents at ascending ``positions [D]``, by exact MaxSim with ``query [Lq, dim]``."""
        ...


class Engine(ABC):
    """A search method. It holds settings, but no state of a search. A new engine is a subclass and a YAML file.

    The documents that an engine finds must not depend on the device, because the device is not part of an artifact's
    address. They must not depend on the order of the documents in the index either. Therefore, whenever an engine keeps
    the best of some documents, it orders equal scores by ``Index.ranks``, lower ranks first, as trec_eval does.
    ``best_documents`` and ``kept_positions`` in ``search.scoring`` follow this rule.

    >>> class First(Engine):
    ...     def search(self, index, queries, k):
    ...         return [Found(np.arange(k), np.zeros(k, np.float32)) for _ in queries]
    >>> [found.positions.tolist() for found in First().search(None, [np.zeros((1, 2))], k=2)]
    [[0, 1]]
    """

    needs_centroids: ClassVar[bool] = False

    @abstractmethod
    def search(self, index: Index, queries: Sequence[NDArray[np.float32]], k: int) -> list[Found]:
        """For each query ``[Lq, dim]``, at most ``k`` documents; equal scores are ordered by ``Index.ranks``."""

    def probes(self, k: int) -> int | None:
        """The number of centroids that each query vector probes in a search for ``k`` documents; None to scan all."""
        return None

    def calibration(self, index: Index, k: int) -> Calibration | None:
        """What this engine measures on an index before it searches for ``k`` documents; None if nothing."""
        return None

    def settled(self, index: Index, k: int) -> Engine:
        """This engine with the settings that it measures on an index, so that other processes need not measure them."""
        return self

    def check(self, codec: Codec) -> Iterator[str]:
        """Yield the reasons why this engine cannot search an index of ``codec``."""
        if self.needs_centroids and not codec.has_centroids:
            own, name = type(self).__name__, type(codec).__name__
            yield f"{own} probes centroids, but {name} has none; use search=exhaustive or codec=residual."

    def seconds_per_query(self, num_vectors: float, num_centroids: float) -> float:
        """A rough time of one query on two cores of a server, for plans made before such a search has run.

        An engine that probes centroids reads some of the vectors, about as many as the square root of all; any other
        one reads them all, faster from tables of centroids (``num_centroids`` above 0) than decoded.

        >>> class Probing(Engine):
        ...     needs_centroids = True
        ...     def search(self, index, queries, k):
        ...         return []
        >>> Probing().seconds_per_query(1e6, 1e3) < 0.1
        True
        """
        if self.needs_centroids:
            return 3e-5 * math.sqrt(num_vectors)
        return num_vectors * (3e-8 if num_centroids else 2e-7)

    @property
    def uses_gpu(self) -> bool:
        """Whether this engine searches on a GPU if there is one."""
        return type(self).on_device is not Engine.on_device

    def on_device(self, index: Index, device: torch.device | str) -> BoundEngine | None:
        """This engine bound to an index in the memory of a GPU; None if the engine runs only on the CPU."""
        return None

    def bound(self, index: Index, device: torch.device | str = "cpu") -> BoundEngine:
        """Bind this engine to an index, on ``device`` if the engine can run there, else on the CPU.

        Raises:
            InputError: the index does not fit into the device's memory, or the engine cannot search with its codec.
        """
        if str(device).startswith("cuda"):
            if (there := self.on_device(index, device)) is not None:
                return there
            say_once(f"{self} searches on the CPU; docs/guides/devices.md says which engines use a GPU.")
        return OnCPU(self, index)


class OnCPU:
    """An engine bound to an index on the CPU."""

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
        return best_documents(positions, score_documents(self.index, query, positions), k, self.index.ranks)


@cache
def say_once(message: str) -> None:
    """Print ``message`` to stderr, unless this process has printed it already."""
    print(message, file=sys.stderr, flush=True)
