"""The compiled functions in plain numpy: their specification, which the tests compare them with.

Each function has the name and arguments of the compiled one. All routines written in LLVM are here, and those loops
around them that take more than one line of numpy.
"""

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from colbertv2.kernels.estimates import BLOCKS, COLUMNS, GROUP
from colbertv2.kernels.intrinsics import LANES
from colbertv2.kernels.scoring import ONE, OUT_OF_RANGE

Array = NDArray[Any]


def lanes(array: Array, place: int) -> Array:
    """A view of the 32 values that begin at ``place`` of the flattened array."""
    return array.reshape(-1)[place : place + LANES]


# Routines written in LLVM; see intrinsics.


def load_id(ids: Array, width: int, token: int) -> int:
    """The ``width`` bytes (1 to 4) at ``ids[width · token]`` as an integer."""
    return int.from_bytes(ids[width * token : width * (token + 1)].tobytes(), "little")


def largest_rows(
    table: Array, stride: int, column: int, ids: Array, width: int, first: int, last: int, out: Array
) -> int:
    """Write to ``out[:32]`` the maximum of the table's rows for tokens ``first`` to ``last - 1``; return its sum."""
    maxima = lanes(out, 0)
    maxima[:] = 0
    for token in range(first, last):
        np.maximum(maxima, lanes(table, load_id(ids, width, token) * stride + column), out=maxima)
    return int(maxima.sum(dtype=np.int64))


def any_at_least(table: Array, place: int, bounds: Array, column: int) -> bool:
    """Whether any of the floats ``table[place:][:32]`` is at least its bound in ``bounds[column:][:32]``."""
    return bool((lanes(table, place) >= lanes(bounds, column)).any())


def prefetch(array: Array, place: int) -> None:
    """Do nothing: prefetching does not change any result."""


def nearest_codeword(codebook: Array, penalties: Array, part: int, width: int, values: Array) -> int:
    """The ``k`` with the greatest ``own · codebook[part, :, k] - penalties[part, k]``; of equal ones the first."""
    own = values[part * width : (part + 1) * width]
    return int(np.argmax(own @ codebook[part] - penalties[part]))


def word_at(array: Array, place: int) -> int:
    """The 64 bits that begin at byte ``place``, as a little-endian integer."""
    return int.from_bytes(array[place : place + 8].tobytes(), "little")


def trailing_zeros(word: int) -> int:
    """The number of trailing zero bits of a word, which must not be 0."""
    return (int(word) & -int(word)).bit_length() - 1


# Loops that compute a query's tables; see queries.


def quantise(similarities: Array, scale: Any, as_bytes: Array) -> None:
    """Fill ``as_bytes`` with ``similarities [K, W]`` times ``scale``; 0 or less becomes 0, halves are rounded up."""
    as_bytes[:] = np.clip(similarities * scale, 0, np.float32(254.5)) + np.float32(0.5)


def nearest_rows(similarities: Array, found: Array) -> None:
    """Fill ``found [L, n]``: the rows of the n greatest values in each of the first L columns, ties in any order."""
    num_columns, number = found.shape
    found[:] = np.argsort(-similarities[:, :num_columns], axis=0)[:number].T


# Loops that score documents; see scoring.


def codes_of(document: int, ids: Array, id_width: int, offsets: Array) -> Array:
    """The centroids ``[T]`` of a document's tokens."""
    tokens = range(offsets[document], offsets[document + 1])
    return np.array([load_id(ids, id_width, token) for token in tokens], np.int64)


def scan(table: Array, ids: Array, id_width: int, offsets: Array, documents: Array, scores: Array) -> None:
    """Fill ``scores [D]``: MaxSim of ``documents`` with each vector replaced by its centroid."""
    for i, document in enumerate(documents):
        scores[i] = table[codes_of(document, ids, id_width, offsets)].max(0, initial=0).sum(dtype=np.int64)


def scan_kept(
    similarities: Array, kept: Array, ids: Array, id_width: int, offsets: Array, documents: Array, scores: Array
) -> None:
    """As ``scan``, but with floats, and only over tokens whose centroid is ``kept [K]``; -inf if there are none."""
    for i, document in enumerate(documents):
        codes = codes_of(document, ids, id_width, offsets)
        scores[i] = similarities[codes[kept[codes]]].max(0, initial=-np.inf).sum()


def write_estimates(
    columns: Array, zeros: Array, units: Array, block: int, codebook: Array, step: int, residuals: Array, token: int,
    number: int, table: Array, places: Array, gains: Array, factors: Array, best: Array, out: Array,
) -> None:  # fmt: skip
    """Write the similarities of adjacent tokens to ``BLOCKS`` blocks of 16 query vectors, and raise the maxima.

    ``write_estimates`` in ``kernels.estimates`` describes the arguments.
    """
    num_bytes = residuals.shape[1]
    entries = codebook.view(np.uint8).reshape(len(codebook), 256, -1)
    rows = np.arange(num_bytes) if step else np.zeros(num_bytes, np.int64)
    decoded = entries[rows, residuals[token : token + number]].reshape(number, entries.shape[2] * num_bytes)
    for own in range(block, block + BLOCKS):
        lane = np.arange(COLUMNS * own, COLUMNS * (own + 1))
        query = columns[own].reshape(-1, COLUMNS, GROUP).transpose(1, 0, 2).reshape(COLUMNS, -1)
        sums = decoded.astype(np.int64) @ query.T.astype(np.int64) + zeros[lane]
        residual = sums.astype(np.float32) * units[lane] * gains[:number, None]
        out[:number, lane] = (residual + table[places[:number, None] + lane]) * factors[:number, None]
        best[lane] = np.maximum(best[lane], out[:number, lane].max(0, initial=-np.inf))


def estimate(
    similarities: Array, columns: Array, zeros: Array, units: Array, words: Array, step: int, residuals: Array,
    ids: Array, id_width: int, gains: Array, gain_values: Array, factors: Array, centroids: Array, codebook: Array,
    normalise: bool, errors: Array, offsets: Array, documents: Array, scores: Array, bounds: Array,
) -> None:  # fmt: skip
    """Fill ``scores [D]`` with estimates of MaxSim of ``documents``, and ``bounds [D]`` with how wrong they can be."""
    width, vector = similarities.shape[1], np.empty(centroids.shape[1], np.float32)
    for i, document in enumerate(documents):
        first, last = int(offsets[document]), int(offsets[document + 1])
        codes = codes_of(document, ids, id_width, offsets)
        if first == last:
            scores[i], bounds[i] = -np.inf, 0
            continue
        for token in range(first, last if normalise else first):
            code = codes[token - first]
            norm = decode_vector(centroids, code, residuals.ravel(), token, gains, gain_values, codebook, vector)
            factors[token] = int(ONE / norm) if 1 <= ONE / norm < OUT_OF_RANGE else OUT_OF_RANGE
        gain = gain_values[gains[first:last]] if len(gains) else np.ones(len(codes), np.float32)
        whole = factors[first:last].astype(np.float32)
        factor = whole / np.float32(ONE) if normalise else np.ones(len(codes), np.float32)
        best, out = np.full(width, -np.inf, np.float32), np.empty((len(codes), width), np.float32)
        for block in range(0, len(columns), BLOCKS):
            write_estimates(columns, zeros, units, block, words, step, residuals, first, len(codes),
                            similarities.ravel(), codes * width, gain, factor, best, out)  # fmt: skip
        share = (np.inf if (whole == OUT_OF_RANGE).any() else 1 / whole.min()) if normalise else 0
        scores[i] = best[: errors.shape[1]].sum()
        bounds[i] = errors.sum(1) @ np.array([(gain * factor).max(), factor.max(), share])


def score(
    query: Array, similarities: Array, columns: Array, zeros: Array, units: Array, words: Array, step: int,
    residuals: Array, ids: Array, id_width: int, gains: Array, gain_values: Array, factors: Array, centroids: Array,
    codebook: Array, normalise: bool, errors: Array, offsets: Array, documents: Array, scores: Array,
) -> None:  # fmt: skip
    """Fill ``scores [D]``: MaxSim of ``documents`` over their decoded vectors; -inf for a document without vectors.

    The estimates only save work, so they are not used here.
    """
    for i, document in enumerate(documents):
        own = slice(offsets[document], offsets[document + 1])
        codes = codes_of(document, ids, id_width, offsets)
        vectors = np.empty((len(codes), centroids.shape[1]), np.float32)
        decode_vectors(centroids, codes, residuals[own], gains[own], gain_values, codebook, normalise, vectors)
        scores[i] = (query @ vectors.T).max(1).sum() if len(codes) else -np.inf


# Products in one order; see products.


def raise_to_products(columns: Array, block: int, vectors: Array, first: int, last: int, best: Array) -> None:
    """Raise ``best[16 · block:][:16]`` to the dot products of ``columns[block]`` with vectors first to last."""
    own = best.reshape(len(columns), -1)[block]
    np.maximum(own, (vectors[first:last] @ columns[block]).max(0, initial=-np.inf), out=own)


def write_products(columns: Array, block: int, vectors: Array, first: int, last: int, found: Array) -> None:
    """Write the dot products of ``columns[block]`` with vectors first to last to ``found[first:last, 16 · block:]``."""
    width = columns.shape[2]
    found[first:last, width * block : width * (block + 1)] = vectors[first:last] @ columns[block]


def write_all_products(columns: Array, vectors: Array, found: Array) -> None:
    """``found [T, 16 · blocks]``: the dot products of ``vectors [T, dim]`` with ``columns [blocks, dim, 16]``."""
    for block in range(len(columns)):
        write_products(columns, block, vectors, 0, len(vectors), found)


def maxsim(columns: Array, bounds: Array, vectors: Array, offsets: Array, floor: Any, scores: Array) -> None:
    """``scores [Q, D]``: the sum over a query's vectors of their greatest dot product with a document's vectors."""
    best = np.empty(columns.shape[0] * columns.shape[2], np.float32)
    for document in range(len(offsets) - 1):
        best[:] = floor
        for block in range(len(columns)):
            raise_to_products(columns, block, vectors, offsets[document], offsets[document + 1], best)
        scores[:, document] = [best[start:end].sum() for start, end in pairwise(bounds)]


def pair_products(left: Array, right: Array, lefts: Array, rights: Array, found: Array) -> None:
    """``found [P]``: the dot products of the vectors ``left[lefts]`` with the vectors ``right[rights]``."""
    found[:] = (left[lefts] * right[rights]).sum(axis=1)


# Loops of the codecs; see codecs.


def pack_buckets(
    vectors: Array, codes: Array, centroids: Array, cutoffs: Array, reversed_bits: Array, packed: Array
) -> None:
    """Fill ``packed [n, dim · nbits / 8]`` with the bucket of each value of the residuals, vector minus centroid.

    The bucket of a value is the number of cutoffs below it. Its bits are written lowest first, and the first of eight
    bits becomes the highest bit of its byte.
    """
    nbits = len(reversed_bits).bit_length() - 1
    buckets = np.searchsorted(cutoffs, vectors - centroids[codes])
    bits = (buckets[:, :, None] >> np.arange(nbits)) & 1
    packed[:] = np.packbits(bits.reshape(len(vectors), 8 * packed.shape[1]).astype(np.uint8), axis=1)


def nearest_codewords(vectors: Array, codebook: Array, penalties: Array, packed: Array) -> None:
    """Fill ``packed [n, M]`` with the nearest codeword for each part of ``vectors [n, dim]``."""
    for i, part in np.ndindex(packed.shape):
        packed[i, part] = nearest_codeword(codebook, penalties, part, codebook.shape[1], vectors[i])


def shapes_and_gains(
    vectors: Array, codes: Array, centroids: Array, codebook: Array, penalties: Array, packed: Array, gains: Array
) -> None:
    """Fill ``packed [n, M]`` with the codewords of L2-normalised residuals, and ``gains [n]`` with their factors."""
    residuals = vectors - centroids[codes]
    norms = np.maximum(np.linalg.norm(residuals, axis=1, keepdims=True), np.float32(1e-12))
    nearest_codewords(residuals / norms, codebook, penalties, packed)
    shapes = codebook.transpose(0, 2, 1)[np.arange(len(codebook)), packed].reshape(residuals.shape)
    gains[:] = np.maximum((residuals * shapes).sum(1), 0) / (np.square(shapes).sum(1) + np.float32(1e-12))


def sum_by_codeword(vectors: Array, packed: Array, sums: Array, counts: Array) -> None:
    """Add each part of ``vectors [n, dim]`` to its codeword's row of ``sums [M, 256, dim / M]``; count the parts."""
    parts = np.broadcast_to(np.arange(packed.shape[1]), packed.shape)
    np.add.at(sums, (parts, packed), vectors.reshape(*packed.shape, -1))
    np.add.at(counts, (parts, packed), 1)


def decode_vector(
    centroids: Array, code: int, residuals: Array, token: int, gains: Array, gain_values: Array, codebook: Array,
    out: Array,
) -> float:  # fmt: skip
    """Decode one token into ``out [dim]``: its centroid plus its gain times its codewords; return the norm."""
    if len(codebook) == 0:
        out[:] = centroids[code]
        return max(float(np.linalg.norm(out)), 1e-12)
    num_bytes = len(out) // codebook.shape[2]
    own = residuals[token * num_bytes : (token + 1) * num_bytes]
    pieces = codebook[np.arange(num_bytes) % len(codebook), own].reshape(len(out))
    out[:] = centroids[code] + (gain_values[gains[token]] if len(gains) else np.float32(1)) * pieces
    return max(float(np.linalg.norm(out)), 1e-12)


def decode_vectors(
    centroids: Array, codes: Array, residuals: Array, gains: Array, gain_values: Array, codebook: Array,
    normalise: bool, out: Array,
) -> None:  # fmt: skip
    """Fill ``out [n, dim]`` with the decoded vectors, L2-normalised if ``normalise`` is true."""
    for i in range(len(codes)):
        norm = decode_vector(centroids, codes[i], residuals.ravel(), i, gains, gain_values, codebook, out[i])
        if normalise:
            out[i] /= np.float32(norm)


# Loops of inverted lists; see lists.


def gaps_of(numbers: Array) -> Array:
    """The number of values skipped before each of ascending ``numbers [n]``."""
    return np.diff(numbers.astype(np.int64), prepend=-1) - 1


def best_low_bits(numbers: Array) -> tuple[int, int]:
    """The ``low_bits`` that give the shortest code for ascending ``numbers [n]``, and its size in bytes."""
    sizes = [len(numbers) * (low_bits + 1) + (gaps_of(numbers) >> low_bits).sum() for low_bits in range(32)]
    return int(np.argmin(sizes)), int(min(sizes) + 7) >> 3


def coded_list(numbers: Array, low_bits: int) -> Array:
    """Encode ascending ``numbers [n]`` bit by bit, as the format is defined."""
    gaps = gaps_of(numbers).tolist()
    bits = [gap >> bit & 1 for gap in gaps for bit in range(low_bits)]
    for gap in gaps:
        bits += [0] * (gap >> low_bits) + [1]
    return np.packbits(np.array(bits, np.uint8), bitorder="little")


def encode_list(numbers: Array, low_bits: int, out: Array, start: int) -> None:
    """Encode ascending ``numbers [n]`` into ``out``, beginning at byte ``start``."""
    coded = coded_list(numbers, low_bits)
    out[start : start + len(coded)] = coded


def decode_list(data: Array, start: int, end: int, low_bits: int, out: Array) -> bool:
    """Decode n numbers from the bytes ``start`` to ``end`` into ``out [n]``; False if they hold fewer numbers."""
    bits = np.unpackbits(data[start:end], bitorder="little").astype(np.int64)
    low, high = bits[: len(out) * low_bits], bits[len(out) * low_bits :]
    ones = np.flatnonzero(high)[: len(out)]
    if len(ones) < len(out):
        return False
    rests = (low.reshape(len(out), low_bits) << np.arange(low_bits)).sum(1)
    out[:] = np.cumsum(((np.diff(ones, prepend=-1) - 1) << low_bits) + rests + 1) - 1
    return True


def collect(
    codes: Array, lengths: Array, document: int, first: int, starts: Array, ends: Array, documents: Array
) -> None:
    """Append every document of a block to the lists of its centroids, for C centroids from ``first`` on."""
    for place, own in enumerate(np.split(codes, np.cumsum(lengths)[:-1])):
        for centroid in np.unique(own) - first:
            if 0 <= centroid < len(ends):
                documents[ends[centroid]] = document + place
                ends[centroid] += 1


def group_rows(codes: Array, offsets: Array, rows: Array) -> None:
    """Fill ``rows [T]`` with the numbers of the rows of each list, ascending within a list; the lists end to end."""
    rows[:] = np.argsort(codes, kind="stable")
