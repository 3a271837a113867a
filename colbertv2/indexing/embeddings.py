"""A collection's token vectors on disk, as uncompressed 16-bit floats: the encoder writes them, indexing reads them."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from colbertv2.artifacts.integrity import check_directory
from colbertv2.data.readers import is_id
from colbertv2.errors import InputError
from colbertv2.files import read_json, write_json
from colbertv2.indexing.packed import Packed, offsets_of
from colbertv2.indexing.storage import open_array, read_ids, read_rows, write_ids

READ_VECTORS = 2**16  # vectors read at once into a sample


class EmbeddingsWriter:
    """Writes embeddings into the directory ``path``, one shard at a time. They can be opened only after ``close``.

    >>> import tempfile
    >>> writer = EmbeddingsWriter(Path(tempfile.mkdtemp()), dim=2)
    >>> writer.add(["a", "b"], np.eye(2, dtype=np.float32), np.array([2, 0]))
    >>> writer.close()
    >>> Embeddings.open(writer.path).doc_ids
    ['a', 'b']
    """

    def __init__(self, path: Path, dim: int) -> None:
        self.path = Path(path)
        self.path.mkdir(parents=True, exist_ok=True)
        self.dim = dim
        self.num_shards = 0

    def add(
        self, doc_ids: Sequence[str], vectors: NDArray[Any], lengths: NDArray[Any], number: int | None = None
    ) -> None:
        """Write a shard of D documents with T vectors in all.

        Args:
            doc_ids: D ids.
            vectors: ``[T, dim]``, stored as float16.
            lengths: ``[D]``, vectors per document; they sum to T.
            number: the shard's number, for a writer of one part; None for the next number.

        Raises:
            InputError: ids, vectors and lengths do not match, an id is empty or contains whitespace, or a value is NaN
                or too large for a 16-bit float.
        """
        lengths = np.asarray(lengths, dtype=np.int32)
        if len(doc_ids) != len(lengths) or vectors.shape != (int(lengths.sum()), self.dim):
            raise InputError(
                f"A shard has {len(doc_ids)} ids, {len(lengths)} lengths of sum {lengths.sum()} and vectors "
                f"{list(vectors.shape)}; expected as many ids as lengths and vectors [{lengths.sum()}, {self.dim}]."
            )
        for doc_id in doc_ids:
            if not is_id(doc_id):
                raise InputError(f"Document id {doc_id!r} is empty or holds whitespace; rename it.")
        vectors = rounded(vectors)
        number = self.num_shards if number is None else number
        np.save(self.path / f"{number}.vectors.npy", vectors)
        np.save(self.path / f"{number}.lengths.npy", lengths)
        write_ids(self.path / f"{number}.ids.txt", doc_ids)
        self.num_shards += 1

    def close(self, parts: Sequence[Path] | None = None) -> None:
        """Write ``doc_ids.txt`` and ``embeddings.json``, which makes the directory complete.

        Args:
            parts: directories of other writers, with one shard each, in their order. The vectors are moved from there,
                and the ids stay, so that this can be repeated if it is interrupted. None if only this writer wrote.
        """
        places = [self.path] * self.num_shards if parts is None else parts
        for number, place in enumerate([] if parts is None else parts):
            for name in (f"{number}.vectors.npy", f"{number}.lengths.npy"):
                if (place / name).exists():
                    (place / name).rename(self.path / name)
        with open(self.path / "doc_ids.txt", "wb") as ids:
            for number, place in enumerate(places):
                ids.write((place / f"{number}.ids.txt").read_bytes())
        if parts is None:
            for number in range(self.num_shards):
                (self.path / f"{number}.ids.txt").unlink()
        lengths = [np.load(self.path / f"{number}.lengths.npy") for number in range(len(places))]
        shards = [{"num_documents": len(one), "num_vectors": int(one.sum())} for one in lengths]
        summary = {
            "dim": self.dim,
            "num_documents": sum(shard["num_documents"] for shard in shards),
            "num_vectors": sum(shard["num_vectors"] for shard in shards),
            "num_shards": len(shards),
            "shards": shards,
        }
        write_json(self.path / "embeddings.json", summary)


class Embeddings:
    """A collection's token vectors. Open them with ``Embeddings.open``; vectors stay on disk until they are read.

    Args:
        shards: ``num_documents`` and ``num_vectors`` of each shard in the directory.

    Attributes:
        path: the directory.
        dim: dimensions of a vector.
        num_documents: number of documents.
        num_vectors: number of vectors.
    """

    def __init__(self, path: Path, dim: int, shards: list[dict[str, int]]):
        self.path = path
        self.dim = dim
        self.sizes = shards
        self.num_documents = sum(shard["num_documents"] for shard in self.sizes)
        self.num_vectors = sum(shard["num_vectors"] for shard in self.sizes)
        self.starts = offsets_of(np.array([shard["num_vectors"] for shard in self.sizes], np.int64))

    @classmethod
    def open(cls, path: Path) -> "Embeddings":
        """Open the directory that ``EmbeddingsWriter`` wrote.

        Raises:
            InputError: a file is missing or cut short, or its shape is not as ``embeddings.json`` says.
        """
        path = Path(path)
        check_directory(path, mapped=True)
        summary = read_json(path / "embeddings.json")
        try:
            embeddings = cls(path, summary["dim"], summary["shards"])
        except (KeyError, TypeError):
            raise InputError(f"{path / 'embeddings.json'} lacks dim or shards; encode again.") from None
        for _ in embeddings.shards():  # opening a shard checks it
            pass
        return embeddings

    @cached_property
    def doc_ids(self) -> list[str]:
        """All document ids, in corpus order; read at first use."""
        return read_ids(self.path / "doc_ids.txt", self.num_documents)

    @cached_property
    def lengths(self) -> NDArray[np.int32]:
        """``[num_documents]``: the number of vectors of each document."""
        lengths = [shard.lengths for shard in self.shards()]
        return np.concatenate([np.zeros(0, np.int32), *lengths], dtype=np.int32)

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """``[num_documents + 1]``: document d has the vectors from ``offsets[d]`` to ``offsets[d + 1]``."""
        return offsets_of(self.lengths)

    def shards(self) -> Iterator[Packed]:
        """Yield the shards in corpus order, with memory-mapped float16 vectors.

        Raises:
            InputError: a file is missing, cut short or inconsistent.
        """
        yield from map(self.shard, range(len(self.sizes)))

    def shard(self, number: int) -> Packed:
        """One of the ``shards``."""
        size = self.sizes[number]
        vectors = open_array(self.path / f"{number}.vectors.npy", "float16", (size["num_vectors"], self.dim))
        lengths = open_array(self.path / f"{number}.lengths.npy", "int32", (size["num_documents"],))
        if int(lengths.sum()) != len(vectors):
            raise InputError(
                f"{self.path}, shard {number}: lengths sum to {lengths.sum()}, not to the {len(vectors)} vectors; "
                "encode again."
            )
        return Packed(vectors, lengths)

    def vectors(self, start: int, end: int) -> NDArray[np.float16]:
        """Read the vectors from ``start`` to ``end`` (at most to the last one) into memory: float16 ``[n, dim]``.

        Raises:
            InputError: a shard has been cut short since it was opened.
        """
        end = min(end, self.num_vectors)
        found = np.empty((end - start, self.dim), np.float16)
        shard = int(np.searchsorted(self.starts, start, side="right")) - 1
        place = start
        while place < end:
            last = min(end, int(self.starts[shard + 1]))
            file = self.path / f"{shard}.vectors.npy"
            own = place - int(self.starts[shard]), last - int(self.starts[shard])
            found[place - start : last - start] = read_rows(file, *own)
            place, shard = last, shard + 1
        return found

    def sample(self, num_documents: int, seed: int, max_vectors: int | None = None) -> Packed:
        """Draw documents as ``drawn`` does; return their float32 vectors in corpus order."""
        chosen = drawn(self.lengths, num_documents, seed, max_vectors)
        lengths = self.lengths[chosen]
        vectors = np.empty((int(lengths.sum()), self.dim), np.float32)
        done = 0
        # One read for each run of adjacent documents.
        for run in np.split(chosen, np.flatnonzero(np.diff(chosen) > 1) + 1):
            start, end = (int(self.offsets[place]) for place in (run[0], run[-1] + 1))
            for first in range(start, end, READ_VECTORS):
                block = self.vectors(first, min(first + READ_VECTORS, end))
                vectors[done : done + len(block)] = block
                done += len(block)
        return Packed(vectors, lengths)


def rounded(vectors: NDArray[Any]) -> NDArray[np.float16]:
    """The vectors as the 16-bit floats that an index is made of.

    Raises:
        InputError: a value is NaN or too large for a 16-bit float.
    """
    with np.errstate(over="ignore"):
        found = vectors.astype(np.float16)
    if not np.isfinite(found).all():
        raise InputError("A vector holds NaN or a value beyond 16-bit floats; expected L2-normalised vectors.")
    return found


def drawn(
    lengths: NDArray[np.int32], num_documents: int, seed: int, max_vectors: int | None = None
) -> NDArray[np.int64]:
    """Draw ``num_documents`` documents without replacement: their positions, ascending.

    Args:
        lengths: the number of vectors of every document.
        max_vectors: draw fewer documents if they would have more vectors in all, but at least one with vectors.
    """
    chosen = np.random.default_rng(seed).choice(len(lengths), num_documents, replace=False)
    if max_vectors is not None:
        total = np.cumsum(lengths[chosen], dtype=np.int64)
        first = int(np.searchsorted(total, 0, side="right")) + 1
        chosen = chosen[: max(first, int(np.searchsorted(total, max_vectors, side="right")))]
    return np.sort(chosen)


def notes_on_empty(lengths: NDArray[Any]) -> list[str]:
    """A note on how many of the documents with ``lengths [D]`` have no vectors; no note if all have some.

    >>> notes_on_empty(np.array([3, 0, 2]))
    ['1 of 3 documents have no text, so no vectors, and are never found.']
    """
    number = int(np.count_nonzero(lengths == 0))
    note = f"{number:,} of {len(lengths):,} documents have no text, so no vectors, and are never found."
    return [note] if number else []
