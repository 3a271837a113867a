"""The interface of encodings that turn all vectors of a document into one, as a first stage of search."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from colbertv2.indexing.packed import Packed
from colbertv2.schema import Seed
from colbertv2.search.scoring import Found


class EncodedDocuments(Protocol):
    """The encodings of all documents, in memory.

    Attributes:
        doc_ids: of all documents, also of those without vectors, which are never found.
        dimensions: of an encoding.
    """

    doc_ids: list[str]
    dimensions: int

    @property
    def bytes_per_document(self) -> float:
        """The size of the encodings, divided by the number of documents."""
        ...

    def find(self, query: NDArray[np.float32], depth: int) -> Found:
        """The best ``depth`` documents for a query ``[Lq, dim]``."""
        ...


class DocumentEncoding(ABC):
    """The settings of an encoding. Queries and documents are encoded with the same ones."""

    @abstractmethod
    def check(self, dim: int) -> Iterator[str]:
        """Yield the reasons why vectors of ``dim`` dimensions cannot be encoded."""

    @abstractmethod
    def index(self, shards: Sequence[Packed], doc_ids: list[str], dim: int, seed: Seed) -> EncodedDocuments:
        """Encode documents, in memory.

        Args:
            shards: the vectors of all documents, in the order of ``doc_ids``; they may be memory-mapped.
            dim: dimensions of a vector.
            seed: of everything that is drawn at random.

        Raises:
            InputError: the settings do not fit ``dim``.
        """

    @abstractmethod
    def predicted(self, documents: float, vectors: float, queries: float, dim: int) -> tuple[float, float]:
        """The seconds to encode documents with so many vectors and to find queries, and bytes in memory; for plans."""


def mean_of(shards: Iterable[Packed], dim: int) -> NDArray[np.float32]:
    """``[dim]``: the mean of all vectors; zeros if there are none."""
    total, number = np.zeros(dim), 0
    for shard in shards:
        total += shard.vectors.sum(axis=0, dtype=np.float64)
        number += len(shard.vectors)
    return (total / max(number, 1)).astype(np.float32)
