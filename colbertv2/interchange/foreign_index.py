"""The content of an index, whichever system wrote it: every conversion goes through this form."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from colbertv2.compression.residual import ResidualCodec
from colbertv2.data.readers import Faults, is_id, lines
from colbertv2.errors import InputError
from colbertv2.files import atomic_path
from colbertv2.indexing.building import create_arrays, finish, save_codec, write_block
from colbertv2.indexing.index import Index
from colbertv2.indexing.inverted import Inverted
from colbertv2.indexing.storage import write_ids

DOC_IDS = "doc_ids.txt"
CHUNK_DOCUMENTS = 25_000  # documents per chunk when writing, as in colbert-ai
# How far a centroid's length may be from 1. Both systems normalise centroids and store 16-bit floats, which are off by
# .0002; our centroids in signed bytes are off by .01.
UNIT_TOLERANCE = 0.05


@dataclass(frozen=True)
class ForeignIndex:
    """An index in another system's layout, opened but with its chunks not yet read.

    Args:
        path: its directory.
        codec: the fitted codec.
        lengths: number of vectors of each document, ``[N]`` int32.
        chunks: reads the chunks in order, each as ``codes`` ``[n]`` int32 and ``residuals`` ``[n, dim · bits / 8]``
            uint8.
        documents_of_centroids: the inverted list as stored, (documents, lengths), to compare with the codes; or None.
    """

    path: Path
    codec: ResidualCodec
    lengths: NDArray[np.int32]
    chunks: Callable[[], Iterator[tuple[NDArray[Any], NDArray[Any]]]]
    documents_of_centroids: tuple[NDArray[Any], NDArray[Any]] | None

    @property
    def dim(self) -> int:
        """Number of dimensions of a vector."""
        return self.codec.fitted().dim


def checked_codec(
    path: Path, nbits: int, centroids: NDArray[Any], cutoffs: NDArray[Any], weights: NDArray[Any], average: NDArray[Any]
) -> ResidualCodec:
    """Create the codec of the index in ``path`` and check its tables.

    Args:
        path: the index, for messages.
        nbits: bits per dimension of a residual.
        centroids: ``[C, dim]``, of norm 1.
        cutoffs, weights: limits and values of the residual buckets, ascending: ``[2 ** nbits - 1]``, ``[2 ** nbits]``.
        average: the average absolute residual: one number, or one per dimension.

    Raises:
        InputError: the tables can't come from k-means and quantiles, such as centroids that are not of length 1.
    """
    try:
        codec = ResidualCodec.from_tables(nbits, centroids, cutoffs, weights, float(np.mean(average)))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    off = np.abs(np.linalg.norm(codec.fitted().vectors, axis=1) - 1) > UNIT_TOLERANCE
    if off.any():
        raise InputError(
            f"{path}: {off.sum()} of {len(off)} centroids are not of length 1 (the first is number {off.argmax()}); "
            "the index is damaged, build it again."
        )
    for name, table in (("cut-offs", codec.cutoffs), ("weights", codec.weights)):
        if (np.diff(table) < 0).any():
            raise InputError(f"{path}: the buckets' {name} are {table.tolist()}; expected ascending numbers.")
    if not (np.isfinite(average).all() and (average >= 0).all()):
        raise InputError(f"{path}: the average residual is {average.tolist()}; expected numbers of at least 0.")
    return codec


def checked_counts(file: Path, metadata: Mapping[str, Any], **found: int) -> None:
    """Raise InputError if a count in ``metadata``, read from ``file``, differs from the one ``found`` in the files."""
    for name, count in found.items():
        if name in metadata and metadata[name] != count:
            raise InputError(
                f"{file}: {name} is {metadata[name]!r}, but the files contain {count}; the index is damaged."
            )


def checked_chunks(path: Path, chunks: int) -> None:
    """Raise InputError if the directory has more chunks than the metadata say."""
    numbers = [file.name.split(".")[1] for file in path.glob("doclens.*.json")]
    if beyond := sorted(int(number) for number in numbers if number.isdecimal() and int(number) >= chunks):
        raise InputError(f"{path} has doclens.{beyond[0]}.json, but the metadata say {chunks} chunks; build it again.")


def checked_lengths(path: Path, lengths: Any, vectors: int) -> NDArray[np.int32]:
    """Return documents' lengths from JSON as int32; raise InputError unless they are counts that sum to ``vectors``."""
    if not isinstance(lengths, list) or not all(type(value) is int and 0 <= value < 2**31 for value in lengths):
        raise InputError(f"{path} is not a list of lengths; the index is damaged.")
    if sum(lengths) != vectors:
        raise InputError(f"{path}: lengths sum to {sum(lengths)}, but the chunk has {vectors} vectors by its metadata.")
    return np.array(lengths, dtype=np.int32)


def checked_chunk(
    path: Path, number: int, codes: NDArray[Any], residuals: NDArray[Any], vectors: int, codec: ResidualCodec
) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """Return a chunk's codes as int32 and residuals; raise InputError if they do not fit the metadata or the codec."""
    centroids, width = len(codec.fitted()), codec.fitted().dim * codec.nbits // 8
    if not np.issubdtype(codes.dtype, np.integer):
        raise InputError(f"{path}, chunk {number}: codes are {codes.dtype}; expected whole numbers.")
    if codes.shape != (vectors,):
        raise InputError(f"{path}, chunk {number}: {list(codes.shape)} codes, expected {vectors} by the metadata.")
    if residuals.shape != (vectors, width) or residuals.dtype != np.uint8:
        raise InputError(
            f"{path}, chunk {number}: residuals are {residuals.dtype} {list(residuals.shape)}; "
            f"expected uint8 [{vectors}, {width}] for {codec.fitted().dim} dimensions of {codec.nbits} bits."
        )
    if len(codes) and not 0 <= int(codes.min()) <= int(codes.max()) < centroids:
        raise InputError(
            f"{path}, chunk {number}: codes from {codes.min()} to {codes.max()}; there are {centroids} centroids."
        )
    return codes.astype(np.int32), residuals


def read_doc_ids(file: Path, number: int) -> list[str]:
    """Read ids, one per line; raise InputError unless there are ``number`` different ones without whitespace."""
    faults = Faults(file)
    ids = [line for _, line in lines(file, faults)]
    faults.finish()
    if len(ids) != number or len(set(ids)) != number or not all(map(is_id, ids)):
        raise InputError(
            f"{file} has {len(ids)} ids, {len(set(ids))} different ones; expected {number} different ids without "
            "whitespace, one per line."
        )
    return ids


def import_index(foreign: ForeignIndex, destination: Path, doc_ids: list[str] | None) -> None:
    """Write ``foreign`` in our layout to ``destination``, chunk by chunk.

    Args:
        foreign: the opened index.
        destination: the new directory.
        doc_ids: the documents' ids, in order; None for their numbers from 0.

    Raises:
        InputError: a chunk is damaged, the stored inverted list does not match the codes, or the destination exists.
    """
    lengths = foreign.lengths
    with atomic_path(destination) as out:
        ids = doc_ids or [str(number) for number in range(len(lengths))]
        save_codec(out, foreign.codec)
        create_arrays(out, foreign.codec, foreign.dim, ids, lengths)
        done = 0
        for codes, residuals in foreign.chunks():
            write_block(out, foreign.codec, done, {"codes": codes, "residuals": residuals})
            done += len(codes)
        finish(out, foreign.codec, foreign.dim, lengths, 0)
        if foreign.documents_of_centroids is not None:
            stored, counts = foreign.documents_of_centroids
            ours = Inverted.open(out, len(foreign.codec.fitted()), len(lengths))
            counts = np.trim_zeros(counts, "b")  # fast-plaid may have more or fewer counts than used centroids
            if not np.array_equal(counts, np.trim_zeros(ours.lengths, "b")) or not np.array_equal(
                stored, ours.documents
            ):
                raise InputError(
                    f"{foreign.path}: the inverted list is not that of the codes (documents out of range, or from "
                    "another build); build the index again."
                )


def blocks_of(index: Index) -> Iterator[tuple[int, int]]:
    """Yield the first document of each chunk to write, and the one after its last."""
    for first in range(0, index.num_documents, CHUNK_DOCUMENTS):
        yield first, min(first + CHUNK_DOCUMENTS, index.num_documents)


def own_ids(index: Index, out: Path) -> None:
    """Write the documents' ids to ``doc_ids.txt`` in ``out``, unless they are the numbers that the layout uses."""
    if index.doc_ids != [str(number) for number in range(index.num_documents)]:
        write_ids(out / DOC_IDS, index.doc_ids)
