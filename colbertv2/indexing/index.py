"""The index: encoded token vectors in corpus order, memory-mapped, and inverted lists (ColBERTv2 §3.4)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from colbertv2.artifacts.integrity import check_directory
from colbertv2.compression.clustering.clustering import Clustering
from colbertv2.compression.codec import Arrays, Codec, LookupTables, load_codec
from colbertv2.errors import InputError
from colbertv2.evaluation.ranking import greatest_first, inverse
from colbertv2.files import read_json
from colbertv2.indexing.codes import CODES, PADDING, Codes
from colbertv2.indexing.embeddings import Embeddings
from colbertv2.indexing.packed import Packed, offsets_of, ranges
from colbertv2.indexing.shards import SHARDS
from colbertv2.indexing.storage import open_array, read_ids

if TYPE_CHECKING:
    import torch

    from colbertv2.compression.byte_codebook import ByteCodebook
    from colbertv2.indexing.building import Bar
    from colbertv2.indexing.inverted import Inverted


class Index:
    """An index on disk. Build it with ``Index.build``, or open it with ``Index.open``.

    Documents are identified by their position in the corpus, from 0.

    Attributes:
        path: the directory.
        codec: the fitted codec.
        dim: dimensions of a vector.
        num_documents: number of documents.
        num_vectors: number of vectors.
        num_sampled_documents: number of documents that the codec was fitted on.
        lengths: int32 ``[num_documents]``, the number of vectors of each document.
        offsets: int64 ``[num_documents + 1]``, where each document's vectors begin.
        stored_codes: the centroid of every vector; None for a codec without centroids.
        inverted_list: the documents of every centroid; None for a codec without centroids.
        arrays: all other arrays that the codec stores per vector, by name.
    """

    def __init__(self, path: Path, metadata: dict[str, Any], codec: Codec | None = None) -> None:
        from colbertv2.indexing.building import VERSION
        from colbertv2.indexing.inverted import Inverted

        if metadata["version"] != VERSION:
            raise InputError(f"{path} is an index of version {metadata['version']}, not {VERSION}; build it again.")
        self.path = path
        self.dim: int = metadata["dim"]
        self.num_documents: int = metadata["num_documents"]
        self.num_vectors: int = metadata["num_vectors"]
        self.num_sampled_documents: int = metadata["num_sampled_documents"]
        self.bytes: dict[str, int] = metadata["bytes"]
        for name, expected in self.bytes.items():
            found = (path / name).stat().st_size if (path / name).exists() else None
            if found != expected:
                what = "is missing" if found is None else f"has {found} bytes, expected {expected}"
                raise InputError(f"{path / name} {what}; build the index again.")
        self.codec: Codec = load_codec(path / "codec") if codec is None else codec
        self.check_codec(metadata["arrays"])
        self.lengths = open_array(path / "lengths.npy", None, (self.num_documents,)).astype(np.int32)
        self.offsets = offsets_of(self.lengths)
        if self.offsets[-1] != self.num_vectors:
            raise InputError(f"{path}: lengths sum to {self.offsets[-1]}, not to {self.num_vectors}; build it again.")
        self.arrays = {
            name: open_array(path / f"{name}.npy", kind["dtype"], (self.num_vectors, *kind["shape"]))
            for name, kind in metadata["arrays"].items()
        }
        self.stored_codes: Codes | None = None
        self.inverted_list: Inverted | None = None
        if self.num_centroids:
            self.stored_codes = Codes.open(path / CODES, self.num_vectors, self.num_centroids)
            self.inverted_list = Inverted.open(path, self.num_centroids, self.num_documents)

    def check_codec(self, arrays: dict[str, Any]) -> None:
        """Raise InputError unless the codec matches the index's dimension and the ``arrays`` of ``index.json``."""
        from colbertv2.indexing.building import kinds_of

        if self.codec.centroids is not None and self.codec.centroids.dim != self.dim:
            raise InputError(
                f"{self.path} holds vectors of {self.dim} dimensions and centroids of {self.codec.centroids.dim}; "
                "it is damaged. Build it again."
            )
        found = {name: [kind.dtype.name, *kind.shape[1:]] for name, kind in kinds_of(self.codec, self.dim).items()}
        expected = {name: [kind["dtype"], *kind["shape"]] for name, kind in arrays.items()}
        if found != expected:
            raise InputError(
                f"{self.path / 'index.json'} names the arrays {expected}, but {self.codec!r} reads {found}; the index "
                "is damaged. Build it again."
            )

    @classmethod
    def open(cls, path: Path, codec: Codec | None = None) -> Index:
        """Open a built index. Little is read except the codec and the lengths; the rest is memory-mapped.

        Args:
            codec: its codec, if that is in memory already, so that shards share one; None to load it.

        Raises:
            InputError: the index is still being built, a file is missing or cut short, its size or shape is not as
                ``index.json`` says, or it is kept in shards (``open_index`` opens these too).
        """
        from colbertv2.indexing.building import is_being_built

        path = Path(path)
        if (path / SHARDS).is_file():
            raise InputError(
                f"{path} is an index in shards, each in a directory of its own; expected an index in one piece. Build "
                "it with index_shards=1."
            )
        if not (path / "index.json").exists() and is_being_built(path):
            raise InputError(f"{path / 'index.json'} is missing: another process is building this index; wait for it.")
        if (layout := layout_of(path)) not in (None, "colbertv2"):
            raise InputError(
                f"{path} is an index in the layout {layout}; convert it first: "
                f"python -m colbertv2 convert index {path} <new directory> --to colbertv2"
            )
        check_directory(path, mapped=True)
        metadata = read_json(path / "index.json")
        try:
            return cls(path, metadata, codec)
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path / 'index.json'} does not have the expected content ({error!r}); build the index again."
            ) from None

    @classmethod
    def build(
        cls,
        embeddings: Embeddings,
        codec: Codec,
        out: Path,
        *,
        seed: int,
        bar: Bar,
        clustering: Clustering | None = None,
        queries: NDArray[np.float32] | None = None,
        device: torch.device | str = "cpu",
        devices: Sequence[torch.device | str] | None = None,
    ) -> Index:
        """Fit ``codec`` on sampled documents, encode all documents into the directory ``out``, and open the index.

        Memory is bounded by the sample, and the sample by what k-means can use: ``max_points_per_centroid`` vectors per
        centroid. The index depends neither on how the embeddings are divided into shards nor on ``devices``.

        Args:
            seed: seed of the sample and of k-means.
            bar: wraps an iterable in a progress bar, as ``Runtime.bar`` does.
            clustering: for a codec with centroids; None for the paper's settings.
            queries: vectors ``[n, dim]`` of ``codec.sample_queries()``, if there are any.
            device: device for clustering, and for encoding without ``devices``.
            devices: encode in one process per device; None to encode in this process, on ``device``.

        Raises:
            InputError: there are no vectors, a vector is not L2-normalised, the codec cannot encode their dimension, or
                another process is building an index in ``out``.
        """
        from colbertv2.indexing.building import build

        build(
            embeddings, codec, Path(out), seed=seed, bar=bar, num_shards=1,
            clustering=clustering, queries=queries, device=device, devices=devices,
        )  # fmt: skip
        return cls.open(out)

    @cached_property
    def doc_ids(self) -> list[str]:
        """All document ids, in corpus order; read at first use."""
        return read_ids(self.path / "doc_ids.txt", self.num_documents)

    @property
    def shards(self) -> Sequence[Index]:
        """The indexes that are searched apart: only this one. A ``ShardedIndex`` has several."""
        return (self,)

    @property
    def starts(self) -> NDArray[np.int64]:
        """Where the documents of each of the ``shards`` begin, and where the last ones end."""
        return np.array([0, self.num_documents])

    @cached_property
    def tables(self) -> LookupTables | None:
        """The codec's lookup tables; None if it has none."""
        return self.codec.lookup_tables(self.dim)

    @property
    def residuals(self) -> NDArray[np.uint8]:
        """uint8 ``[num_vectors, M]``: the bytes that the lookup tables decode; M may be 0."""
        if self.tables is None or self.tables.stored is None:
            return np.zeros((0, 0), np.uint8)
        return self.arrays[self.tables.stored]

    @cached_property
    def byte_codebook(self) -> ByteCodebook:
        """The codebook of the lookup tables in bytes."""
        from colbertv2.compression.byte_codebook import ByteCodebook

        assert self.tables is not None
        return ByteCodebook(self.tables.codebook, self.residuals.shape[1])

    @cached_property
    def centroids(self) -> NDArray[np.float32]:
        """The centroids, float32 ``[K, dim]``; raises InputError if the codec has none."""
        if self.codec.centroids is None:
            raise self.no_centroids()
        return self.codec.centroids.vectors

    @property
    def num_centroids(self) -> int:
        """The number of centroids; 0 if the codec has none."""
        return self.codec.num_centroids

    @cached_property
    def codes_or_zeros(self) -> Codes:
        """``stored_codes``; for a codec without centroids, zeros, which take no memory until they are written to."""
        if self.stored_codes is not None:
            return self.stored_codes
        return Codes(np.zeros(self.num_vectors + PADDING, np.uint8), width=1)

    @property
    def bytes_per_vector(self) -> int:
        """Bytes per encoded vector by the codec's formula; ``bytes_per_token`` is measured on disk."""
        return self.codec.bytes_per_vector(self.dim)

    @cached_property
    def factors(self) -> NDArray[np.int16]:
        """int16 ``[num_vectors]``: the loops' cache of 1 / norm, 0 if not yet known; unused pages take no memory."""
        return np.zeros(self.num_vectors, np.int16)

    @cached_property
    def token_lists(self) -> tuple[NDArray[np.unsignedinteger[Any]], NDArray[np.int64]]:
        """The vectors of every centroid: row numbers ``[T]``, ascending within a list, and offsets ``[K + 1]``.

        The lists on disk hold documents; these are made in memory at first use, with 4 bytes per vector.

        Raises:
            InputError: the codec has no centroids.
        """
        from colbertv2.kernels.lists import group_rows

        if self.stored_codes is None:
            raise self.no_centroids()
        codes = self.stored_codes[:]
        rows = np.empty(self.num_vectors, np.uint32 if self.num_vectors <= 2**32 else np.uint64)
        offsets = offsets_of(np.bincount(codes, minlength=self.num_centroids))
        group_rows(codes, offsets, rows)
        return rows, offsets

    @cached_property
    def full(self) -> NDArray[np.int64]:
        """Ascending positions of the documents that have vectors. Search never finds any other document."""
        return np.flatnonzero(self.lengths)

    @cached_property
    def by_rank(self) -> NDArray[np.int64]:
        """``[num_documents]``: positions in descending order of document ids; sorted at first use."""
        return greatest_first(self.doc_ids)

    @cached_property
    def _ranks(self) -> NDArray[np.int32]:
        return inverse(self.by_rank)

    @property
    def ranks(self) -> NDArray[np.int32]:
        """``[num_documents]``: each document's place in ``by_rank``. Among equal scores, the lower rank comes first."""
        return self._ranks

    @property
    def bytes_on_disk(self) -> int:
        """Bytes of all its files: vectors, codec, inverted lists, lengths, document ids."""
        return sum(self.bytes.values()) + (self.path / "index.json").stat().st_size

    @property
    def bytes_per_token(self) -> float:
        """``bytes_on_disk``, divided by the number of vectors."""
        return self.bytes_on_disk / self.num_vectors

    def rows(self, positions: NDArray[np.int64]) -> Any:
        """The row numbers of all vectors of the documents at ``positions``, end to end.

        They are a slice if the positions are consecutive and ascending, else int64 ``[T]``.
        """
        if len(positions) and np.all(np.diff(positions) == 1):
            return slice(int(self.offsets[positions[0]]), int(self.offsets[positions[-1] + 1]))
        return ranges(self.offsets[positions], self.lengths[positions])

    def decode(self, positions: NDArray[np.int64]) -> Packed:
        """Decode the vectors of the documents at ``positions [D]``, in that order, as float32."""
        positions = np.asarray(positions, dtype=np.int64)
        return Packed(self.decode_rows(self.rows(positions)), self.lengths[positions])

    def decode_rows(self, rows: Any) -> NDArray[np.float32]:
        """Decode the vectors at ``rows`` (a slice or ``[n]``) of all vectors: float32 ``[n, dim]``."""
        return self.codec.decode(self.encoded(rows))

    def encoded(self, rows: Any) -> Arrays:
        """The arrays that ``Codec.encode`` returned for the vectors at ``rows`` (a slice or ``[n]``)."""
        arrays = {name: np.asarray(array[rows]) for name, array in self.arrays.items()}
        if self.stored_codes is not None:
            arrays["codes"] = self.stored_codes[rows]
        return arrays

    def codes(self, positions: NDArray[np.int64]) -> NDArray[np.int32]:
        """int32 ``[T]``: the centroids of all vectors of the documents at ``positions``, end to end.

        Raises:
            InputError: the codec has no centroids.
        """
        if self.stored_codes is None:
            raise self.no_centroids()
        return self.stored_codes[self.rows(np.asarray(positions, dtype=np.int64))]

    def inverted(self, centroids: NDArray[Any]) -> NDArray[np.int64]:
        """Ascending positions of the documents that have a vector at any of ``centroids``.

        Raises:
            InputError: the codec has no centroids.
        """
        if self.inverted_list is None:
            raise self.no_centroids()
        return self.inverted_list.documents_of(centroids)

    def no_centroids(self) -> InputError:
        """The error to raise if something needs centroids and the codec has none."""
        return InputError(
            f"{self.codec!r} has no centroids; use the exhaustive engine, or index with a residual codec."
        )


def layout_of(path: Path) -> str | None:
    """The layout of an index by its files: ``colbertv2``, ``official`` or ``fast-plaid``; None if it is no index."""
    for layout, file in {"colbertv2": "index.json", "official": "centroids.pt", "fast-plaid": "centroids.npy"}.items():
        if (path / file).is_file():
            return layout
    return None
