"""Residual compression: a centroid and a few bits a dimension (ColBERTv2 §3.3)."""

from __future__ import annotations

from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from colbertv2.compression.buckets import BUCKETS
from colbertv2.compression.clustering.clustering import Clustering
from colbertv2.compression.clustering.clusters import Clusters
from colbertv2.compression.codec import Arrays, LookupTables, check_bits, write_settings
from colbertv2.errors import InputError

if TYPE_CHECKING:
    import torch

    from colbertv2.compression.clustering.assignment import Assignment


class ResidualCodec:
    """A vector is its centroid plus a residual, each dimension of which falls into one of 2^bits buckets.

    At 128 dimensions a vector takes 20, 36 or 68 bytes for 1, 2 or 4 bits: an int32 code and the packed residual.
    Centroids are kept as 16-bit floats, as officially, unless told otherwise.

    Args:
        nbits: 1, 2, 4 or 8 a dimension.
        num_centroids: None for the official rule, 2^⌊log2(16·√vectors)⌋. Never more than there are sampled vectors;
            ``notes`` says when that had to be clamped.
        centroid_factor: multiplies what the rule gives, for ablations.
        kmeans_iterations: 20 in the code of the paper's time and in the released checkpoint; colbert-ai now takes 4.
        max_points_per_centroid: k-means draws at most this many vectors a centroid.
        group_search_radius: None compares every vector with all centroids, and k-means is faiss's. A number compares
            it only with groups of centroids that may hold its nearest one (``Assignment``), in k-means too: several
            times as fast. At 0.7 one vector in some hundreds misses its nearest centroid, at 1 almost none.
        centroid_bits: 16, or 8 for signed bytes in units of a power of two.
        buckets: ``quantile`` as in the paper, equally full; ``lloyd`` of least squared error (Lloyd and Max), in the
            same format.

    Raises:
        InputError: a value is out of range, or ``centroid_factor`` is given beside ``num_centroids``.

    >>> from colbertv2.compression.codec import fit
    >>> vectors = np.random.default_rng(0).normal(size=(1000, 128)).astype(np.float32)
    >>> codec = ResidualCodec(nbits=2, num_centroids=16, kmeans_iterations=4)
    >>> fit(codec, vectors, num_documents=10, average_length=100.0, seed=0, device="cpu")
    >>> {name: array.shape for name, array in codec.encode(vectors[:3]).items()}, codec.bytes_per_vector
    ({'codes': (3,), 'residuals': (3, 32)}, 36)
    """

    has_centroids = True
    shares_codes = True

    def __init__(
        self,
        nbits: int,
        num_centroids: int | None = None,
        centroid_factor: float = 1.0,
        kmeans_iterations: int = 20,
        max_points_per_centroid: int = 256,
        group_search_radius: float | None = None,
        centroid_bits: int = 16,
        buckets: str = "quantile",
    ) -> None:
        check_bits(nbits)
        if buckets not in BUCKETS:
            raise InputError(f"codec.buckets is {buckets!r}; expected one of {', '.join(BUCKETS)}.")
        self.clustering = Clustering(
            num_centroids,
            centroid_factor,
            kmeans_iterations,
            max_points_per_centroid,
            group_search_radius,
            centroid_bits,
        )
        self.nbits = nbits
        self.buckets = buckets
        self.notes: list[str] = []
        self.centroids: NDArray[np.float32] | None = None
        self.cutoffs = np.zeros(0, np.float32)
        self.weights = np.zeros(0, np.float32)
        self.average_residual = 0.0
        self.device: torch.device | str = "cpu"

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in self.settings.items())
        return f"ResidualCodec({settings})"

    @property
    def settings(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"nbits": self.nbits, **asdict(self.clustering), "buckets": self.buckets}

    @property
    def label(self) -> str:
        """Its name in tables."""
        return f"{self.nbits} bit{'s' if self.nbits > 1 else ''}" + (", lloyd" if self.buckets == "lloyd" else "")

    @property
    def bytes_per_vector(self) -> int:
        """Four for the code and ``nbits`` for eight dimensions."""
        return 4 + self.fitted().shape[1] * self.nbits // 8

    def check(self, dim: int) -> list[str]:
        """The residual has to fill whole bytes."""
        if dim * self.nbits % 8:
            return [f"{dim} dimensions of {self.nbits} bits do not fill bytes; change codec.nbits or the model's dim."]
        return []

    def max_sample(self, num_documents: int, average_length: float) -> int | None:
        """As many vectors as k-means draws and as are held out."""
        return self.clustering.max_sampled_vectors(num_documents * average_length)

    def cluster_settings(self) -> dict[str, Any]:
        """All knobs of the centroids, whatever the bits and buckets."""
        return asdict(self.clustering)

    def cluster(
        self,
        sample: NDArray[np.float32],
        *,
        num_documents: int,
        average_length: float,
        seed: int,
        device: torch.device | str,
    ) -> Clusters:
        """Centroids of norm 1 and held-out vectors; ``Clustering.fit`` says which."""
        for problem in self.check(sample.shape[1]):
            raise InputError(problem)
        return Clusters(
            *self.clustering.fit(
                sample, num_documents=num_documents, average_length=average_length, seed=seed, device=device,
                spherical=True,
            )
        )  # fmt: skip

    def learn(self, clusters: Clusters, *, seed: int, device: torch.device | str) -> None:
        """Take over the centroids, and learn buckets from the residuals of held-out vectors."""
        self.device, self.notes = device, list(clusters.notes)
        self.centroids = self.clustering.rounded(clusters.centroids)
        self.__dict__.pop("assignment", None)  # of centroids that were there before
        self.fit_buckets(clusters.held_out)

    def fit_buckets(self, held_out: NDArray[np.float32]) -> None:
        """Cutoffs and weights from the residuals of ``held_out [n, dim]``, for the centroids that are there."""
        residuals = held_out - self.fitted()[self.nearest(held_out)]
        self.cutoffs, self.weights = BUCKETS[self.buckets](residuals, self.nbits)
        self.average_residual = float(np.abs(residuals).mean())

    @classmethod
    def from_tables(
        cls,
        nbits: int,
        centroids: NDArray[Any],
        cutoffs: NDArray[Any] | None = None,
        weights: NDArray[Any] | None = None,
        average_residual: float = 0.0,
    ) -> ResidualCodec:
        """A codec from tables that were learned elsewhere; without buckets, ``fit_buckets`` is still to be called.

        Args:
            centroids: ``[K, dim]``. cutoffs: ``[2^bits − 1]``, ascending. weights: ``[2^bits]``.

        Raises:
            InputError: a table is of another shape than ``nbits`` asks for, or holds NaN or infinity.
        """
        codec = cls(nbits=nbits, num_centroids=len(centroids))
        codec.centroids = np.asarray(centroids).astype(np.float16).astype(np.float32)
        codec.average_residual = average_residual
        if cutoffs is not None and weights is not None:
            codec.cutoffs, codec.weights = np.asarray(cutoffs, np.float32), np.asarray(weights, np.float32)
            if codec.cutoffs.shape != (2**nbits - 1,) or codec.weights.shape != (2**nbits,):
                raise InputError(
                    f"{codec.cutoffs.shape[0]} cutoffs and {codec.weights.shape[0]} weights do not make {nbits} bits; "
                    f"expected {2**nbits - 1} and {2**nbits}."
                )
        if not all(np.isfinite(table).all() for table in (codec.centroids, codec.cutoffs, codec.weights)):
            raise InputError("The centroids, cutoffs or weights hold NaN or infinity; the codec is damaged.")
        for problem in codec.check(codec.centroids.shape[1]):
            raise InputError(problem)
        return codec

    def fitted(self) -> NDArray[np.float32]:
        """The centroids, which are there after ``fit`` or ``load``."""
        if self.centroids is None:
            raise InputError("This ResidualCodec has not been fitted; call learn or load_codec first.")
        return self.centroids

    @cached_property
    def assignment(self) -> Assignment:
        """What finds the centroid of a vector."""
        return self.clustering.assignment(self.fitted(), self.device, euclidean=False)

    def nearest(self, vectors: NDArray[np.float32]) -> NDArray[np.int32]:
        """``[n]``: the centroid of greatest dot product with each of ``[n, dim]``."""
        return self.assignment.nearest(vectors)

    def encode(self, vectors: NDArray[np.float32], codes: NDArray[np.int32] | None = None) -> Arrays:
        """``[n, dim]`` to ``codes`` int32 ``[n]`` and ``residuals`` uint8 ``[n, dim · bits / 8]``."""
        from colbertv2.compression.bitpack import pack_buckets, reversed_bits

        vectors, centroids = np.ascontiguousarray(vectors, dtype=np.float32), self.fitted()
        codes = self.nearest(vectors) if codes is None else codes
        packed = np.empty((len(vectors), centroids.shape[1] * self.nbits // 8), np.uint8)
        pack_buckets(vectors, codes, centroids, self.cutoffs, reversed_bits(self.nbits), packed)
        return {"codes": codes, "residuals": packed}

    def decode(self, arrays: Arrays) -> NDArray[np.float32]:
        """Centroid plus the weight of each dimension's bucket, L2-normalised: float32 ``[n, dim]``."""
        from colbertv2.compression.decoding import added_up

        return added_up(self.lookup_tables(), arrays)

    def lookup_tables(self) -> LookupTables:
        """Every byte stands for the weights of its dimensions."""
        from colbertv2.compression.bitpack import byte_values

        codebook = self.weights[byte_values(self.nbits)].astype(np.float32)
        return LookupTables(self.fitted(), np.ascontiguousarray(codebook[None]), normalise=True)

    def save(self, path: Path) -> None:
        """Write ``codec.json``, ``centroids.npy``, ``cutoffs.npy`` and ``weights.npy``."""
        learned = {"average_residual": self.average_residual, "notes": self.notes}
        write_settings(path, "ResidualCodec", {"settings": self.settings, **learned})
        self.clustering.save(path, self.fitted())
        np.save(path / "cutoffs.npy", self.cutoffs)
        np.save(path / "weights.npy", self.weights)

    @classmethod
    def load(cls, path: Path, settings: dict[str, Any]) -> ResidualCodec:
        """From what ``save`` wrote; use ``load_codec``."""
        codec = cls(**settings["settings"])
        codec.average_residual, codec.notes = settings["average_residual"], settings["notes"]
        codec.centroids = codec.clustering.load(path)
        codec.cutoffs, codec.weights = np.load(path / "cutoffs.npy"), np.load(path / "weights.npy")
        if len(codec.weights) != 2**codec.nbits or len(codec.cutoffs) != 2**codec.nbits - 1:
            raise InputError(f"{path} has {len(codec.weights)} bucket weights; expected {2**codec.nbits}.")
        return codec
