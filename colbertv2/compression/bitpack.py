"""Packing small integers into bytes, in the byte layout of the official indexes.

The bits of one value come lowest first, values in order of dimension, and the first bit of eight is the highest of
its byte (``np.packbits``). Two bits, values 1 2 3 0: bits 10 01 11 00, byte 0b10011100.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from colbertv2.compression.codec import check_nbits
from colbertv2.errors import InputError
from colbertv2.kernels.compiled import compiled


@cache
def reversed_bits(bits: int) -> NDArray[np.uint8]:
    """``[2^bits]``: every value with its bits in reverse order."""
    values = np.arange(2**bits)
    reverse = sum(((values >> i) & 1) << (bits - 1 - i) for i in range(bits))
    return np.asarray(reverse, dtype=np.uint8)


@cache
def byte_values(bits: int) -> NDArray[np.uint8]:
    """``[256, 8/bits]``: the values that every byte holds, in order; the lookup table of decoding."""
    shifts = np.arange(8 - bits, -1, -bits)
    groups = (np.arange(256)[:, None] >> shifts) & (2**bits - 1)
    return reversed_bits(bits)[groups]


def pack(values: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Pack ``[n, dim]`` values below 2^bits into ``[n, dim · bits / 8]`` bytes.

    Raises:
        InputError: ``bits`` is not 1, 2, 4 or 8, or a row does not fill whole bytes.

    >>> pack(np.array([[1, 2, 3, 0]], dtype=np.uint8), bits=2)
    array([[156]], dtype=uint8)
    """
    check_nbits(bits)
    per_byte = 8 // bits
    if values.shape[1] % per_byte:
        raise InputError(
            f"{values.shape[1]} dimensions of {bits} bits do not fill whole bytes; expected a multiple of {per_byte}."
        )
    table = reversed_bits(bits)
    packed = np.zeros((len(values), values.shape[1] // per_byte), dtype=np.uint8)
    for place in range(per_byte):
        packed |= table[values[:, place::per_byte]] << (8 - bits * (place + 1))
    return packed


def unpack(packed: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """The inverse of ``pack``: ``[n, dim · bits / 8]`` bytes to ``[n, dim]`` values.

    Raises:
        InputError: ``bits`` is not 1, 2, 4 or 8.

    >>> unpack(np.array([[156]], dtype=np.uint8), bits=2)
    array([[1, 2, 3, 0]], dtype=uint8)
    """
    check_nbits(bits)
    return byte_values(bits).take(packed, axis=0).reshape(len(packed), packed.shape[1] * (8 // bits))


@compiled()
def pack_buckets(vectors, codes, centroids, cutoffs, reversed_bits, packed):
    """Fill ``packed [n, dim · bits / 8]``: ``pack`` of the bucket of each value that ``vectors`` have beside centroids.

    A value's bucket is the number of cutoffs below it: one equal to a cutoff belongs to the bucket that ends there.

    Args:
        vectors: float32 ``[n, dim]``. codes: int32 ``[n]``, rows of ``centroids [K, dim]``.
        cutoffs: ``[2^bits - 1]``. reversed_bits: ``[2^bits]``, the table of that name.
    """
    dim, size = vectors.shape[1], packed.shape[1]
    per_byte = dim // size
    bits = 8 // per_byte
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
                value = (value << bits) | reversed_bits[buckets[byte * per_byte + place]]
            packed[i, byte] = value
