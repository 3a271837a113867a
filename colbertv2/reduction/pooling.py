"""Token pooling: similar vectors of a document are replaced by their mean (Clavié et al. 2024, arXiv:2409.14683)."""

from abc import abstractmethod
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from colbertv2.reduction.reduction import BudgetedReduction, Weights, seeded
from colbertv2.schema import PositiveInt, Seed, checked


@dataclass
class Pooling(BudgetedReduction):
    """The vectors of a document are divided into as many clusters as the budget allows; each becomes its mean.

    Args:
        factor, num_vectors, protected: see :class:`~colbertv2.reduction.reduction.BudgetedReduction`.
        normalise: whether the means are scaled to length 1, as the residual codec does with every vector it decodes.
    """

    normalise: bool = field()  # without a default, though the base class has one

    @abstractmethod
    def clusters(self, vectors: NDArray[np.float32], ids: NDArray[np.int64], number: int) -> NDArray[np.integer]:
        """The cluster ``[n]`` of each of ``vectors [n, dim]``; at most ``number`` of them, with ``1 < number < n``."""

    def labels(
        self, vectors: NDArray[np.float32], ids: NDArray[np.int64], weights: Weights = None
    ) -> NDArray[np.integer]:
        """The cluster of each vector."""
        number = self.budget(len(vectors))
        if number == len(vectors):
            return np.arange(len(vectors))
        if number == 1:
            return np.zeros(len(vectors), np.int64)
        return self.clusters(vectors, ids, number)


@checked
@dataclass
class HierarchicalPooling(Pooling):
    """Clusters by Ward's method on cosine distances: in each step the two that are most alike are joined.

    The clusters are those of sentence-transformers 6. According to its documentation, PyLate up to 1.3.4 clusters the
    rows of the matrix of distances instead.

    >>> pooling = HierarchicalPooling(factor=2, num_vectors=None, protected="none", normalise=True)
    >>> vectors = np.array([[1, 0], [0, 1], [1, 0], [0, 1]], np.float32)
    >>> pooling.reduce(vectors, np.arange(4), np.zeros(4, bool)).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """

    def clusters(self, vectors: NDArray[np.float32], ids: NDArray[np.int64], number: int) -> NDArray[np.integer]:
        """The tree of all joins, cut where ``number`` clusters are left; exact ties may leave fewer."""
        from scipy.cluster.hierarchy import fcluster, linkage
        from scipy.spatial.distance import squareform

        distances = np.clip(1 - vectors @ vectors.T, 0, 2)
        return fcluster(linkage(squareform(distances, checks=False), "ward"), number, "maxclust")


@checked
@dataclass
class KMeansPooling(Pooling):
    """Clusters by k-means, from centroids drawn by k-means++ (Clavié et al. 2024, §3).

    Args:
        iterations: of k-means.
        seed: of the first centroids.
    """

    iterations: PositiveInt
    seed: Seed

    def clusters(self, vectors: NDArray[np.float32], ids: NDArray[np.int64], number: int) -> NDArray[np.integer]:
        """The nearest centroid of each vector; a centroid may stay without vectors."""
        import warnings

        from scipy.cluster.vq import kmeans2

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "One of the clusters is empty")
            return kmeans2(vectors, number, iter=self.iterations, minit="++", rng=seeded(self.seed, ids))[1]


@checked
@dataclass
class SequentialPooling(Pooling):
    """Clusters of consecutive tokens, as many in each as possible (Clavié et al. 2024, §3): the simplest pooling."""

    def clusters(self, vectors: NDArray[np.float32], ids: NDArray[np.int64], number: int) -> NDArray[np.integer]:
        """``number`` runs of consecutive vectors, whose lengths differ by at most one."""
        return np.arange(len(vectors)) * number // len(vectors)
