"""An index in the memory of a torch device: blocks of documents, decoding, and MaxSim."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import embedding, embedding_bag, pad

from colbertv2.compression.codec import LookupTables
from colbertv2.errors import InputError
from colbertv2.indexing.index import Index
from colbertv2.indexing.packed import blocks, offsets_of

COPIED = 2**16  # documents or vectors copied at once from the files to the device
WORK_BYTES = {"cpu": 2**22, "cuda": 2**28}  # size of one working array; 4 MiB stay in the CPU's cache
PRODUCT_VECTORS = {"cpu": 2**9, "cuda": 2**14}  # vectors multiplied at once
WORKING = 6  # the largest number of working arrays at a time


class Block(NamedTuple):
    """Documents that are scored together; each has at least one vector."""

    ranks: Tensor  # [D] int64: Index.ranks of the documents, which are in ascending order of positions
    rows: slice | Tensor  # the rows of their T vectors in the index
    offsets: Tensor  # [D + 1] int32: where each document's vectors begin among the T


class DeviceIndex:
    """An index on a device: codes, packed residuals and the codec's tables are copied there once.

    The inverted lists stay on disk. Arrays take as many bytes as in the index, except codes, which take 4 bytes per
    vector; in addition there are 16 bytes per document. If a codec has no lookup tables and does not store the vectors
    unchanged, its vectors are decoded on the CPU and copied block by block in every search.

    Args:
        device: any torch device.

    Attributes:
        full: ascending positions of the documents that have vectors; search never finds any other document.
        num_centroids: 0 if there are none.

    Raises:
        InputError: the index does not fit into the free memory of a CUDA device.
    """

    def __init__(self, index: Index, device: torch.device | str) -> None:
        self.index, self.device = index, torch.device(device)
        self.work_bytes = WORK_BYTES.get(self.device.type, WORK_BYTES["cuda"])
        stored, tables = stored_and_tables(index)
        arrays = [stored, index.arrays.get("gains")]
        if tables is not None:
            arrays += [tables.centroids, tables.codebook, tables.queries, tables.gains]
        codes = 4 * index.num_vectors if index.num_centroids else 0
        held = sum(array.nbytes for array in arrays if array is not None)
        self.check_memory(held + codes + 16 * index.num_documents)
        # Documents without vectors are left out, so that no maximum is empty and a bound on vectors bounds documents.
        self.full: NDArray[np.int64] = index.full
        self.starts: NDArray[np.int64] = np.append(index.offsets[self.full], index.num_vectors)
        self.ranks, self.starts_there = self.put(index.ranks[self.full]).long(), self.put(self.starts)
        self.stored = None if stored is None else self.copied(parts(stored), stored.shape, stored.dtype)
        self.centroids = self.codes = self.codebook = self.base = self.to_queries = self.gains = self.gain_values = None
        self.normalise = False
        if tables is not None and tables.stored is not None:
            self.codebook = self.put(tables.codebook.reshape(-1, tables.codebook.shape[2]))
            self.base = 256 * torch.arange(len(tables.codebook), dtype=torch.int32, device=self.device)
            if tables.gains is not None:
                gains = index.arrays["gains"]
                self.gains = self.copied(parts(gains), gains.shape, gains.dtype)
                self.gain_values = self.put(tables.gains)
        self.num_centroids = 0
        if tables is not None:
            self.normalise = tables.normalise
            self.to_queries = None if tables.queries is None else self.put(tables.queries)
            self.centroids = None if tables.centroids is None else self.put(tables.centroids)
        if tables is not None and index.num_centroids:
            self.num_centroids = index.num_centroids
            documents = parts(np.arange(index.num_documents))
            self.codes = self.copied(map(index.codes, documents), (index.num_vectors,), np.int32)

    def check_memory(self, held: int) -> None:
        """Raise InputError if there is no room for ``held`` bytes and the working arrays."""
        wanted, free = held + WORKING * self.work_bytes, free_bytes(self.device)
        if free is not None and wanted > free:
            raise InputError(
                f"Searching {self.index.path} on {self.device} needs {wanted:,} bytes there, but only {free:,} are "
                "free; use runtime.device=cpu, a codec with fewer bits, or a device with more memory."
            )

    def put(self, array: NDArray[Any]) -> Tensor:
        """Copy ``array`` to the device."""
        return torch.from_numpy(np.array(array)).to(self.device)

    def copied(self, pieces: Iterable[NDArray[Any]], shape: tuple[int, ...], dtype: Any) -> Tensor:
        """Concatenate ``pieces`` on the device; only one of them at a time is in CPU memory."""
        whole = torch.empty(shape, dtype=torch.from_numpy(np.empty(0, dtype)).dtype, device=self.device)
        done = 0
        for piece in pieces:
            whole[done : done + len(piece)] = self.put(piece)
            done += len(piece)
        return whole

    def queries(self, queries: list[NDArray[np.float32]]) -> Tensor:
        """Copy queries to the device, in the space of the decoded vectors: ``[Q, L, dim]``.

        L is the length of the longest query. Shorter queries are padded with zero vectors, which add 0 to every score.
        """
        padded = np.zeros((len(queries), max(map(len, queries)), self.index.dim), np.float32)
        for row, query in zip(padded, queries, strict=True):
            row[: len(query)] = query
        there = self.put(padded)
        return there if self.to_queries is None else there @ self.to_queries

    def blocks(self, num_vectors: int, positions: NDArray[np.int64] | None = None) -> Iterator[Block]:
        """Yield blocks of at most ``num_vectors`` vectors each; a longer document gets a block of its own.

        Args:
            positions: ascending positions of documents that have vectors; None for all documents that have vectors.
        """
        if positions is None:
            for first, last in blocks(self.starts, num_vectors):
                offsets = self.starts_there[first : last + 1] - self.starts_there[first]
                rows = slice(int(self.starts[first]), int(self.starts[last]))
                yield Block(self.ranks[first:last], rows, offsets.int())
            return
        ends = offsets_of(self.index.lengths[positions])
        for first, last in blocks(ends, num_vectors):
            own = positions[first:last]
            offsets = self.put(ends[first : last + 1] - ends[first])
            # A vector's row is its place in the block plus the distance of its document from there.
            moved = torch.repeat_interleave(
                self.put(self.index.offsets[own]) - offsets[:-1],
                offsets.diff(),
                output_size=int(ends[last] - ends[first]),
            )
            yield Block(
                self.put(self.index.ranks[own]).long(),
                moved + torch.arange(len(moved), device=self.device),
                offsets.int(),
            )

    def decode(self, rows: slice | Tensor) -> Tensor:
        """Decode the vectors at ``rows``: float32 ``[T, dim]``, in the space of the tensor that ``queries`` returns."""
        stored = None if self.stored is None else self.stored[rows]
        own = self.centroids
        if own is not None and self.codes is not None:
            own = own.index_select(0, self.codes[rows])
        if stored is not None and self.codebook is not None and self.base is not None:
            vectors = embedding(stored.int() + self.base, self.codebook).flatten(1)
            if self.gains is not None and self.gain_values is not None:
                vectors *= self.gain_values[self.gains[rows].int()][:, None]
            if own is not None:
                vectors += own
        elif own is not None:
            vectors = own
        elif stored is not None:
            return stored.float()
        else:
            return self.put(self.index.decode_rows(rows if isinstance(rows, slice) else rows.cpu().numpy()))
        if self.normalise:
            vectors /= vectors.norm(dim=1, keepdim=True).clamp_min(1e-12)
        return vectors

    def centroid_similarities(self, queries: Tensor) -> Tensor:
        """``[K, Q, L]``: dot products of the centroids with queries ``[Q, L, dim]``; InputError without centroids."""
        if self.centroids is None:
            raise self.index.no_centroids()
        return (self.centroids @ queries.flatten(0, 1).T).view(-1, *queries.shape[:2])

    def centroid_scores(self, similarities: Tensor, block: Block) -> Tensor:
        """``[Q, D]``: MaxSim with every vector replaced by its centroid, from ``centroid_similarities``."""
        if self.codes is None:
            raise self.index.no_centroids()
        return best_of_rows(similarities, self.codes[block.rows], block.offsets)


def maxsim(queries: Tensor, vectors: Tensor, offsets: Tensor) -> Tensor:
    """MaxSim Σᵢ maxⱼ qᵢ·dⱼ: ``[Q, D]`` from queries ``[Q, L, dim]`` and the vectors ``[T, dim]`` of D documents.

    Args:
        offsets: int32 ``[D + 1]``, strictly ascending: where each document begins, and T.

    >>> maxsim(torch.eye(2)[None], torch.eye(2), torch.tensor([0, 1, 2], dtype=torch.int32))
    tensor([[1., 1.]])
    """
    similarities = products(vectors, queries.flatten(0, 1).T).view(len(vectors), *queries.shape[:2])
    return best_of_rows(similarities, torch.arange(len(vectors), dtype=torch.int32, device=vectors.device), offsets)


def products(vectors: Tensor, queries: Tensor) -> Tensor:
    """``vectors [T, dim] @ queries [dim, n]``, computed in products of a fixed shape, the last one padded with zeros.

    Equal vectors then have products that are equal to the last bit, if the library's order of summation depends only on
    the shape. Where rows are not aligned it depends on the row too, so dimensions are padded to a multiple of 16.
    """
    if odd := -vectors.shape[1] % 16:
        vectors, queries = pad(vectors, (0, odd)), pad(queries, (0, 0, 0, odd))
    size = PRODUCT_VECTORS.get(vectors.device.type, PRODUCT_VECTORS["cuda"])
    found = vectors.new_empty(-(-len(vectors) // size) * size, queries.shape[1])
    for start in range(0, len(vectors), size):
        part = vectors[start : start + size]
        if len(part) < size:
            part = pad(part, (0, 0, 0, size - len(part)))
        torch.mm(part, queries, out=found[start : start + size])
    return found[: len(vectors)]


def best_of_rows(similarities: Tensor, rows: Tensor, offsets: Tensor) -> Tensor:
    """For each document, the sum over i of the maximum over its rows of ``similarities [n, Q, L]``: ``[Q, D]``.

    Uses ``embedding_bag``, which does not gather rows first and needs no atomic operations: one thread computes each of
    the ``[D, Q, L]`` maxima. Measured on one CPU thread with 400,000 rows of 32 and K=8192, it takes 17 ms;
    ``index_select`` with ``segment_reduce`` takes 33 ms. In blocks of 100 documents, which stay in the cache,
    ``scatter_reduce`` takes 8 ms, and a padded gather with ``amax`` 6 to 8 ms. But on a GPU these two would write and
    read all gathered rows.

    Args:
        rows: ``[T]``, the row of each vector. offsets: ``[D + 1]``, where each document's vectors begin, and T.
    """
    best = embedding_bag(rows, similarities.flatten(1), offsets, mode="max", include_last_offset=True)
    return best.view(-1, *similarities.shape[1:]).sum(2).T


def stored_and_tables(index: Index) -> tuple[NDArray[Any] | None, LookupTables | None]:
    """The array to decode and the tables to decode it with.

    The tables are None if the array holds the vectors unchanged. Both are None if only the codec itself can decode.
    """
    if (tables := index.tables) is not None:
        return None if tables.stored is None else index.arrays[tables.stored], tables
    name = index.codec.vectors_array
    return (None if name is None else index.arrays[name]), None


def parts(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Yield ``array`` in pieces of ``COPIED`` rows."""
    return (array[start : start + COPIED] for start in range(0, len(array), COPIED))


def free_bytes(device: torch.device) -> int | None:
    """The free memory of a CUDA device for this process, in bytes; None for other devices, where it is unknown."""
    if device.type != "cuda":
        return None
    reserved, used = torch.cuda.memory_reserved(device), torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + reserved - used  # torch keeps freed memory reserved
