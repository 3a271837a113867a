"""Packing small integers into bytes, in the byte layout of the official indexes.

The bits of one value come lowest first, values in order of dimension, and the first bit of eight is the highest of
its byte (``np.packbits``). Two bits, values 1 2 3 0: bits 10 01 11 00, byte 0b10011100.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from colbertv2.errors import InputError

BITS = (1, 2, 4, 8)


def check_bits(bits: int) -> None:
    """Raise InputError unless ``bits`` values fill a byte without a rest."""
    if bits not in BITS:
        raise InputError(f"bits is {bits!r}; expected 1, 2, 4 or 8, so that whole values fill a byte.")


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
    check_bits(bits)
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
    check_bits(bits)
    return byte_values(bits).take(packed, axis=0).reshape(len(packed), packed.shape[1] * (8 // bits))
