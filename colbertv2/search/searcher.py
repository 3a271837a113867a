"""Queries in, ranked document ids out."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from colbertv2.errors import InputError
from colbertv2.indexing.index import Index
from colbertv2.search.engine import Engine, Found, named

NORM_TOLERANCE = 1e-2  # a model that computes in 16 bits is well within


class Searcher:
    """An index, searched by an engine.

    Args:
        index: as ``Index.open`` gives it.
        engine: such as ``Exhaustive``, ``Cascade``, ``Plaid`` or ``VanillaColBERTv2``.
        device: such as ``cuda:0``; moves no score by more than rounding.

    Raises:
        InputError: the index does not fit into the device's memory, or the engine does not go with the codec.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from colbertv2.compression.uncompressed import Float16Codec
    >>> from colbertv2.indexing.embeddings import Embeddings, EmbeddingsWriter
    >>> from colbertv2.search.exhaustive import Exhaustive
    >>> path = Path(tempfile.mkdtemp())
    >>> writer = EmbeddingsWriter(path, dim=2)
    >>> writer.add(["a", "b"], np.eye(2, dtype=np.float32), np.array([1, 1]))
    >>> writer.close()
    >>> index = Index.build(Embeddings.open(path), Float16Codec(), path / "index", seed=0,
    ...     bar=lambda items, *_: items)
    >>> Searcher(index, Exhaustive()).search([np.array([[0, 1]], np.float32)], k=1)
    [[('b', 1.0)]]
    """

    def __init__(self, index: Index, engine: Engine, device: torch.device | str = "cpu") -> None:
        self.index = index
        self.engine = engine.bound(index, device)

    @property
    def path(self) -> str:
        """How queries are searched, for records."""
        return str(self.engine)

    def search(self, queries: Sequence[NDArray[np.float32]], k: int) -> list[list[tuple[str, float]]]:
        """At most ``k`` (document id, score) for each query, best first, of equal scores the greater id first.

        There are fewer only where the engine reaches fewer documents.

        Args:
            queries: float32 arrays ``[Lq, dim]`` with L2-normalised rows.

        Raises:
            InputError: k is below 1, a query is empty, not finite, not normalised or of another dimension than the
                index, or the engine does not go with the codec.
        """
        return [named(one, self.index.doc_ids) for one in self.find(queries, k)]

    def find(self, queries: Sequence[NDArray[np.float32]], k: int) -> list[Found]:
        """As ``search``, by positions, and with what is known of ties (``search.engine.ranking_of``)."""
        if k < 1:
            raise InputError(f"k is {k}; expected at least 1.")
        return [Found(*one) for one in self.engine.search(self.checked(queries), k)]

    def rerank(
        self, queries: Sequence[NDArray[np.float32]], candidates: Sequence[Sequence[str]], k: int
    ) -> list[list[tuple[str, float]]]:
        """The best ``k`` of each query's own candidates (document ids) by exact MaxSim, whatever the engine.

        Candidates without vectors are left out.

        Raises:
            InputError: as in ``search``; not one list of candidates per query, or an id that the index has not.
        """
        return [named(one, self.index.doc_ids) for one in self.find_among(queries, candidates, k)]

    def find_among(
        self, queries: Sequence[NDArray[np.float32]], candidates: Sequence[Sequence[str]], k: int
    ) -> list[Found]:
        """As ``rerank``, by positions, and with what is known of ties (``search.engine.ranking_of``)."""
        from colbertv2.parallel import parallel_map

        if k < 1:
            raise InputError(f"k is {k}; expected at least 1.")
        if len(queries) != len(candidates):
            raise InputError(f"{len(queries)} queries and {len(candidates)} lists of candidates; expected as many.")
        try:
            positions = [np.unique(np.array([self.positions[i] for i in ids], dtype=np.int64)) for ids in candidates]
        except KeyError as error:
            raise InputError(f"Candidate {error} is not in the index {self.index.path}.") from None

        def rerank_one(query_and_own: tuple[NDArray[np.float32], NDArray[np.int64]]) -> Found:
            return Found(*self.engine.rerank(*query_and_own, k))

        return list(parallel_map(rerank_one, zip(self.checked(queries), positions, strict=True)))

    @cached_property
    def positions(self) -> dict[str, int]:
        """Document id → position."""
        return {doc_id: position for position, doc_id in enumerate(self.index.doc_ids)}

    def checked(self, queries: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """The queries as float32, or InputError."""
        for number, query in enumerate(queries):
            if query.ndim != 2 or query.shape[0] == 0 or query.shape[1] != self.index.dim:
                raise InputError(
                    f"Query {number} has shape {list(query.shape)}; expected [at least 1, {self.index.dim}], "
                    "from the model that encoded the index."
                )
            if not np.isfinite(query).all():
                raise InputError(f"Query {number} holds NaN or infinity; check the model that encoded it.")
            norms = np.linalg.norm(query.astype(np.float32), axis=1)
            if (wrong := np.abs(norms - 1) > NORM_TOLERANCE).any():
                row = int(wrong.argmax())
                raise InputError(
                    f"Query {number}, row {row} has norm {norms[row]:.4g}; expected L2-normalised rows. "
                    "Divide each by its norm, and leave out rows of zeros, such as padding."
                )
        return [np.ascontiguousarray(query, dtype=np.float32) for query in queries]
