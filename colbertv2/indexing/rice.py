"""Ascending numbers in few bits: Rice codes of the gaps between them, by compiled loops.

A gap is how many numbers are left out, so consecutive ones have gap 0. Its lowest ``low_bits`` bits are stored as they
are, for all numbers of a list first; behind them the rest, in unary: so many zeros, then a one. For numbers strewn at
random this is within a twentieth of the entropy. Unary codes are read a word at a time, which is what makes decoding
fast: about a nanosecond a number. Bits fill bytes from the lowest up, every list begins at a byte.
"""

import numpy as np
from llvmlite import ir
from numba import types

from colbertv2.kernels.compiled import I64, compiled, intrinsic, pointer

PADDING = 8  # bytes behind the last list, so that a word can be read at each of its bytes


@intrinsic
def word_at(typing_context, array, place):
    """The 64 bits from byte ``place`` on."""

    def generate(context, builder, signature, arguments):
        address = pointer(context, builder, signature.args[0], arguments[0], arguments[1])
        word = builder.load(builder.bitcast(address, I64.as_pointer()))
        word.align = 1
        return word

    return types.uint64(array, types.int64), generate


@intrinsic
def trailing_zeros(typing_context, word):
    """How many of the lowest bits of a word other than 0 are 0."""

    def generate(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), generate


@compiled()
def best_low_bits(numbers):
    """The ``low_bits`` that take the least room, and the bytes that ``numbers [n]``, ascending, then take."""
    best, least = 0, np.int64(-1)
    for low_bits in range(32):
        size = len(numbers) * (low_bits + 1)
        if 0 <= least <= size:
            break
        before = np.int64(-1)
        for number in numbers:
            size += (number - before - 1) >> low_bits
            before = np.int64(number)
        if least < 0 or size < least:
            best, least = low_bits, size
    return best, (least + 7) >> 3


@compiled()
def encode(numbers, low_bits, out, start):
    """Write ``numbers [n]``, ascending, into the zeros of ``out`` from byte ``start`` on."""
    low = np.int64(start) * 8
    high = low + len(numbers) * low_bits
    before = np.int64(-1)
    for number in numbers:
        gap = np.int64(number) - before - 1
        before = np.int64(number)
        for bit in range(low_bits):
            out[low >> 3] |= np.uint8(((gap >> bit) & 1) << (low & 7))
            low += 1
        high += gap >> low_bits
        out[high >> 3] |= np.uint8(1 << (high & 7))
        high += 1


@compiled()
def decode(data, start, end, low_bits, out):
    """Read ``out [n]`` from the bytes from ``start`` to ``end``; False if they do not hold so many numbers.

    ``data`` goes on for ``PADDING`` bytes behind ``end``.
    """
    low = np.int64(start) * 8
    mask = (np.uint64(1) << np.uint64(low_bits)) - np.uint64(1)
    high = low + len(out) * low_bits
    place = high >> 3
    if len(out) and place >= end:
        return False
    word = word_at(data, place) >> np.uint64(high & 7) << np.uint64(high & 7)
    number = np.int64(-1)
    for i in range(len(out)):
        while word == 0:
            place += 8
            if place >= end:
                return False
            word = word_at(data, place)
        one = place * 8 + trailing_zeros(word)
        word &= word - np.uint64(1)
        rest = (word_at(data, low >> 3) >> np.uint64(low & 7)) & mask
        low += low_bits
        number += ((one - high) << low_bits) + np.int64(rest) + 1
        high = one + 1
        out[i] = number
    return (high + 7) >> 3 <= end
