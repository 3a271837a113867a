"""Residual compression: a centroid and a few bits a dimension (ColBERTv2 §3.3)."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from colbertv2.compression.bitpack import byte_values, check_bits, pack
from colbertv2.compression.codec import Arrays, write_settings
from colbertv2.compression.kmeans import kmeans, normalised, num_centroids_rule
from colbertv2.errors import InputError

HELD_OUT_SHARE, MAX_HELD_OUT = 0.05, 50_000
BLOCK_PRODUCTS = 2**24  # dot products computed at once in encoding, 64 MiB


class ResidualCodec:
    """A vector is its centroid plus a residual, each dimension of which falls into one of 2^bits buckets.

    At 128 dimensions a vector takes 20, 36 or 68 bytes for 1, 2 or 4 bits: an int32 code and the packed residual.
    Centroids are kept as 16-bit floats, as officially.

    Args:
        bits: 1, 2, 4 or 8 a dimension.
        num_centroids: None for the official rule, 2^⌊log2(16·√vectors)⌋. Never more than there are sampled vectors;
            ``notes`` says when that had to be clamped.
        centroid_factor: multiplies what the rule gives, for ablations.
        kmeans_iterations: 20 in the code of the paper's time and in the released checkpoint; colbert-ai now takes 4.
        max_points_per_centroid: k-means draws at most this many vectors a centroid.

    Raises:
        InputError: a value is out of range, or ``centroid_factor`` is given beside ``num_centroids``.

    >>> vectors = np.random.default_rng(0).normal(size=(1000, 128)).astype(np.float32)
    >>> codec = ResidualCodec(bits=2, num_centroids=16, kmeans_iterations=4)
    >>> codec.fit(vectors, num_documents=10, average_length=100.0, seed=0, device="cpu")
    >>> {name: array.shape for name, array in codec.encode(vectors[:3]).items()}, codec.bytes_per_vector
    ({'codes': (3,), 'residuals': (3, 32)}, 36)
    """

    has_centroids = True

    def __init__(
        self,
        bits: int,
        num_centroids: int | None = None,
        centroid_factor: float = 1.0,
        kmeans_iterations: int = 20,
        max_points_per_centroid: int = 256,
    ) -> None:
        check_bits(bits)
        if centroid_factor <= 0:
            raise InputError(f"centroid_factor is {centroid_factor}; expected a positive number.")
        if num_centroids is not None and centroid_factor != 1:
            raise InputError("centroid_factor multiplies the rule for num_centroids; set only one of the two.")
        for name, value in {
            "num_centroids": 1 if num_centroids is None else num_centroids,
            "kmeans_iterations": kmeans_iterations,
            "max_points_per_centroid": max_points_per_centroid,
        }.items():
            if value < 1:
                raise InputError(f"{name} is {value}; expected at least 1.")
        self.bits = bits
        self.num_centroids = num_centroids
        self.centroid_factor = centroid_factor
        self.kmeans_iterations = kmeans_iterations
        self.max_points_per_centroid = max_points_per_centroid
        self.notes: list[str] = []
        self.centroids: NDArray[np.float32] | None = None
        self.cutoffs = np.zeros(0, np.float32)
        self.weights = np.zeros(0, np.float32)
        self.average_residual = 0.0
        self.device = torch.device("cpu")

    def __repr__(self) -> str:
        return (
            f"ResidualCodec(bits={self.bits}, num_centroids={self.num_centroids}, "
            f"centroid_factor={self.centroid_factor}, kmeans_iterations={self.kmeans_iterations}, "
            f"max_points_per_centroid={self.max_points_per_centroid})"
        )

    @property
    def label(self) -> str:
        """Its name in tables."""
        return f"{self.bits} bit{'s' if self.bits > 1 else ''}"

    @property
    def bytes_per_vector(self) -> int:
        """Four for the code and ``bits`` for eight dimensions."""
        return 4 + self.fitted().shape[1] * self.bits // 8

    def check(self, dim: int) -> list[str]:
        """The residual has to fill whole bytes."""
        if dim * self.bits % 8:
            return [f"{dim} dimensions of {self.bits} bits do not fill bytes; change codec.bits or the model's dim."]
        return []

    def fit(
        self,
        sample: NDArray[np.float32],
        *,
        num_documents: int,
        average_length: float,
        seed: int,
        device: torch.device | str,
    ) -> None:
        """Learn centroids, and buckets from residuals of held-out vectors: 5 % of ``sample``, at most 50,000.

        A sample of fewer than 20 vectors has no 5 %; then the same vectors serve for both, and ``notes`` says so.

        Raises:
            InputError: the sample is empty or its dimensions do not fill whole bytes.
        """
        for problem in self.check(sample.shape[1]):
            raise InputError(problem)
        self.device, self.notes = torch.device(device), []
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
            self.notes.append(f"Only {len(sample)} vectors sampled: the buckets are fitted on those of the centroids.")
        centroids = kmeans(
            points,
            wanted,
            iterations=self.kmeans_iterations,
            max_points_per_centroid=self.max_points_per_centroid,
            seed=seed,
            device=device,
        )
        if len(centroids) < wanted:
            self.notes.append(f"{wanted} centroids wanted, clamped to the {len(centroids)} vectors there are.")
        # Rounded at once, so that a codec encodes the same before it is saved and after it is loaded.
        self.centroids = centroids.astype(np.float16).astype(np.float32)
        self.fit_buckets(held_out)

    def fit_buckets(self, held_out: NDArray[np.float32]) -> None:
        """Cutoffs and weights from the residuals of ``held_out [n, dim]``, for the centroids that are there."""
        residuals = held_out - self.fitted()[self.nearest(held_out)]
        self.cutoffs, self.weights = quantile_buckets(residuals, self.bits)
        self.average_residual = float(np.abs(residuals).mean())

    @classmethod
    def from_tables(
        cls,
        bits: int,
        centroids: NDArray[Any],
        cutoffs: NDArray[Any] | None = None,
        weights: NDArray[Any] | None = None,
        average_residual: float = 0.0,
    ) -> "ResidualCodec":
        """A codec from tables that were learned elsewhere; without buckets, ``fit_buckets`` is still to be called.

        Args:
            centroids: ``[K, dim]``. cutoffs: ``[2^bits − 1]``, ascending. weights: ``[2^bits]``.

        Raises:
            InputError: a table is of another shape than ``bits`` asks for, or holds NaN or infinity.
        """
        codec = cls(bits=bits, num_centroids=len(centroids))
        codec.centroids = np.asarray(centroids).astype(np.float16).astype(np.float32)
        codec.average_residual = average_residual
        if cutoffs is not None and weights is not None:
            codec.cutoffs, codec.weights = np.asarray(cutoffs, np.float32), np.asarray(weights, np.float32)
            if codec.cutoffs.shape != (2**bits - 1,) or codec.weights.shape != (2**bits,):
                raise InputError(
                    f"{codec.cutoffs.shape[0]} cutoffs and {codec.weights.shape[0]} weights do not make {bits} bits; "
                    f"expected {2**bits - 1} and {2**bits}."
                )
        if not all(np.isfinite(table).all() for table in (codec.centroids, codec.cutoffs, codec.weights)):
            raise InputError("The centroids, cutoffs or weights hold NaN or infinity; the codec is damaged.")
        for problem in codec.check(codec.centroids.shape[1]):
            raise InputError(problem)
        return codec

    def fitted(self) -> NDArray[np.float32]:
        """The centroids, which are there after ``fit`` or ``load``."""
        if self.centroids is None:
            raise InputError("This ResidualCodec has not been fitted; call fit or load_codec first.")
        return self.centroids

    def nearest(self, vectors: NDArray[np.float32]) -> NDArray[np.int32]:
        """``[n]``: the centroid of greatest dot product with each of ``[n, dim]``, in blocks of bounded memory."""
        centroids = torch.from_numpy(self.fitted()).to(self.device)
        codes = np.empty(len(vectors), dtype=np.int32)
        step = max(1, BLOCK_PRODUCTS // len(centroids))
        for start in range(0, len(vectors), step):
            block = torch.from_numpy(np.ascontiguousarray(vectors[start : start + step])).to(self.device)
            codes[start : start + step] = (block @ centroids.T).argmax(1).cpu().numpy()
        return codes

    def encode(self, vectors: NDArray[np.float32]) -> Arrays:
        """``[n, dim]`` to ``codes`` int32 ``[n]`` and ``residuals`` uint8 ``[n, dim · bits / 8]``."""
        vectors = np.asarray(vectors, dtype=np.float32)
        codes = self.nearest(vectors)
        residuals = vectors - self.fitted()[codes]
        # A value equal to a cutoff belongs to the bucket below it.
        buckets = torch.bucketize(torch.from_numpy(residuals), torch.from_numpy(self.cutoffs), out_int32=True)
        return {"codes": codes, "residuals": pack(buckets.numpy().astype(np.uint8), self.bits)}

    def decode(self, arrays: Arrays) -> NDArray[np.float32]:
        """Centroid plus the weight of each dimension's bucket, L2-normalised: float32 ``[n, dim]``."""
        weight_of_byte = self.weights[byte_values(self.bits)]
        vectors = self.fitted().take(arrays["codes"], axis=0)  # eight times as fast as indexing
        vectors += weight_of_byte.take(arrays["residuals"], axis=0).reshape(vectors.shape)
        return normalised(vectors)

    def save(self, path: Path) -> None:
        """Write ``codec.json``, ``centroids.npy`` (float16), ``cutoffs.npy`` and ``weights.npy``."""
        settings = {
            "bits": self.bits,
            "num_centroids": self.num_centroids,
            "centroid_factor": self.centroid_factor,
            "kmeans_iterations": self.kmeans_iterations,
            "max_points_per_centroid": self.max_points_per_centroid,
        }
        learned = {"average_residual": self.average_residual, "notes": self.notes}
        write_settings(path, "ResidualCodec", {"settings": settings, **learned})
        np.save(path / "centroids.npy", self.fitted().astype(np.float16))
        np.save(path / "cutoffs.npy", self.cutoffs)
        np.save(path / "weights.npy", self.weights)

    @classmethod
    def load(cls, path: Path, settings: dict[str, Any]) -> "ResidualCodec":
        """From what ``save`` wrote; use ``load_codec``."""
        codec = cls(**settings["settings"])
        codec.average_residual, codec.notes = settings["average_residual"], settings["notes"]
        codec.centroids = np.load(path / "centroids.npy").astype(np.float32)
        codec.cutoffs, codec.weights = np.load(path / "cutoffs.npy"), np.load(path / "weights.npy")
        if len(codec.weights) != 2**codec.bits or len(codec.cutoffs) != 2**codec.bits - 1:
            raise InputError(f"{path} has {len(codec.weights)} bucket weights; expected {2**codec.bits}.")
        return codec


def quantile_buckets(residuals: NDArray[np.float32], bits: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Cutoffs ``[2^bits - 1]`` at the quantiles i/2^bits and weights ``[2^bits]`` at (i + ½)/2^bits, all dims pooled.

    >>> quantile_buckets(np.arange(5, dtype=np.float32), bits=1)
    (array([2.], dtype=float32), array([1., 3.], dtype=float32))
    """
    steps = np.arange(2**bits) / 2**bits
    # Not torch.quantile, which fails over 2^24 values.
    values = np.quantile(residuals, np.concatenate([steps[1:], steps + 0.5 / 2**bits]))
    return values[: len(steps) - 1].astype(np.float32), values[len(steps) - 1 :].astype(np.float32)
