"""k-means of token vectors by faiss (ColBERTv2 §3.3)."""

import faiss
import numpy as np
import torch
from numpy.typing import NDArray

from colbertv2.errors import InputError


def normalised(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of ``[n, dim]`` at L2 norm 1; a row of zeros stays as it is."""
    norms = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
    return vectors / np.maximum(norms, 1e-12, dtype=np.float32)[:, None]


def kmeans(
    points: NDArray[np.float32],
    num_centroids: int,
    *,
    iterations: int,
    max_points_per_centroid: int,
    seed: int,
    device: torch.device | str,
    spherical: bool = True,
) -> NDArray[np.float32]:
    """Euclidean k-means.

    Args:
        points: ``[n, dim]``; of these at most ``max_points_per_centroid · num_centroids`` are drawn.
        device: on a CUDA device faiss works on the GPU if this faiss has been built for it, else on the CPU.
        spherical: L2-normalise the centroids afterwards, as the official code does.

    Returns:
        ``[min(num_centroids, n), dim]``: there can't be more centroids than points.

    Raises:
        InputError: there are no points.

    >>> points = np.eye(2, dtype=np.float32)
    >>> kmeans(points, 4, iterations=1, max_points_per_centroid=256, seed=0, device="cpu").shape
    (2, 2)
    """
    if len(points) == 0:
        raise InputError("There is no vector to learn centroids from; expected at least one document with tokens.")
    gpus = faiss.get_num_gpus() if torch.device(device).type == "cuda" and hasattr(faiss, "get_num_gpus") else 0
    clustering = faiss.Kmeans(
        points.shape[1],
        min(num_centroids, len(points)),
        niter=iterations,
        gpu=gpus > 0,
        seed=seed,
        max_points_per_centroid=max_points_per_centroid,
        min_points_per_centroid=1,  # below this faiss prints a warning, and small collections are meant to work
    )
    clustering.train(np.ascontiguousarray(points, dtype=np.float32))
    centroids = np.asarray(clustering.centroids, dtype=np.float32)
    return normalised(centroids) if spherical else centroids
