"""How many centroids, from which vectors, and which of them is nearest: what the codecs with centroids share."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from colbertv2.compression.kmeans import kmeans, num_centroids_rule
from colbertv2.errors import InputError

HELD_OUT_SHARE, MAX_HELD_OUT = 0.05, 50_000
BLOCK_PRODUCTS = 2**24  # dot products computed at once, 64 MiB


@dataclass(frozen=True)
class Clustering:
    """The knobs of k-means; see ``ResidualCodec``.

    Raises:
        InputError: a value is out of range, or ``centroid_factor`` is given beside ``num_centroids``.
    """

    num_centroids: int | None
    centroid_factor: float
    kmeans_iterations: int
    max_points_per_centroid: int

    def __post_init__(self) -> None:
        if self.centroid_factor <= 0:
            raise InputError(f"centroid_factor is {self.centroid_factor}; expected a positive number.")
        if self.num_centroids is not None and self.centroid_factor != 1:
            raise InputError("centroid_factor multiplies the rule for num_centroids; set only one of the two.")
        for name in ("num_centroids", "kmeans_iterations", "max_points_per_centroid"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} is {value}; expected at least 1.")

    def fit(
        self,
        sample: NDArray[np.float32],
        *,
        num_documents: int,
        average_length: float,
        seed: int,
        device: torch.device | str,
        spherical: bool,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], list[str]]:
        """Centroids; held-out vectors to learn from what residuals are (5 % of ``sample``, at most 50,000); notes.

        A sample of fewer than 20 vectors has no 5 %; then the same vectors serve for both, and a note says so.

        Args:
            spherical: whether centroids are L2-normalised.

        Raises:
            InputError: the sample is empty, or has fewer vectors than ``num_centroids`` asks for.
        """
        notes: list[str] = []
        wanted = self.num_centroids
        if wanted is None:
            wanted = max(1, int(self.centroid_factor * num_centroids_rule(num_documents * average_length)))
        sample = sample[np.random.default_rng(seed).permutation(len(sample))]
        num_held_out = int(min(HELD_OUT_SHARE * len(sample), MAX_HELD_OUT))
        points, held_out = sample[: len(sample) - num_held_out], sample[len(sample) - num_held_out :]
        if self.num_centroids is not None and self.num_centroids > len(points):
            raise InputError(
                f"codec.num_centroids is {self.num_centroids}, more than the {len(points)} sampled vectors; lower it, "
                "or set it to null for the official rule, which is clamped."
            )
        if num_held_out == 0:
            held_out = sample
            notes.append(f"Only {len(sample)} vectors sampled: the buckets are fitted on those of the centroids.")
        centroids = kmeans(
            points,
            wanted,
            iterations=self.kmeans_iterations,
            max_points_per_centroid=self.max_points_per_centroid,
            seed=seed,
            device=device,
            spherical=spherical,
        )
        if len(centroids) < wanted:
            notes.append(f"{wanted} centroids wanted, clamped to the {len(centroids)} vectors there are.")
        return centroids, held_out, notes


def nearest(
    vectors: NDArray[np.float32], centroids: NDArray[np.float32], device: torch.device, euclidean: bool
) -> NDArray[np.int32]:
    """``[n]``: for each of ``[n, dim]`` the centroid of greatest dot product or least distance, in bounded memory."""
    table = torch.from_numpy(centroids).to(device)
    penalty = -0.5 * (table * table).sum(1)
    codes = np.empty(len(vectors), dtype=np.int32)
    step = max(1, BLOCK_PRODUCTS // len(centroids))
    for start in range(0, len(vectors), step):
        block = torch.from_numpy(np.ascontiguousarray(vectors[start : start + step])).to(device)
        products = torch.addmm(penalty, block, table.T) if euclidean else block @ table.T
        codes[start : start + step] = products.argmax(1).cpu().numpy()
    return codes
