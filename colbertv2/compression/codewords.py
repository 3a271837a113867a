"""The nearest of 256 codewords, 32 of them compared at once, and how codewords are learned."""

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numpy.typing import NDArray

from colbertv2.kernels.compiled import FLOATS, I8, I32, I64, LANES, WORDS, compiled, intrinsic, load, pointer, spread

CODEWORDS = 256  # one for each value of a byte


@intrinsic
def nearest_codeword(typing_context, codebook, penalties, part, width, values):
    """The ``k`` of greatest ``own · codebook[part, :, k] - penalties[part, k]``, the first of equal ones.

    Args:
        values: float32, of which ``own`` is ``values[part · width:][:width]``.
        codebook: float32 ``[M, width, 256]``. penalties: ``[M, 256]``, half the codewords' squared norms.
    """
    size = types.int64
    signature = types.uint8(codebook, penalties, size, size, values)

    def generate(context, builder, signature, arguments):
        def at(argument, place):
            return pointer(context, builder, signature.args[argument], arguments[argument], place)

        part, width, words = arguments[2], arguments[3], ir.Constant(I64, CODEWORDS)
        row = builder.mul(part, width)
        columns, penalty, value = at(0, builder.mul(row, words)), at(1, builder.mul(part, words)), at(4, row)
        best = cgutils.alloca_once_value(builder, ir.Constant(FLOATS, [-math.inf] * LANES))
        block = cgutils.alloca_once_value(builder, ir.Constant(WORDS, [0] * LANES))
        score = cgutils.alloca_once(builder, FLOATS)
        with cgutils.for_range(builder, ir.Constant(I64, CODEWORDS // LANES)) as blocks:
            first = builder.mul(blocks.index, ir.Constant(I64, LANES))
            builder.store(builder.fneg(load(builder, builder.gep(penalty, [first]), FLOATS)), score)
            with cgutils.for_range(builder, width) as dimensions:
                column = builder.gep(columns, [builder.add(first, builder.mul(dimensions.index, words))])
                factor = spread(builder, builder.load(builder.gep(value, [dimensions.index])))
                product = builder.fmul(factor, load(builder, column, FLOATS), flags=("contract",))
                builder.store(builder.fadd(builder.load(score), product, flags=("contract",)), score)
            old, new = builder.load(best), builder.load(score)
            better = builder.fcmp_ordered(">", new, old)
            builder.store(builder.select(better, new, old), best)
            now = spread(builder, builder.trunc(blocks.index, I32))
            builder.store(builder.select(better, now, builder.load(block)), block)
        found = builder.load(best)
        equal = builder.fcmp_ordered("==", found, spread(builder, reduced(builder, "fmax", found)))
        words_found = builder.mul(builder.load(block), ir.Constant(WORDS, [LANES] * LANES))
        words_found = builder.add(words_found, ir.Constant(WORDS, list(range(LANES))))
        candidates = builder.select(equal, words_found, ir.Constant(WORDS, [CODEWORDS] * LANES))
        return builder.trunc(reduced(builder, "umin", candidates), I8)

    return signature, generate


def reduced(builder: Any, operation: str, vector: Any) -> Any:
    """One value from all lanes, by ``fmax`` or ``umin``."""
    name = f"llvm.vector.reduce.{operation}.v{LANES}{'f' if operation == 'fmax' else 'i'}32"
    kind = ir.FunctionType(vector.type.element, [vector.type])
    function = cgutils.get_or_insert_function(builder.module, kind, name)
    return builder.call(function, [vector], fastmath=("nnan",) if operation == "fmax" else ())


@compiled()
def nearest_codewords(vectors, codebook, penalties, packed):
    """Fill ``packed [n, M]``: the nearest codeword for each part of ``vectors [n, dim]``; see ``columns``."""
    for i in range(len(vectors)):
        for part in range(len(codebook)):
            packed[i, part] = nearest_codeword(codebook, penalties, part, codebook.shape[1], vectors[i])


@compiled()
def shapes_and_gains(vectors, codes, centroids, codebook, penalties, packed, gains):
    """What ``vectors [n, dim]`` have beside centroids, as codewords and a gain.

    Fill ``packed [n, M]``, the nearest codeword for each part of the residual at norm 1, and ``gains [n]``, what these
    codewords have to be multiplied by to come nearest to the residual.

    Args:
        codes: int32 ``[n]``, rows of ``centroids [K, dim]``. codebook, penalties: see ``columns``.
    """
    parts, width, _ = codebook.shape
    shape = np.empty(vectors.shape[1], np.float32)
    for i in range(len(vectors)):
        code = codes[i]
        squares = np.float32(0)
        for j in range(len(shape)):
            value = vectors[i, j] - centroids[code, j]
            shape[j] = value
            squares += value * value
        norm = max(np.sqrt(squares), np.float32(1e-12))
        for j in range(len(shape)):
            shape[j] /= norm
        product, length = np.float32(0), np.float32(1e-12)
        for part in range(parts):
            word = nearest_codeword(codebook, penalties, part, width, shape)
            packed[i, part] = word
            length += 2 * penalties[part, word]
            for j in range(width):
                product += shape[part * width + j] * codebook[part, j, word]
        gains[i] = norm * max(product, np.float32(0)) / length


@compiled()
def add_up(vectors, packed, sums, counts):
    """Add each part of ``vectors [n, dim]`` to that of its codeword in ``sums [M, 256, dim / M]`` and count them."""
    parts, _, width = sums.shape
    for i in range(len(vectors)):
        for part in range(parts):
            word = packed[i, part]
            counts[part, word] += 1
            for j in range(width):
                sums[part, word, j] += vectors[i, part * width + j]


def columns(codebook: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """``codebook [M, 256, dim / M]`` as ``[M, dim / M, 256]``, and half the squared norms ``[M, 256]``."""
    return np.ascontiguousarray(codebook.transpose(0, 2, 1)), np.square(codebook).sum(2) / np.float32(2)


def learn_codewords(vectors: NDArray[np.float32], num_parts: int, iterations: int, seed: int) -> NDArray[np.float32]:
    """``[M, 256, dim / M]``: k-means of each of ``num_parts`` equal parts of ``vectors [n, dim]`` by itself.

    A codeword that no vector is nearest to moves to the vector furthest from its own. Fewer than 256 vectors leave
    codewords equal to each other.

    >>> learn_codewords(np.eye(4, dtype=np.float32), num_parts=2, iterations=1, seed=0).shape
    (2, 256, 2)
    """
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    number = len(vectors)
    first = np.resize(np.random.default_rng(seed).permutation(number), CODEWORDS)
    codebook = np.ascontiguousarray(vectors[first].reshape(CODEWORDS, num_parts, -1).transpose(1, 0, 2))
    packed = np.empty((number, num_parts), np.uint8)
    for _ in range(iterations):
        nearest_codewords(vectors, *columns(codebook), packed)
        sums, counts = np.zeros(codebook.shape), np.zeros(codebook.shape[:2])
        add_up(vectors, packed, sums, counts)
        means = (sums / np.maximum(counts, 1)[:, :, None]).astype(np.float32)
        for part in np.flatnonzero((counts == 0).any(1)):
            values = vectors[:, part * codebook.shape[2] :][:, : codebook.shape[2]]
            empty = np.flatnonzero(counts[part] == 0)[:number]
            distances = np.square(values - codebook[part, packed[:, part]]).sum(1)
            means[part, empty] = values[np.argsort(-distances, kind="stable")[: len(empty)]]
        codebook = means
    return codebook
