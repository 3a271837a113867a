"""k-means of many vectors: Lloyd's algorithm, where vectors are compared only with promising groups of centroids."""

import numpy as np
import torch
from numpy.typing import NDArray

from colbertv2.compression.clustering.assignment import Assignment
from colbertv2.compression.clustering.kmeans import normalised
from colbertv2.errors import InputError

BLOCK_VECTORS = 2**16  # vectors summed at once
# The first iteration is replaced by two passes over these shares of the points. The first centroids are random points,
# which form bad groups: a pass over all points would take twice as long as later and move the centroids no better.
FIRST_ITERATION = (1 / 4, 1 / 2)


def grouped_kmeans(
    points: NDArray[np.float32],
    num_centroids: int,
    *,
    iterations: int,
    max_points_per_centroid: int,
    seed: int,
    device: torch.device | str,
    spherical: bool,
    group_search_radius: float,
) -> NDArray[np.float32]:
    """Euclidean k-means with the arguments of ``kmeans``, and ``group_search_radius`` as for ``Assignment``.

    The first centroids are points drawn with the seed. The first iteration is split into two passes, over a quarter and
    over half of the points, which takes half of the time. An empty centroid moves to the point that is furthest from
    its own centroid.

    Returns:
        centroids float32 ``[min(num_centroids, n), dim]``.

    Raises:
        InputError: there are no points.

    >>> points = np.eye(2, dtype=np.float32)
    >>> knobs = {"iterations": 1, "max_points_per_centroid": 256, "seed": 0, "device": "cpu", "spherical": True}
    >>> grouped_kmeans(points, 4, group_search_radius=0.7, **knobs).shape
    (2, 2)
    """
    if len(points) == 0:
        raise InputError("There is no vector to learn centroids from; expected at least one document with tokens.")
    number = min(num_centroids, len(points))
    drawn = np.random.default_rng(seed).permutation(len(points))[: number * max_points_per_centroid]
    centroids = np.ascontiguousarray(points[drawn[:number]], dtype=np.float32)
    for share in FIRST_ITERATION:
        some = points[np.sort(drawn[: max(number, int(share * len(drawn)))])]
        centroids = moved(centroids, some, group_search_radius, device)
    if len(drawn) < len(points):
        points = points[np.sort(drawn)]
    for _ in range(iterations - 1):
        centroids = moved(centroids, points, group_search_radius, device)
    return normalised(centroids) if spherical else centroids


def moved(
    centroids: NDArray[np.float32], points: NDArray[np.float32], group_search_radius: float, device: torch.device | str
) -> NDArray[np.float32]:
    """Move each of ``centroids [K, dim]`` to the mean of the ``points [n, dim]`` nearest to it; needs n ≥ K."""
    assignment = Assignment(centroids, euclidean=True, group_search_radius=group_search_radius, device=device)
    codes, scores = assignment.search(points)
    counts = np.bincount(codes, minlength=len(centroids))
    sums = sums_of(points, codes, len(centroids), assignment.device)
    full = counts > 0
    means = np.zeros_like(centroids)
    means[full] = sums[full] / counts[full, None].astype(np.float32)
    if len(empty := np.flatnonzero(~full)):
        distances = np.einsum("nd,nd->n", points, points) - 2 * scores
        means[empty] = points[np.argsort(-distances, kind="stable")[: len(empty)]]
    return means


def sums_of(
    points: NDArray[np.float32], codes: NDArray[np.int32], number: int, device: torch.device
) -> NDArray[np.float32]:
    """``[number, dim]``: for each code, the sum of its points."""
    sums = torch.zeros(number, points.shape[1], device=device)
    for start in range(0, len(points), BLOCK_VECTORS):
        block = slice(start, start + BLOCK_VECTORS)
        sums.index_add_(0, torch.from_numpy(codes[block]).to(device), torch.from_numpy(points[block]).to(device))
    return sums.cpu().numpy()
