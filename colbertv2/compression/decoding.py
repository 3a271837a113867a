"""Vectors from what the codecs with centroids keep of them."""

import numpy as np
from numpy.typing import NDArray

from colbertv2.compiled import compiled
from colbertv2.compression.codec import Additive, Arrays


@compiled(fastmath=True)
def decode(centroids, code, residuals, place, gain, book, out):
    """Write to ``out [dim]`` a centroid plus ``gain`` times what the bytes from ``residuals[place]`` on stand for.

    Returns:
        Its squared norm.
    """
    width = book.shape[2]
    norm = np.float32(0)
    for step in range(len(out) // width):
        own = step if book.shape[0] > 1 else 0
        byte = residuals[place + step]
        for i in range(width):
            value = centroids[code, step * width + i] + gain * book[own, byte, i]
            out[step * width + i] = value
            norm += value * value
    return norm


@compiled(fastmath=True)
def decode_all(centroids, codes, residuals, gains, gain_values, book, normalise, out):
    """Fill ``out [n, dim]``; the arguments are those of ``Additive`` and of what is kept of n vectors."""
    flat, row = residuals.ravel(), residuals.shape[1]
    for i in range(len(codes)):
        gain = gain_values[gains[i]] if len(gains) else np.float32(1)
        norm = decode(centroids, codes[i], flat, i * row, gain, book, out[i])
        if normalise:
            factor = np.float32(1) / np.sqrt(max(norm, np.float32(1e-24)))
            for j in range(out.shape[1]):
                out[i, j] *= factor


def added_up(additive: Additive, arrays: Arrays) -> NDArray[np.float32]:
    """``[n, dim]``, in the space of ``additive``, from ``codes [n]``, ``residuals [n, M]`` and ``gains [n]`` if any."""
    codes, residuals = arrays["codes"], np.ascontiguousarray(arrays["residuals"])
    vectors = np.empty((len(codes), additive.centroids.shape[1]), np.float32)
    gains = np.ascontiguousarray(arrays.get("gains", np.zeros(0, np.uint8)))
    decode_all(
        additive.centroids, codes, residuals, gains, additive.gain_values, additive.book, additive.normalise, vectors
    )  # fmt: skip
    return vectors
