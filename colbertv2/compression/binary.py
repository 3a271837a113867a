"""The signs alone, in the manner of BPR: the baseline of ColBERTv2 App. B."""

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


class BinaryCodec:
    """The sign of every dimension: 16 bytes a vector at 128 dimensions, no centroids.

    Decoded vectors are ±1/√dim, of norm 1. Zero counts as negative.

    >>> from colbertv2.compression.codec import fit
    >>> codec = BinaryCodec()
    >>> fit(codec, np.ones((1, 8), np.float32), num_documents=1, average_length=1.0, seed=0, device="cpu")
    >>> codec.encode(np.array([[1, -1, 1, -1, 1, -1, 1, 1]], np.float32))
    {'signs': array([[171]], dtype=uint8)}
    """

    centroids: None = None

    has_centroids = False
    shares_codes = False

    def __init__(self) -> None:
        self.dim: int | None = None
        self.device: torch.device | str = "cpu"
        self.notes: list[str] = []

    def __repr__(self) -> str:
        return "BinaryCodec()"

    @property
    def label(self) -> str:
        """Its name in tables."""
        return "sign"

    @property
    def bytes_per_vector(self) -> int:
        """One for eight dimensions."""
        if self.dim is None:
            raise InputError("This BinaryCodec has not been fitted; call learn or load_codec first.")
        return self.dim // 8

    def check(self, dim: int) -> list[str]:
        """The dimensions have to fill whole bytes."""
        if dim % 8:
            return [f"The binary codec needs a multiple of 8 dimensions, found {dim}; change the model's dim."]
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
        """Nothing is learned but the number of dimensions.

        Raises:
            InputError: the dimensions do not fill whole bytes.
        """
        dim = clusters.centroids.shape[1]
        for problem in self.check(dim):
            raise InputError(problem)
        self.dim = dim

    def encode(self, vectors: NDArray[np.float32], codes: NDArray[np.int32] | None = None) -> Arrays:
        """``[n, dim]`` to ``signs`` uint8 ``[n, dim / 8]``, the first dimension in the highest bit."""
        return {"signs": np.packbits(vectors > 0, axis=1)}

    def decode(self, arrays: Arrays) -> NDArray[np.float32]:
        """``signs`` to ±1/√dim, float32 ``[n, dim]``."""
        from colbertv2.compression.bitpack import byte_values

        signs = arrays["signs"]
        dim = signs.shape[1] * 8
        values = ((byte_values(1) * 2.0 - 1.0) / np.sqrt(dim)).astype(np.float32)
        return values.take(signs, axis=0).reshape(len(signs), dim)

    def lookup_tables(self) -> None:
        """There are no centroids to add to."""

    def save(self, path: Path) -> None:
        """Write ``codec.json``."""
        from colbertv2.compression.codec import write_settings

        write_settings(path, "BinaryCodec", {"dim": self.dim})

    @classmethod
    def load(cls, path: Path, settings: dict[str, Any]) -> BinaryCodec:
        """From what ``save`` wrote; use ``load_codec``."""
        codec = cls()
        codec.dim = int(settings["dim"])
        return codec
