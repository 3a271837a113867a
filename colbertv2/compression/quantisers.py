"""Learning how residuals are quantised: buckets for single values, or codewords for several values at once.

All dimensions share one set of buckets. Buckets are at quantiles (official code) or minimise the squared error.
"""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from colbertv2.compression.codec import Arrays, LookupTables

Buckets = tuple[NDArray[np.float32], NDArray[np.float32]]  # cutoffs [2^nbits - 1], weights [2^nbits]

LLOYD_SAMPLE, LLOYD_ITERATIONS = 2**22, 100


def quantile_buckets(residuals: NDArray[np.float32], nbits: int) -> Buckets:
    """Cutoffs at the quantiles i/2^nbits and weights at the quantiles (i + ½)/2^nbits, as in the official code.

    >>> quantile_buckets(np.arange(5, dtype=np.float32), nbits=1)
    (array([2.], dtype=float32), array([1., 3.], dtype=float32))
    """
    steps = np.arange(2**nbits) / 2**nbits
    # Not torch.quantile, which fails for more than 2^24 values.
    values = np.quantile(residuals, np.concatenate([steps[1:], steps + 0.5 / 2**nbits]))
    return values[: len(steps) - 1].astype(np.float32), values[len(steps) - 1 :].astype(np.float32)


def lloyd_buckets(residuals: NDArray[np.float32], nbits: int) -> Buckets:
    """Weights at the mean of their bucket and cutoffs midway between weights, by Lloyd's algorithm from the quantiles.

    No iteration increases the squared error. Of more than 2^22 values, only evenly spaced ones are used.

    >>> lloyd_buckets(np.array([0, 1, 9, 10], np.float32), nbits=1)
    (array([5.], dtype=float32), array([0.5, 9.5], dtype=float32))
    """
    values: NDArray[Any] = residuals.ravel()
    values = np.sort(values[:: -(-len(values) // LLOYD_SAMPLE)]).astype(np.float64)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    weights = quantile_buckets(residuals, nbits)[1].astype(np.float64)
    for _ in range(LLOYD_ITERATIONS):
        ends = np.concatenate([[0], np.searchsorted(values, (weights[1:] + weights[:-1]) / 2), [len(values)]])
        counts = np.diff(ends)
        full = counts > 0  # an empty bucket stays where it is
        means = np.diff(sums[ends])[full] / counts[full]
        # Differences of sums lose digits, and a mean outside its bucket would break the order of the buckets.
        weights[full] = np.clip(means, values[ends[:-1][full]], values[ends[1:][full] - 1])
    return ((weights[1:] + weights[:-1]) / 2).astype(np.float32), weights.astype(np.float32)


BucketRule = Literal["quantile", "lloyd"]
BUCKETS: dict[str, Callable[[NDArray[np.float32], int], Buckets]] = {
    "quantile": quantile_buckets,
    "lloyd": lloyd_buckets,
}


def columns(codebook: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """``codebook [M, 256, dim / M]`` transposed to ``[M, dim / M, 256]``, and half its squared norms ``[M, 256]``."""
    return np.ascontiguousarray(codebook.transpose(0, 2, 1)), np.square(codebook).sum(2) / np.float32(2)


def learn_codewords(vectors: NDArray[np.float32], num_parts: int, iterations: int, seed: int) -> NDArray[np.float32]:
    """Learn a codebook ``[M, 256, dim / M]``: separate k-means for each of M = ``num_parts`` parts of ``vectors``.

    An unused codeword moves to the vector that is furthest from its own codeword. With fewer than 256 vectors some
    codewords are equal.

    Args:
        vectors: float32 ``[n, dim]``.

    >>> learn_codewords(np.eye(4, dtype=np.float32), num_parts=2, iterations=1, seed=0).shape
    (2, 256, 2)
    """
    from colbertv2.kernels.codecs import nearest_codewords, sum_by_codeword
    from colbertv2.kernels.intrinsics import CODEWORDS

    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    number = len(vectors)
    first = np.resize(np.random.default_rng(seed).permutation(number), CODEWORDS)
    codebook = np.ascontiguousarray(vectors[first].reshape(CODEWORDS, num_parts, -1).transpose(1, 0, 2))
    packed = np.empty((number, num_parts), np.uint8)
    for _ in range(iterations):
        nearest_codewords(vectors, *columns(codebook), packed)
        sums, counts = np.zeros(codebook.shape), np.zeros(codebook.shape[:2])
        sum_by_codeword(vectors, packed, sums, counts)
        means = (sums / np.maximum(counts, 1)[:, :, None]).astype(np.float32)
        for part in np.flatnonzero((counts == 0).any(1)):
            values = vectors[:, part * codebook.shape[2] :][:, : codebook.shape[2]]
            empty = np.flatnonzero(counts[part] == 0)[:number]
            distances = np.square(values - codebook[part, packed[:, part]]).sum(1)
            means[part, empty] = values[np.argsort(-distances, kind="stable")[: len(empty)]]
        codebook = means
    return codebook


def added_up(tables: LookupTables, arrays: Arrays) -> NDArray[np.float32]:
    """Decode vectors ``[n, dim]`` by summing entries of ``tables``.

    Args:
        arrays: the array ``[n, M]`` named by ``tables.stored``, ``codes [n]`` if there are centroids, and ``gains [n]``
            if there are gains.
    """
    from colbertv2.kernels.codecs import decode_vectors

    assert tables.stored is not None  # there are bytes to decode
    residuals = np.ascontiguousarray(arrays[tables.stored])
    codes = arrays.get("codes", np.zeros(len(residuals), np.int32))
    centroids = tables.centroids
    if centroids is None:
        centroids = np.zeros((1, residuals.shape[1] * tables.codebook.shape[2]), np.float32)
    vectors = np.empty((len(codes), centroids.shape[1]), np.float32)
    gains = np.zeros(0, np.uint8) if tables.gains is None else np.ascontiguousarray(arrays["gains"])
    decode_vectors(
        centroids, codes, residuals, gains, tables.gain_values, tables.codebook, tables.normalise, vectors
    )  # fmt: skip
    return vectors
