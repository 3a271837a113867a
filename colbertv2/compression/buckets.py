"""Where the buckets of residuals lie, all dimensions pooled: at quantiles (the paper) or of least squared error."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Buckets = tuple[NDArray[np.float32], NDArray[np.float32]]  # cutoffs [2^bits - 1], weights [2^bits]

LLOYD_SAMPLE, LLOYD_ITERATIONS = 2**22, 100


def quantile_buckets(residuals: NDArray[np.float32], bits: int) -> Buckets:
    """Cutoffs at the quantiles i/2^bits and weights at (i + ½)/2^bits (ColBERTv2's code).

    >>> quantile_buckets(np.arange(5, dtype=np.float32), bits=1)
    (array([2.], dtype=float32), array([1., 3.], dtype=float32))
    """
    steps = np.arange(2**bits) / 2**bits
    # Not torch.quantile, which fails over 2^24 values.
    values = np.quantile(residuals, np.concatenate([steps[1:], steps + 0.5 / 2**bits]))
    return values[: len(steps) - 1].astype(np.float32), values[len(steps) - 1 :].astype(np.float32)


def lloyd_buckets(residuals: NDArray[np.float32], bits: int) -> Buckets:
    """Cutoffs midway between weights and weights at the mean of their bucket: Lloyd's iterations from the quantiles.

    Each iteration lowers the squared error or leaves it; of more than 2^22 values every so-manieth is taken.

    >>> lloyd_buckets(np.array([0, 1, 9, 10], np.float32), bits=1)
    (array([5.], dtype=float32), array([0.5, 9.5], dtype=float32))
    """
    values: NDArray[Any] = residuals.ravel()
    values = np.sort(values[:: -(-len(values) // LLOYD_SAMPLE)]).astype(np.float64)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    weights = quantile_buckets(residuals, bits)[1].astype(np.float64)
    for _ in range(LLOYD_ITERATIONS):
        ends = np.concatenate([[0], np.searchsorted(values, (weights[1:] + weights[:-1]) / 2), [len(values)]])
        counts = np.diff(ends)
        full = counts > 0  # an empty bucket stays where it is
        means = np.diff(sums[ends])[full] / counts[full]
        # Differences of sums lose digits: a mean that left its bucket would put the buckets out of order.
        weights[full] = np.clip(means, values[ends[:-1][full]], values[ends[1:][full] - 1])
    return ((weights[1:] + weights[:-1]) / 2).astype(np.float32), weights.astype(np.float32)


BUCKETS: dict[str, Callable[[NDArray[np.float32], int], Buckets]] = {
    "quantile": quantile_buckets,
    "lloyd": lloyd_buckets,
}
