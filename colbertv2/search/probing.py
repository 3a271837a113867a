"""Probing: finding candidates through the centroids that are nearest to a query's vectors."""

import numpy as np
from numpy.typing import NDArray

from colbertv2.indexing.index import Index
from colbertv2.kernels import queries as query_kernels


def centroid_similarities(index: Index, query: NDArray[np.float32]) -> NDArray[np.float32]:
    """``[num_centroids, Lq]``: dot products of all centroids with a query's vectors ``[Lq, dim]``.

    Raises:
        InputError: the codec has no centroids.
    """
    return index.centroids @ query.T


def probed_documents(index: Index, query: NDArray[np.float32], nprobe: int | None) -> NDArray[np.int64]:
    """Ascending positions of the documents with a vector at one of the ``nprobe`` nearest centroids of a query vector.

    If ``nprobe`` is None, these are all documents.
    """
    if nprobe is None:
        return np.arange(index.num_documents)
    return index.inverted(nearest_centroids(centroid_similarities(index, query), nprobe))


def nearest_centroids(similarities: NDArray[np.float32], nprobe: int) -> NDArray[np.int64]:
    """Ascending, unique ids of the ``nprobe`` nearest centroids of each query vector; all of them if there are fewer.

    Args:
        similarities: ``[num_centroids, Lq]``.

    >>> nearest_centroids(np.array([[0.1, 0.2], [0.9, 0.8], [0.5, 0.1]], np.float32), nprobe=1).tolist()
    [1]
    """
    num_centroids, length = similarities.shape
    if nprobe >= num_centroids:
        return np.arange(num_centroids)
    found = np.empty((length, nprobe), np.int64)
    query_kernels.nearest_rows(similarities, found)
    return np.unique(found)
