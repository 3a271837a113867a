"""The nearest centroid of each vector: among all, or among those of the groups of centroids that may well hold it.

Groups are clusters of centroids. What a group may hold for a vector is guessed from its mean and spread (the root of
the mean squared distance of its members from their mean): a member that lies ``group_search_radius`` spreads from the
mean towards the vector. Compared are the members of the most hopeful groups, then those of all groups whose guess beats
the best found; in 128 dimensions hardly a member lies 0.7 spreads in any one direction. So a vector near its centroid
takes few comparisons, and one far from all takes many. All are matrix products, one for each group and block of
vectors; blocks run side by side, since half of the time goes into choosing.
"""

import math
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from colbertv2.compression.clustering.kmeans import kmeans
from colbertv2.parallel import parallel_map

BLOCK_PRODUCTS = 2**22  # dot products computed at once, 16 MiB
BLOCK_VECTORS = 2**14  # assigned at once by groups
FIRST_GROUPS = 4  # compared in any case
GROUP_ITERATIONS, GROUP_SEED = 10, 0


@dataclass(frozen=True)
class Table:
    """Vectors ``[n, dim]`` to find the best of, and what is added to products with them ``[n]``, if anything is."""

    vectors: torch.Tensor
    bias: torch.Tensor | None

    @classmethod
    def of(cls, vectors: torch.Tensor, euclidean: bool) -> "Table":
        """One where the best is of greatest dot product, or of least distance."""
        return cls(vectors, -0.5 * (vectors * vectors).sum(1) if euclidean else None)

    def __getitem__(self, rows: Any) -> "Table":
        """Some rows of it."""
        return Table(self.vectors[rows], None if self.bias is None else self.bias[rows])

    def scores(self, block: torch.Tensor) -> torch.Tensor:
        """``[m, n]`` for ``block [m, dim]``."""
        columns = self.vectors.T
        return block @ columns if self.bias is None else torch.addmm(self.bias, block, columns)

    def best(self, block: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The row of greatest score for each of ``block [m, dim]``, and that score."""
        scores = self.scores(block)
        if scores.device.type == "cpu":  # where numpy's argmax takes a fourth of the time of torch's
            rows = torch.from_numpy(scores.numpy().argmax(1))
            return rows, scores.gather(1, rows[:, None])[:, 0]
        values, rows = scores.max(1)
        return rows, values


class Assignment:
    """Assigns vectors to ``centroids [K, dim]``, on ``device``.

    Args:
        euclidean: whether the nearest is that of least distance, or that of greatest dot product.
        group_search_radius: see above; None for the nearest of all centroids, always.

    >>> centroids = np.eye(3, dtype=np.float32)
    >>> Assignment(centroids, euclidean=True, group_search_radius=None, device="cpu").nearest(centroids[[2, 0]])
    array([2, 0], dtype=int32)
    """

    def __init__(
        self,
        centroids: NDArray[np.float32],
        *,
        euclidean: bool,
        group_search_radius: float | None,
        device: torch.device | str,
    ) -> None:
        self.device = torch.device(device)
        self.table = Table.of(torch.from_numpy(centroids).to(self.device), euclidean)
        num_groups = round(math.sqrt(2 * len(centroids)))
        self.grouped = group_search_radius is not None and num_groups > FIRST_GROUPS
        if group_search_radius is None or not self.grouped:
            return
        means = kmeans(
            centroids, num_groups, iterations=GROUP_ITERATIONS, max_points_per_centroid=len(centroids), seed=GROUP_SEED,
            device=device, spherical=False,
        )  # fmt: skip
        groups = Table.of(torch.from_numpy(means).to(self.device), euclidean=True).best(self.table.vectors)[0]
        groups = groups.unique(return_inverse=True)[1]  # without those that ended empty
        self.order = groups.argsort(stable=True)  # [K] centroids, those of a group together
        self.table = self.table[self.order]
        sizes = groups.bincount()
        self.ends = sizes.cumsum(0).tolist()

        def mean(values: torch.Tensor) -> torch.Tensor:
            return torch.segment_reduce(values, "mean", lengths=sizes)

        means = mean(self.table.vectors)
        bias = None if self.table.bias is None else mean(self.table.bias)
        self.means = Table(means, bias)
        squares = (self.table.vectors - means.repeat_interleave(sizes, 0)).square().sum(1)
        self.reaches = group_search_radius * mean(squares).sqrt()  # [groups]

    def nearest(self, vectors: NDArray[np.float32]) -> NDArray[np.int32]:
        """``[n]``: the centroid of each of ``[n, dim]``."""
        return self.search(vectors)[0]

    def search(self, vectors: NDArray[np.float32]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """``nearest``, and the dot products with them (less half the squared norm if ``euclidean``), block by block."""
        codes, scores = np.empty(len(vectors), np.int32), np.empty(len(vectors), np.float32)
        step = BLOCK_VECTORS if self.grouped else max(1, BLOCK_PRODUCTS // len(self.table.vectors))

        def assign(start: int) -> None:
            block = torch.from_numpy(np.ascontiguousarray(vectors[start : start + step])).to(self.device)
            found = self.among_groups(block) if self.grouped else self.table.best(block)
            for out, values in zip((codes, scores), found, strict=True):
                out[start : start + step] = values.cpu().numpy()

        blocks = range(0, len(vectors), step)
        deque(parallel_map(assign, blocks) if self.device.type == "cpu" else map(assign, blocks), maxlen=0)
        return codes, scores

    def among_groups(self, block: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Codes and scores of ``block [n, dim]``."""
        hopes = self.means.scores(block).addr_(block.norm(dim=1), self.reaches)  # [n, groups]
        places = torch.zeros(len(block), dtype=torch.int64, device=self.device)
        scores = block.new_full((len(block),), -math.inf)
        first = torch.zeros_like(hopes, dtype=torch.bool)
        first.scatter_(1, hopes.topk(min(FIRST_GROUPS, len(self.ends)), 1, sorted=False).indices, True)
        self.compare(block, first, places, scores)
        self.compare(block, (hopes > scores[:, None]) & ~first, places, scores)
        return self.order[places], scores

    def compare(self, block: torch.Tensor, wanted: torch.Tensor, places: torch.Tensor, scores: torch.Tensor) -> None:
        """Note in ``places`` and ``scores [n]`` what is better among the groups ``wanted [n, groups]``."""
        groups, rows = wanted.T.nonzero().unbind(1)  # those of a group together
        counts = groups.bincount(minlength=len(self.ends))  # which `wanted.sum(0)` takes ten times as long for
        first = begin = 0
        for end, last in zip(self.ends, counts.cumsum(0).tolist(), strict=True):
            own = rows[first:last]
            members, found = self.table[begin:end].best(block.index_select(0, own))
            better = found > scores[own]
            own = own[better]
            scores[own], places[own] = found[better], members[better] + begin
            first, begin = last, end
