"""Building an index: learn centroids from a sample, then assign and encode every vector, in one or several processes.

Memory is bounded by the sample and by blocks, whatever the size of the collection. Files are read and written without
memory mapping, because mapped pages count as memory once they are touched.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from colbertv2.compression.clustering.centroids import Centroids
from colbertv2.compression.clustering.clustering import Clustering, Clusters
from colbertv2.compression.codec import Arrays, Codec, load_codec
from colbertv2.errors import InputError
from colbertv2.files import write_json
from colbertv2.indexing.codes import CODES, Codes, create_codes, write_codes
from colbertv2.indexing.embeddings import Embeddings
from colbertv2.indexing.inverted import build_inverted
from colbertv2.indexing.storage import save_unsigned, shape_array, write_rows
from colbertv2.parallel import run_on

BLOCK_VECTORS = 2**16  # vectors read and encoded at once
CHECKED_VECTORS = 2**12  # vectors read and checked at once; so few stay in the cache, which is five times as fast
SAMPLE_SEED = 0  # for the sample that a codec without centroids learns from
TOLERANCE = 0.01  # of a vector's norm; rounding to 16-bit floats changes it by at most 0.001, to bfloat16 by 0.004
VERSION = 3  # of the index files
LOCK = ".building.lock"

Bar = Callable[[Iterable[Any], str, str, int | None], Iterable[Any]]


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


def cluster(clustering: Clustering, embeddings: Embeddings, *, seed: int, device: torch.device | str) -> Clusters:
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


def sample_for(codec: Codec, embeddings: Embeddings) -> Clusters:
    """The vectors that a codec without centroids learns from: at most ``codec.sample_vectors``."""
    if codec.sample_vectors == 0:
        return Clusters(None, np.zeros((0, embeddings.dim), np.float32))
    sample = embeddings.sample(embeddings.num_documents, SAMPLE_SEED, max_vectors=codec.sample_vectors)
    return Clusters(None, sample.vectors, len(sample))


def assign_all(embeddings: Embeddings, centroids: Centroids, file: Path, bar: Bar, devices: Sequence[Any]) -> None:
    """Write the nearest centroid of every vector to ``file``, in the format of ``Codes``.

    Args:
        devices: one device per process; with a single one, everything runs in this process.
    """
    create_codes(file, embeddings.num_vectors, len(centroids))
    run_on(len(devices), assign_blocks, embeddings, centroids, file, bar, devices)


def assign_blocks(
    rank: int, world: int, embeddings: Embeddings, centroids: Centroids, file: Path, bar: Bar, devices: Sequence[Any]
) -> None:
    """Assign the blocks of one process: every ``world``-th block."""
    for start, vectors in blocks_of(rank, world, embeddings, bar, "assign vectors"):
        write_codes(file, start, centroids.nearest(vectors, devices[rank]), len(centroids))


def encode_all(
    embeddings: Embeddings,
    codec: Codec,
    out: Path,
    num_sampled_documents: int,
    bar: Bar,
    devices: Sequence[Any],
    codes: Path | None = None,
) -> None:
    """Fill ``out`` with an index of all vectors, encoded by a codec that has learned.

    Args:
        devices: one device per process; with a single one, everything runs in this process.
        codes: the file that ``assign_all`` wrote, if there is one.
    """
    create_arrays(out, codec, embeddings.dim, embeddings.doc_ids, embeddings.lengths)
    run_on(len(devices), encode_blocks, embeddings, type(codec), out, bar, devices, codes)
    finish(out, codec, embeddings.dim, embeddings.lengths, num_sampled_documents)


def create_arrays(out: Path, codec: Codec, dim: int, doc_ids: Iterable[str], lengths: NDArray[Any]) -> None:
    """Write codec, document ids and lengths, and create the arrays for encoded vectors; first delete any old index."""
    (out / "index.json").unlink(missing_ok=True)
    for stale in out.glob("*.npy"):
        stale.unlink()
    shutil.rmtree(out / "codec", ignore_errors=True)
    codec.save(out / "codec")
    (out / "doc_ids.txt").write_text("".join(f"{doc_id}\n" for doc_id in doc_ids), encoding="utf-8")
    save_unsigned(out / "lengths.npy", lengths)
    num_vectors = int(lengths.sum())
    for name, kind in kinds_of(codec, dim).items():
        shape_array(out / f"{name}.npy", kind.dtype, (num_vectors, *kind.shape[1:]))
    if number := codec.num_centroids:
        create_codes(out / CODES, num_vectors, number)


def write_block(out: Path, codec: Codec, start: int, encoded: Arrays) -> None:
    """Write encoded vectors to the index arrays, beginning at row ``start``."""
    number = codec.num_centroids
    for name, array in encoded.items():
        if name == "codes" and number:
            write_codes(out / CODES, start, array, number)
        else:
            write_rows(out / f"{name}.npy", start, array)


def encode_blocks(
    rank: int,
    world: int,
    embeddings: Embeddings,
    kind: type[Codec],  # passed so that unpickling imports its module, which load_codec needs
    out: Path,
    bar: Bar,
    devices: Sequence[torch.device | str],
    codes: Path | None,
) -> None:
    """Encode and write the blocks of one process: every ``world``-th block."""
    codec = load_codec(out / "codec")
    assigned = None if codes is None else Codes.open(codes, embeddings.num_vectors, codec.num_centroids)
    for start, vectors in blocks_of(rank, world, embeddings, bar, "encode vectors"):
        known = None
        if assigned is not None:
            known = assigned[start : start + len(vectors)]
        elif codec.centroids is not None:
            known = codec.centroids.nearest(vectors, devices[rank])
        write_block(out, codec, start, codec.encode(vectors, known))


def blocks_of(
    rank: int, world: int, embeddings: Embeddings, bar: Bar, description: str
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield every ``world``-th block: the place of its first vector, and the vectors as float32 ``[n, dim]``."""
    starts = range(rank * BLOCK_VECTORS, embeddings.num_vectors, world * BLOCK_VECTORS)
    for start in bar(starts, description, f"× {BLOCK_VECTORS} vectors", len(starts)):
        vectors = torch.from_numpy(embeddings.vectors(start, start + BLOCK_VECTORS))
        yield start, vectors.float().numpy()  # torch converts faster than numpy


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
    files = [out / "doc_ids.txt", *out.glob("*.npy"), *(out / "codec").iterdir()]
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
    """Context manager that locks ``out`` while it is being built, so that other processes can see this.

    Raises:
        InputError: another process is building an index in ``out``.
    """
    out.mkdir(parents=True, exist_ok=True)
    lock = FileLock(out / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(
            f"Another process is building an index in {out}; wait for it, or choose another directory."
        ) from None
    try:
        yield
    finally:
        (out / LOCK).unlink(missing_ok=True)
        lock.release()


def is_being_built(path: Path) -> bool:
    """Whether another process is building an index in ``path`` now."""
    if not (path / LOCK).exists():
        return False
    lock = FileLock(path / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False
