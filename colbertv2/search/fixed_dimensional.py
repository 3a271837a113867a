"""MUVERA: one vector per text, whose inner products estimate MaxSim (Dhulipala et al. 2024, arXiv 2405.19504, §2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Interval
from numpy.typing import NDArray

from colbertv2.errors import InputError
from colbertv2.evaluation.ranking import greatest_first, inverse
from colbertv2.indexing.packed import Packed, blocks
from colbertv2.kernels.products import product
from colbertv2.schema import PositiveInt, Seed, checked
from colbertv2.search.document_encoding import DocumentEncoding, mean_of
from colbertv2.search.scoring import Found, best_documents, inner_products

ENCODED_VECTORS = 2**14  # vectors encoded at once
LARGEST_ENCODING = 2**20  # dimensions: 4 MiB per document


@checked
@dataclass(frozen=True)
class FixedDimensionalEncoding(DocumentEncoding):
    """The settings of fixed-dimensional encodings.

    In each of ``repetitions``, random hyperplanes divide the space into 2^``hyperplanes`` partitions (SimHash). A
    query's encoding holds, for each partition, the sum of its vectors there, and a document's encoding the mean. So the
    inner product of both adds up, over query vectors, their similarity to the mean of the document's vectors in the
    same partition. The estimate is the mean over repetitions. Without projections it is at most MaxSim, as a mean is at
    most a maximum, unless an empty partition counts as 0 where all similarities are negative.

    The size of an encoding is ``repetitions`` · 2^``hyperplanes`` · ``projection_dim``, or ``final_dim``. Projections
    here are random signs, divided by the root of the number of dimensions; the authors' code uses sparse ones, with one
    sign per input (Count-Sketch).

    Args:
        repetitions: R_reps in the paper.
        hyperplanes: k_sim in the paper; with 0 there is one partition.
        projection_dim: d_proj in the paper; the vectors of each repetition are projected to it. None leaves them.
        final_dim: the whole encoding is projected to it. None leaves it.
        fill_empty: whether a partition without vectors of a document gets the one whose partition differs in the fewest
            hyperplanes, the first of several. Otherwise it is zero.
        centre: whether to subtract the mean of the documents' vectors before vectors are assigned to partitions, and
            from the documents' vectors. For a model whose vectors all point in similar directions: otherwise few
            partitions are used. The constant that this takes from a query's scores is added again.

    Raises:
        InputError: a value is out of range.

    >>> encoding = FixedDimensionalEncoding(2, 3, None, None, fill_empty=True, centre=False)
    >>> documents = Packed(np.eye(3, 4, dtype=np.float32), np.array([2, 1]))
    >>> index = encoding.index([documents], ["a", "b"], dim=4, seed=0)
    >>> index.find(np.eye(4, dtype=np.float32)[2:3], depth=1).positions.tolist()
    [1]
    """

    repetitions: PositiveInt
    hyperplanes: Annotated[int, Interval(ge=0, le=16)]
    projection_dim: PositiveInt | None
    final_dim: PositiveInt | None
    fill_empty: bool
    centre: bool

    def dimensions(self, dim: int) -> int:
        """The number of dimensions of an encoding of vectors of ``dim`` dimensions."""
        return self.final_dim or self.concatenated(dim)

    def concatenated(self, dim: int) -> int:
        """As ``dimensions``, but before the final projection."""
        return self.repetitions * 2**self.hyperplanes * (self.projection_dim or dim)

    def check(self, dim: int) -> Iterator[str]:
        """Yield the reasons why vectors of ``dim`` dimensions cannot be encoded."""
        if self.projection_dim is not None and self.projection_dim > dim:
            yield (
                f"projection_dim is {self.projection_dim}, but a vector has {dim} dimensions; expected at most that, "
                "or null to leave them."
            )
        if (whole := self.concatenated(dim)) > LARGEST_ENCODING:
            yield (
                f"repetitions, hyperplanes and projection_dim give {whole:,} dimensions; expected at most "
                f"{LARGEST_ENCODING:,}."
            )
        if self.final_dim is not None and self.final_dim > whole:
            yield f"final_dim is {self.final_dim}, but an encoding has {whole} dimensions; lower it, or use null."

    def index(self, shards: Sequence[Packed], doc_ids: list[str], dim: int, seed: Seed) -> FixedDimensionalIndex:
        """Encode documents, in memory; see :meth:`DocumentEncoding.index`.

        Raises:
            InputError: the settings do not fit ``dim``.
        """
        for problem in self.check(dim):
            raise InputError(problem)
        encoder = Encoder(self, dim, mean_of(shards, dim) if self.centre else np.zeros(dim, np.float32), seed)
        encoded, lengths = [np.zeros((0, self.dimensions(dim)), np.float32)], [np.zeros(0, np.int64)]
        for shard in shards:
            lengths.append(shard.lengths.astype(np.int64))
            encoded += encoder.documents(shard)
        return FixedDimensionalIndex(encoder, np.concatenate(encoded), np.flatnonzero(np.concatenate(lengths)), doc_ids)

    def predicted(self, documents: float, vectors: float, queries: float, dim: int) -> tuple[float, float]:
        """Every vector is projected once per repetition, and every query is compared with all encodings."""
        values = documents * self.dimensions(dim)
        return 3e-7 * vectors * self.repetitions + 1e-9 * values * queries, 4 * values


class Encoder:
    """Encodes queries and documents; both need the same hyperplanes and projections.

    Args:
        dim: dimensions of a vector.
        mean: ``[dim]``, subtracted as ``centre`` says.
        seed: of the hyperplanes and projections. The first repetitions are the same however many there are.
    """

    def __init__(self, settings: FixedDimensionalEncoding, dim: int, mean: NDArray[np.float32], seed: int) -> None:
        self.settings, self.mean = settings, mean
        self.width = settings.projection_dim or dim
        planes, projections = [], []
        for repetition in range(settings.repetitions):
            random = np.random.default_rng([seed, repetition])
            planes.append(random.normal(size=(dim, settings.hyperplanes)))
            if settings.projection_dim is not None:
                projections.append(signs(random, (dim, settings.projection_dim)))
        self.planes = np.concatenate(planes, axis=1).astype(np.float32)  # [dim, R · hyperplanes]
        self.projections = np.concatenate(projections, axis=1) if projections else None  # [dim, R · width]
        self.final = None
        if settings.final_dim is not None:
            random = np.random.default_rng([seed, settings.repetitions])
            self.final = signs(random, (settings.concatenated(dim), settings.final_dim))

    def partitions(self, vectors: NDArray[np.float32]) -> NDArray[np.int64]:
        """``[R, n]``: the partition of each of ``vectors [n, dim]`` in each repetition. Bit h: the side of plane h."""
        number = self.settings.hyperplanes
        sides = product(vectors - self.mean, self.planes).reshape(len(vectors), self.settings.repetitions, number) > 0
        return (sides @ (1 << np.arange(number, dtype=np.int64))).T

    def projected(self, vectors: NDArray[np.float32], repetition: int) -> NDArray[np.float32]:
        """``[n, width]``: ``vectors [n, dim]`` with the projection of a repetition."""
        if self.projections is None:
            return vectors
        own = slice(repetition * self.width, (repetition + 1) * self.width)
        return product(vectors, np.ascontiguousarray(self.projections[:, own]))

    def query(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """``[size]``: the encoding of a query ``[Lq, dim]``, divided by the number of repetitions."""
        found = np.zeros((self.settings.repetitions, 2**self.settings.hyperplanes, self.width), np.float32)
        for repetition, partitions in enumerate(self.partitions(vectors)):
            np.add.at(found[repetition], partitions, self.projected(vectors, repetition))
        return self.finished(found.reshape(1, -1))[0] / np.float32(self.settings.repetitions)

    def documents(self, documents: Packed) -> Iterator[NDArray[np.float32]]:
        """Yield ``[D, size]``: the encodings of those documents that have vectors, for one block after another."""
        lengths = documents.lengths.astype(np.int64)
        for first, last in blocks(documents.offsets, ENCODED_VECTORS):
            vectors = documents.vectors[documents.offsets[first] : documents.offsets[last]].astype(np.float32)
            own = lengths[first:last]
            if len(vectors):
                yield self.finished(self.means(vectors, own[own > 0]))

    def means(self, vectors: NDArray[np.float32], lengths: NDArray[np.int64]) -> NDArray[np.float32]:
        """``[D, R · partitions · width]``: encodings before the final projection; ``lengths [D]`` are above 0."""
        number, starts = 2**self.settings.hyperplanes, np.cumsum(lengths) - lengths
        documents = np.repeat(np.arange(len(lengths)), lengths)
        places = np.arange(len(vectors)) - starts[documents]
        centred = vectors - self.mean
        found = np.zeros((len(lengths), self.settings.repetitions, number, self.width), np.float32)
        for repetition, partitions in enumerate(self.partitions(vectors)):
            values = self.projected(centred, repetition)
            groups = documents * number + partitions
            order = np.argsort(groups, kind="stable")
            begins = np.flatnonzero(np.diff(groups[order], prepend=-1))
            filled = groups[order[begins]]
            sums = np.add.reduceat(values[order], begins, axis=0)
            sizes = np.diff(begins, append=len(order)).astype(np.float32)
            of_repetition = np.zeros((len(lengths) * number, self.width), np.float32)
            of_repetition[filled] = sums / sizes[:, None]
            if self.settings.fill_empty:
                apart = differing(partitions, self.settings.hyperplanes)  # [n, partitions]
                nearest = np.minimum.reduceat(apart * len(vectors) + places[:, None], starts, axis=0) % len(vectors)
                empty = np.setdiff1d(np.arange(len(of_repetition)), filled, assume_unique=True)
                owner, partition = np.divmod(empty, number)
                of_repetition[empty] = values[starts[owner] + nearest[owner, partition]]
            found[:, repetition] = of_repetition.reshape(len(lengths), number, self.width)
        return found.reshape(len(lengths), -1)

    def finished(self, encodings: NDArray[np.float32]) -> NDArray[np.float32]:
        """``[n, size]``: ``encodings [n, R · partitions · width]`` with the final projection, if there is one."""
        return encodings if self.final is None else product(encodings, self.final)


def signs(random: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Random signs ``[before, after]``, divided by √after, so that inner products are kept in the mean."""
    return ((2 * random.integers(2, size=shape) - 1) / np.sqrt(shape[1])).astype(np.float32)


def differing(partitions: NDArray[np.int64], hyperplanes: int) -> NDArray[np.int64]:
    """``[n, 2^hyperplanes]``: the number of planes on whose other side each partition lies, from ``partitions [n]``.

    >>> differing(np.array([0, 3]), 2).tolist()
    [[0, 1, 1, 2], [2, 1, 1, 0]]
    """
    numbers = np.arange(2**hyperplanes)
    ones = np.array([number.bit_count() for number in numbers.tolist()])
    return ones[partitions[:, None] ^ numbers]


class FixedDimensionalIndex:
    """The encodings of documents, in memory. Make it with ``FixedDimensionalEncoding.index``.

    Args:
        encoder: encodes queries.
        encodings: float32 ``[D, size]``.
        positions: ``[D]``, the places in ``doc_ids`` of these documents, which are those with vectors.
        doc_ids: of all documents.
    """

    def __init__(
        self, encoder: Encoder, encodings: NDArray[np.float32], positions: NDArray[np.int64], doc_ids: list[str]
    ) -> None:
        self.encoder, self.encodings, self.positions, self.doc_ids = encoder, encodings, positions, doc_ids
        self.dimensions = encodings.shape[1]
        self.ranks = inverse(greatest_first(doc_ids))

    @property
    def bytes_per_document(self) -> float:
        """The size of the encodings, divided by the number of documents, also of those without vectors."""
        return self.encodings.nbytes / len(self.doc_ids)

    def find(self, query: NDArray[np.float32], depth: int) -> Found:
        """The best ``depth`` documents for a query ``[Lq, dim]``; scores are estimates of MaxSim."""
        scores = inner_products(self.encodings, self.encoder.query(query)) + (query @ self.encoder.mean).sum()
        return best_documents(self.positions, scores, depth, self.ranks)
