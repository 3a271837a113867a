"""A cascade over all documents: scored by centroids, and the best of them exactly."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
from annotated_types import Interval
from numpy.typing import NDArray

from colbertv2.schema import PositiveInt, checked
from colbertv2.search.engine import BoundEngine, Engine
from colbertv2.search.scoring import Found, kept_positions, nearest_centroids

if TYPE_CHECKING:
    import torch

    from colbertv2.compression.codec import Codec
    from colbertv2.indexing.index import Index
    from colbertv2.search.calibration import Calibration
    from colbertv2.search.query_tables import QueryTables


@checked
@dataclass(frozen=True)
class Cascade(Engine):
    """Search in two stages.

    1. Score every document (with ``nprobe``: every document that has a vector at a probed centroid) with each vector
       replaced by its centroid, and with similarities rounded to bytes. Keep the best ``ndocs``.
    2. Find the best of these as :class:`~colbertv2.search.exhaustive.Exhaustive` does among all documents: estimates
       with a known largest error tell which of them need exact scores. The returned scores are always exact, and so is
       their order; the settings only decide which documents reach this stage.

    With ``nprobe`` and ``ndocs`` null this is exhaustive search.

    Args:
        nprobe: centroids per query vector, or all centroids if there are fewer; null scans every document.
        ndocs: number of documents that reach the second stage, at least ``k``; null for all.
        recall: the share of the exact top ``k`` to find, above 0. Then ``nprobe`` and ``ndocs`` are not used, but
            measured on the index: see :mod:`~colbertv2.search.calibration`. null to use them.

    Raises:
        InputError: a value is out of range.
    """

    nprobe: PositiveInt | None = None
    ndocs: PositiveInt | None = 512
    recall: Annotated[float, Interval(gt=0, le=1)] | None = None

    needs_centroids = True

    @property
    def limits(self) -> tuple[int | None, int | None]:
        """``nprobe`` and ``ndocs``."""
        return self.nprobe, self.ndocs

    def probes(self, k: int) -> int | None:
        """The number of centroids that each query vector probes in a search for ``k`` documents; None to scan all."""
        return self.nprobe

    def check(self, codec: Codec) -> Iterator[str]:
        """As ``Engine.check``; the codec must also have lookup tables."""
        yield from super().check(codec)
        if codec.has_centroids and not codec.has_tables:
            yield f"Cascade needs a codec with lookup tables, but {type(codec).__name__} has none; use search=plaid."

    def seconds_per_query(self, num_vectors: float, num_centroids: float) -> float:
        """As ``Engine.seconds_per_query``; compiled loops over tables are faster than decoding."""
        return 5e-6 * math.sqrt(num_vectors)

    def on_device(self, index: Index, device: torch.device | str) -> BoundEngine:
        """This cascade on a GPU."""
        from colbertv2.search.device_search import DeviceCascade

        return DeviceCascade(index, device, lambda k: self.settled(index, k).limits)

    def search(self, index: Index, queries: Sequence[NDArray[np.float32]], k: int) -> list[Found]:
        """The top ``k`` of each query ``[Lq, dim]``; InputError if the codec has no centroids."""
        from colbertv2.parallel import parallel_map

        if queries and not index.num_centroids:
            raise index.no_centroids()
        settled = self.settled(index, k) if queries else self
        return list(parallel_map(lambda query: settled.search_one(index, query, k), queries))

    def calibration(self, index: Index, k: int) -> Calibration | None:
        """What was measured for ``recall``; None if it is null."""
        from colbertv2.search.calibration import calibration

        return None if self.recall is None else calibration(index, k, self.recall)

    def settled(self, index: Index, k: int) -> Cascade:
        """As ``Engine.settled``: with ``nprobe`` and ``ndocs`` as measured for ``recall``."""
        measured = self.calibration(index, k)
        return self if measured is None else Cascade(measured.best.nprobe, measured.best.ndocs)

    def search_one(self, index: Index, query: NDArray[np.float32], k: int) -> Found:
        """As ``search``, but for one query."""
        from colbertv2.search.query_tables import QueryTables

        tables = QueryTables(index, query)
        return tables.best(self.candidates(tables, k), k)

    def candidates(self, tables: QueryTables, k: int) -> NDArray[np.int64]:
        """The positions, ascending, of the documents that reach the second stage."""
        index = tables.index
        if self.nprobe is None:
            positions = index.full
        else:
            similarities = tables.similarities[:, : tables.num_query_vectors]
            positions = index.inverted(nearest_centroids(similarities, self.nprobe))
        if self.ndocs is not None and len(positions) > self.ndocs:
            scores = tables.centroid_scores(positions)
            positions = kept_positions(positions, scores, max(self.ndocs, k), index.ranks)
        return positions
