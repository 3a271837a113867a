"""Building an index: learn centroids from a sample, then assign and encode every vector, in one or several processes.

Vectors are assigned and encoded in parts (:mod:`colbertv2.division`) of whole blocks. Each part is written to files of
its own, as processes of several machines must not write to one file, and then moved into the files of the index.

Memory is bounded by the sample and by blocks, whatever the size of the collection. Files are read and written without
memory mapping, because mapped pages count as memory once they are touched.
"""

import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from colbertv2.compression.clustering.centroids import Centroids
from colbertv2.compression.clustering.clustering import Clustering, Clusters
from colbertv2.compression.codec import Arrays, Codec, load_codec
from colbertv2.division import divide, part_size
from colbertv2.errors import InputError
from colbertv2.files import write_json
from colbertv2.indexing.codes import CODES, Codes, create_codes, move_codes, write_codes
from colbertv2.indexing.embeddings import Embeddings
from colbertv2.indexing.inverted import build_inverted
from colbertv2.indexing.packed import Packed
from colbertv2.indexing.shards import SHARDS, parts_within, shards_of
from colbertv2.indexing.storage import move_rows, save_unsigned, shape_array, write_ids, write_rows
from colbertv2.lease import LONGEST_WAIT, Lease, holder, is_alive
from colbertv2.parts import WorkPart

BLOCK_VECTORS = 2**16  # vectors read and encoded at once
CHECKED_VECTORS = 2**12  # vectors read and checked at once; so few stay in the cache, which is five times as fast
SAMPLE_SEED = 0  # for the sample that a codec without centroids learns from
TOLERANCE = 0.01  # of a vector's norm; rounding to 16-bit floats changes it by at most 0.001, to bfloat16 by 0.004
VERSION = 3  # of the index files
LEASE = ".building.lease"

Bar = Callable[[Iterable[Any], str, str, int | None], Iterable[Any]]
Divide = Callable[..., list[WorkPart]]  # ``Runtime.divide`` with an ``out``


class Sampleable(Protocol):
    """Token vectors that can be learned from: ``Embeddings``, or others that are like them."""

    dim: int
    num_documents: int
    num_vectors: int

    def sample(self, num_documents: int, seed: int, max_vectors: int | None = None) -> Packed:
        """As ``Embeddings.sample``."""
        ...


def check(embeddings: Embeddings, codec: Codec | None, bar: Bar) -> None:
    """Raise InputError if ``embeddings`` cannot be indexed.

    That is, if there are no vectors, if the codec cannot encode their dimension, or if a vector is not L2-normalised.
    Everything learned here, and MaxSim itself, assumes vectors of norm 1. A codec with centroids could not even decode
    a vector of zeros.
    """
    if embeddings.num_vectors == 0:
        raise InputError(f"{embeddings.path} holds no vectors; expected at least one document with tokens.")
    for problem in [] if codec is None else codec.check(embeddings.dim):
        raise InputError(problem)
    starts = range(0, embeddings.num_vectors, CHECKED_VECTORS)
    for start in bar(starts, "check vectors", f"× {CHECKED_VECTORS} vectors", len(starts)):
        vectors = torch.from_numpy(embeddings.vectors(start, start + CHECKED_VECTORS)).float()
        norms = torch.linalg.vector_norm(vectors, dim=1).numpy()
        wrong = np.flatnonzero(~(np.abs(norms - 1) <= TOLERANCE))  # negated, so that NaN is wrong
        if len(wrong):
            row = start + int(wrong[0])
            document = int(np.searchsorted(embeddings.offsets, row, side="right")) - 1
            raise InputError(
                f"Vector {row - int(embeddings.offsets[document])} of document {embeddings.doc_ids[document]} in "
                f"{embeddings.path} has norm {norms[wrong[0]]:.4g}; expected L2-normalised vectors, of norm 1. "
                "Normalise them before writing them."
            )


def cluster(clustering: Clustering, embeddings: Sampleable, *, seed: int, device: torch.device | str) -> Clusters:
    """Cluster vectors of sampled documents, no more of them than k-means and the held-out set can use."""
    num_documents, num_vectors = embeddings.num_documents, embeddings.num_vectors
    wanted = clustering.sampled_documents(num_documents)
    sample = embeddings.sample(wanted, seed, max_vectors=clustering.max_sampled_vectors(num_vectors))
    clusters = clustering.fit(
        sample.vectors,
        num_documents=num_documents,
        average_length=num_vectors / num_documents,
        seed=seed,
        device=device,
    )
    return replace(clusters, num_sampled_documents=len(sample))


def sample_for(codec: Codec, embeddings: Sampleable) -> Clusters:
    """The vectors that a codec without centroids learns from: at most ``codec.sample_vectors``."""
    if codec.sample_vectors == 0:
        return Clusters(None, np.zeros((0, embeddings.dim), np.float32))
    sample = embeddings.sample(embeddings.num_documents, SAMPLE_SEED, max_vectors=codec.sample_vectors)
    return Clusters(None, sample.vectors, len(sample))


def assign_all(embeddings: Embeddings, centroids: Path, file: Path, bar: Bar, divide: Divide) -> None:
    """Write the nearest centroid of every vector to ``file``, in the format of ``Codes``.

    Args:
        centroids: the directory that ``Centroids.save`` wrote.
        divide: does the work in parts.
    """
    bounds = bounds_of(embeddings)
    parts = divide(len(bounds) - 1, assign_parts, embeddings, centroids, bounds, bar)
    number = len(Centroids.load(centroids))
    create_codes(file, embeddings.num_vectors, number)
    for part in parts:
        move_codes(part.directory / CODES, file, bounds[part.number], number)


def assign_parts(
    parts: Iterable[WorkPart], device: Any, embeddings: Embeddings, directory: Path, bounds: Sequence[int], bar: Bar
) -> None:
    """Assign the vectors of some parts."""
    centroids = Centroids.load(directory)
    for part in bar(parts, "assign vectors", "parts", None):
        first, last = bounds[part.number], bounds[part.number + 1]
        file = part.directory / CODES
        create_codes(file, last - first, len(centroids), padding=0)
        for start, vectors in blocks_of(embeddings, first, last):
            write_codes(file, start - first, centroids.nearest(vectors, device), len(centroids))


def bounds_of(embeddings: Embeddings, num_shards: int = 1) -> list[int]:
    """The parts in which vectors are assigned and encoded: part n has those from ``bounds[n]`` to ``bounds[n + 1]``."""
    size = part_size(embeddings.num_vectors, BLOCK_VECTORS)
    return parts_within((shard.rows for shard in shards_of(Path(), embeddings.lengths, num_shards)), size)


def blocks_of(embeddings: Embeddings, first: int, last: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield the vectors of a range in blocks: the place of the first vector, and float32 ``[n, dim]``."""
    for start in range(first, last, BLOCK_VECTORS):
        vectors = torch.from_numpy(embeddings.vectors(start, min(start + BLOCK_VECTORS, last)))
        yield start, vectors.float().numpy()  # torch converts faster than numpy


def build(
    embeddings: Embeddings,
    codec: Codec,
    out: Path,
    *,
    seed: int,
    bar: Bar,
    num_shards: int,
    clustering: Clustering | None,
    queries: NDArray[np.float32] | None,
    device: torch.device | str,
    devices: Sequence[torch.device | str] | None,
) -> None:
    """Learn the codec, and encode all vectors; see ``Index.build``, and ``ShardedIndex.build`` for several shards."""
    temporary = out / ".encoding"  # for the parts; nothing else is known about what is in ``out``
    with building(out):
        shards_of(out, embeddings.lengths, num_shards)  # refuses too many
        check(embeddings, codec, bar)
        if codec.has_centroids:
            clusters = cluster(clustering or Clustering(), embeddings, seed=seed, device=device)
        else:
            clusters = sample_for(codec, embeddings)
        codec.learn(clusters, queries)
        save_codec(out, codec)
        shutil.rmtree(temporary, ignore_errors=True)  # left if a build was killed
        in_parts = partial(divide, out=temporary, devices=devices or [device])
        try:
            encode_all(embeddings, out, type(codec), clusters.num_sampled_documents, bar, in_parts, num_shards)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def encode_all(
    embeddings: Embeddings,
    out: Path,
    kind: type[Codec],
    num_sampled_documents: int,
    bar: Bar,
    divide: Divide,
    num_shards: int,
    codes: Path | None = None,
) -> None:
    """Fill ``out`` with an index of all vectors, encoded by the codec that :func:`save_codec` left there.

    Args:
        kind: the class of the codec.
        divide: does the work in parts.
        num_shards: 1 for an index in one piece.
        codes: the file that ``assign_all`` wrote, if there is one.
    """
    bounds = bounds_of(embeddings, num_shards)
    parts = divide(len(bounds) - 1, encode_parts, embeddings, kind, out / "codec", bounds, bar, codes)
    directories = [part.directory for part in parts]
    documents = embeddings.doc_ids, embeddings.lengths
    assemble(out, embeddings.dim, directories, bounds, *documents, num_shards, num_sampled_documents)


def encode_parts(
    parts: Iterable[WorkPart],
    device: Any,
    embeddings: Embeddings,
    kind: type[Codec],  # passed so that unpickling imports its module, which load_codec needs
    directory: Path,
    bounds: Sequence[int],
    bar: Bar,
    codes: Path | None,
) -> None:
    """Encode the vectors of some parts by the codec in ``directory``."""
    codec = load_codec(directory)
    assigned = None if codes is None else Codes.open(codes, embeddings.num_vectors, codec.num_centroids)
    for part in bar(parts, "encode vectors", "parts", None):
        first, last = bounds[part.number], bounds[part.number + 1]
        shape_arrays(part.directory, codec, embeddings.dim, last - first, padding=0)
        for start, vectors in blocks_of(embeddings, first, last):
            known = None
            if assigned is not None:
                known = assigned[start : start + len(vectors)]
            elif codec.centroids is not None:
                known = codec.centroids.nearest(vectors, device)
            write_block(part.directory, codec, start - first, codec.encode(vectors, known))


def assemble(
    out: Path,
    dim: int,
    parts: Sequence[Path],
    bounds: Sequence[int],
    doc_ids: Sequence[str],
    lengths: NDArray[Any],
    num_shards: int,
    num_sampled_documents: int,
) -> None:
    """Move the vectors that were encoded in parts into an index in ``out``; this can be repeated if interrupted.

    Args:
        out: holds the codec.
        dim: dimensions of a vector.
        parts: directories with the arrays of each part. No part has vectors of two shards.
        bounds: part n has the vectors from ``bounds[n]`` to ``bounds[n + 1]``.
        doc_ids: ids of all documents.
        lengths: ``[num_documents]``, the number of vectors of each document.
        num_shards: 1 for an index in one piece.
        num_sampled_documents: number of documents that the codec learned from.
    """
    codec = load_codec(out / "codec")
    for shard in shards_of(out, lengths, num_shards):
        shard.path.mkdir(exist_ok=True)
        create_arrays(shard.path, codec, dim, doc_ids[shard.documents], lengths[shard.documents])
        for part, first in zip(parts, bounds, strict=False):
            if shard.rows.start <= first < shard.rows.stop:
                move_part(part, shard.path, codec, dim, first - shard.rows.start)
        finish(shard.path, codec, dim, lengths[shard.documents], num_sampled_documents)
    if num_shards > 1:
        write_json(out / SHARDS, {"num_shards": num_shards})


def move_part(part: Path, out: Path, codec: Codec, dim: int, start: int) -> None:
    """Move the arrays of a part to those of an index, beginning at row ``start``."""
    for name in kinds_of(codec, dim):
        move_rows(part / f"{name}.npy", out / f"{name}.npy", start)
    if number := codec.num_centroids:
        move_codes(part / CODES, out / CODES, start, number)


def save_codec(out: Path, codec: Codec) -> None:
    """Delete any old index in ``out``, and save the codec of a new one there."""
    for stale in (out / "index.json", out / SHARDS, out / "doc_ids.txt"):
        stale.unlink(missing_ok=True)
    for stale in out.glob("*.npy"):
        stale.unlink()
    for stale in (out / "codec", *(file.parent for file in out.glob("[0-9]*/doc_ids.txt"))):
        shutil.rmtree(stale, ignore_errors=True)
    codec.save(out / "codec")


def create_arrays(out: Path, codec: Codec, dim: int, doc_ids: Iterable[str], lengths: NDArray[Any]) -> None:
    """Write document ids and lengths, and create the arrays for encoded vectors; existing arrays keep their values."""
    write_ids(out / "doc_ids.txt", doc_ids)
    save_unsigned(out / "lengths.npy", lengths)
    shape_arrays(out, codec, dim, int(lengths.sum()))


def shape_arrays(directory: Path, codec: Codec, dim: int, num_vectors: int, **padding: int) -> None:
    """Create the arrays for so many encoded vectors; ``padding`` is that of ``create_codes``."""
    for name, kind in kinds_of(codec, dim).items():
        shape_array(directory / f"{name}.npy", kind.dtype, (num_vectors, *kind.shape[1:]))
    if number := codec.num_centroids:
        create_codes(directory / CODES, num_vectors, number, **padding)


def write_block(out: Path, codec: Codec, start: int, encoded: Arrays) -> None:
    """Write encoded vectors to the index arrays, beginning at row ``start``."""
    number = codec.num_centroids
    for name, array in encoded.items():
        if name == "codes" and number:
            write_codes(out / CODES, start, array, number)
        else:
            write_rows(out / f"{name}.npy", start, array)


def kinds_of(codec: Codec, dim: int) -> dict[str, NDArray[Any]]:
    """The arrays that ``codec`` encodes to, with 0 rows; without codes, which have their own storage format."""
    kinds = codec.encode(np.zeros((0, dim), np.float32))
    return {name: kind for name, kind in kinds.items() if not codec.has_centroids or name != "codes"}


def finish(out: Path, codec: Codec, dim: int, lengths: NDArray[Any], num_sampled_documents: int) -> None:
    """Build the inverted list, and write ``index.json``, which makes the index complete.

    All other files of the index must exist already.
    """
    if number := codec.num_centroids:
        build_inverted(out, lengths, number)
    kinds = kinds_of(codec, dim)
    files = [out / "doc_ids.txt", *out.glob("*.npy"), *out.glob("codec/*")]  # the codec of shards is beside them
    metadata = {
        "version": VERSION,
        "dim": dim,
        "num_documents": len(lengths),
        "num_vectors": int(lengths.sum()),
        "num_sampled_documents": num_sampled_documents,
        "arrays": {name: {"dtype": kind.dtype.name, "shape": kind.shape[1:]} for name, kind in kinds.items()},
        "bytes": {file.relative_to(out).as_posix(): file.stat().st_size for file in sorted(files)},
    }
    write_json(out / "index.json", metadata)


@contextmanager
def building(out: Path) -> Iterator[None]:
    """Context manager that holds a lease of ``out`` while it is being built, so that other processes can see this.

    Raises:
        InputError: another process is building an index in ``out``.
    """
    out.mkdir(parents=True, exist_ok=True)
    while (lease := Lease.claim(out / LEASE)) is None:  # of a holder on another machine, it takes a while to know
        if is_alive(out / LEASE):
            raise InputError(
                f"Another process is building an index in {out}; wait for it, or choose another directory."
            )
        time.sleep(LONGEST_WAIT)
    with lease:
        yield


def is_being_built(path: Path) -> bool:
    """Whether another process is building an index in ``path`` now."""
    return holder(path / LEASE) is not None
