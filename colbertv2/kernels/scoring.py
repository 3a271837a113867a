"""The compiled loops of the cascade: scan, refine, score. numba compiles them at first use and caches them on disk.

All loops release the GIL. ``W`` is the number of query vectors, rounded up to a multiple of ``LANES``. Tables have one
column per query vector.
"""

import numpy as np

from colbertv2.kernels.codecs import decode_vector
from colbertv2.kernels.compiled import compiled
from colbertv2.kernels.intrinsics import (
    LANES,
    ONE,
    add_up,
    any_at_least,
    largest_rows,
    load_id,
    prefetch,
)

GROUP = 16  # documents whose wanted tokens are found before any is scored, so that their bytes can be prefetched


@compiled()
def scan(table, ids, id_width, offsets, documents, scores):
    """Fill ``scores [D]``: MaxSim of ``documents`` with each vector replaced by its centroid, in units of ``table``.

    Args:
        table: uint8 ``[K, W]``, similarities to the centroids.
        ids: the centroid of every token, ``id_width`` bytes each.
        offsets: ``[num_documents + 1]``, where each document's tokens begin.
    """
    width = table.shape[1]
    maxima = np.empty(LANES, np.uint8)
    for i in range(len(documents)):
        first, last = offsets[documents[i]], offsets[documents[i] + 1]
        total = 0
        for column in range(0, width, LANES):
            total += largest_rows(table, width, column, ids, id_width, first, last, maxima)
        scores[i] = total


@compiled()
def scan_kept(similarities, kept, ids, id_width, offsets, documents, scores):
    """As ``scan``, but with floats ``similarities [K, L]``, and only over tokens whose centroid is ``kept [K]``.

    A document without such tokens scores -inf.
    """
    best = np.empty(similarities.shape[1], np.float32)
    for i in range(len(documents)):
        best[:] = -np.inf
        for token in range(offsets[documents[i]], offsets[documents[i] + 1]):
            code = load_id(ids, id_width, token)
            if kept[code]:
                for column in range(len(best)):
                    best[column] = max(best[column], similarities[code, column])
        total = np.float32(0)
        for column in range(len(best)):
            total += best[column]
        scores[i] = total


@compiled()
def wanted_tokens(table, num_query_vectors, ids, id_width, first, last, margin, bounds, tokens, count):
    """Append a document's wanted tokens to ``tokens``, which holds ``count`` tokens; return the new count.

    A token is wanted if its centroid is within ``margin`` of the document's best centroid for some query vector.
    """
    width = table.shape[1]
    maxima = np.empty(LANES, np.uint8)
    for column in range(0, width, LANES):
        largest_rows(table, width, column, ids, id_width, first, last, maxima)
        for lane in range(LANES):
            bounds[column + lane] = maxima[lane] - margin if maxima[lane] > margin else 0
    for column in range(num_query_vectors, width):
        bounds[column] = 255  # padding columns are 0, so no token is wanted for them
    for token in range(first, last):
        wanted = False
        for column in range(0, width, LANES):
            wanted |= any_at_least(table, load_id(ids, id_width, token) * width + column, bounds, column)
        tokens[count] = token
        count += np.int64(wanted)
    return count


@compiled(inline="always")
def factor_of(token, code, flat, gains, gain_values, factors, centroids, codebook, vector):
    """One over a decoded vector's norm, in units of 1 / ``ONE``, at most 32767; cached in ``factors [T]``."""
    factor = np.int64(factors[token])
    if factor == 0:
        norm = decode_vector(centroids, code, flat, token, gains, gain_values, codebook, vector)
        factor = np.int64(min(ONE / norm, 32767.0))
        factors[token] = factor
    return factor


@compiled(inline="always")
def sum_up(token, start, tables, order, flat, ids, id_width, gains, gain_units, gain_values, factors, centroids,
           codebook, normalise, vector, best, out, place):  # fmt: skip
    """Write a token's similarities to all query vectors to ``out[place:]``, and update the maxima ``best [W]``.

    Arguments are those of ``refine``. ``flat`` are its residuals end to end; ``vector [dim]`` is memory to decode into.
    """
    width = start.shape[1]
    num_bytes = len(vector) // codebook.shape[2]
    code = load_id(ids, id_width, token)
    gain, factor = np.int64(ONE), np.int64(ONE)
    if len(gains):
        gain = np.int64(gain_units[gains[token]])
    if normalise:
        factor = factor_of(token, code, flat, gains, gain_values, factors, centroids, codebook, vector)
    for column in range(0, width, LANES):
        add_up(start, tables, width, column, code, flat, token * num_bytes, order, len(order), gain, factor,
               best, out, place + column)  # fmt: skip


@compiled()
def refine(table, start, tables, order, residuals, ids, id_width, gains, gain_units, gain_values, offsets, factors,
           centroids, codebook, normalise, margin, unit, documents, scores):  # fmt: skip
    """Fill ``scores [D]``: MaxSim of ``documents`` over their wanted tokens and the residual bytes in ``order``.

    Args:
        table: uint8 ``[K, W]``, similarities to the centroids.
        start: int16 ``[K, W]``, the same at higher precision.
        tables: int16 ``[M, 256, W]``, similarities to the pieces of each residual byte.
        order: ``[at most M]``, which bytes of a row of ``residuals [T, M]`` to use.
        ids: the centroid of every token, ``id_width`` bytes each.
        gains: uint8 ``[T]``, or empty if residuals have no gain.
        gain_units: ``[256]``, the gain that each byte encodes, in units of 1 / ``ONE`` for ``tables``.
        gain_values: float32 ``[256]``, the same gains as floats.
        offsets: ``[num_documents + 1]``, where each document's tokens begin.
        factors: ``[T]``, one over a decoded vector's norm in units of 1 / ``ONE``; 0 if not yet known, then filled in.
        margin: in units of ``table``; with 255 all tokens are wanted.
        unit: ``[L]``, the similarity that a 1 in ``start`` and ``tables`` represents for each query vector.
    """
    width, row, num_query_vectors = table.shape[1], residuals.shape[1], len(unit)
    flat = residuals.ravel()
    bounds, vector = np.empty(width, np.uint8), np.empty(centroids.shape[1], np.float32)
    best, value = np.empty(width, np.int16), np.empty(width, np.int16)
    ends = np.empty(GROUP, np.int64)
    for group in range(0, len(documents), GROUP):
        last_of_group = min(group + GROUP, len(documents))
        size = 1
        for i in range(group, last_of_group):
            size += offsets[documents[i] + 1] - offsets[documents[i]]
        tokens = np.empty(size, np.int64)
        count = 0
        for i in range(group, last_of_group):
            first, last = offsets[documents[i]], offsets[documents[i] + 1]
            if margin < 255:
                count = wanted_tokens(
                    table, num_query_vectors, ids, id_width, first, last, margin, bounds, tokens, count
                )
            else:
                for token in range(first, last):
                    tokens[count] = token
                    count += 1
            ends[i - group] = count
        for i in range(count):
            prefetch(flat, tokens[i] * row)
        done = 0
        for i in range(group, last_of_group):
            best[:] = -32768
            while done < ends[i - group]:
                sum_up(tokens[done], start, tables, order, flat, ids, id_width, gains, gain_units, gain_values, factors,
                       centroids, codebook, normalise, vector, best, value, 0)  # fmt: skip
                done += 1
            total = np.float32(0)
            for column in range(num_query_vectors):
                total += best[column] * unit[column]
            scores[i] = total


@compiled(fastmath=True)
def score(query, start, tables, order, residuals, ids, id_width, gains, gain_units, gain_values, offsets, factors,
          centroids, codebook, normalise, slack, documents, scores):  # fmt: skip
    """Fill ``scores [D]``: MaxSim of ``documents`` over their decoded vectors; -inf for a document without vectors.

    The 16-bit sums only select the tokens that can have the greatest similarity: those within ``slack`` of the greatest
    sum, and those with a norm below 1/2 before normalisation. For these tokens the similarities to ``query [L, dim]``
    are computed in 32-bit floats. Other arguments are those of ``refine``.
    """
    num_query_vectors, dim = query.shape
    width = start.shape[1]
    flat = residuals.ravel()
    vector, best, exact = np.empty(dim, np.float32), np.empty(width, np.int16), np.empty(width, np.float32)
    values = np.empty((64, width), np.int16)
    for i in range(len(documents)):
        first, last = offsets[documents[i]], offsets[documents[i] + 1]
        if last == first:
            scores[i] = -np.inf
            continue
        if last - first > len(values):
            values = np.empty((2 * (last - first), width), np.int16)
        best[:] = -32768
        for token in range(first, last):
            code = load_id(ids, id_width, token)
            if normalise and (
                factor_of(token, code, flat, gains, gain_values, factors, centroids, codebook, vector) > 2 * ONE
            ):
                values[token - first] = 32767  # too short for 16-bit arithmetic: always compared exactly
            else:
                sum_up(token, start, tables, order, flat, ids, id_width, gains, gain_units, gain_values, factors,
                       centroids, codebook, normalise, vector, best, values, (token - first) * width)  # fmt: skip
        for column in range(width):
            best[column] = max(best[column] - slack, -32768) if column < num_query_vectors else 32767
        exact[:] = -np.inf
        for token in range(first, last):
            near = False
            for column in range(0, width, LANES):
                near |= any_at_least(values, (token - first) * width + column, best, column)
            if not near:
                continue
            code = load_id(ids, id_width, token)
            norm = decode_vector(centroids, code, flat, token, gains, gain_values, codebook, vector)
            factor = np.float32(1) / norm if normalise else np.float32(1)
            for column in range(num_query_vectors):
                if values[token - first, column] >= best[column]:
                    similarity = np.float32(0)
                    for j in range(dim):
                        similarity += query[column, j] * vector[j]
                    exact[column] = max(exact[column], similarity * factor)
        total = np.float32(0)
        for column in range(num_query_vectors):
            total += exact[column]
        scores[i] = total
