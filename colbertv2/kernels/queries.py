"""The compiled loops that compute a query's tables and find its nearest centroids; ``scoring`` has the scoring loops.

``W`` is the number of query vectors, rounded up to a multiple of ``LANES``. Tables have one column per query vector.
"""

import numpy as np

from colbertv2.kernels.compiled import compiled
from colbertv2.kernels.intrinsics import LANES, raise_to_piece, raise_to_row, write_piece

BLOCK_ROWS = 256


@compiled()
def extents(similarities, largest):
    """Update the maxima ``largest [W]`` with the greatest absolute value of each column of ``similarities [K, W]``."""
    width = similarities.shape[1]
    for place in range(0, similarities.size, LANES):
        raise_to_row(similarities, place, largest, place % width)


@compiled(fastmath=True)
def quantise(similarities, byte_scale, scale, as_bytes, as_shorts):
    """Quantise ``similarities [K, W]`` to bytes and to 16 bits.

    Args:
        byte_scale: factor for bytes; similarities of 0 or less become byte 0.
        scale: ``[W]``, factors for 16 bits.
        as_bytes: uint8 ``[K, W]``, filled.
        as_shorts: int16 ``[K, W]``, filled.
    """
    half = np.float32(0.5)
    for row in range(similarities.shape[0]):
        for column in range(similarities.shape[1]):
            value = similarities[row, column]
            as_bytes[row, column] = np.uint8(min(max(value * byte_scale, np.float32(0)), np.float32(254.5)) + half)
            as_shorts[row, column] = np.int16(np.floor(value * scale[column] + half))


@compiled()
def piece_extents(codebook, parts, largest):
    """For each byte of a residual, add to ``largest [W]`` the greatest absolute similarity to any of its 256 pieces.

    Args:
        codebook: ``[M or 1, 256, d]``.
        parts: ``[M, d, W]``, the part of the query vectors that belongs to each byte.
    """
    num_values, size, width = codebook.shape[1], codebook.shape[2], parts.shape[2]
    own = np.empty(width, np.float32)
    for place in range(len(parts)):
        own[:] = 0
        first = place * num_values if len(codebook) > 1 else 0
        for column in range(0, width, LANES):
            part = place * size * width + column
            for value in range(num_values):
                raise_to_piece(codebook, (first + value) * size, size, parts, part, width, own, column)
        largest += own


@compiled()
def piece_tables(codebook, parts, order, tables):
    """Fill ``tables [M, 256, W]`` int16 with the similarities of ``parts`` to all pieces of the bytes in ``order``."""
    num_values, size, width = codebook.shape[1], codebook.shape[2], parts.shape[2]
    for i in range(len(order)):
        first = order[i] * num_values if len(codebook) > 1 else 0
        for column in range(0, width, LANES):
            part = order[i] * size * width + column
            for value in range(num_values):
                row = (i * num_values + value) * width + column
                write_piece(codebook, (first + value) * size, size, parts, part, width, tables, row)


@compiled()
def nearest_rows(similarities, found):
    """Fill ``found [L, n]`` with the rows of the n greatest values in each of the first L columns of ``[K, W]``; n ≤ K.

    The n greatest values are in the n blocks of rows with the greatest maxima, so only these blocks are searched.
    """
    num_rows = len(similarities)
    num_columns, number = found.shape
    num_blocks = (num_rows + BLOCK_ROWS - 1) // BLOCK_ROWS
    maxima = np.full((num_blocks, num_columns), -np.inf, np.float32)
    for row in range(num_rows):
        block = row // BLOCK_ROWS
        for column in range(num_columns):
            maxima[block, column] = max(maxima[block, column], similarities[row, column])
    blocks, values = np.empty(min(number, num_blocks), np.int64), np.empty(number, np.float32)
    for column in range(num_columns):
        values[:] = -np.inf
        for block in range(num_blocks):
            insert(values[: len(blocks)], blocks, maxima[block, column], block)
        values[:] = -np.inf
        for block in blocks:
            for row in range(block * BLOCK_ROWS, min((block + 1) * BLOCK_ROWS, num_rows)):
                insert(values, found[column], similarities[row, column], row)


@compiled(inline="always")
def insert(values, names, value, name):
    """Insert ``value`` and its name into the descending ``values``, replacing the smallest one, if it is greater."""
    place = len(values) - 1
    if value > values[place]:
        while place > 0 and values[place - 1] < value:
            values[place], names[place] = values[place - 1], names[place - 1]
            place -= 1
        values[place], names[place] = value, name
