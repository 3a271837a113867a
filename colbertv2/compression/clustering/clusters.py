"""What k-means gives a codec, kept on its own: bit widths that share centroids share it (ColBERTv2 §3.3)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from colbertv2.errors import InputError

if TYPE_CHECKING:
    from colbertv2.compression.codec import Codec


@dataclass(frozen=True)
class Clusters:
    """Centroids, and vectors to learn residuals from; both empty for a codec without centroids.

    Args:
        centroids: ``[K, dim]``, in the space that the codec clusters in. held_out: ``[n, dim]``, likewise.
        notes: what k-means had to do differently from what was asked.
        query_second_moment: ``[dim, dim]`` of the queries that the codec has seen, if it has seen any.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp())
    >>> Clusters(np.eye(2, dtype=np.float32), np.ones((3, 2), np.float32), ["clamped"]).save(path)
    >>> Clusters.load(path).notes
    ['clamped']
    """

    centroids: NDArray[np.float32]
    held_out: NDArray[np.float32]
    notes: list[str] = field(default_factory=list)
    query_second_moment: NDArray[np.float64] | None = None

    @classmethod
    def none(cls, dim: int) -> Clusters:
        """Of a codec without centroids."""
        return cls(np.zeros((0, dim), np.float32), np.zeros((0, dim), np.float32))

    def save(self, path: Path) -> None:
        """Write the arrays as ``.npy`` files, and ``clusters.json``."""
        np.save(path / "centroids.npy", self.centroids)
        np.save(path / "held_out.npy", self.held_out)
        if self.query_second_moment is not None:
            np.save(path / "query_second_moment.npy", self.query_second_moment)
        text = json.dumps({"notes": self.notes, "query_second_moment": self.query_second_moment is not None}, indent=2)
        (path / "clusters.json").write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Clusters:
        """What ``save`` wrote.

        Raises:
            InputError: a file is missing or damaged.
        """
        try:
            settings = json.loads((path / "clusters.json").read_text(encoding="utf-8"))
            query_second_moment = np.load(path / "query_second_moment.npy") if settings["query_second_moment"] else None
            return cls(
                np.load(path / "centroids.npy"), np.load(path / "held_out.npy"), settings["notes"], query_second_moment
            )
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise InputError(f"The centroids in {path} are damaged or missing ({error}); build them again.") from None


@dataclass(frozen=True)
class CentroidsOf:
    """A codec as far as its centroids go: what else it is told is no part of their identity."""

    codec: Codec

    def identity(self) -> dict[str, Any]:
        """All that its centroids depend on."""
        return self.codec.cluster_settings()
