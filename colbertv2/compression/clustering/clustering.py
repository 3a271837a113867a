"""How many centroids, from which vectors, in how many bits: what the codecs with centroids share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from colbertv2.compression.clustering.rules import num_centroids_rule
from colbertv2.errors import InputError

if TYPE_CHECKING:
    import torch

    from colbertv2.compression.clustering.assignment import Assignment

HELD_OUT_SHARE, MAX_HELD_OUT = 0.05, 50_000
LARGEST, SMALLEST = 127, 2.0**-24  # signed byte, positive 16-bit float


@dataclass(frozen=True)
class Clustering:
    """The knobs of centroids and of how vectors are assigned to them; see ``ResidualCodec``.

    Raises:
        InputError: a value is out of range, or ``centroid_factor`` is given beside ``num_centroids``.
    """

    num_centroids: int | None
    centroid_factor: float
    kmeans_iterations: int
    max_points_per_centroid: int
    group_search_radius: float | None
    centroid_bits: int

    def __post_init__(self) -> None:
        if self.centroid_factor <= 0:
            raise InputError(f"centroid_factor is {self.centroid_factor}; expected a positive number.")
        if self.num_centroids is not None and self.centroid_factor != 1:
            raise InputError("centroid_factor multiplies the rule for num_centroids; set only one of the two.")
        for name in ("num_centroids", "kmeans_iterations", "max_points_per_centroid"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} is {value}; expected at least 1.")
        if self.group_search_radius is not None and not self.group_search_radius > 0:
            raise InputError(f"group_search_radius is {self.group_search_radius}; expected a positive number, or null.")
        if self.centroid_bits not in (8, 16):
            raise InputError(f"centroid_bits is {self.centroid_bits}; expected 8 or 16.")

    def wanted(self, num_vectors: float) -> int:
        """How many centroids a collection of so many vectors should get."""
        if self.num_centroids is not None:
            return self.num_centroids
        return max(1, int(self.centroid_factor * num_centroids_rule(num_vectors)))

    def max_sampled_vectors(self, num_vectors: float) -> int:
        """How many vectors of a collection of ``num_vectors`` ``fit`` can make use of."""
        return self.wanted(num_vectors) * self.max_points_per_centroid + MAX_HELD_OUT

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
        """Centroids; held-out vectors to learn from what residuals are; notes.

        Held out are 5 % of ``sample``, or all that k-means would not draw if these are more, but at most 50,000.

        A sample of fewer than 20 vectors has no 5 %; then the same vectors serve for both, and a note says so.

        Args:
            spherical: whether centroids are L2-normalised.

        Raises:
            InputError: the sample is empty, or has fewer vectors than ``num_centroids`` asks for.
        """
        from colbertv2.compression.clustering.grouped_kmeans import grouped_kmeans
        from colbertv2.compression.clustering.kmeans import kmeans

        notes: list[str] = []
        wanted = self.wanted(num_documents * average_length)
        sample = sample[np.random.default_rng(seed).permutation(len(sample))]
        spare = len(sample) - wanted * self.max_points_per_centroid
        num_held_out = int(min(max(HELD_OUT_SHARE * len(sample), spare), MAX_HELD_OUT))
        points, held_out = sample[: len(sample) - num_held_out], sample[len(sample) - num_held_out :]
        if self.num_centroids is not None and self.num_centroids > len(points):
            raise InputError(
                f"codec.num_centroids is {self.num_centroids}, more than the {len(points)} sampled vectors; lower it, "
                "or set it to null for the official rule, which is clamped."
            )
        if num_held_out == 0:
            held_out = sample
            notes.append(f"Only {len(sample)} vectors sampled: the buckets are fitted on those of the centroids.")
        how = {
            "iterations": self.kmeans_iterations,
            "max_points_per_centroid": self.max_points_per_centroid,
            "seed": seed,
            "device": device,
            "spherical": spherical,
        }
        if self.group_search_radius is None:
            centroids = kmeans(points, wanted, **how)
        else:
            centroids = grouped_kmeans(points, wanted, reach=self.group_search_radius, **how)
        if len(centroids) < wanted:
            notes.append(f"{wanted} centroids wanted, clamped to the {len(centroids)} vectors there are.")
        return centroids, held_out, notes

    def assignment(self, centroids: NDArray[np.float32], device: torch.device | str, *, euclidean: bool) -> Assignment:
        """What assigns vectors to ``centroids [K, dim]``."""
        from colbertv2.compression.clustering.assignment import Assignment

        return Assignment(centroids, euclidean=euclidean, reach=self.group_search_radius, device=device)

    def rounded(self, centroids: NDArray[np.float32]) -> NDArray[np.float32]:
        """``centroids`` as ``save`` keeps them: a codec encodes by these, so that loading it changes nothing."""
        kept, unit = self.kept(centroids)
        return kept.astype(np.float32) * np.float32(unit)

    def kept(self, centroids: NDArray[np.float32]) -> tuple[NDArray[np.float16 | np.int8], float]:
        """16-bit floats, or signed bytes in units of a power of two (which 16-bit floats hold exactly); the unit."""
        if self.centroid_bits == 16:
            return centroids.astype(np.float16), 1.0
        largest = max(float(np.abs(centroids).max()), SMALLEST * LARGEST)
        unit = 2.0 ** math.ceil(math.log2(largest / LARGEST))
        return np.rint(centroids / np.float32(unit)).astype(np.int8), unit

    def save(self, path: Path, centroids: NDArray[np.float32]) -> None:
        """Write ``centroids.npy``, and ``centroid_unit.npy`` beside bytes."""
        kept, unit = self.kept(centroids)
        np.save(path / "centroids.npy", kept)
        if self.centroid_bits == 8:
            np.save(path / "centroid_unit.npy", np.float32(unit))

    def load(self, path: Path) -> NDArray[np.float32]:
        """The centroids that ``save`` wrote."""
        centroids = np.load(path / "centroids.npy").astype(np.float32)
        return centroids * np.load(path / "centroid_unit.npy") if self.centroid_bits == 8 else centroids
