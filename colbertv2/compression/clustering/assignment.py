"""Finding the nearest centroid of each vector, among all centroids or only in promising groups of centroids.

A group is a cluster of centroids. For each vector, the best score in a group is estimated from the group's mean and
spread (the root of the mean squared distance of its members from the mean). The estimate is the score of a hypothetical
member that is ``group_search_radius`` spreads away from the mean in the direction of the vector. In 128 dimensions
hardly any member is as far as 0.7 spreads from the mean in any one direction.

The search first compares a vector with the members of the groups with the highest estimates, then with the members of
all groups whose estimate is above the best score found so far. A vector near its centroid therefore needs few
comparisons, and a vector far from all centroids needs many. Each group and block of vectors takes one matrix product.
Blocks run in parallel, because half of the time is spent on selecting groups.
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

BLOCK_PRODUCTS = 2**22  # dot products computed at once: 16 MiB
BLOCK_VECTORS = 2**14  # vectors assigned at once in the search by groups
FIRST_GROUPS = 4  # groups that are searched for every vector
GROUP_ITERATIONS, GROUP_SEED = 10, 0


@dataclass(frozen=True)
class Table:
    """Vectors ``[n, dim]`` to search, and a bias ``[n]`` that is added to dot products with them (None for none)."""

    vectors: torch.Tensor
    bias: torch.Tensor | None

    @classmethod
    def of(cls, vectors: torch.Tensor, euclidean: bool) -> "Table":
        """Table whose best row has the smallest Euclidean distance if ``euclidean``, else the greatest dot product."""
        return cls(vectors, -0.5 * (vectors * vectors).sum(1) if euclidean else None)

    def __getitem__(self, rows: Any) -> "Table":
        """The table of the selected rows."""
        return Table(self.vectors[rows], None if self.bias is None else self.bias[rows])

    def scores(self, block: torch.Tensor) -> torch.Tensor:
        """Scores ``[m, n]`` of all rows for ``block [m, dim]``."""
        columns = self.vectors.T
        return block @ columns if self.bias is None else torch.addmm(self.bias, block, columns)

    def best(self, block: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """For each vector of ``block [m, dim]``, the row ``[m]`` with the greatest score, and that score ``[m]``."""
        scores = self.scores(block)
        if scores.device.type == "cpu":  # there numpy's argmax takes a quarter of the time of torch's
            rows = torch.from_numpy(scores.numpy().argmax(1))
            return rows, scores.gather(1, rows[:, None])[:, 0]
        values, rows = scores.max(1)
        return rows, values


class Assignment:
    """Assigns vectors to ``centroids [K, dim]``, on ``device``.

    Args:
        euclidean: if true, the nearest centroid has the smallest Euclidean distance; else the greatest dot product.
        group_search_radius: how far to search in groups of centroids, in spreads of a group: members that are further
            from their group's mean, in the direction of the vector, may be missed. None compares every vector with all
            centroids.

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
        groups = groups.unique(return_inverse=True)[1]  # renumbered without empty groups
        self.order = groups.argsort(stable=True)  # [K] centroids, sorted by group
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
        """The nearest centroid ``[n]`` of each of ``vectors [n, dim]``."""
        return self.search(vectors)[0]

    def search(self, vectors: NDArray[np.float32]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The nearest centroids ``[n]`` and their scores ``[n]``, computed block by block.

        The score is the dot product, minus half the centroid's squared norm if ``euclidean``.
        """
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
        """The nearest centroids and their scores for ``block [n, dim]``, searched in promising groups only."""
        hopes = self.means.scores(block).addr_(block.norm(dim=1), self.reaches)  # [n, groups]
        places = torch.zeros(len(block), dtype=torch.int64, device=self.device)
        scores = block.new_full((len(block),), -math.inf)
        first = torch.zeros_like(hopes, dtype=torch.bool)
        first.scatter_(1, hopes.topk(min(FIRST_GROUPS, len(self.ends)), 1, sorted=False).indices, True)
        self.compare(block, first, places, scores)
        self.compare(block, (hopes > scores[:, None]) & ~first, places, scores)
        return self.order[places], scores

    def compare(self, block: torch.Tensor, wanted: torch.Tensor, places: torch.Tensor, scores: torch.Tensor) -> None:
        """Update ``places`` and ``scores [n]`` where a group selected in ``wanted [n, groups]`` has a better member."""
        groups, rows = wanted.T.nonzero().unbind(1)  # sorted by group
        counts = groups.bincount(minlength=len(self.ends))  # ten times as fast as `wanted.sum(0)`
        first = begin = 0
        for end, last in zip(self.ends, counts.cumsum(0).tolist(), strict=True):
            own = rows[first:last]
            members, found = self.table[begin:end].best(block.index_select(0, own))
            better = found > scores[own]
            own = own[better]
            scores[own], places[own] = found[better], members[better] + begin
            first, begin = last, end
