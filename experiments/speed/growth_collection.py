"""Collections of any size that resemble a real one: spans of real documents' vectors, joined, with a little noise."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from colbertv2.errors import InputError
from colbertv2.indexing.embeddings import EmbeddingsWriter
from colbertv2.indexing.packed import Packed, ranges

SHARD_DOCUMENTS = 5000
SPANS = 3  # spans per generated document, each from a document of the source
SHORTEST = 8  # the smallest average length, in vectors


def generate(
    source: Packed, num_documents: int, *, average_length: float, noise: float, seed: int
) -> Iterator[tuple[list[str], NDArray[np.float16], NDArray[np.int32]]]:
    """Generate ids, vectors and lengths shard by shard; a shard depends only on its number and the seed.

    A document has ``SPANS`` spans of consecutive vectors, each from a document of ``source`` that is drawn at random.
    Lengths are uniform between 0.5 and 1.5 times the average, or less if a span is longer than its document. Gaussian
    noise of average length ``noise`` is added to every vector, which is then normalised.

    Args:
        source: float16 or float32 vectors, without empty documents.
        num_documents: the number of documents to generate.
        average_length: vectors per document.
        noise: the average length of the noise; vectors have length 1.
        seed: of everything that is drawn.

    Raises:
        InputError: a value is out of range.

    >>> source = Packed(np.eye(16, dtype=np.float32), np.array([16]))
    >>> [(ids, len(vectors), lengths.tolist()) for ids, vectors, lengths in
    ...     generate(source, 2, average_length=12, noise=0.1, seed=0)]
    [(['0', '1'], 23, [14, 9])]
    """
    if num_documents < 1:
        raise InputError(f"num_documents is {num_documents}; expected at least 1.")
    if average_length < SHORTEST:
        raise InputError(f"average_length is {average_length}; expected at least {SHORTEST}.")
    if not noise >= 0:
        raise InputError(f"noise is {noise}; expected 0 or more.")
    if not len(source) or not source.lengths.all():
        raise InputError("The source has no documents, or empty ones; expected documents with vectors.")
    for number, first in enumerate(range(0, num_documents, SHARD_DOCUMENTS)):
        generator = np.random.default_rng([seed, number])
        size = min(SHARD_DOCUMENTS, num_documents - first)
        lengths = np.round(average_length * generator.uniform(0.5, 1.5, size)).astype(np.int64)
        edges = np.linspace(0, lengths, SPANS + 1).astype(np.int64)  # [SPANS + 1, size]
        wanted = np.diff(edges, axis=0).T.ravel()  # in the order of the documents
        documents = generator.integers(len(source), size=len(wanted))
        spans = np.minimum(wanted, source.lengths[documents])  # the source document may be shorter
        starts = source.offsets[documents] + generator.integers(source.lengths[documents] - spans + 1)
        vectors = source.vectors[ranges(starts, spans)].astype(np.float32)
        scale = noise / np.sqrt(vectors.shape[1])
        vectors += scale * generator.standard_normal(vectors.shape, dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        ids = [str(position) for position in range(first, first + size)]
        yield ids, vectors.astype(np.float16), spans.reshape(size, SPANS).sum(axis=1).astype(np.int32)


def write(source: Packed, path: Path, num_documents: int, *, average_length: float, noise: float, seed: int) -> None:
    """Write the documents of ``generate`` as embeddings to ``path``, shard by shard.

    Raises:
        InputError: a value is out of range, or the disk does not have enough space for them and an index.
    """
    dim = source.vectors.shape[1]
    needed = int(1.6 * num_documents * average_length * dim * 2)
    path.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise InputError(
            f"{path.parent} has {free / 1e9:.1f} GB free, but {num_documents} documents of {average_length:g} vectors "
            f"and their index need about {needed / 1e9:.1f} GB. Free some space, or choose smaller sizes."
        )
    writer = EmbeddingsWriter(path, dim)
    for ids, vectors, lengths in generate(source, num_documents, average_length=average_length, noise=noise, seed=seed):
        writer.add(ids, vectors, lengths)
    writer.close()
