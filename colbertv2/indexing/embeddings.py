"""Token vectors of a collection on disk, 16-bit and uncompressed: what encoding writes and indexing reads."""

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
from colbertv2.indexing.storage import open_array, read_ids, read_rows

READ_VECTORS = 2**16  # read at once into a sample


class EmbeddingsWriter:
    """Writes one shard at a time into the directory ``path``; without ``close`` it can't be opened.

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
        """Write a shard: D ids, ``vectors [T, dim]`` (kept as float16) and ``lengths [D]`` summing to T.

        Args:
            number: of the shard, where several processes write; else the next one.

        Raises:
            InputError: the three do not belong together, an id is empty or holds whitespace, or a value is no 16-bit
                float.
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
        with np.errstate(over="ignore"):
            vectors = vectors.astype(np.float16)
        if not np.isfinite(vectors).all():
            raise InputError("A vector holds NaN or a value beyond 16-bit floats; expected L2-normalised vectors.")
        number = self.num_shards if number is None else number
        np.save(self.path / f"{number}.vectors.npy", vectors)
        np.save(self.path / f"{number}.lengths.npy", lengths)
        (self.path / f"{number}.ids.txt").write_text("".join(f"{doc_id}\n" for doc_id in doc_ids), encoding="utf-8")
        self.num_shards += 1

    def close(self, num_shards: int | None = None) -> None:
        """Write ``doc_ids.txt`` and ``embeddings.json``, which makes the directory complete.

        Args:
            num_shards: that all processes have written; else as many as this writer did.
        """
        numbers = range(self.num_shards if num_shards is None else num_shards)
        with open(self.path / "doc_ids.txt", "wb") as ids:
            for number in numbers:
                part = self.path / f"{number}.ids.txt"
                ids.write(part.read_bytes())
                part.unlink()
        lengths = [np.load(self.path / f"{number}.lengths.npy") for number in numbers]
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
    """Opened by ``Embeddings.open``; the vectors stay on disk until they are read.

    Args:
        shards: ``num_documents`` and ``num_vectors`` of each in the directory.

    Attributes:
        path, dim, num_documents, num_vectors.
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
            InputError: a file is missing, cut short, or of another shape than ``embeddings.json`` says.
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
        """``[num_documents]`` vectors in each document."""
        lengths = [shard.lengths for shard in self.shards()]
        return np.concatenate([np.zeros(0, np.int32), *lengths], dtype=np.int32)

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """``[num_documents + 1]``: document d has the vectors from ``offsets[d]`` to ``offsets[d + 1]``."""
        return offsets_of(self.lengths)

    def shards(self) -> Iterator[Packed]:
        """The shards in corpus order, with memory-mapped float16 vectors."""
        for number, size in enumerate(self.sizes):
            vectors = open_array(self.path / f"{number}.vectors.npy", "float16", (size["num_vectors"], self.dim))
            lengths = open_array(self.path / f"{number}.lengths.npy", "int32", (size["num_documents"],))
            if int(lengths.sum()) != len(vectors):
                raise InputError(f"{self.path}, shard {number}: lengths sum to {lengths.sum()}, not {len(vectors)}.")
            yield Packed(vectors, lengths)

    def vectors(self, start: int, end: int) -> NDArray[np.float16]:
        """The vectors from ``start`` to ``end``, or to the last, across shards: float16 ``[n, dim]``, read into memory.

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
        """``num_documents`` documents drawn without replacement, in corpus order, as float32.

        Args:
            max_vectors: drawing ends before there are more, but not before the first document with any.
        """
        chosen = np.random.default_rng(seed).choice(self.num_documents, num_documents, replace=False)
        if max_vectors is not None:
            drawn = np.cumsum(self.lengths[chosen], dtype=np.int64)
            first = int(np.searchsorted(drawn, 0, side="right")) + 1
            chosen = chosen[: max(first, int(np.searchsorted(drawn, max_vectors, side="right")))]
        chosen.sort()
        lengths = self.lengths[chosen]
        vectors = np.empty((int(lengths.sum()), self.dim), np.float32)
        done = 0
        # One read for all documents that follow one another.
        for run in np.split(chosen, np.flatnonzero(np.diff(chosen) > 1) + 1):
            start, end = (int(self.offsets[place]) for place in (run[0], run[-1] + 1))
            for first in range(start, end, READ_VECTORS):
                block = self.vectors(first, min(first + READ_VECTORS, end))
                vectors[done : done + len(block)] = block
                done += len(block)
        return Packed(vectors, lengths)


def notes_on_empty(lengths: NDArray[Any]) -> list[str]:
    """How many of the documents with ``lengths [D]`` have no vectors, in one sentence; nothing where all have.

    >>> notes_on_empty(np.array([3, 0, 2]))
    ['1 of 3 documents have no text, so no vectors, and are never found.']
    """
    number = int(np.count_nonzero(lengths == 0))
    note = f"{number:,} of {len(lengths):,} documents have no text, so no vectors, and are never found."
    return [note] if number else []
