"""The searcher: it takes encoded queries and returns ranked document ids."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from colbertv2.errors import InputError
from colbertv2.indexing.index import Index
from colbertv2.indexing.sharded_index import ShardedIndex, open_index
from colbertv2.search.engine import Engine
from colbertv2.search.scoring import Found, named
from colbertv2.search.sharded import BoundShards

NORM_TOLERANCE = 1e-2  # models that compute in 16 bits stay well within this


class Searcher:
    """Searches an index with an engine. An index in shards is searched shard by shard, and the results are merged.

    Args:
        index: as ``Index.open`` or ``open_index`` returns it.
        engine: such as ``Exhaustive``, ``Cascade``, ``Plaid`` or ``VanillaColBERTv2``.
        device: such as ``cuda:0``. It changes scores by no more than rounding.

    Raises:
        InputError: the index does not fit into the device's memory, or the engine cannot search with its codec.

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

    def __init__(self, index: Index | ShardedIndex, engine: Engine, device: torch.device | str = "cpu") -> None:
        self.index = index
        whole = len(index.shards) == 1
        self.engine = engine.bound(index.shards[0], device) if whole else BoundShards(engine, index, device)

    @classmethod
    def open(cls, path: Path, engine: Engine, device: torch.device | str = "cpu") -> "Searcher":
        """A searcher of the index in the directory ``path``, in one piece or in shards.

        Raises:
            InputError: as for the class; or there is no complete index at ``path``.
        """
        return cls(open_index(path), engine, device)

    @property
    def path(self) -> str:
        """The engine and its device, for records."""
        return str(self.engine)

    def search(self, queries: Sequence[NDArray[np.float32]], k: int) -> list[list[tuple[str, float]]]:
        """The ``k`` best documents for each query as (document id, score), best first.

        Documents with equal scores are in descending order of ids. There are fewer than ``k`` only if the engine
        reaches fewer documents.

        Args:
            queries: float arrays ``[Lq, dim]`` with L2-normalised rows.

        Raises:
            InputError: ``k`` is below 1; or a query is empty, not finite, not L2-normalised, or its dimension is not
                that of the index.
        """
        return [named(one, self.index.doc_ids) for one in self.find(queries, k)]

    def find(self, queries: Sequence[NDArray[np.float32]], k: int) -> list[Found]:
        """As ``search``, but returns positions instead of ids, and whether the last document is tied."""
        if k < 1:
            raise InputError(f"k is {k}; expected at least 1.")
        return [Found(*one) for one in self.engine.search(self.checked(queries), k)]

    def rerank(
        self, queries: Sequence[NDArray[np.float32]], candidates: Sequence[Sequence[str]], k: int
    ) -> list[list[tuple[str, float]]]:
        """The best ``k`` of each query's own candidates by exact MaxSim, independent of the engine.

        Candidates without vectors are left out.

        Args:
            queries: as for ``search``.
            candidates: a list of document ids for each query.

        Raises:
            InputError: as in ``search``; or there is not one list of candidates per query; or an id is not in the
                index.
        """
        return [named(one, self.index.doc_ids) for one in self.find_among(queries, candidates, k)]

    def find_among(
        self, queries: Sequence[NDArray[np.float32]], candidates: Sequence[Sequence[str]], k: int
    ) -> list[Found]:
        """As ``rerank``, but returns positions instead of ids, and whether the last document is tied."""
        from colbertv2.parallel import parallel_map

        if k < 1:
            raise InputError(f"k is {k}; expected at least 1.")
        if len(queries) != len(candidates):
            raise InputError(
                f"Found {len(queries)} queries and {len(candidates)} lists of candidates; expected one list per query."
            )
        try:
            positions = [np.unique(np.array([self.positions[i] for i in ids], dtype=np.int64)) for ids in candidates]
        except KeyError as error:
            raise InputError(f"Candidate {error} is not in the index {self.index.path}.") from None

        def rerank_one(query_and_own: tuple[NDArray[np.float32], NDArray[np.int64]]) -> Found:
            return Found(*self.engine.rerank(*query_and_own, k))

        return list(parallel_map(rerank_one, zip(self.checked(queries), positions, strict=True)))

    @cached_property
    def positions(self) -> dict[str, int]:
        """A dictionary from document id to position."""
        return {doc_id: position for position, doc_id in enumerate(self.index.doc_ids)}

    def checked(self, queries: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """Check the queries and return them as contiguous float32 arrays.

        Raises:
            InputError: as in ``search``.
        """
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
                    "Divide each row by its norm, and leave out rows of zeros, such as padding."
                )
        return [np.ascontiguousarray(query, dtype=np.float32) for query in queries]
