"""Vectors from what the codecs with centroids keep of them."""

import numpy as np
from numpy.typing import NDArray

from colbertv2.compression.codec import Arrays, LookupTables
from colbertv2.kernels.compiled import compiled


@compiled(fastmath=True)
def decode(centroids, code, residuals, token, gains, gain_values, codebook, out):
    """Write to ``out [dim]`` a centroid plus the gain of a token times what its bytes stand for.

    Args:
        residuals: the bytes of all tokens, end to end. gains: a byte for each token, or empty for a gain of 1.

    Returns:
        The norm of ``out``, or 1e-12 if that is less.
    """
    width = codebook.shape[2]
    steps = len(out) // width
    gain = gain_values[gains[token]] if len(gains) else np.float32(1)
    squares = np.float32(0)
    for step in range(steps):
        own = step if codebook.shape[0] > 1 else 0
        byte = residuals[token * steps + step]
        for i in range(width):
            value = centroids[code, step * width + i] + gain * codebook[own, byte, i]
            out[step * width + i] = value
            squares += value * value
    return np.sqrt(max(squares, np.float32(1e-24)))


@compiled(fastmath=True)
def decode_all(centroids, codes, residuals, gains, gain_values, codebook, normalise, out):
    """Fill ``out [n, dim]``; the arguments are those of ``LookupTables`` and of what is kept of n vectors."""
    flat = residuals.ravel()
    for i in range(len(codes)):
        norm = decode(centroids, codes[i], flat, i, gains, gain_values, codebook, out[i])
        if normalise:
            factor = np.float32(1) / norm
            for j in range(out.shape[1]):
                out[i, j] *= factor


def added_up(tables: LookupTables, arrays: Arrays) -> NDArray[np.float32]:
    """``[n, dim]``, in the space of ``tables``, from ``codes [n]``, ``residuals [n, M]`` and ``gains [n]`` if any."""
    codes, residuals = arrays["codes"], np.ascontiguousarray(arrays["residuals"])
    assert tables.centroids is not None  # or there were no codes
    vectors = np.empty((len(codes), tables.centroids.shape[1]), np.float32)
    gains = np.ascontiguousarray(arrays.get("gains", np.zeros(0, np.uint8)))
    decode_all(
        tables.centroids, codes, residuals, gains, tables.gain_values, tables.codebook, tables.normalise, vectors
    )  # fmt: skip
    return vectors
