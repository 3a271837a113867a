"""The interface that every codec meets (ColBERTv2 §3.3)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from colbertv2.errors import InputError

if TYPE_CHECKING:
    import torch

    from colbertv2.compression.clustering.clusters import Clusters

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class LookupTables:
    """How a decoded vector adds up, so that its similarity to a query can be added up from tables.

    It is ``centroids[code] + gains[gain] * concatenate(codebook[m, byte] for m, byte in residual)``, L2-normalised if
    ``normalise`` says so, in a space that ``queries`` takes queries to.
    """

    centroids: NDArray[np.float32]  # [K, dim]
    codebook: NDArray[np.float32]  # [M, 256, dim / M], or [1, 256, dim / M] for all bytes
    normalise: bool
    queries: NDArray[np.float32] | None = None  # [dim, dim] to multiply queries by, or None
    gains: NDArray[np.float32] | None = None  # [256], or None for 1

    @property
    def gain_values(self) -> NDArray[np.float32]:
        """``gains``, or ``[1]`` without."""
        return np.ones(1, np.float32) if self.gains is None else self.gains

    @cached_property
    def covariance(self) -> NDArray[np.float32]:
        """``[M or 1, d, d]`` of each byte's pieces, all values counted alike."""
        deviation = self.codebook - self.codebook.mean(axis=1, keepdims=True)
        return deviation.transpose(0, 2, 1) @ deviation


class Codec(Protocol):
    """Turns token vectors into small arrays and back.

    The constructor takes hyper-parameters and validates them; ``cluster`` and ``learn`` learn from a sample what
    encoding needs (``fit`` does both). ``encode``, ``decode`` and ``bytes_per_vector`` work after ``learn`` or
    ``load``.
    """

    has_centroids: bool  # whether engines that probe centroids can search it
    shares_codes: bool  # whether the centroid of a vector depends on nothing but ``cluster_settings``
    device: torch.device | str  # where encoding runs, the CPU after ``load``

    @property
    def centroids(self) -> NDArray[np.float32] | None:
        """L2-normalised ``[num_centroids, dim]``, or None for a codec without them."""
        ...

    @property
    def label(self) -> str:
        """Its name in tables, such as ``2 bits``."""
        ...

    @property
    def bytes_per_vector(self) -> int:
        """Bytes that one encoded vector takes, shared tables (such as centroids) not counted."""
        ...

    @property
    def notes(self) -> list[str]:
        """What learning had to do differently from what was asked, such as clamping the number of centroids."""
        ...

    def check(self, dim: int) -> list[str]:
        """Why vectors of ``dim`` dimensions can't be encoded; empty if they can."""
        ...

    def max_sample(self, num_documents: int, average_length: float) -> int | None:
        """How many vectors ``cluster`` can make use of, for a collection of this size; None for any number."""
        ...

    def cluster_settings(self) -> dict[str, Any]:
        """All that ``cluster`` depends on, of what the constructor was given."""
        ...

    def cluster(
        self,
        sample: NDArray[np.float32],
        *,
        num_documents: int,
        average_length: float,
        seed: int,
        device: torch.device | str,
    ) -> Clusters:
        """Centroids from ``sample [n, dim]``.

        Args:
            num_documents: documents in the whole collection, not only in the sample.
            average_length: mean number of vectors in a document.

        Raises:
            InputError: the sample is empty, or its dimensions can't be encoded.
        """
        ...

    def learn(self, clusters: Clusters, *, seed: int, device: torch.device | str) -> None:
        """Learn all else; encoding then runs on ``device`` too."""
        ...

    def encode(self, vectors: NDArray[np.float32], codes: NDArray[np.int32] | None = None) -> Arrays:
        """``[n, dim]`` to named arrays whose first axis is n; dtypes and other axes do not depend on n.

        Args:
            codes: the centroids ``[n]``, where they are known.
        """
        ...

    def decode(self, arrays: Arrays) -> NDArray[np.float32]:
        """What ``encode`` returned, or the same rows of all its arrays, to ``[n, dim]``."""
        ...

    def lookup_tables(self) -> LookupTables | None:
        """How decoded vectors add up; None for a codec without centroids."""
        ...

    def save(self, path: Path) -> None:
        """Write hyper-parameters and everything learned into the directory ``path``."""
        ...


def fit(
    codec: Codec,
    sample: NDArray[np.float32],
    *,
    num_documents: int,
    average_length: float,
    seed: int,
    device: torch.device | str,
) -> None:
    """Learn all that ``codec`` needs from ``sample [n, dim]``; arguments are those of ``Codec.cluster``."""
    codec.learn(
        codec.cluster(sample, num_documents=num_documents, average_length=average_length, seed=seed, device=device),
        seed=seed,
        device=device,
    )


def write_settings(path: Path, codec: str, settings: dict[str, Any]) -> None:
    """Write ``codec.json``, by which ``load_codec`` finds the class."""
    path.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"codec": codec, **settings}, indent=2)
    (path / "codec.json").write_text(text + "\n", encoding="utf-8")


BITS = (1, 2, 4, 8)


def check_bits(bits: int) -> None:
    """Raise InputError unless ``bits`` values fill a byte without a rest."""
    if bits not in BITS:
        raise InputError(f"nbits is {bits!r}; expected 1, 2, 4 or 8, so that whole values fill a byte.")
