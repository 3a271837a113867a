"""A cascade over all documents: scored by centroids, then by the most important residuals, then exactly."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, NamedTuple

import numpy as np
from annotated_types import Interval
from numpy.typing import NDArray

from colbertv2.schema import Fraction, PositiveInt, checked
from colbertv2.search.engine import BoundEngine, Engine
from colbertv2.search.scoring import Found, best_documents, kept_positions, nearest_centroids

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
    """Search in three stages. Each stage scores fewer documents and is closer to MaxSim over the decoded vectors.

    1. Score every document (with ``nprobe``: every document that has a vector at a probed centroid) with each vector
       replaced by its centroid, and with similarities rounded to bytes. Keep the best ``ndocs``.
    2. Add residuals, but only of tokens whose centroid is within ``centroid_margin`` of the document's best centroid
       for some query vector. Of these residuals, use only the bytes that carry ``residual_variance_fraction`` of the
       variance of the similarity to this query. Keep the best ``nexact``.
    3. Find the tokens that can be the best for some query vector, with 16-bit arithmetic over all tokens and all bytes.
       Compute their similarities from the decoded vectors. The returned scores are therefore always exact; the settings
       only decide which documents reach this stage.

    With ``ndocs`` and ``nexact`` null this is exhaustive search (if ``nprobe`` is null too). Without the second stage
    (``nexact=null``) it can run on a GPU. With that stage it runs on the CPU, because the work differs between tokens.

    Args:
        nprobe: centroids per query vector, or all centroids if there are fewer; null scans every document.
        ndocs: number of documents that reach the second stage, at least ``k``; null for all.
        centroid_margin: a difference in cosine similarity, 0 to 2.
        residual_variance_fraction: between 0 and 1.
        nexact: number of documents that reach the third stage, at least ``k``; null for all.

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

    @property
    def uses_gpu(self) -> bool:
        """As ``Engine.uses_gpu``; the second stage runs only on the CPU."""
        return self.nexact is None

    def on_device(self, index: Index, device: torch.device | str) -> BoundEngine | None:
        """This cascade on a GPU; None if it has the second stage."""
        if not self.uses_gpu:
            return None
        from colbertv2.search.device_search import DeviceCascade

        return DeviceCascade(index, device, self.nprobe, self.ndocs)

    def search(self, index: Index, queries: Sequence[NDArray[np.float32]], k: int) -> list[Found]:
        """The top ``k`` of each query ``[Lq, dim]``; InputError if the codec has no centroids."""
        from colbertv2.parallel import parallel_map

        if queries and not index.num_centroids:
            raise index.no_centroids()
        return list(parallel_map(lambda query: self.search_one(index, query, k), queries))

    def search_one(self, index: Index, query: NDArray[np.float32], k: int) -> Found:
        """As ``search``, but for one query."""
        from colbertv2.search.query_tables import QueryTables

        tables = QueryTables(index, query)
        positions = self.candidates(tables, k).refined
        return best_documents(positions, tables.exact_scores(positions), k, index.ranks)

    def candidates(self, tables: QueryTables, k: int) -> Refined:
        """The positions, ascending, of the documents that are kept by the first stage, and by the second."""
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
