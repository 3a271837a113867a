"""Exhaustive search and the cascade, with torch operations on any device."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from colbertv2.indexing.index import Index
from colbertv2.search.device_index import Block, DeviceIndex, maxsim
from colbertv2.search.scoring import BATCH_QUERIES, Found

LOW = 2**32 - 1  # masks the low half of a key


class DeviceExhaustive:
    """``Exhaustive`` on a torch device: scores every document of an index exactly.

    It decodes block by block and scores a block for many queries at once. Memory is bounded by the index and a few
    arrays of ``WORK_BYTES``, or of one document if that is longer. Products are float32 with the precision set by
    ``torch.set_float32_matmul_precision``, which is "highest" by default.

    Args:
        device: any torch device.

    Raises:
        InputError: the index does not fit into the device's memory.
    """

    def __init__(self, index: Index, device: torch.device | str) -> None:
        self.there = DeviceIndex(index, device)

    def __str__(self) -> str:
        return f"{type(self).__name__.removeprefix('Device')} on {self.there.device}"

    @torch.inference_mode()
    def search(self, queries: Sequence[NDArray[np.float32]], k: int) -> list[Found]:
        """As ``BoundEngine.search``."""
        order = sorted(range(len(queries)), key=lambda number: len(queries[number]))  # so that there is little padding
        found: dict[int, Found] = {}
        for start in range(0, len(order), BATCH_QUERIES):
            batch = order[start : start + BATCH_QUERIES]
            keys = self.search_batch([queries[number] for number in batch], k)
            found |= {number: self.found(one, k) for number, one in zip(batch, keys, strict=True)}
        return [found[number] for number in range(len(queries))]

    @torch.inference_mode()
    def rerank(self, query: NDArray[np.float32], positions: NDArray[np.int64], k: int) -> Found:
        """As ``BoundEngine.rerank``."""
        full = positions[self.there.index.lengths[positions] > 0]
        return self.found(self.exact([self.there.queries([query])], full, k)[0], k)

    def found(self, keys: Tensor, k: int) -> Found:
        """The ``k`` best documents of ``keys [n]``, best first. One key more shows whether the last is tied."""
        ranks, scores = from_keys(keys)
        tied = bool(0 < k < len(scores) and scores[k - 1] == scores[k])
        return Found(self.there.index.by_rank[ranks[:k]], scores[:k], tied)

    def search_batch(self, queries: list[NDArray[np.float32]], k: int) -> Iterable[Tensor]:
        """The keys of each query's best documents; queries must be in ascending order of length."""
        # With so many query vectors, the similarities to a vector take as much memory as decoding it.
        groups = [self.there.queries(group) for group in grouped(queries, 3 * self.there.index.dim)]
        return self.exact(groups, None, k)

    def exact(self, groups: list[Tensor], positions: NDArray[np.int64] | None, k: int) -> Tensor:
        """Keys ``[Q, at most k + 1]`` of the best documents by exact MaxSim; decodes every block once for all groups.

        Args:
            groups: tensors ``[q, L, dim]``, with Q queries in all.
            positions: as for ``DeviceIndex.blocks``.
        """

        def score(block: Block) -> Iterator[Tensor]:
            vectors = self.there.decode(block.rows)
            return (maxsim(group, vectors, block.offsets) for group in groups)

        num_vectors = self.there.work_bytes // (12 * self.there.index.dim)
        blocks = self.there.blocks(num_vectors, positions)
        return torch.cat(best_keys(score, blocks, k + 1, [len(group) for group in groups], self.there.device))


class DeviceCascade(DeviceExhaustive):
    """``Cascade`` on a torch device.

    It keeps the ``ndocs`` best documents by centroids, with similarities rounded to the same bytes, and scores these
    exactly.

    Args:
        device: any torch device.
        limits: ``nprobe`` and ``ndocs`` of a search for ``k`` documents, as for ``Cascade``.

    Raises:
        InputError: the index does not fit into the device's memory, or its codec has no centroids.
    """

    def __init__(
        self, index: Index, device: torch.device | str, limits: Callable[[int], tuple[int | None, int | None]]
    ) -> None:
        super().__init__(index, device)
        if not self.there.num_centroids:
            raise index.no_centroids()
        self.limits = limits

    def search_batch(self, queries: list[NDArray[np.float32]], k: int) -> Iterable[Tensor]:
        """As ``DeviceExhaustive.search_batch``."""
        self.nprobe, self.ndocs = self.limits(k)
        if self.nprobe is None and not self.leaves_out(len(self.there.full), k):
            return super().search_batch(queries, k)
        columns = self.there.work_bytes // (4 * self.there.num_centroids)
        groups = [self.there.queries(group) for group in grouped(queries, columns)]
        return (keys for group in groups for keys in self.cascade(group, k))

    def cascade(self, queries: Tensor, k: int) -> Iterator[Tensor]:
        """Yield for each of the queries ``[Q, L, dim]`` the keys ``[at most k + 1]`` of its best documents, best first.

        ``to_keys`` defines the keys. Shorter queries are padded with rows of zeros.
        """
        similarities = self.there.centroid_similarities(queries)
        if self.nprobe is None:
            candidates = iter(self.scan(similarities, None, max(self.ndocs or k, k)))
        else:
            candidates = (self.probe(similarities[:, number, query.any(1)], k) for number, query in enumerate(queries))
        for query, positions in zip(queries, candidates, strict=True):
            yield self.exact([query[None]], positions, k)[0]

    def probe(self, similarities: Tensor, k: int) -> NDArray[np.int64]:
        """Ascending positions of the candidates of one query with ``similarities [K, L]`` to the centroids."""
        cells = similarities.topk(min(self.nprobe or 1, len(similarities)), dim=0).indices.unique()
        positions = self.there.index.inverted(cells.cpu().numpy())
        if self.leaves_out(len(positions), k):
            return self.scan(similarities[:, None], positions, max(self.ndocs or k, k))[0]
        return positions

    def scan(self, similarities: Tensor, positions: NDArray[np.int64] | None, number: int) -> list[NDArray[np.int64]]:
        """Ascending positions of each query's ``number`` best documents by ``similarities [K, Q, L]`` to centroids."""
        there, width = self.there, similarities[0].numel()
        table = as_bytes(similarities)
        # A maximum and its place take 8 bytes, and a document may have only one vector.
        blocks = there.blocks(max(there.work_bytes // (8 * width), 1), positions)
        queries = similarities.shape[1]
        keys = best_keys(lambda block: [there.centroid_scores(table, block)], blocks, number, [queries], there.device)
        return list(np.sort(there.index.by_rank[from_keys(keys[0])[0]]))

    def leaves_out(self, num_documents: int, k: int) -> bool:
        """Whether there are more documents than are scored exactly, so that the centroids must choose."""
        return self.ndocs is not None and num_documents > max(self.ndocs, k)


def as_bytes(similarities: Tensor) -> Tensor:
    """Round similarities ``[K, Q, L]`` to bytes as ``kernels.queries.quantise`` does, but return them as floats.

    A device then keeps the same documents as the CPU, except if products differ in the last digit where they are
    rounded.

    >>> as_bytes(torch.tensor([[[1.0, 0.5]], [[-1.0, 0.0]]])).tolist()
    [[[255.0, 128.0]], [[0.0, 0.0]]]
    """
    scale = 255 / similarities.amax(dim=(0, 2), keepdim=True).clamp_min(1e-6)
    return torch.floor((similarities * scale).clamp(0, 254.5) + 0.5)


def grouped(queries: list[NDArray[np.float32]], columns: int) -> Iterator[list[NDArray[np.float32]]]:
    """Group neighbouring queries so that, padded to the longest, each group has at most ``columns`` vectors.

    A longer query gets a group of its own. Queries must be in ascending order of length.

    >>> [len(group) for group in grouped([np.zeros((length, 2), np.float32) for length in (1, 2, 2, 9)], columns=6)]
    [3, 1]
    """
    group: list[NDArray[np.float32]] = []
    for query in queries:
        if group and (len(group) + 1) * max(len(query), len(group[-1])) > columns:
            yield group
            group = []
        group.append(query)
    if group:
        yield group


def best_keys(
    score: Callable[[Block], Iterable[Tensor]],
    blocks: Iterator[Block],
    k: int,
    num_queries: Sequence[int],
    device: torch.device,
) -> list[Tensor]:
    """For each group of queries, the keys ``[num_queries, at most k]`` of the best documents in all blocks, best first.

    Args:
        score: returns the scores ``[num_queries, D]`` of one block for each group.
        num_queries: the number of queries in each group.
    """
    best = [torch.empty(number, 0, dtype=torch.int64, device=device) for number in num_queries]
    for block in blocks:
        for group, scores in enumerate(score(block)):
            keys = torch.cat([best[group], to_keys(scores, block.ranks)], dim=1)
            best[group] = keys.topk(min(k, keys.shape[1])).values
    return best


def to_keys(scores: Tensor, ranks: Tensor) -> Tensor:
    """Combine scores ``[Q, D]`` and the documents' ``ranks [D]`` into int64 keys ``[Q, D]``.

    A greater score gives a greater key; of equal scores, the lower rank does. No two keys of a query are equal. This is
    needed because ``topk`` guarantees no order among equal values: with keys it breaks ties the same on every device.

    >>> keys = to_keys(torch.tensor([[1.0, -2.0, 1.0]]), torch.tensor([4, 5, 6]))
    >>> [array.tolist() for array in from_keys(keys[0].sort(descending=True).values)]
    [[4, 6, 5], [1.0, 1.0, -2.0]]
    """
    # Read as integers, floats of one sign are in order. Adding +0 turns -0 into +0; else -0 would be less than +0.
    bits = (scores + 0.0).contiguous().view(torch.int32)
    ascending = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).long()
    return (ascending << 32) | (LOW - ranks)


def from_keys(keys: Tensor) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The ranks and scores that ``to_keys`` combined into ``keys``."""
    found = keys.cpu().numpy()
    bits = (found >> 32).astype(np.int32)
    scores = np.where(bits < 0, bits ^ 0x7FFFFFFF, bits).astype(np.int32).view(np.float32)
    return LOW - (found & LOW), scores
