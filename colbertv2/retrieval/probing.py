"""Finding candidates through the centroids nearest to a query's vectors, as both compressed engines begin."""

import numpy as np
from numpy.typing import NDArray

from colbertv2.retrieval.index import Index


def centroid_similarities(index: Index, query: NDArray[np.float32]) -> NDArray[np.float32]:
    """``[Lq, num_centroids]``: dot products of a query's vectors with all centroids.

    Raises:
        InputError: the codec has no centroids.
    """
    centroids = index.codec.centroids
    if centroids is None:
        raise index.no_centroids()
    return query @ centroids.T


def nearest_centroids(similarities: NDArray[np.float32], nprobe: int) -> NDArray[np.int64]:
    """Ascending, unique ids of the ``nprobe`` best centroids of each query vector; all of them if there are fewer.

    >>> nearest_centroids(np.array([[0.1, 0.9, 0.5], [0.2, 0.8, 0.1]], np.float32), nprobe=1).tolist()
    [1]
    """
    num_centroids = similarities.shape[1]
    if nprobe >= num_centroids:
        return np.arange(num_centroids)
    if nprobe == 1:
        return np.unique(similarities.argmax(axis=1))
    return np.unique(np.argpartition(similarities, num_centroids - nprobe, axis=1)[:, num_centroids - nprobe :])
