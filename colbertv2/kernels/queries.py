"""The compiled loops that compute a query's tables and find its nearest centroids; ``scoring`` has the scoring loops.

``W`` is the number of query vectors, rounded up to a multiple of ``LANES``. Tables have one column per query vector.
"""

import numpy as np

from colbertv2.kernels.compiled import compiled

BLOCK_ROWS = 256


@compiled(fastmath=True)
def quantise(similarities, scale, as_bytes):
    """Fill ``as_bytes`` uint8 ``[K, W]`` with ``similarities [K, W]`` times ``scale``; 0 or less becomes 0."""
    half = np.float32(0.5)
    for row in range(similarities.shape[0]):
        for column in range(similarities.shape[1]):
            value = similarities[row, column]
            as_bytes[row, column] = np.uint8(min(max(value * scale, np.float32(0)), np.float32(254.5)) + half)


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
