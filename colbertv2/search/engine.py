"""What every search engine offers, and what a search returns."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from colbertv2.evaluation.ranking import Ranking

if TYPE_CHECKING:
    import torch

    from colbertv2.compression.codec import Codec
    from colbertv2.indexing.index import Index


class Found(NamedTuple):
    """What a search for ``k`` documents found.

    Args:
        positions, scores: best first; of equal scores the document of the lower rank (``Index.ranks``) first.
        tied: whether a document that was left out for want of room has the last one's score.
    """

    positions: NDArray[np.int64]
    scores: NDArray[np.float32]
    tied: bool = False


def named(found: Found, doc_ids: Sequence[str]) -> list[tuple[str, float]]:
    """What was found as (document id, score)."""
    rows: Iterable[tuple[int, float]] = zip(found.positions.tolist(), found.scores.tolist(), strict=True)
    return [(doc_ids[place], score) for place, score in rows]


def ranking_of(found: Mapping[str, Found], doc_ids: Sequence[str]) -> Ranking:
    """Query id → what was found, as a ranking."""
    results = {query_id: named(one, doc_ids) for query_id, one in found.items()}
    return Ranking(results, [query_id for query_id, one in found.items() if one.tied])


class BoundEngine(Protocol):
    """An engine with an index, on a device; ``str`` says which, for records."""

    def search(self, queries: Sequence[NDArray[np.float32]], k: int) -> list[Found]:
        """For each query ``[Lq, dim]`` at most ``k`` positions and scores; of equal ones by ``Index.ranks``."""
        ...

    def rerank(self, query: NDArray[np.float32], positions: NDArray[np.int64], k: int) -> Found:
        """The best ``k`` of the documents at ascending ``positions [D]`` for one query, by exact MaxSim."""
        ...


class Engine(ABC):
    """A way to search; holds its knobs, and nothing of a search. A new engine is a subclass and a YAML file.

    What an engine finds must not depend on the device, since the device is no part of an address. Nor may it depend on
    the order in which documents were indexed: wherever an engine keeps the best of some documents, the first of equal
    ones is that of the lower rank in ``Index.ranks``, which is trec_eval's rule. ``search.scoring`` keeps to it
    (``best_documents``, ``kept_positions``).

    >>> class First(Engine):
    ...     def search(self, index, queries, k):
    ...         return [Found(np.arange(k), np.zeros(k, np.float32)) for _ in queries]
    >>> [found.positions.tolist() for found in First().search(None, [np.zeros((1, 2))], k=2)]
    [[0, 1]]
    """

    needs_centroids: ClassVar[bool] = False

    @abstractmethod
    def search(self, index: Index, queries: Sequence[NDArray[np.float32]], k: int) -> list[Found]:
        """For each query ``[Lq, dim]`` at most ``k`` positions and scores; of equal ones by ``Index.ranks``."""

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

        return best_documents(positions, score_documents(self.index, query, positions), k, self.index.ranks)


@cache
def say_once(message: str) -> None:
    """Print ``message`` to stderr, unless this process has done so."""
    print(message, file=sys.stderr, flush=True)
