"""The compiled loops of the cascade: scan, refine, rescore. Compiled by numba at first use and cached on disk.

All release Python's lock. ``W`` is the number of query vectors rounded up to ``LANES``; tables have a column for each.
"""

import sys
from typing import Any

import numpy as np
from numba import njit
from numba.core import event

from colbertv2.retrieval.lanes import LANES, any_at_least, largest_rows, prefetch, take_maximum

GROUP = 16  # documents whose wanted tokens are found before any is scored, so that their bytes are on the way
ONE = 1 << 13  # a factor of 1


class Announcement(event.Listener):
    """Says once that kernels are being compiled: it takes seconds, and happens at their first use on a machine."""

    def __init__(self) -> None:
        self.said = False

    def on_start(self, event: Any) -> None:
        """A function was not in the cache."""
        dispatcher = event.data["dispatcher"]
        if not self.said and dispatcher.py_func.__module__ == __name__:
            self.said = True
            print("Compiling the search kernels; this happens once on a machine.", file=sys.stderr, flush=True)

    def on_end(self, event: Any) -> None:
        """Nothing to say."""


event.register("numba:compile", Announcement())


@njit(nogil=True, fastmath=True, cache=True)
def quantise(similarities, byte_scale, scale, as_bytes, as_shorts):
    """``[K, L]`` similarities: 0 and below to byte 0, the others times ``byte_scale``; 16 bits by ``scale [L]``."""
    half = np.float32(0.5)
    for row in range(similarities.shape[0]):
        for column in range(similarities.shape[1]):
            value = similarities[row, column]
            as_bytes[row, column] = np.uint8(min(max(value * byte_scale, np.float32(0)), np.float32(254.5)) + half)
            as_shorts[row, column] = np.int16(np.floor(value * scale[column] + half))


@njit(nogil=True, cache=True)
def scan(table, codes, offsets, documents, scores):
    """``scores [D]``: MaxSim of ``documents`` with each vector at its centroid, in units of ``table [K, W]`` bytes."""
    width = table.shape[1]
    maxima = np.empty(LANES, np.uint8)
    for i in range(len(documents)):
        document = documents[i]
        total = 0
        for column in range(0, width, LANES):
            total += largest_rows(table, width, column, codes, offsets[document], offsets[document + 1], maxima)
        scores[i] = total


@njit(nogil=True, fastmath=True, cache=True)
def decode(centroids, code, residuals, place, book, out):
    """Write to ``out [dim]`` a centroid plus what the bytes from ``residuals[place]`` stand for; its squared norm."""
    dim = len(out)
    steps = dim // book.shape[2]
    width = book.shape[2]
    norm = np.float32(0)
    for step in range(steps):
        own = step if book.shape[0] > 1 else 0
        byte = residuals[place + step]
        for i in range(width):
            value = centroids[code, step * width + i] + book[own, byte, i]
            out[step * width + i] = value
            norm += value * value
    return norm


@njit(nogil=True, cache=True)
def wanted_tokens(table, num_query_vectors, codes, first, last, margin, bounds, tokens, count):
    """Append the tokens whose centroid is within ``margin`` of the document's best for some query vector."""
    width = table.shape[1]
    maxima = np.empty(LANES, np.uint8)
    for column in range(0, width, LANES):
        largest_rows(table, width, column, codes, first, last, maxima)
        for lane in range(LANES):
            bounds[column + lane] = maxima[lane] - margin if maxima[lane] > margin else 0
    for column in range(num_query_vectors, width):
        bounds[column] = 255  # padding wants nothing
    for token in range(first, last):
        wanted = False
        for column in range(0, width, LANES):
            wanted |= any_at_least(table, np.int64(codes[token]) * width + column, bounds, column)
        tokens[count] = token
        count += np.int64(wanted)
    return count


@njit(nogil=True, cache=True)
def refine(table, start, tables, order, residuals, codes, offsets, factors, centroids, book, normalise, margin,
           unit, documents, scores, where):  # fmt: skip
    """MaxSim of ``documents`` over their wanted tokens, by the first bytes in ``order``.

    Args:
        table: ``[K, W]`` bytes. start: ``[K, W]`` int16. tables: ``[len(order), 256, W]`` int16.
        order: ``[at most M]`` the bytes of a residual to add, of M in each row of ``residuals [T, M]``.
        factors: ``[T]`` one over a decoded vector's norm in units of 1 / ``ONE``; 0 is not yet known and is filled in.
        margin: in units of ``table``; 255 wants all tokens.
        unit: ``[L]`` what 1 in ``start`` and ``tables`` is for each query vector.
        where: ``[D, W]`` the token of each maximum, counted from the document's first.
    """
    width, row, num_query_vectors = table.shape[1], residuals.shape[1], len(unit)
    flat = residuals.ravel()
    bounds, vector = np.empty(width, np.uint8), np.empty(centroids.shape[1], np.float32)
    best = np.empty(width, np.int16)
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
                count = wanted_tokens(table, num_query_vectors, codes, first, last, margin, bounds, tokens, count)
            else:
                for token in range(first, last):
                    tokens[count] = token
                    count += 1
            ends[i - group] = count
        for i in range(count):
            prefetch(flat, tokens[i] * row)
        done = 0
        for i in range(group, last_of_group):
            first = offsets[documents[i]]
            best[:] = -32768
            where[i, :] = 0
            own = where[i]
            while done < ends[i - group]:
                token = tokens[done]
                code = np.int64(codes[token])
                factor = np.int64(ONE)
                if normalise:
                    factor = np.int64(factors[token])
                    if factor == 0:
                        norm = decode(centroids, code, flat, token * row, book, vector)
                        factor = np.int64(min(ONE / np.sqrt(max(norm, np.float32(1e-24))), 32767.0))
                        factors[token] = factor
                for column in range(0, width, LANES):
                    take_maximum(start, tables, width, column, code, flat, token * row, order, len(order), factor,
                                 token - first, best, own)  # fmt: skip
                done += 1
            total = np.float32(0)
            for column in range(num_query_vectors):
                total += best[column] * unit[column]
            scores[i] = total


@njit(nogil=True, fastmath=True, cache=True)
def rescore(query, codes, residuals, offsets, centroids, book, normalise, documents, where, scores):
    """``scores [D]``: the similarities of ``query [L, dim]`` to the decoded tokens ``where [D, W]``, added up."""
    num_query_vectors, dim = query.shape
    flat = residuals.ravel()
    vector = np.empty(dim, np.float32)
    for i in range(len(documents)):
        first, last = offsets[documents[i]], offsets[documents[i] + 1]
        if first == last:
            scores[i] = -np.inf
            continue
        total = np.float32(0)
        done = np.zeros(num_query_vectors, np.bool_)
        for column in range(num_query_vectors):
            if done[column]:
                continue
            place = where[i, column]
            token = first + place
            norm = decode(centroids, np.int64(codes[token]), flat, token * residuals.shape[1], book, vector)
            factor = np.float32(1) / np.sqrt(max(norm, np.float32(1e-24))) if normalise else np.float32(1)
            for other in range(column, num_query_vectors):
                if where[i, other] == place:
                    done[other] = True
                    similarity = np.float32(0)
                    for j in range(dim):
                        similarity += query[other, j] * vector[j]
                    total += similarity * factor
        scores[i] = total
