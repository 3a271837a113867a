"""An index in shards: several indexes of consecutive documents, with one codec beside them.

So an index can be larger than the disk or the memory of one machine: each shard is built, kept and searched apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from colbertv2.artifacts.integrity import check_directory
from colbertv2.artifacts.node import Node
from colbertv2.compression.codec import Codec, load_codec
from colbertv2.errors import InputError
from colbertv2.evaluation.ranking import greatest_first, inverse
from colbertv2.files import read_json
from colbertv2.indexing.building import build
from colbertv2.indexing.embeddings import Embeddings, notes_on_empty
from colbertv2.indexing.index import Index
from colbertv2.indexing.packed import offsets_of
from colbertv2.indexing.shards import SHARDS

if TYPE_CHECKING:
    import torch

    from colbertv2.compression.clustering.clustering import Clustering
    from colbertv2.indexing.building import Bar


class ShardedIndex:
    """Several indexes that are one. Build it with ``ShardedIndex.build``, or open it with ``ShardedIndex.open``.

    The documents of each shard follow those of the one before. Vectors stay on disk, as those of an ``Index``.

    Args:
        path: the directory.
        shards: the indexes, at least one, with the same codec.

    Attributes:
        codec, dim, num_documents, num_vectors, num_sampled_documents: as those of an ``Index``.
        starts: int64 ``[len(shards) + 1]``, the position of the first document of each shard.
    """

    def __init__(self, path: Path, shards: Sequence[Index]) -> None:
        self.path, self.shards = path, tuple(shards)
        self.codec: Codec = shards[0].codec
        self.dim = shards[0].dim
        self.num_sampled_documents = shards[0].num_sampled_documents
        self.starts = offsets_of(np.array([shard.num_documents for shard in shards]))
        self.num_documents = int(self.starts[-1])
        self.num_vectors = sum(shard.num_vectors for shard in shards)

    @classmethod
    def open(cls, path: Path) -> ShardedIndex:
        """Open all shards in the directory ``path``.

        Raises:
            InputError: as for ``Index.open``.
        """
        path = Path(path)
        check_directory(path, mapped=True)
        number = read_json(path / SHARDS).get("num_shards")
        if not isinstance(number, int) or number < 1:
            raise InputError(f"{path / SHARDS} has num_shards {number!r}, expected a number; build the index again.")
        codec = load_codec(path / "codec")
        return cls(path, [Index.open(path / str(shard), codec) for shard in range(number)])

    @classmethod
    def build(
        cls,
        embeddings: Embeddings,
        codec: Codec,
        out: Path,
        *,
        num_shards: int,
        seed: int,
        bar: Bar,
        clustering: Clustering | None = None,
        queries: NDArray[np.float32] | None = None,
        device: torch.device | str = "cpu",
        devices: Sequence[torch.device | str] | None = None,
    ) -> ShardedIndex:
        """Build an index in at least two shards; the codec is that which an index in one piece would have.

        Args:
            num_shards: how many.

        Raises:
            InputError: as for ``Index.build``, whose other arguments these are; or ``num_shards`` is below 2 or above
                the number of documents.
        """
        if num_shards < 2:
            raise InputError(f"num_shards is {num_shards}, expected at least 2; use Index.build for one piece.")
        build(
            embeddings, codec, Path(out), seed=seed, bar=bar, num_shards=num_shards,
            clustering=clustering, queries=queries, device=device, devices=devices,
        )  # fmt: skip
        return cls.open(out)

    @cached_property
    def doc_ids(self) -> list[str]:
        """All document ids, in corpus order; read at first use."""
        return [doc_id for shard in self.shards for doc_id in shard.doc_ids]

    @cached_property
    def lengths(self) -> NDArray[np.int32]:
        """int32 ``[num_documents]``, the number of vectors of each document."""
        return np.concatenate([shard.lengths for shard in self.shards])

    @cached_property
    def ranks(self) -> NDArray[np.int32]:
        """As ``Index.ranks``, over the documents of all shards."""
        return inverse(greatest_first(self.doc_ids))

    @property
    def num_centroids(self) -> int:
        """As ``Index.num_centroids``."""
        return self.codec.num_centroids

    @property
    def bytes_per_vector(self) -> int:
        """As ``Index.bytes_per_vector``."""
        return self.codec.bytes_per_vector(self.dim)

    @property
    def bytes_per_token(self) -> float:
        """Bytes on disk of the codec and of all shards, divided by the number of vectors."""
        files = [self.path / SHARDS, *(self.path / "codec").iterdir()]
        shards = sum(shard.bytes_on_disk for shard in self.shards)
        return (shards + sum(file.stat().st_size for file in files)) / self.num_vectors


def open_index(path: Path) -> Index | ShardedIndex:
    """Open an index, in one piece or in shards; raises InputError as ``Index.open`` does."""
    return ShardedIndex.open(path) if (Path(path) / SHARDS).is_file() else Index.open(path)


def open_shard(path: Path, number: int) -> Index:
    """Open only one shard; an index in one piece is its own only shard.

    Raises:
        InputError: as for ``Index.open``.
    """
    if not (path / SHARDS).is_file():
        return Index.open(path)
    check_directory(path, mapped=True)
    return Index.open(path / str(number), load_codec(path / "codec"))


def statistics_of(index: Index | ShardedIndex) -> dict[str, Any]:
    """What ``statistics.json`` says of an index: its codec and its size.

    ``bytes_per_token`` is the papers' figure, the size of one compressed vector with a centroid id of four bytes.
    ``index_bytes_per_token`` and ``bytes_per_document`` count all files of the index, in which ids take less space.
    """
    return {
        "codec": index.codec.label,
        "num_documents": index.num_documents,
        "num_vectors": index.num_vectors,
        "num_centroids": index.num_centroids,
        "bytes_per_token": index.bytes_per_vector,
        "index_bytes_per_token": index.bytes_per_token,
        "bytes_per_document": index.bytes_per_token * index.num_vectors / index.num_documents,
        "notes": [*index.codec.notes, *notes_on_empty(index.lengths)],
    }


def analysis_problems(index: Node) -> Iterator[str]:
    """Why a stage that reads an index in one piece, and the vectors it was made of, cannot read this one."""
    if index.bound.get("num_shards", 1) > 1:
        yield "the index is in shards, but this stage needs it in one piece; set index_shards=1."
    if "without_vectors" in index.stage.provides:
        yield "the vectors that the index was made of are not kept, but this stage needs them; use another pipeline."
