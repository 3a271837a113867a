"""An index in the memory of a torch device: its blocks of documents, decoding, and MaxSim over them."""

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
WORK_BYTES = {"cpu": 2**22, "cuda": 2**28}  # of one working array; 4 MiB stay in the cache
PRODUCT_VECTORS = {"cpu": 2**9, "cuda": 2**14}  # multiplied at once
WORKING = 6  # such arrays at a time, at most


class Block(NamedTuple):
    """Documents that are scored together, each of at least one vector."""

    ranks: Tensor  # [D] int64, as Index.ranks; positions ascend
    rows: slice | Tensor  # the places of their T vectors among all
    offsets: Tensor  # [D + 1] int32: which of the T are whose


class DeviceIndex:
    """Codes, packed residuals and the codec's tables, copied to a device once; the inverted list stays in its file.

    They take the bytes there that they take in the index (codes 4 per vector), and 16 per document. A codec that keeps
    neither its vectors as they are nor tables is decoded on the CPU and copied, block by block, at every search.

    Args:
        device: any of torch's.

    Attributes:
        full: positions of the documents that have vectors; no other is ever found. num_centroids: 0 without any.

    Raises:
        InputError: it does not fit into the free memory of a CUDA device.
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
        # Without the others no maximum is over nothing, and a bound on vectors bounds documents.
        self.full: NDArray[np.int64] = index.full
        self.starts: NDArray[np.int64] = np.append(index.offsets[self.full], index.num_vectors)
        self.ranks, self.starts_there = self.put(index.ranks[self.full]).long(), self.put(self.starts)
        self.stored = None if stored is None else self.copied(parts(stored), stored.shape, stored.dtype)
        self.centroids = self.codes = self.codebook = self.base = self.to_queries = self.gains = self.gain_values = None
        self.normalise = False
        if tables is not None:
            self.codebook = self.put(tables.codebook.reshape(-1, tables.codebook.shape[2]))
            self.base = 256 * torch.arange(len(tables.codebook), dtype=torch.int32, device=self.device)
            self.normalise = tables.normalise
            self.to_queries = None if tables.queries is None else self.put(tables.queries)
            if tables.gains is not None:
                gains = index.arrays["gains"]
                self.gains = self.copied(parts(gains), gains.shape, gains.dtype)
                self.gain_values = self.put(tables.gains)
        self.num_centroids = 0
        if tables is not None and tables.centroids is not None:
            self.num_centroids, self.centroids = len(tables.centroids), self.put(tables.centroids)
            documents = parts(np.arange(index.num_documents))
            self.codes = self.copied(map(index.codes, documents), (index.num_vectors,), np.int32)

    def check_memory(self, held: int) -> None:
        """InputError if ``held`` bytes and what working takes are not free."""
        wanted, free = held + WORKING * self.work_bytes, free_bytes(self.device)
        if free is not None and wanted > free:
            raise InputError(
                f"Searching {self.index.path} on {self.device} takes {wanted:,} bytes there, of which {free:,} are "
                "free; use runtime.device=cpu, a codec of fewer bits, or a device with more memory."
            )

    def put(self, array: NDArray[Any]) -> Tensor:
        """A copy of ``array`` on the device."""
        return torch.from_numpy(np.array(array)).to(self.device)

    def copied(self, pieces: Iterable[NDArray[Any]], shape: tuple[int, ...], dtype: Any) -> Tensor:
        """``pieces`` end to end on the device, one of them at a time in memory here."""
        whole = torch.empty(shape, dtype=torch.from_numpy(np.empty(0, dtype)).dtype, device=self.device)
        done = 0
        for piece in pieces:
            whole[done : done + len(piece)] = self.put(piece)
            done += len(piece)
        return whole

    def queries(self, queries: list[NDArray[np.float32]]) -> Tensor:
        """``[Q, L, dim]`` on the device, in the space of the decoded vectors; L is the longest, the rest are zeros.

        A vector of zeros adds 0 to every score.
        """
        padded = np.zeros((len(queries), max(map(len, queries)), self.index.dim), np.float32)
        for row, query in zip(padded, queries, strict=True):
            row[: len(query)] = query
        there = self.put(padded)
        return there if self.to_queries is None else there @ self.to_queries

    def blocks(self, num_vectors: int, positions: NDArray[np.int64] | None = None) -> Iterator[Block]:
        """Blocks of at most ``num_vectors`` vectors, or of one longer document.

        Args:
            positions: ascending, of documents that have vectors; None for all such.
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
            # Each vector's place is its place in the block plus how far its document lies from there.
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
        """Decoded float32 vectors ``[T, dim]``, in the space that ``queries`` takes queries to."""
        if self.stored is None:
            return self.put(self.index.decode_rows(rows if isinstance(rows, slice) else rows.cpu().numpy()))
        stored = self.stored[rows]
        if self.codebook is None or self.base is None:
            return stored.float()
        vectors = embedding(stored.int() + self.base, self.codebook).flatten(1)
        if self.gains is not None and self.gain_values is not None:
            vectors *= self.gain_values[self.gains[rows].int()][:, None]
        if self.centroids is not None and self.codes is not None:
            vectors += self.centroids.index_select(0, self.codes[rows])
        if self.normalise:
            vectors /= vectors.norm(dim=1, keepdim=True).clamp_min(1e-12)
        return vectors

    def centroid_similarities(self, queries: Tensor) -> Tensor:
        """``[K, Q, L]``: dot products of queries ``[Q, L, dim]`` with the centroids; InputError if there are none."""
        if self.centroids is None:
            raise self.index.no_centroids()
        return (self.centroids @ queries.flatten(0, 1).T).view(-1, *queries.shape[:2])

    def centroid_scores(self, similarities: Tensor, block: Block) -> Tensor:
        """``[Q, D]``: MaxSim with every vector at its centroid, by ``centroid_similarities``."""
        if self.codes is None:
            raise self.index.no_centroids()
        return best_of_rows(similarities, self.codes[block.rows], block.offsets)


def maxsim(queries: Tensor, vectors: Tensor, offsets: Tensor) -> Tensor:
    """Σᵢ maxⱼ qᵢ·dⱼ: ``[Q, D]`` from queries ``[Q, L, dim]`` and the vectors ``[T, dim]`` of D documents.

    Args:
        offsets: ``[D + 1]`` int32, ascending without equals: where each document begins, and T.

    >>> maxsim(torch.eye(2)[None], torch.eye(2), torch.tensor([0, 1, 2], dtype=torch.int32))
    tensor([[1., 1.]])
    """
    similarities = products(vectors, queries.flatten(0, 1).T).view(len(vectors), *queries.shape[:2])
    return best_of_rows(similarities, torch.arange(len(vectors), dtype=torch.int32, device=vectors.device), offsets)


def products(vectors: Tensor, queries: Tensor) -> Tensor:
    """``vectors [T, dim] @ queries [dim, n]``, by products of one shape, with zeros behind.

    So that equal vectors have equal products to the last bit, as far as the library's order depends on the shape alone.
    """
    size = PRODUCT_VECTORS.get(vectors.device.type, PRODUCT_VECTORS["cuda"])
    found = vectors.new_empty(-(-len(vectors) // size) * size, queries.shape[1])
    for start in range(0, len(vectors), size):
        part = vectors[start : start + size]
        if len(part) < size:
            part = pad(part, (0, 0, 0, size - len(part)))
        torch.mm(part, queries, out=found[start : start + size])
    return found[: len(vectors)]


def best_of_rows(similarities: Tensor, rows: Tensor, offsets: Tensor) -> Tensor:
    """Σᵢ max over a document's rows of ``similarities [n, Q, L]``: ``[Q, D]``.

    The maximum is that of ``embedding_bag``, which gathers no rows first and needs no atomic operations: a maximum
    for each of ``[D, Q, L]`` by a thread of its own. Measured on one CPU thread, 400,000 rows of 32, K=8192: 17 ms;
    ``index_select`` and then ``segment_reduce`` 33, ``scatter_reduce`` 8, a padded gather and ``amax`` 6 to 8, these in
    blocks of 100 documents that stay in the cache. On a GPU these two would write and read all that they gather.
    """
    best = embedding_bag(rows, similarities.flatten(1), offsets, mode="max", include_last_offset=True)
    return best.view(-1, *similarities.shape[1:]).sum(2).T


def stored_and_tables(index: Index) -> tuple[NDArray[Any] | None, LookupTables | None]:
    """The array that is decoded, and how; no tables if it holds the vectors, and neither if only the codec can."""
    if (tables := index.tables) is not None:
        return index.arrays[tables.stored], tables
    name = index.codec.vectors_array
    return (None if name is None else index.arrays[name]), None


def parts(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """``array`` in pieces of ``COPIED``."""
    return (array[start : start + COPIED] for start in range(0, len(array), COPIED))


def free_bytes(device: torch.device) -> int | None:
    """What a CUDA device has left for this process, None for others, whose memory torch does not tell."""
    if device.type != "cuda":
        return None
    reserved, used = torch.cuda.memory_reserved(device), torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + reserved - used  # torch holds on to what it has freed
