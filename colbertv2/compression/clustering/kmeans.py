"""k-means of token vectors with faiss (ColBERTv2 §3.3)."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from colbertv2.errors import InputError

if TYPE_CHECKING:
    import torch


def normalised(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """L2-normalise the rows of ``[n, dim]``; a row of zeros stays as it is."""
    norms = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
    return vectors / np.maximum(norms, 1e-12, dtype=np.float32)[:, None]


def missing_package() -> str | None:
    """Why k-means can't run here: the package has no dependency on faiss, as there are two; ``None`` if it can."""
    if importlib.util.find_spec("faiss") is not None:
        return None
    return (
        "k-means needs faiss, which is not installed; install colbertv2[cpu] or colbertv2[gpu], that is faiss-cpu or "
        "faiss-gpu, but never both."
    )


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
    """Euclidean k-means with faiss.

    Args:
        points: ``[n, dim]``; at most ``max_points_per_centroid · num_centroids`` of them are used.
        device: with a CUDA device faiss uses the GPU if it was built with GPU support, else the CPU.
        spherical: L2-normalise the final centroids, as the official code does.

    Returns:
        centroids float32 ``[min(num_centroids, n), dim]``: there cannot be more centroids than points.

    Raises:
        InputError: there are no points, or faiss is not installed.

    >>> points = np.eye(2, dtype=np.float32)
    >>> kmeans(points, 4, iterations=1, max_points_per_centroid=256, seed=0, device="cpu").shape
    (2, 2)
    """
    if len(points) == 0:
        raise InputError("There is no vector to learn centroids from; expected at least one document with tokens.")
    if missing := missing_package():
        raise InputError(missing)
    import faiss

    gpus = faiss.get_num_gpus() if str(device).startswith("cuda") and hasattr(faiss, "get_num_gpus") else 0
    clustering = faiss.Kmeans(
        points.shape[1],
        min(num_centroids, len(points)),
        niter=iterations,
        gpu=gpus > 0,
        seed=seed,
        max_points_per_centroid=max_points_per_centroid,
        min_points_per_centroid=1,  # so that faiss prints no warning for small collections
    )
    clustering.train(np.ascontiguousarray(points, dtype=np.float32))
    centroids = np.asarray(clustering.centroids, dtype=np.float32)
    return normalised(centroids) if spherical else centroids
