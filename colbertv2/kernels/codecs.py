"""The compiled loops of the codecs: buckets, codewords and gains of residuals, and vectors from them."""

import numpy as np

from colbertv2.kernels.compiled import compiled
from colbertv2.kernels.intrinsics import nearest_codeword


@compiled()
def pack_buckets(vectors, codes, centroids, cutoffs, reversed_bits, packed):
    """Fill ``packed [n, dim · nbits / 8]``: the bucket of each value that ``vectors`` have beside centroids.

    A value's bucket is the number of cutoffs below it: one equal to a cutoff belongs to the bucket that ends there.

    Args:
        vectors: float32 ``[n, dim]``. codes: int32 ``[n]``, rows of ``centroids [K, dim]``.
        cutoffs: ``[2^nbits - 1]``. reversed_bits: ``[2^nbits]``, the table of that name.
    """
    dim, size = vectors.shape[1], packed.shape[1]
    per_byte = dim // size
    nbits = 8 // per_byte
    residual, buckets = np.empty(dim, np.float32), np.empty(dim, np.uint8)
    for i in range(len(vectors)):
        code = codes[i]
        for j in range(dim):
            residual[j] = vectors[i, j] - centroids[code, j]
            buckets[j] = 0
        for cutoff in cutoffs:
            for j in range(dim):  # in this order, so that one instruction takes many dimensions
                buckets[j] += np.uint8(residual[j] > cutoff)
        for byte in range(size):
            value = 0
            for place in range(per_byte):
                value = (value << nbits) | reversed_bits[buckets[byte * per_byte + place]]
            packed[i, byte] = value


@compiled()
def nearest_codewords(vectors, codebook, penalties, packed):
    """Fill ``packed [n, M]``: the nearest codeword for each part of ``vectors [n, dim]``.

    Args:
        codebook: float32 ``[M, dim / M, 256]``. penalties: ``[M, 256]``, half the codewords' squared norms.
    """
    for i in range(len(vectors)):
        for part in range(len(codebook)):
            packed[i, part] = nearest_codeword(codebook, penalties, part, codebook.shape[1], vectors[i])


@compiled()
def shapes_and_gains(vectors, codes, centroids, codebook, penalties, packed, gains):
    """What ``vectors [n, dim]`` have beside centroids, as codewords and a gain.

    Fill ``packed [n, M]``, the nearest codeword for each part of the residual at norm 1, and ``gains [n]``, what these
    codewords have to be multiplied by to come nearest to the residual.

    Args:
        codes: int32 ``[n]``, rows of ``centroids [K, dim]``. codebook, penalties: as for ``nearest_codewords``.
    """
    parts, width, _ = codebook.shape
    shape = np.empty(vectors.shape[1], np.float32)
    for i in range(len(vectors)):
        code = codes[i]
        squares = np.float32(0)
        for j in range(len(shape)):
            value = vectors[i, j] - centroids[code, j]
            shape[j] = value
            squares += value * value
        norm = max(np.sqrt(squares), np.float32(1e-12))
        for j in range(len(shape)):
            shape[j] /= norm
        product, length = np.float32(0), np.float32(1e-12)
        for part in range(parts):
            codeword = nearest_codeword(codebook, penalties, part, width, shape)
            packed[i, part] = codeword
            length += 2 * penalties[part, codeword]
            for j in range(width):
                product += shape[part * width + j] * codebook[part, j, codeword]
        gains[i] = norm * max(product, np.float32(0)) / length


@compiled()
def sum_by_codeword(vectors, packed, sums, counts):
    """Add each part of ``vectors [n, dim]`` to that of its codeword in ``sums [M, 256, dim / M]`` and count them."""
    parts, _, width = sums.shape
    for i in range(len(vectors)):
        for part in range(parts):
            codeword = packed[i, part]
            counts[part, codeword] += 1
            for j in range(width):
                sums[part, codeword, j] += vectors[i, part * width + j]


@compiled(fastmath=True)
def decode_vector(centroids, code, residuals, token, gains, gain_values, codebook, out):
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
def decode_vectors(centroids, codes, residuals, gains, gain_values, codebook, normalise, out):
    """Fill ``out [n, dim]``; the arguments are those of ``LookupTables`` and of what is kept of n vectors."""
    flat = residuals.ravel()
    for i in range(len(codes)):
        norm = decode_vector(centroids, codes[i], flat, i, gains, gain_values, codebook, out[i])
        if normalise:
            factor = np.float32(1) / norm
            for j in range(out.shape[1]):
                out[i, j] *= factor
