"""SMVE: one sparse vector per text, made of its token vectors, for an inverted index (Spisak and Galovic 2026).

The method is that of the post "SMVE: Multi-Vector Retrieval That Just Works" (TopK, 2026-03-11): vectors are projected
onto random unit vectors, the anchors; each keeps its largest projections; a query adds them up anchor by anchor, and a
document takes their mean. We know these steps from two independent implementations that follow the post
(superlinked/sie and smve-lab). Their numbers of anchors are not ours, and centring is smve-lab's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from colbertv2.compression.clustering.kmeans import normalised
from colbertv2.errors import InputError
from colbertv2.evaluation.ranking import greatest_first, inverse
from colbertv2.indexing.packed import Packed, blocks
from colbertv2.kernels.products import product
from colbertv2.schema import PositiveInt, Seed, checked
from colbertv2.search.document_encoding import DocumentEncoding, mean_of
from colbertv2.search.scoring import Found, best_documents

if TYPE_CHECKING:
    from scipy.sparse import csr_array

ENCODED_VECTORS = 2**14  # vectors of documents that are encoded at once
PROJECTED_VALUES = 2**24  # projections held at once: 64 MiB
LARGEST_ANCHORS = 2**20


@checked
@dataclass(frozen=True)
class SparseEncoding(DocumentEncoding):
    """The settings of sparse encodings.

    The score of a document is the inner product of both encodings: a sum over the anchors that a vector of the query
    and a vector of the document both keep. It only ranks, as it has another scale than MaxSim. Documents without such
    an anchor are never found.

    Args:
        anchors: number of anchors, random unit vectors; the dimensions of an encoding.
        kept: how many anchors each vector keeps, those with the largest projections.
        pooling: what a document's encoding holds of the projections that its vectors keep of one anchor: their
            ``mean``, as in the implementations above, ``sum`` or ``max``. Queries always hold the sum.
        centre: whether to subtract the mean of the documents' vectors from all vectors, of queries too, and to scale
            them to length 1 again. For a model whose vectors all point in similar directions, so that all keep the same
            few anchors.

    Raises:
        InputError: a value is out of range.

    >>> encoding = SparseEncoding(anchors=64, kept=4, pooling="mean", centre=False)
    >>> documents = Packed(np.eye(3, 4, dtype=np.float32), np.array([2, 1]))
    >>> index = encoding.index([documents], ["a", "b"], dim=4, seed=0)
    >>> index.find(np.eye(4, dtype=np.float32)[2:3], depth=1).positions.tolist()
    [1]
    """

    anchors: PositiveInt
    kept: PositiveInt
    pooling: Literal["mean", "sum", "max"]
    centre: bool

    def __post_init__(self) -> None:
        if self.anchors > LARGEST_ANCHORS:
            raise InputError(f"anchors is {self.anchors:,}; expected at most {LARGEST_ANCHORS:,}.")
        if self.kept > self.anchors:
            raise InputError(f"kept is {self.kept}, but there are {self.anchors} anchors; expected at most that.")

    def check(self, dim: int) -> Iterator[str]:
        """Nothing: any vectors can be encoded."""
        yield from ()

    def index(self, shards: Sequence[Packed], doc_ids: list[str], dim: int, seed: Seed) -> SparseIndex:
        """Encode documents into an inverted index, in memory; see :meth:`DocumentEncoding.index`."""
        from scipy.sparse import vstack

        encoder = SparseEncoder(self, dim, mean_of(shards, dim), seed)
        encoded = [one for shard in shards for one in encoder.documents(shard)]
        return SparseIndex(encoder, vstack([encoder.rows([], [], [0]), *encoded]).T.tocsr(), doc_ids)

    def predicted(self, documents: float, vectors: float, queries: float, dim: int) -> tuple[float, float]:
        """Every vector is compared with all anchors; a query reads the lists of the anchors that it keeps."""
        entries = vectors * self.kept  # at most, if no two vectors of a document keep the same anchor
        projections = (vectors + 32 * queries) * self.anchors * (1e-9 + 2e-11 * dim)
        return projections + 1e-7 * entries + 1e-9 * queries * 32 * self.kept / self.anchors * entries, 16 * entries


class SparseEncoder:
    """Encodes queries and documents with the same anchors.

    Args:
        dim: dimensions of a vector.
        mean: ``[dim]``, the mean of the documents' vectors, for centring.
        seed: of the anchors.
    """

    def __init__(self, settings: SparseEncoding, dim: int, mean: NDArray[np.float32], seed: int) -> None:
        self.settings, self.mean = settings, mean
        drawn = np.random.default_rng(seed).normal(size=(dim, settings.anchors))
        self.anchors = (drawn / np.linalg.norm(drawn, axis=0)).astype(np.float32)  # [dim, anchors]

    def activations(self, vectors: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The anchors that each of ``vectors [n, dim]`` keeps, and its projections onto them, ``[n, kept]`` both."""
        import torch

        if self.settings.centre:
            vectors = normalised(vectors - self.mean)
        size, places, values = max(1, PROJECTED_VALUES // self.settings.anchors), [], []
        for first in range(0, len(vectors), size):
            projections = product(vectors[first : first + size], self.anchors)
            largest = torch.topk(torch.from_numpy(projections), self.settings.kept)
            places.append(largest.indices.numpy())
            values.append(largest.values.numpy())
        return np.concatenate(places), np.concatenate(values)

    def pooled(self, vectors: NDArray[np.float32], lengths: NDArray[np.integer[Any]], pooling: str) -> csr_array:
        """The encodings ``[D, anchors]`` of D texts, from ``vectors [T, dim]`` and their ``lengths [D]``."""
        anchors = self.settings.anchors
        if not len(vectors):
            return self.rows([], [], np.zeros(len(lengths) + 1, np.int64))
        places, values = self.activations(vectors)
        entries = (np.repeat(np.arange(len(lengths)), lengths)[:, None] * anchors + places).ravel()
        order = np.argsort(entries, kind="stable")
        begins = np.flatnonzero(np.diff(entries[order], prepend=-1))
        reduced = (np.maximum if pooling == "max" else np.add).reduceat(values.ravel()[order], begins)
        if pooling == "mean":
            reduced /= np.diff(begins, append=len(order)).astype(np.float32)
        texts, columns = np.divmod(entries[order][begins], anchors)
        return self.rows(reduced, columns, np.searchsorted(texts, np.arange(len(lengths) + 1)))

    def rows(self, values: Any, columns: Any, starts: Any) -> csr_array:
        """A sparse float32 matrix ``[D, anchors]`` from its parts, ``starts [D + 1]``."""
        from scipy.sparse import csr_array

        shape = (len(starts) - 1, self.settings.anchors)
        return csr_array(
            (np.asarray(values, np.float32), np.asarray(columns, np.int32), np.asarray(starts, np.int32)), shape=shape
        )

    def query(self, vectors: NDArray[np.float32]) -> csr_array:
        """``[1, anchors]``: the encoding of a query ``[Lq, dim]``."""
        return self.pooled(vectors, np.array([len(vectors)]), "sum")

    def documents(self, documents: Packed) -> Iterator[csr_array]:
        """Yield ``[D, anchors]``: the encodings of the documents, one block after another."""
        for first, last in blocks(documents.offsets, ENCODED_VECTORS):
            vectors = documents.vectors[documents.offsets[first] : documents.offsets[last]].astype(np.float32)
            yield self.pooled(vectors, documents.lengths[first:last].astype(np.int64), self.settings.pooling)


class SparseIndex:
    """An inverted index: for each anchor, the documents that keep it. Make it with ``SparseEncoding.index``.

    Args:
        encoder: encodes queries.
        lists: ``[anchors, D]``, the transposed encodings of the documents.
        doc_ids: of all documents.
    """

    def __init__(self, encoder: SparseEncoder, lists: csr_array, doc_ids: list[str]) -> None:
        self.encoder, self.lists, self.doc_ids = encoder, lists, doc_ids
        self.dimensions = encoder.settings.anchors
        self.ranks = inverse(greatest_first(doc_ids))

    @property
    def bytes_per_document(self) -> float:
        """The size of the lists, divided by the number of documents; the anchors are drawn again from the seed."""
        return sum(part.nbytes for part in (self.lists.data, self.lists.indices, self.lists.indptr)) / len(self.doc_ids)

    def find(self, query: NDArray[np.float32], depth: int) -> Found:
        """The best ``depth`` documents for a query ``[Lq, dim]``; fewer if fewer share an anchor with it."""
        scores: Any = self.encoder.query(query) @ self.lists  # a sparse [1, D]
        return best_documents(scores.indices.astype(np.int64), scores.data, depth, self.ranks)
