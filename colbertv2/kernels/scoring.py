"""The compiled loops that score documents: by centroids, by estimates, exactly. numba compiles them at first use.

They are cached on disk, and all release the GIL. ``W`` is the number of query vectors, rounded up to a multiple of
``LANES``. Tables have one column per query vector.
"""

import numpy as np

from colbertv2.kernels.codecs import decode_vector
from colbertv2.kernels.compiled import compiled
from colbertv2.kernels.estimates import BLOCKS, COLUMNS, write_estimates
from colbertv2.kernels.intrinsics import LANES, any_at_least, largest_rows, load_id, prefetch

ONE = 1 << 13  # a factor of 1 as a fixed-point number
OUT_OF_RANGE = 32767  # the factor of a vector whose norm is at most 1/4, or above ``ONE``


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
def fill_factors(residuals, ids, id_width, gains, gain_values, factors, centroids, codebook, first, last):
    """Fill ``factors [T]`` of tokens ``first`` to ``last - 1``: one over the norm of a decoded vector.

    It is in units of 1 / ``ONE``, rounded down, and ``OUT_OF_RANGE`` where it does not fit.
    """
    flat, vector = residuals.ravel(), np.empty(centroids.shape[1], np.float32)
    for token in range(first, last):
        code = load_id(ids, id_width, token)
        inverse = ONE / decode_vector(centroids, code, flat, token, gains, gain_values, codebook, vector)
        factors[token] = inverse if 1 <= inverse < OUT_OF_RANGE else OUT_OF_RANGE


@compiled()
def estimate_tokens(similarities, columns, zeros, units, words, step, residuals, ids, id_width, gains, gain_values,
                    factors, centroids, codebook, normalise, first, last, places, own_gains, own_factors, best,
                    out):  # fmt: skip
    """Write estimates of the similarities of a document's tokens to ``out [T, W]``, and their maxima to ``best [W]``.

    The tokens are ``first`` to ``last - 1``. ``places``, ``own_gains`` and ``own_factors`` are memory for as many
    numbers. Other arguments are those of ``estimate``.

    Returns:
        what to multiply the rows of ``errors`` by: the greatest gain times factor, the greatest factor, and the
        greatest share by which a factor can be too small, which is inf if a factor is out of range.
    """
    width, table = similarities.shape[1], similarities.ravel()
    for token in range(first, last):
        code = load_id(ids, id_width, token)
        places[token - first] = code * width
        for column in range(0, width, COLUMNS):
            prefetch(table, code * width + column)
    if normalise:
        for token in range(first, last):
            if factors[token] == 0:
                fill_factors(residuals, ids, id_width, gains, gain_values, factors, centroids, codebook, token, last)
                break
    greatest_product, greatest, least = np.float32(0), np.float32(0), np.float32(np.inf)
    for place in range(last - first):
        gain, factor = np.float32(1), np.float32(1)
        if len(gains):
            gain = gain_values[gains[first + place]]
        if normalise:
            factor = np.float32(factors[first + place]) * np.float32(1 / ONE)
        own_gains[place], own_factors[place] = gain, factor
        greatest_product, greatest, least = (
            max(greatest_product, gain * factor),
            max(greatest, factor),
            min(least, factor),
        )
    best[:] = -np.inf
    for block in range(0, len(columns), BLOCKS):
        write_estimates(columns, zeros, units, block, words, step, residuals, first, last - first, table, places,
                        own_gains, own_factors, best, out)  # fmt: skip
    share = np.float32(0)
    if normalise:
        share = 1 / (ONE * least) if greatest < np.float32(OUT_OF_RANGE / ONE) else np.float32(np.inf)
    return greatest_product, greatest, share


@compiled()
def estimate(similarities, columns, zeros, units, words, step, residuals, ids, id_width, gains, gain_values, factors,
             centroids, codebook, normalise, errors, offsets, documents, scores, bounds):  # fmt: skip
    """Fill ``scores [D]`` with estimates of MaxSim of ``documents``, and ``bounds [D]`` with how wrong they can be.

    An exact score is at most its bound away from its estimate. A document without vectors has -inf and 0.

    Args:
        similarities: float32 ``[K, W]``, those of the query vectors to the centroids.
        columns, zeros, units, words, step: as for ``write_estimates``, where ``words`` is called ``codebook``.
        residuals: uint8 ``[T, M]``, the bytes of every token.
        ids: the centroid of every token, ``id_width`` bytes each.
        gains: uint8 ``[T]``, or empty if residuals have no gain.
        gain_values: float32 ``[256]``, the gain that each byte encodes.
        factors: int16 ``[T]``, as for ``fill_factors``; 0 if not yet known, then filled in.
        centroids, codebook, normalise: as in ``LookupTables``.
        errors: float32 ``[3, L]``, for each query vector how wrong an estimate can be because of its bytes (per gain
            times factor), because of rounding (per factor), and because of the factor (per share).
        offsets: ``[num_documents + 1]``, where each document's tokens begin.
    """
    width, length = similarities.shape[1], errors.shape[1]
    best, totals = np.empty(width, np.float32), np.zeros(3, np.float32)
    for column in range(length):
        for kind in range(3):
            totals[kind] += errors[kind, column]
    size = longest(offsets, documents)
    out, places = np.empty((size, width), np.float32), np.empty(size, np.int64)
    own_gains, own_factors = np.empty(size, np.float32), np.empty(size, np.float32)
    for i in range(len(documents)):
        first, last = offsets[documents[i]], offsets[documents[i] + 1]
        if last == first:
            scores[i], bounds[i] = -np.inf, 0
            continue
        wrong = estimate_tokens(similarities, columns, zeros, units, words, step, residuals, ids, id_width, gains,
                                gain_values, factors, centroids, codebook, normalise, first, last, places, own_gains,
                                own_factors, best, out)  # fmt: skip
        total = np.float32(0)
        for column in range(length):
            total += best[column]
        scores[i] = total
        bounds[i] = wrong[0] * totals[0] + wrong[1] * totals[1] + wrong[2] * totals[2]


@compiled()
def longest(offsets, documents):
    """The number of tokens of the longest of ``documents``."""
    size = 0
    for document in documents:
        size = max(size, offsets[document + 1] - offsets[document])
    return size


@compiled(fastmath={"reassoc", "contract"})
def score(query, similarities, columns, zeros, units, words, step, residuals, ids, id_width, gains, gain_values,
          factors, centroids, codebook, normalise, errors, offsets, documents, scores):  # fmt: skip
    """Fill ``scores [D]``: MaxSim of ``documents`` over their decoded vectors; -inf for a document without vectors.

    Estimates only select the tokens that can have the greatest similarity. For these the similarities to
    ``query [L, dim]`` are computed in 32-bit floats. Other arguments are those of ``estimate``.
    """
    length, dim = query.shape
    width, flat = similarities.shape[1], residuals.ravel()
    vector, best, exact = np.empty(dim, np.float32), np.empty(width, np.float32), np.empty(length, np.float32)
    size = longest(offsets, documents)
    out, places = np.empty((size, width), np.float32), np.empty(size, np.int64)
    own_gains, own_factors = np.empty(size, np.float32), np.empty(size, np.float32)
    for i in range(len(documents)):
        first, last = offsets[documents[i]], offsets[documents[i] + 1]
        if last == first:
            scores[i] = -np.inf
            continue
        wrong = estimate_tokens(similarities, columns, zeros, units, words, step, residuals, ids, id_width, gains,
                                gain_values, factors, centroids, codebook, normalise, first, last, places, own_gains,
                                own_factors, best, out)  # fmt: skip
        for column in range(length):  # both the greatest and another can be wrong, in opposite directions
            best[column] -= 2 * (
                wrong[0] * errors[0, column] + wrong[1] * errors[1, column] + wrong[2] * errors[2, column]
            )
        best[length:] = np.inf
        exact[:] = -np.inf
        for token in range(first, last):
            near = False
            for column in range(0, width, LANES):
                near |= any_at_least(out, (token - first) * width + column, best, column)
            if not near:
                continue
            code = load_id(ids, id_width, token)
            norm = decode_vector(centroids, code, flat, token, gains, gain_values, codebook, vector)
            factor = np.float32(1) / norm if normalise else np.float32(1)
            for column in range(length):
                if out[token - first, column] >= best[column]:
                    similarity = np.float32(0)
                    for j in range(dim):
                        similarity += query[column, j] * vector[j]
                    exact[column] = max(exact[column], similarity * factor)
        total = np.float32(0)
        for column in range(length):
            total += exact[column]
        scores[i] = total
