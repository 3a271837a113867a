"""Encoding documents straight into indexes, so that their vectors are never stored.

What is learned from a sample is the same as with stored embeddings: the numbers of tokens tell how many vectors each
document will have, so the same documents are drawn, and encoded first. The vectors are rounded to 16-bit floats here
too. So the index has the same bytes wherever a text's vectors do not depend on its batch, as on the CPUs where this was
measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from colbertv2.compression.codec import Codec
from colbertv2.errors import InputError
from colbertv2.indexing import building
from colbertv2.indexing.embeddings import drawn, rounded
from colbertv2.indexing.encoding import encode_shard
from colbertv2.indexing.packed import Packed

if TYPE_CHECKING:
    from colbertv2.modeling.colbert import ColBERT


class StreamedEmbeddings:
    """The token vectors of documents, as ``Embeddings`` has them, but encoded whenever they are asked for.

    Args:
        model: encodes the documents.
        documents: ``(id, text)`` of each.
        lengths: ``[num_documents]``, the number of vectors of each document.
        size: documents that are encoded at once; bounds memory.
        batch_tokens: maximum number of tokens in a batch.
        precision: ``32-true``, ``bf16-mixed`` or ``16-mixed``.
        bar: shows progress, as ``Runtime.bar`` does.
    """

    def __init__(
        self,
        model: ColBERT,
        documents: Iterable[tuple[str, str]],
        lengths: NDArray[np.int32],
        *,
        size: int,
        batch_tokens: int,
        precision: str,
        bar: building.Bar,
    ) -> None:
        self.model, self.documents, self.lengths, self.size = model, documents, lengths, size
        self.settings: dict[str, Any] = {"batch_tokens": batch_tokens, "precision": precision, "bar": bar}
        self.dim = model.dim
        self.num_documents = len(lengths)
        self.num_vectors = int(lengths.sum())

    def sample(self, num_documents: int, seed: int, max_vectors: int | None = None) -> Packed:
        """As ``Embeddings.sample``, with the same documents."""
        chosen = drawn(self.lengths, num_documents, seed, max_vectors)
        taken = np.isin(np.arange(self.num_documents), chosen)
        stream = (one for one, wanted in zip(self.documents, taken, strict=True) if wanted)
        lengths, starts = self.lengths[chosen], range(0, len(chosen), self.size)
        vectors, done = np.empty((int(lengths.sum()), self.dim), np.float32), 0
        for number, start in enumerate(starts):
            expected = lengths[start : start + self.size]
            block = self.encode(list(islice(stream, self.size)), expected, number, len(starts))
            vectors[done : done + len(block)] = block
            done += len(block)
        return Packed(vectors, lengths)

    def encode(
        self, documents: Sequence[tuple[str, str]], expected: NDArray[np.int32], number: int, of: int
    ) -> NDArray[np.float16]:
        """The vectors ``[T, dim]`` of some documents, end to end, as 16-bit floats.

        Args:
            expected: the number of vectors of each.
            number, of: the number of these documents among several such lists, for the progress bar.

        Raises:
            InputError: a document has another number of vectors, or a value is NaN or too large for a 16-bit float.
        """
        _, vectors, lengths = encode_shard(self.model, documents, number, of, **self.settings)
        if not np.array_equal(lengths, expected):
            doc_id = documents[int((lengths != expected).argmax())][0]
            raise InputError(
                f"Document {doc_id} has another number of tokens than when they were counted: the collection or the "
                "tokenizer has changed meanwhile. Run the same command again."
            )
        return rounded(vectors)


def write_part(directory: Path, codecs: Mapping[str, Codec], vectors: NDArray[np.float16], device: Any) -> None:
    """Encode ``vectors [T, dim]`` with every codec, each into a subdirectory of its name, for ``building.assemble``.

    Args:
        codecs: those with centroids have the same ones, so the nearest are found only once.
        device: finds the nearest centroids.
    """
    for name, codec in codecs.items():
        (directory / name).mkdir()
        building.shape_arrays(directory / name, codec, vectors.shape[1], len(vectors), padding=0)
    for start in range(0, len(vectors), building.BLOCK_VECTORS):
        block = torch.from_numpy(vectors[start : start + building.BLOCK_VECTORS]).float().numpy()
        nearest = None
        for name, codec in codecs.items():
            if codec.centroids is not None and nearest is None:
                nearest = codec.centroids.nearest(block, device)
            encoded = codec.encode(block, nearest if codec.has_centroids else None)
            building.write_block(directory / name, codec, start, encoded)
