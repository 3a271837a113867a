"""The compiled loops of the codecs: encoding residuals as buckets, or as codewords and gains; and decoding vectors."""

import numpy as np

from colbertv2.kernels.compiled import compiled
from colbertv2.kernels.intrinsics import nearest_codeword


@compiled()
def pack_buckets(vectors, codes, centroids, cutoffs, reversed_bits, packed):
    """Fill ``packed [n, dim · nbits / 8]`` with the bucket of each value of the residuals, vector minus centroid.

    The bucket of a value is the number of cutoffs below it. A value equal to a cutoff belongs to the lower bucket.

    Args:
        vectors: float32 ``[n, dim]``.
        codes: int32 ``[n]``, rows of ``centroids [K, dim]``.
        cutoffs: ``[2^nbits - 1]``.
        reversed_bits: uint8 ``[2^nbits]``, the table of ``compression.bitpack.reversed_bits``.
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
            for j in range(dim):  # the inner loop, so that one vector instruction handles many dimensions
                buckets[j] += np.uint8(residual[j] > cutoff)
        for byte in range(size):
            value = 0
            for place in range(per_byte):
                value = (value << nbits) | reversed_bits[buckets[byte * per_byte + place]]
            packed[i, byte] = value


@compiled()
def nearest_codewords(vectors, codebook, penalties, packed):
    """Fill ``packed [n, M]`` with the nearest codeword for each part of ``vectors [n, dim]``.

    Args:
        codebook: float32 ``[M, dim / M, 256]``.
        penalties: ``[M, 256]``, half of the codewords' squared norms.
    """
    for i in range(len(vectors)):
        for part in range(len(codebook)):
            packed[i, part] = nearest_codeword(codebook, penalties, part, codebook.shape[1], vectors[i])


@compiled()
def shapes_and_gains(vectors, codes, centroids, codebook, penalties, packed, gains):
    """Encode the residuals of ``vectors [n, dim]`` as codewords and gains.

    Fill ``packed [n, M]`` with the nearest codeword for each part of the L2-normalised residual, and ``gains [n]`` with
    the non-negative factor that brings these codewords closest to the residual.

    Args:
        codes: int32 ``[n]``, rows of ``centroids [K, dim]``.
        codebook, penalties: as for ``nearest_codewords``.
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
    """Add each part of ``vectors [n, dim]`` to the sum of its codeword, and count the parts per codeword.

    Args:
        packed: ``[n, M]``, the codeword of each part.
        sums: ``[M, 256, dim / M]``, updated in place.
        counts: ``[M, 256]``, updated in place.
    """
    parts, _, width = sums.shape
    for i in range(len(vectors)):
        for part in range(parts):
            codeword = packed[i, part]
            counts[part, codeword] += 1
            for j in range(width):
                sums[part, codeword, j] += vectors[i, part * width + j]


@compiled(fastmath=True)
def decode_vector(centroids, code, residuals, token, gains, gain_values, codebook, out):
    """Decode one token into ``out [dim]``, without normalisation: its centroid plus its gain times its codewords.

    Args:
        code: the centroid's row.
        residuals: the bytes of all tokens, end to end.
        gains: one byte per token, or empty for a gain of 1.
        gain_values: ``[256]``, the gain that each byte encodes.
        codebook: ``[M or 1, 256, dim / M]``, or ``[0, 256, dim]`` if there are no bytes.

    Returns:
        the norm of ``out``, but at least 1e-12.
    """
    width = codebook.shape[2]
    steps = len(out) // width
    gain = gain_values[gains[token]] if len(gains) else np.float32(1)
    squares = np.float32(0)
    if len(codebook) == 0:
        for i in range(width):
            out[i] = centroids[code, i]
            squares += out[i] * out[i]
        return np.sqrt(max(squares, np.float32(1e-24)))
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
    """Decode n vectors into ``out [n, dim]``; the tables are those of ``LookupTables``, the rest the encoded arrays."""
    flat = residuals.ravel()
    for i in range(len(codes)):
        norm = decode_vector(centroids, codes[i], flat, i, gains, gain_values, codebook, out[i])
        if normalise:
            factor = np.float32(1) / norm
            for j in range(out.shape[1]):
                out[i, j] *= factor
