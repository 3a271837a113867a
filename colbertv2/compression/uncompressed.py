"""No compression: 16-bit floats, the reference that every other codec is measured against (ColBERTv2 App. B)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from colbertv2.compression.clustering.clusters import Clusters
from colbertv2.errors import InputError

if TYPE_CHECKING:
    import torch

    from colbertv2.compression.codec import Arrays


class Float16Codec:
    """Every dimension as a 16-bit float: 256 bytes a vector at 128 dimensions.

    >>> from colbertv2.compression.codec import fit
    >>> codec = Float16Codec()
    >>> fit(codec, np.ones((1, 2), np.float32), num_documents=1, average_length=1.0, seed=0, device="cpu")
    >>> codec.decode(codec.encode(np.array([[0.5, 0.25]], np.float32)))
    array([[0.5 , 0.25]], dtype=float32)
    """

    centroids: None = None

    has_centroids = False
    shares_codes = False

    def __init__(self) -> None:
        self.dim: int | None = None
        self.device: torch.device | str = "cpu"
        self.notes: list[str] = []

    def __repr__(self) -> str:
        return "Float16Codec()"

    @property
    def label(self) -> str:
        """Its name in tables."""
        return "fp16"

    @property
    def bytes_per_vector(self) -> int:
        """Two a dimension."""
        if self.dim is None:
            raise InputError("This Float16Codec has not been fitted; call learn or load_codec first.")
        return 2 * self.dim

    def check(self, dim: int) -> list[str]:
        """Any number of dimensions will do."""
        return []

    def max_sample(self, num_documents: int, average_length: float) -> int | None:
        """One: nothing is learned but the number of dimensions."""
        return 1

    def cluster_settings(self) -> dict[str, Any]:
        """Nothing: there are no centroids."""
        return {}

    def cluster(
        self,
        sample: NDArray[np.float32],
        *,
        num_documents: int,
        average_length: float,
        seed: int,
        device: torch.device | str,
    ) -> Clusters:
        """None."""
        return Clusters.none(sample.shape[1])

    def learn(self, clusters: Clusters, *, seed: int, device: torch.device | str) -> None:
        """Nothing is learned but the number of dimensions."""
        self.dim = clusters.centroids.shape[1]

    def encode(self, vectors: NDArray[np.float32], codes: NDArray[np.int32] | None = None) -> Arrays:
        """``[n, dim]`` to ``vectors`` float16 ``[n, dim]``."""
        return {"vectors": vectors.astype(np.float16)}

    def decode(self, arrays: Arrays) -> NDArray[np.float32]:
        """Back to float32 ``[n, dim]``."""
        return arrays["vectors"].astype(np.float32)

    def lookup_tables(self) -> None:
        """There are no centroids to add to."""

    def save(self, path: Path) -> None:
        """Write ``codec.json``."""
        from colbertv2.compression.codec import write_settings

        write_settings(path, "Float16Codec", {"dim": self.dim})

    @classmethod
    def load(cls, path: Path, settings: dict[str, Any]) -> Float16Codec:
        """From what ``save`` wrote; use ``load_codec``."""
        codec = cls()
        codec.dim = int(settings["dim"])
        return codec
