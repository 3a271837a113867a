"""Centroids as an index stores them, and finding the nearest centroid of a vector (ColBERTv2 §3.3)."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from colbertv2.errors import InputError
from colbertv2.files import read_array, read_json, write_json

if TYPE_CHECKING:
    import torch

    from colbertv2.compression.clustering.assignment import Assignment

LARGEST, SMALLEST = 127, 2.0**-24  # the largest signed byte, the smallest positive 16-bit float


@dataclass(frozen=True, eq=False)
class Centroids:
    """Centroids already rounded to their stored precision, so that saving and loading does not change them.

    Args:
        vectors: float32 ``[K, dim]``, as ``rounded`` returns them.
        bits: 16 for 16-bit floats, 8 for signed bytes in units of a power of two.
        group_search_radius: how far ``Assignment`` searches in groups of centroids; None compares every vector with
            all centroids.

    >>> centroids = Centroids.rounded(np.eye(3, dtype=np.float32))
    >>> centroids.nearest(np.eye(3, dtype=np.float32)[[2, 0]]).tolist()
    [2, 0]
    """

    vectors: NDArray[np.float32]
    bits: int = 16
    group_search_radius: float | None = None
    assignments: dict[str, Assignment] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def rounded(
        cls, vectors: NDArray[np.float32], bits: int = 16, group_search_radius: float | None = None
    ) -> Centroids:
        """Round ``vectors [K, dim]`` of any precision to ``bits`` bits."""
        stored, unit = to_stored(vectors, bits)
        return cls(stored.astype(np.float32) * np.float32(unit), bits, group_search_radius)

    def residuals(self, vectors: NDArray[np.float32], codes: NDArray[np.int32] | None = None) -> NDArray[np.float32]:
        """``vectors [n, dim]`` minus their centroids: those of ``codes [n]``, or the nearest ones."""
        return vectors - self.vectors[self.nearest(vectors) if codes is None else codes]

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def dim(self) -> int:
        """The number of dimensions of a centroid."""
        return self.vectors.shape[1]

    def nearest(self, vectors: NDArray[np.float32], device: torch.device | str = "cpu") -> NDArray[np.int32]:
        """``[n]``: the centroid with the greatest dot product with each of ``vectors [n, dim]``.

        Computed on ``device``. With a ``group_search_radius`` a few vectors miss their nearest centroid.
        """
        if len(vectors) == 0:  # as when an index is opened: then groups of centroids need not be found
            return np.zeros(0, np.int32)
        if str(device) not in self.assignments:
            from colbertv2.compression.clustering.assignment import Assignment

            self.assignments[str(device)] = Assignment(
                self.vectors, euclidean=False, group_search_radius=self.group_search_radius, device=device
            )
        return self.assignments[str(device)].nearest(vectors)

    def save(self, path: Path) -> None:
        """Write ``centroids.npy`` and ``centroids.json`` into the directory ``path``."""
        stored, unit = to_stored(self.vectors, self.bits)
        np.save(path / "centroids.npy", stored)
        settings = {"bits": self.bits, "unit": unit, "group_search_radius": self.group_search_radius}
        write_json(path / "centroids.json", settings)

    @classmethod
    def load(cls, path: Path) -> Centroids:
        """Load the centroids that ``save`` wrote into the directory ``path``.

        Raises:
            InputError: a file is missing or damaged.
        """
        settings, stored = read_json(path / "centroids.json"), read_array(path / "centroids.npy")
        bits, unit, radius = (settings.get(name) for name in ("bits", "unit", "group_search_radius"))
        if not (
            bits in (8, 16)
            and stored.dtype == (np.int8 if bits == 8 else np.float16)
            and stored.ndim == 2
            and stored.size
            and isinstance(unit, float)
            and 0 < unit < math.inf
            and (radius is None or (isinstance(radius, int | float) and 0 < radius <= sys.float_info.max))
        ):
            raise InputError(
                f"The centroids in {path} are damaged: found {stored.dtype} {list(stored.shape)} with the settings "
                f"{settings}; build them again."
            )
        vectors = stored.astype(np.float32)
        vectors *= np.float32(unit)  # in place: this takes half of the time of opening a large index
        if not np.isfinite(vectors).all():
            raise InputError(f"The centroids in {path} are damaged: they hold NaN or infinity; build them again.")
        return cls(vectors, bits, None if radius is None else float(radius))


def to_stored(centroids: NDArray[np.float32], bits: int) -> tuple[NDArray[np.float16 | np.int8], float]:
    """Convert ``centroids [K, dim]`` to 16-bit floats or signed bytes; also return the unit, the value of a stored 1.

    The unit is a power of two, so that 16-bit floats can represent the values of bytes exactly.
    """
    if bits == 16:
        return centroids.astype(np.float16), 1.0
    largest = max(float(np.abs(centroids).max()), SMALLEST * LARGEST)
    unit = 2.0 ** math.ceil(math.log2(largest / LARGEST))
    return np.rint(centroids / np.float32(unit)).astype(np.int8), unit
