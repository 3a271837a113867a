"""The compiled loops that make a query's tables and find its nearest centroids; see ``scoring`` for those that score.

``W`` is the number of query vectors rounded up to ``LANES``; tables have a column for each.
"""

import numpy as np

from colbertv2.kernels.compiled import compiled
from colbertv2.kernels.intrinsics import LANES, raise_to_piece, raise_to_row, write_piece

BLOCK_ROWS = 256


@compiled()
def extents(similarities, largest):
    """Raise ``largest [W]`` to the greatest absolute value of each column of ``similarities [K, W]``."""
    width = similarities.shape[1]
    for place in range(0, similarities.size, LANES):
        raise_to_row(similarities, place, largest, place % width)


@compiled(fastmath=True)
def quantise(similarities, byte_scale, scale, as_bytes, as_shorts):
    """``[K, W]`` similarities: 0 and below to byte 0, the others times ``byte_scale``; 16 bits by ``scale [W]``."""
    half = np.float32(0.5)
    for row in range(similarities.shape[0]):
        for column in range(similarities.shape[1]):
            value = similarities[row, column]
            as_bytes[row, column] = np.uint8(min(max(value * byte_scale, np.float32(0)), np.float32(254.5)) + half)
            as_shorts[row, column] = np.int16(np.floor(value * scale[column] + half))


@compiled()
def piece_extents(codebook, parts, largest):
    """Add to ``largest [W]`` for each byte of a residual the greatest absolute similarity to what it may stand for.

    Args:
        codebook: ``[M or 1, 256, d]``. parts: ``[M, d, W]``, each byte's part of the query vectors.
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
    """``tables [M, 256, W]`` int16: the similarities of ``parts`` to all pieces, of the bytes in ``order``."""
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
    """``found [L, n]``: for each of the first L columns of ``[K, W]`` the rows of its n greatest values; n at most K.

    The n greatest values lie in the n blocks of rows with the greatest maxima: only these are looked at one by one.
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
    """Put ``value`` and its name into falling ``values`` in place of the least, if that is less."""
    place = len(values) - 1
    if value > values[place]:
        while place > 0 and values[place - 1] < value:
            values[place], names[place] = values[place - 1], names[place - 1]
            place -= 1
        values[place], names[place] = value, name
