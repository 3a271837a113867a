"""The compiled loops of inverted lists: ascending numbers stored in few bits, as Rice codes of the gaps between them.

A gap is the number of values skipped between two numbers, so consecutive numbers have a gap of 0. A list stores first
the lowest ``low_bits`` bits of all its gaps, unchanged. After these it stores the remaining bits of each gap in unary:
that many zeros, then a one. For randomly distributed numbers this is within 5 % of the entropy. Unary codes are read 64
bits at a time, so decoding is fast: about one nanosecond per number. Bits fill each byte from the lowest bit up, and
every list begins at a byte.
"""

import numpy as np

from colbertv2.kernels.compiled import compiled
from colbertv2.kernels.intrinsics import trailing_zeros, word_at

PADDING = 8  # bytes behind the last list, so that a 64-bit word can be read at any of its bytes


@compiled()
def best_low_bits(numbers):
    """The ``low_bits`` that give the shortest code for ascending ``numbers [n]``, and its size in bytes."""
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
def encode_list(numbers, low_bits, out, start):
    """Encode ascending ``numbers [n]`` into ``out``, beginning at byte ``start``; ``out`` must be zero there."""
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
def decode_list(data, start, end, low_bits, out):
    """Decode n numbers from the bytes ``start`` to ``end`` into ``out [n]``; False if they hold fewer numbers.

    ``data`` must have ``PADDING`` more bytes behind ``end``.
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


@compiled()
def collect(codes, lengths, document, first, starts, ends, documents):
    """Append every document of a block to the lists of its centroids, for C centroids from ``first`` on.

    Args:
        codes: ``[T]``, the centroids of the block's vectors.
        lengths: ``[D]``, the number of vectors of each document in the block.
        document: position of the block's first document.
        starts: ``[C + 1]``, where each list begins in ``documents``.
        ends: ``[C]``, where each list ends so far; updated in place.
        documents: the lists, updated in place.
    """
    token = 0
    for length in lengths:
        for code in codes[token : token + length]:
            own = np.int64(code) - first
            if 0 <= own < len(ends):
                end = ends[own]
                if end == starts[own] or documents[end - 1] != document:
                    documents[end] = document
                    ends[own] = end + 1
        token += length
        document += 1


@compiled()
def encode_lists(documents, starts, ends, low_bits, sizes):
    """Encode the lists ``documents[starts[i] : ends[i]]`` as bytes; also fill ``low_bits`` and ``sizes`` per list."""
    total = 0
    for i in range(len(ends)):
        low_bits[i], sizes[i] = best_low_bits(documents[starts[i] : ends[i]])
        total += sizes[i]
    data = np.zeros(total, np.uint8)
    place = 0
    for i in range(len(ends)):
        encode_list(documents[starts[i] : ends[i]], low_bits[i], data, place)
        place += sizes[i]
    return data


@compiled()
def union(data, starts, ends, lengths, low_bits, num_documents):
    """The ascending union of some lists, computed with one bit per document; and whether all lists are intact."""
    seen = np.zeros((num_documents + 63) >> 6, np.uint64)
    longest = 0
    for length in lengths:
        longest = max(longest, length)
    buffer = np.empty(longest, np.int64)
    count = 0
    for i in range(len(starts)):
        own = buffer[: lengths[i]]
        if not decode_list(data, starts[i], ends[i], low_bits[i], own):
            return np.empty(0, np.int64), False
        if len(own) and own[-1] >= num_documents:
            return np.empty(0, np.int64), False
        for document in own:
            bit = np.uint64(1) << np.uint64(document & 63)
            count += np.int64(seen[document >> 6] & bit == 0)
            seen[document >> 6] |= bit
    found = np.empty(count, np.int64)
    count = 0
    for place in range(len(seen)):
        word = seen[place]
        while word != 0:
            found[count] = place * 64 + trailing_zeros(word)
            word &= word - np.uint64(1)
            count += 1
    return found, True


@compiled()
def concatenation(data, offsets, lengths, low_bits, num_documents):
    """All lists decoded, end to end; and whether all lists are intact."""
    found = np.empty(lengths.sum(), np.int32)
    place = 0
    for i in range(len(lengths)):
        own = found[place : place + lengths[i]]
        if not decode_list(data, offsets[i], offsets[i + 1], low_bits[i], own):
            return found, False
        if len(own) and own[-1] >= num_documents:
            return found, False
        place += lengths[i]
    return found, True


@compiled()
def group_rows(codes, offsets, rows):
    """Fill ``rows [T]`` with the numbers of the rows of each list, ascending within a list; the lists end to end.

    Args:
        codes: ``[T]``, the list of each row.
        offsets: ``[K + 1]``, where each list begins.
    """
    ends = offsets[:-1].copy()
    for row in range(len(codes)):
        code = codes[row]
        rows[ends[code]] = row
        ends[code] += 1
