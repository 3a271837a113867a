"""k-means of many vectors: Lloyd's iterations, each vector compared with hopeful groups of centroids alone."""

import numpy as np
import torch
from numpy.typing import NDArray

from colbertv2.compression.assignment import Assignment
from colbertv2.compression.kmeans import normalised
from colbertv2.errors import InputError

BLOCK_VECTORS = 2**16  # summed up at once


def lloyd(
    points: NDArray[np.float32],
    num_centroids: int,
    *,
    iterations: int,
    max_points_per_centroid: int,
    seed: int,
    device: torch.device | str,
    spherical: bool,
    reach: float,
) -> NDArray[np.float32]:
    """Euclidean k-means as ``kmeans`` does it, but for ``reach``, for which see ``Assignment``.

    It begins with points drawn by the seed. A centroid that no point is nearest to moves to the point that is furthest
    from its own.

    Returns:
        ``[min(num_centroids, n), dim]``.

    Raises:
        InputError: there are no points.

    >>> points = np.eye(2, dtype=np.float32)
    >>> knobs = {"iterations": 1, "max_points_per_centroid": 256, "seed": 0, "device": "cpu", "spherical": True}
    >>> lloyd(points, 4, reach=0.7, **knobs).shape
    (2, 2)
    """
    if len(points) == 0:
        raise InputError("There is no vector to learn centroids from; expected at least one document with tokens.")
    number = min(num_centroids, len(points))
    drawn = np.random.default_rng(seed).permutation(len(points))[: number * max_points_per_centroid]
    centroids = np.ascontiguousarray(points[drawn[:number]], dtype=np.float32)
    if len(drawn) < len(points):
        points = points[np.sort(drawn)]
    for _ in range(iterations):
        assignment = Assignment(centroids, euclidean=True, reach=reach, device=device)
        codes, scores = assignment.search(points)
        counts = np.bincount(codes, minlength=number)
        sums = sums_of(points, codes, number, assignment.device)
        full = counts > 0
        centroids = np.zeros_like(centroids)
        centroids[full] = sums[full] / counts[full, None].astype(np.float32)
        if len(empty := np.flatnonzero(~full)):
            distances = np.einsum("nd,nd->n", points, points) - 2 * scores
            centroids[empty] = points[np.argsort(-distances, kind="stable")[: len(empty)]]
    return normalised(centroids) if spherical else centroids


def sums_of(
    points: NDArray[np.float32], codes: NDArray[np.int32], number: int, device: torch.device
) -> NDArray[np.float32]:
    """``[number, dim]``: the sum of the points with each code."""
    sums = torch.zeros(number, points.shape[1], device=device)
    for start in range(0, len(points), BLOCK_VECTORS):
        block = slice(start, start + BLOCK_VECTORS)
        sums.index_add_(0, torch.from_numpy(codes[block]).to(device), torch.from_numpy(points[block]).to(device))
    return sums.cpu().numpy()
