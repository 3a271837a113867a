"""What an index says, whichever system wrote it: the meeting point of the layouts that can be converted."""

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
from colbertv2.indexing.building import create_arrays, finish, write_block
from colbertv2.indexing.index import Index
from colbertv2.indexing.inverted import Inverted

DOC_IDS = "doc_ids.txt"
CHUNK_DOCUMENTS = 25_000  # of a chunk that is written, as officially
# Of a centroid's length from 1. Both systems normalise centroids and store 16-bit floats, which are off by .0002; ours
# of signed bytes by .01.
UNIT_TOLERANCE = 0.05


@dataclass(frozen=True)
class ForeignIndex:
    """An index in another system's layout, opened but not read.

    Args:
        codec: fitted. lengths: ``[N]`` vectors of each document.
        chunks: reads ``codes`` int32 ``[n]`` and ``residuals`` uint8 ``[n, dim · bits / 8]``, chunk by chunk in order.
        documents_of_centroids: the inverted list as stored, (documents, lengths), to be compared with the codes.
    """

    path: Path
    codec: ResidualCodec
    lengths: NDArray[np.int32]
    chunks: Callable[[], Iterator[tuple[NDArray[Any], NDArray[Any]]]]
    documents_of_centroids: tuple[NDArray[Any], NDArray[Any]] | None

    @property
    def dim(self) -> int:
        return self.codec.fitted().dim


def checked_codec(
    path: Path, nbits: int, centroids: NDArray[Any], cutoffs: NDArray[Any], weights: NDArray[Any], average: NDArray[Any]
) -> ResidualCodec:
    """The codec of the index in ``path``, or InputError where its tables are none that k-means and quantiles give.

    Args:
        average: of the absolute residuals, one number or one a dimension.
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
    """InputError unless ``metadata``, read from ``file``, say what was ``found`` in the files, where they say it."""
    for name, count in found.items():
        if name in metadata and metadata[name] != count:
            raise InputError(f"{file}: {name} is {metadata[name]!r}, but the files hold {count}; the index is damaged.")


def checked_chunks(path: Path, chunks: int) -> None:
    """InputError if there are chunks beyond the number in the metadata."""
    numbers = [file.name.split(".")[1] for file in path.glob("doclens.*.json")]
    if beyond := sorted(int(number) for number in numbers if number.isdecimal() and int(number) >= chunks):
        raise InputError(f"{path} has doclens.{beyond[0]}.json, but the metadata say {chunks} chunks; build it again.")


def checked_lengths(path: Path, lengths: Any, vectors: int) -> NDArray[np.int32]:
    """Lengths of documents as read from JSON; InputError unless they are counts that sum to ``vectors``."""
    if not isinstance(lengths, list) or not all(type(value) is int and 0 <= value < 2**31 for value in lengths):
        raise InputError(f"{path} holds no list of lengths; the index is damaged.")
    if sum(lengths) != vectors:
        raise InputError(f"{path}: lengths sum to {sum(lengths)}, but the chunk has {vectors} vectors by its metadata.")
    return np.array(lengths, dtype=np.int32)


def checked_chunk(
    path: Path, number: int, codes: NDArray[Any], residuals: NDArray[Any], vectors: int, codec: ResidualCodec
) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """One chunk's arrays, or InputError where they are not what the metadata and the codec ask for."""
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
    """One id a line; InputError unless there are ``number`` different ones without whitespace."""
    faults = Faults(file)
    ids = [line for _, line in lines(file, faults)]
    faults.finish()
    if len(ids) != number or len(set(ids)) != number or not all(map(is_id, ids)):
        raise InputError(
            f"{file} has {len(ids)} ids, {len(set(ids))} different ones; expected {number} different ids without "
            "whitespace, one a line."
        )
    return ids


def import_index(foreign: ForeignIndex, destination: Path, doc_ids: list[str] | None) -> None:
    """Write ``foreign`` as an index of ours, chunk by chunk.

    Raises:
        InputError: a chunk is damaged, or the stored inverted list is not that of the codes.
    """
    lengths = foreign.lengths
    with atomic_path(destination) as out:
        ids = doc_ids or [str(number) for number in range(len(lengths))]
        create_arrays(out, foreign.codec, foreign.dim, ids, lengths)
        done = 0
        for codes, residuals in foreign.chunks():
            write_block(out, foreign.codec, done, {"codes": codes, "residuals": residuals})
            done += len(codes)
        finish(out, foreign.codec, foreign.dim, lengths, 0)
        if foreign.documents_of_centroids is not None:
            stored, counts = foreign.documents_of_centroids
            ours = Inverted.open(out, len(foreign.codec.fitted()), len(lengths))
            counts = np.trim_zeros(counts, "b")  # fast-plaid counts fewer or more centroids than there are vectors of
            if not np.array_equal(counts, np.trim_zeros(ours.lengths, "b")) or not np.array_equal(
                stored, ours.documents
            ):
                raise InputError(
                    f"{foreign.path}: the inverted list is not that of the codes (documents out of range, or from "
                    "another build); build the index again."
                )


def blocks_of(index: Index) -> Iterator[tuple[int, int]]:
    """First and last document of each chunk that is written of an index of ours."""
    for first in range(0, index.num_documents, CHUNK_DOCUMENTS):
        yield first, min(first + CHUNK_DOCUMENTS, index.num_documents)


def own_ids(index: Index, out: Path) -> None:
    """Keep the documents' ids beside an index whose layout has only numbers, unless they are those numbers."""
    if index.doc_ids != [str(number) for number in range(index.num_documents)]:
        (out / DOC_IDS).write_text("".join(f"{doc_id}\n" for doc_id in index.doc_ids), encoding="utf-8")
