"""The index directory of fast-plaid 1.7: NumPy arrays, chunk by chunk, and JSON.

When fast-plaid builds or opens an index, it merges the codes of all chunks into ``merged_codes.npy`` and the residuals
into ``merged_residuals.npy``, both padded with rows of zeros, and removes the chunks' own files. Only chunks that have
changed since then have their own files. This module reads both forms.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from colbertv2.compression.residual import ResidualCodec
from colbertv2.errors import InputError
from colbertv2.files import ARRAY_ERRORS, load_npy, read_json, read_json_value, write_json
from colbertv2.indexing.index import Index
from colbertv2.interchange.foreign_index import (
    ForeignIndex,
    blocks_of,
    checked_chunk,
    checked_chunks,
    checked_codec,
    checked_counts,
    checked_lengths,
    own_ids,
)
from colbertv2.interchange.official_index import number


def load_array(file: Path, dimensions: int, mapped: bool = False) -> NDArray[Any]:
    """Load the numbers in ``file``, or memory-map them if ``mapped``; pickled objects are refused.

    Raises:
        InputError: the file is missing, damaged, not numeric, or has another number of dimensions.
    """
    try:
        value = load_npy(file, mapped)
    except FileNotFoundError:
        raise InputError(f"{file} is missing; the index is incomplete: copy it again.") from None
    except ARRAY_ERRORS as error:
        raise InputError(f"{file} is damaged, cut short or not a plain array ({error}).") from None
    if value.ndim != dimensions or value.dtype.kind not in "iuf":
        raise InputError(f"{file} has {value.ndim} dimensions of {value.dtype}; expected {dimensions} of numbers.")
    return value


def open_fast_plaid(path: Path) -> ForeignIndex:
    """Open an index that fast-plaid or :func:`write_fast_plaid` wrote.

    Raises:
        InputError: a file is missing, damaged, or does not fit the others.
    """
    file = path / "metadata.json"
    metadata = read_json(file)
    bits = number(metadata, "nbits", file)
    codec = checked_codec(
        path,
        bits,
        load_array(path / "centroids.npy", 2),
        load_array(path / "bucket_cutoffs.npy", 1),
        load_array(path / "bucket_weights.npy", 1),
        load_array(path / "avg_residual.npy", 1),
    )
    chunks = number(metadata, "num_chunks", file)
    checked_chunks(path, chunks)
    sizes, lengths = [], [np.zeros(0, np.int32)]
    for chunk in range(chunks):
        chunk_file, doclens = path / f"{chunk}.metadata.json", path / f"doclens.{chunk}.json"
        chunk_metadata = read_json(chunk_file)
        sizes.append(number(chunk_metadata, "num_embeddings", chunk_file))
        lengths.append(checked_lengths(doclens, read_json_value(doclens), sizes[-1]))
        # embedding_offset is not checked: fast-plaid does not update it when documents are deleted.
        checked_counts(chunk_file, chunk_metadata, num_documents=len(lengths[-1]))
    checked_counts(file, metadata, num_embeddings=sum(sizes), num_documents=sum(map(len, lengths)))

    def read() -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        done = 0
        for chunk, size in enumerate(sizes):
            codes = chunk_rows(path, chunk, "codes", 1, done, size)
            residuals = chunk_rows(path, chunk, "residuals", 2, done, size)
            yield checked_chunk(path, chunk, codes, residuals, size, codec)
            done += size

    inverted = load_array(path / "ivf.npy", 1), load_array(path / "ivf_lengths.npy", 1)
    return ForeignIndex(path, codec, np.concatenate(lengths), read, inverted)


def chunk_rows(path: Path, chunk: int, name: str, dimensions: int, start: int, size: int) -> NDArray[Any]:
    """Load the codes or residuals of a chunk, from its own file or from rows ``start`` onwards of the merged file."""
    file, merged = path / f"{chunk}.{name}.npy", path / f"merged_{name}.npy"
    if file.exists() or not merged.exists():
        return load_array(file, dimensions)
    return load_array(merged, dimensions, mapped=True)[start : start + size]


def write_fast_plaid(index: Index, out: Path, checkpoint: str | None) -> None:
    """Write ``index`` to ``out`` so that ``FastPlaid(index=…)`` can search it.

    Two tables, which fast-plaid only uses to add documents later, are approximations: the average residual of every
    dimension is the average over all dimensions, and the threshold for new centroids is the norm of that vector.

    Raises:
        InputError: the index has no residual codec.
    """
    codec = index.codec
    if not isinstance(codec, ResidualCodec) or index.inverted_list is None or index.stored_codes is None:
        raise InputError(f"Only a residual codec fits fast-plaid's layout; this index has {codec!r}.")
    np.save(out / "centroids.npy", codec.fitted().vectors.astype(np.float16))
    np.save(out / "bucket_cutoffs.npy", codec.cutoffs)
    np.save(out / "bucket_weights.npy", codec.weights)
    np.save(out / "avg_residual.npy", np.full(index.dim, codec.average_residual, np.float32))
    np.save(out / "cluster_threshold.npy", np.float32(codec.average_residual * index.dim**0.5))
    chunks = list(blocks_of(index))
    for chunk, (first, last) in enumerate(chunks):
        start, end = int(index.offsets[first]), int(index.offsets[last])
        np.save(out / f"{chunk}.codes.npy", index.stored_codes[start:end].astype(np.int64))
        np.save(out / f"{chunk}.residuals.npy", index.arrays["residuals"][start:end])
        write_json(out / f"doclens.{chunk}.json", index.lengths[first:last].tolist(), indent=None)
        metadata = {"num_documents": last - first, "num_embeddings": end - start, "embedding_offset": start}
        write_json(out / f"{chunk}.metadata.json", metadata, indent=4)
    np.save(out / "ivf.npy", index.inverted_list.documents.astype(np.int64))
    np.save(out / "ivf_lengths.npy", index.inverted_list.lengths.astype(np.int32))
    metadata = {
        "num_chunks": len(chunks),
        "nbits": codec.nbits,
        "num_partitions": len(codec.fitted()),
        "num_embeddings": index.num_vectors,
        "avg_doclen": index.num_vectors / index.num_documents,
        "num_documents": index.num_documents,
        "compress_only": False,
    }
    write_json(out / "metadata.json", metadata, indent=4)
    write_json(out / "plan.json", {"nbits": codec.nbits, "num_chunks": len(chunks)}, indent=4)
    own_ids(index, out)
