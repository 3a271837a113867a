"""Packing small integers into bytes, in the byte layout of the official indexes.

Values are in order of dimension. The bits of a value are written lowest first, and the first of eight bits becomes the
highest bit of its byte (as in ``np.packbits``). For example, the 2-bit values 1 2 3 0 give the bits 10 01 11 00, so the
byte 0b10011100.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from colbertv2.compression.codec import NBITS
from colbertv2.errors import InputError


@cache
def reversed_bits(nbits: int) -> NDArray[np.uint8]:
    """uint8 ``[2^nbits]``: every ``nbits``-bit value with its bits in reverse order."""
    values = np.arange(2**nbits)
    reverse = sum(((values >> i) & 1) << (nbits - 1 - i) for i in range(nbits))
    return np.asarray(reverse, dtype=np.uint8)


@cache
def byte_values(nbits: int) -> NDArray[np.uint8]:
    """uint8 ``[256, 8/nbits]``: the values packed into each byte, in order. This is the lookup table for decoding."""
    shifts = np.arange(8 - nbits, -1, -nbits)
    groups = (np.arange(256)[:, None] >> shifts) & (2**nbits - 1)
    return reversed_bits(nbits)[groups]


def pack(values: NDArray[np.uint8], nbits: int) -> NDArray[np.uint8]:
    """Pack values ``[n, dim]``, each below 2^nbits, into bytes ``[n, dim · nbits / 8]``.

    Raises:
        InputError: ``nbits`` is not 1, 2, 4 or 8, or a row does not fill whole bytes.

    >>> pack(np.array([[1, 2, 3, 0]], dtype=np.uint8), nbits=2)
    array([[156]], dtype=uint8)
    """
    check_nbits(nbits)
    per_byte = 8 // nbits
    if values.shape[1] % per_byte:
        raise InputError(
            f"{values.shape[1]} dimensions of {nbits} bits do not fill whole bytes; expected a multiple of {per_byte}."
        )
    table = reversed_bits(nbits)
    packed = np.zeros((len(values), values.shape[1] // per_byte), dtype=np.uint8)
    for place in range(per_byte):
        packed |= table[values[:, place::per_byte]] << (8 - nbits * (place + 1))
    return packed


def unpack(packed: NDArray[np.uint8], nbits: int) -> NDArray[np.uint8]:
    """Unpack bytes ``[n, dim · nbits / 8]`` into values ``[n, dim]``: the inverse of ``pack``.

    Raises:
        InputError: ``nbits`` is not 1, 2, 4 or 8.

    >>> unpack(np.array([[156]], dtype=np.uint8), nbits=2)
    array([[1, 2, 3, 0]], dtype=uint8)
    """
    check_nbits(nbits)
    return byte_values(nbits).take(packed, axis=0).reshape(len(packed), packed.shape[1] * (8 // nbits))


@cache
def ternary_values() -> NDArray[np.uint8]:
    """uint8 ``[256, 5]``: the five ternary digits, 0 to 2, of each byte below 3^5 = 243; the others do not occur."""
    return (np.arange(256)[:, None] // 3 ** np.arange(4, -1, -1) % 3).astype(np.uint8)


def pack_ternary(digits: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pack ternary digits ``[n, dim]`` into bytes ``[n, ⌈dim / 5⌉]``: five digits are a number in base 3.

    The first digit counts most. Missing digits of the last byte are 1, the middle one.

    >>> pack_ternary(np.array([[0, 0, 0, 1, 2, 2]], dtype=np.uint8))
    array([[  5, 202]], dtype=uint8)
    """
    padded = np.pad(digits, ((0, 0), (0, -digits.shape[1] % 5)), constant_values=1)
    fives = padded.reshape(len(digits), padded.shape[1] // 5, 5)
    return (fives * np.array([81, 27, 9, 3, 1], np.uint8)).sum(axis=2, dtype=np.uint8)


def unpack_ternary(packed: NDArray[np.uint8], dim: int) -> NDArray[np.uint8]:
    """Unpack bytes ``[n, ⌈dim / 5⌉]`` into ternary digits ``[n, dim]``: the inverse of ``pack_ternary``.

    >>> unpack_ternary(np.array([[5, 202]], dtype=np.uint8), dim=6)
    array([[0, 0, 0, 1, 2, 2]], dtype=uint8)
    """
    return ternary_values().take(packed, axis=0).reshape(len(packed), 5 * packed.shape[1])[:, :dim]


def check_nbits(nbits: int) -> None:
    """Raise InputError unless a byte holds a whole number of ``nbits``-bit values."""
    if nbits not in NBITS:
        raise InputError(f"nbits is {nbits!r}; expected 1, 2, 4 or 8, so that whole values fill a byte.")
