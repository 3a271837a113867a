"""A cascade over all documents: by centroids, then by residuals where they can matter, then exactly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, NamedTuple

import numpy as np
from annotated_types import Interval
from numpy.typing import NDArray

from colbertv2.schema import Fraction, PositiveInt, checked
from colbertv2.search.engine import BoundEngine, Engine, Found
from colbertv2.search.scoring import best_documents, kept_positions

if TYPE_CHECKING:
    import torch

    from colbertv2.compression.codec import Codec
    from colbertv2.indexing.index import Index
    from colbertv2.search.query_tables import QueryTables


class Refined(NamedTuple):
    """Ascending document positions after the first stage (``scanned``) and the second (``refined``)."""

    scanned: NDArray[np.int64]
    refined: NDArray[np.int64]


@checked
@dataclass(frozen=True)
class Cascade(Engine):
    """Three stages, each over fewer documents and closer to MaxSim over the decoded vectors.

    1. Every document (or, with ``nprobe``, each that has a vector at a probed centroid): each vector stands for its
       centroid, similarities are bytes. The best ``ndocs`` stay.
    2. Residuals: only of tokens whose centroid is within ``centroid_margin`` of the document's best for some query
       vector, and of these only the bytes that carry ``residual_variance_fraction`` of the variance that this query
       sees. The best ``nexact`` stay.
    3. All bytes of all tokens in 16-bit arithmetic find the tokens that can be the best for some query vector; their
       similarities are then computed from the decoded vectors. So the scores are exact whatever the knobs: these
       decide which documents get that far.

    With ``ndocs`` and ``nexact`` null this is exhaustive search. Without the second stage (``nexact=null``) a GPU can
    do all of it; with it, the CPU does, since that stage is work which differs from token to token.

    Args:
        nprobe: centroids per query vector, all if there are fewer; null scans every document.
        ndocs: documents that reach the second stage; null for all.
        centroid_margin: in cosine similarity, 0 to 2.
        residual_variance_fraction: between 0 and 1.
        nexact: documents that reach the third stage, never less than ``k``; null for all.

    Raises:
        InputError: a value is out of range.
    """

    nprobe: PositiveInt | None = None
    ndocs: PositiveInt | None = 512
    centroid_margin: Annotated[float, Interval(ge=0, le=2)] = 0.03
    residual_variance_fraction: Fraction = 0.5
    nexact: PositiveInt | None = 100

    needs_centroids = True

    def probes(self, k: int) -> int | None:
        """Centroids that each query vector probes in a search for ``k`` documents; None where all are scanned."""
        return self.nprobe

    def check(self, codec: Codec, depth: int) -> Iterator[str]:
        """As of every engine; it also needs tables that decoded vectors add up from."""
        yield from super().check(codec, depth)
        if codec.has_centroids and not codec.has_tables:
            yield f"Cascade adds up similarities from tables, but {type(codec).__name__} has none; use search=plaid."

    def on_device(self, index: Index, device: torch.device | str) -> BoundEngine | None:
        """Without the second stage alone."""
        if self.nexact is not None:
            return None
        from colbertv2.search.device_search import DeviceCascade

        return DeviceCascade(index, device, self.nprobe, self.ndocs)

    def search(self, index: Index, queries: Sequence[NDArray[np.float32]], k: int) -> list[Found]:
        """The top ``k`` of each query ``[Lq, dim]``; InputError if the codec has no centroids."""
        from colbertv2.parallel import parallel_map

        return list(parallel_map(lambda query: self.search_one(index, query, k), queries))

    def search_one(self, index: Index, query: NDArray[np.float32], k: int) -> Found:
        """As ``search``, for one query."""
        from colbertv2.search.query_tables import QueryTables

        tables = QueryTables(index, query)
        positions = self.candidates(tables, k).refined
        return best_documents(positions, tables.exact_scores(positions), k, index.ranks)

    def candidates(self, tables: QueryTables, k: int) -> Refined:
        """The documents that are left after each of the first two stages."""
        from colbertv2.search.probing import nearest_centroids

        index = tables.index
        if self.nprobe is None:
            positions = index.full
        else:
            similarities = tables.similarities[:, : tables.num_query_vectors]
            positions = index.inverted(nearest_centroids(similarities, self.nprobe))
        if self.ndocs is not None and len(positions) > self.ndocs:
            scores = tables.centroid_scores(positions)
            positions = kept_positions(positions, scores, max(self.ndocs, k), index.ranks)
        scanned = positions
        if self.nexact is not None and len(positions) > max(self.nexact, k):
            scores = tables.residual_scores(positions, self.centroid_margin, self.residual_variance_fraction)
            positions = kept_positions(positions, scores, max(self.nexact, k), index.ranks)
        return Refined(scanned, positions)
