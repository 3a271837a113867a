"""The official index directory (colbert-ai 0.2): tensors in ``.pt`` files, chunk by chunk, and JSON."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from colbertv2.compression.residual import ResidualCodec
from colbertv2.errors import InputError
from colbertv2.files import read_json, read_json_value, write_json
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


def load_tensor(file: Path) -> Any:
    """Load ``file``, which may contain only tensors, numbers and containers of them; no code in it is run.

    Raises:
        InputError: the file is missing, damaged, or contains anything else.
    """
    try:
        return torch.load(file, weights_only=True, map_location="cpu")
    except FileNotFoundError:
        raise InputError(f"{file} is missing; the index is incomplete: copy it again.") from None
    except Exception as error:  # unpickling an arbitrary file can raise any error
        raise InputError(
            f"{file} is damaged, cut short, or contains more than tensors; nothing in it was run ({str(error)[:150]})."
        ) from None


def array(file: Path, value: Any, dimensions: int) -> NDArray[Any]:
    """Convert a tensor to an array, floating point numbers to float32.

    Raises:
        InputError: ``value`` is not a plain tensor of numbers with that many dimensions.
    """
    if not isinstance(value, torch.Tensor) or value.ndim != dimensions:
        raise InputError(f"{file} contains {type(value).__name__}; expected a tensor of {dimensions} dimensions.")
    if value.is_quantized or value.is_complex() or value.is_meta or value.layout != torch.strided:
        raise InputError(
            f"{file} contains a {value.dtype} tensor of layout {value.layout}; expected a plain one of numbers."
        )
    return (value.float() if value.is_floating_point() else value).detach().numpy()


def pair(file: Path, dimensions: int, whole: bool = False) -> tuple[NDArray[Any], NDArray[Any]]:
    """Load the two tensors in ``file`` as arrays, floating point numbers as float32.

    Args:
        file: a file that ``torch.save`` wrote.
        dimensions: the number of dimensions that both tensors must have.
        whole: whether both must contain whole numbers.

    Raises:
        InputError: ``file`` is missing or damaged, or contains anything else.
    """
    value = load_tensor(file)
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise InputError(f"{file} contains {type(value).__name__}; expected two tensors.")
    first, second = (array(file, one, dimensions) for one in value)
    if whole and (first.dtype.kind not in "iu" or second.dtype.kind not in "iu"):
        raise InputError(f"{file} contains {first.dtype} and {second.dtype}; expected whole numbers.")
    return first, second


def number(values: dict[str, Any], key: str, file: Path) -> int:
    """Return the count ``values[key]`` from a JSON file; raise InputError if it is not a whole number of at least 0."""
    if type(values.get(key)) is not int or values[key] < 0:
        raise InputError(f"{file}: {key} is {values.get(key)!r}; expected a count, 0 or more.")
    return values[key]


def open_official(path: Path) -> ForeignIndex:
    """Open an index that colbert-ai or :func:`write_official` wrote.

    Raises:
        InputError: a file is missing, damaged, or does not fit the others.
    """
    file = path / ("metadata.json" if (path / "metadata.json").is_file() else "plan.json")
    metadata = read_json(file)
    config = metadata.get("config")
    if not isinstance(config, dict):
        raise InputError(f"{file} has no config; expected the metadata of a colbert-ai index.")
    bits, dim = number(config, "nbits", file), number(config, "dim", file)
    centroids = array(path / "centroids.pt", load_tensor(path / "centroids.pt"), 2)
    if centroids.shape[1] != dim:
        raise InputError(f"{path / 'centroids.pt'} has {centroids.shape[1]} dimensions, expected {dim} by {file.name}.")
    cutoffs, weights = pair(path / "buckets.pt", 1)
    average = load_tensor(path / "avg_residual.pt")
    average = array(path / "avg_residual.pt", average, getattr(average, "ndim", 0))
    codec = checked_codec(path, bits, centroids, cutoffs, weights, average)
    chunks = number(metadata, "num_chunks", file)
    checked_chunks(path, chunks)
    sizes, lengths, passages = [], [np.zeros(0, np.int32)], 0
    for chunk in range(chunks):
        chunk_file = path / f"{chunk}.metadata.json"
        chunk_metadata = read_json(chunk_file)
        sizes.append(number(chunk_metadata, "num_embeddings", chunk_file))
        checked_counts(chunk_file, chunk_metadata, passage_offset=passages, embedding_offset=sum(sizes[:-1]))
        doclens = path / f"doclens.{chunk}.json"
        lengths.append(checked_lengths(doclens, read_json_value(doclens), sizes[-1]))
        checked_counts(chunk_file, chunk_metadata, num_passages=len(lengths[-1]))
        passages += len(lengths[-1])
    checked_counts(file, metadata, num_embeddings=sum(sizes), num_partitions=len(centroids))

    def read() -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        for chunk, size in enumerate(sizes):
            files = path / f"{chunk}.codes.pt", path / f"{chunk}.residuals.pt"
            codes, residuals = array(files[0], load_tensor(files[0]), 1), array(files[1], load_tensor(files[1]), 2)
            yield checked_chunk(path, chunk, codes, residuals, size, codec)

    inverted = None
    if not (path / "ivf.pt").is_file() or (path / "ivf.pid.pt").is_file():
        documents, counts = pair(path / "ivf.pid.pt", 1, whole=True)
        if len(counts) != len(centroids) or documents[int(counts.sum()) :].any():  # padded with zeros at the end
            raise InputError(
                f"{path / 'ivf.pid.pt'} has {len(counts)} lists of {int(counts.sum())} documents in all, and "
                f"{len(documents)} documents; expected a list for each of {len(centroids)} centroids, then only zeros."
            )
        inverted = documents[: int(counts.sum())], counts
    # The older ivf.pt lists vectors, not documents; it is ignored, and the inverted list is built from the codes.
    return ForeignIndex(path, codec, np.concatenate(lengths), read, inverted)


def write_official(index: Index, out: Path, checkpoint: str | None) -> None:
    """Write ``index`` to ``out`` so that colbert-ai's Searcher can open it.

    Args:
        index: an index with a residual codec.
        out: an existing, empty directory.
        checkpoint: the checkpoint to name in the metadata; the Searcher accepts another one as an argument.

    Raises:
        InputError: the index has no residual codec.
    """
    codec = index.codec
    if not isinstance(codec, ResidualCodec) or index.inverted_list is None or index.stored_codes is None:
        raise InputError(f"Only a residual codec fits the official layout; this index has {codec!r}.")
    torch.save(torch.from_numpy(codec.fitted().vectors).half(), out / "centroids.pt")
    torch.save((torch.from_numpy(codec.cutoffs), torch.from_numpy(codec.weights)), out / "buckets.pt")
    torch.save(torch.tensor(codec.average_residual), out / "avg_residual.pt")
    chunks = list(blocks_of(index))
    for chunk, (first, last) in enumerate(chunks):
        start, end = int(index.offsets[first]), int(index.offsets[last])
        torch.save(torch.from_numpy(index.stored_codes[start:end]), out / f"{chunk}.codes.pt")
        residuals = np.array(index.arrays["residuals"][start:end])
        torch.save(torch.from_numpy(residuals), out / f"{chunk}.residuals.pt")
        write_json(out / f"doclens.{chunk}.json", index.lengths[first:last].tolist(), indent=None)
        metadata = {"passage_offset": first, "num_passages": last - first, "num_embeddings": end - start}
        write_json(out / f"{chunk}.metadata.json", {**metadata, "embedding_offset": start}, indent=4)
    documents = torch.from_numpy(index.inverted_list.documents)
    counts = torch.from_numpy(index.inverted_list.lengths)
    # colbert-ai's strided views read the length of the longest list from the start of each list, also of the last one.
    padding = torch.zeros(int(counts.max()), dtype=torch.int32)
    torch.save((torch.cat([documents, padding]), counts), out / "ivf.pid.pt")
    average_length = index.num_vectors / index.num_documents
    common = {
        "config": {"dim": index.dim, "nbits": codec.nbits, "checkpoint": checkpoint, "avoid_fork_if_possible": True},
        "num_chunks": len(chunks),
        "num_partitions": len(codec.fitted()),
    }
    plan = {**common, "num_embeddings_est": index.num_vectors, "avg_doclen_est": average_length}
    metadata = {**common, "num_embeddings": index.num_vectors, "avg_doclen": average_length}
    write_json(out / "plan.json", plan, indent=4)
    write_json(out / "metadata.json", metadata, indent=4)
    own_ids(index, out)
