"""Matrix products that add up in one and the same order, and MaxSim of them.

A BLAS library adds up in an order that depends on the processor, on the shape of the product, and on the place of a
vector in it. Equal vectors then get results that differ in their last bits, and identical documents are not tied. Here
every dot product is a chain of fused multiply-adds over the dimensions, for every vector and on every processor.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numpy.typing import NDArray

from colbertv2.kernels.compiled import compiled
from colbertv2.kernels.intrinsics import I64, intrinsic, load, pointer, spread, store

COLUMNS = 16  # of a block: one AVX-512 register, or two of AVX2
ROWS = 6  # vectors at once: their sums fill 12 of AVX2's 16 registers
FLOATS = ir.VectorType(ir.FloatType(), COLUMNS)


def in_columns(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """``[blocks, dim, 16]`` from ``vectors [N, dim]``: 16 of them a block, with zeros after the last.

    >>> in_columns(np.ones((17, 2), np.float32)).shape
    (2, 2, 16)
    """
    padded = np.pad(vectors.astype(np.float32, copy=False), ((0, -len(vectors) % COLUMNS), (0, 0)))
    return np.ascontiguousarray(padded.reshape(-1, COLUMNS, vectors.shape[1]).transpose(0, 2, 1))


def product(vectors: NDArray[np.float32], matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """``vectors [n, dim] @ matrix [dim, m]``, with equal rows for equal vectors.

    >>> product(np.eye(2, dtype=np.float32), np.array([[1, 2], [3, 4]], np.float32)).tolist()
    [[1.0, 2.0], [3.0, 4.0]]
    """
    if vectors.shape[1] != len(matrix):
        raise ValueError(f"Vectors of {vectors.shape[1]} dimensions times a matrix of {len(matrix)} rows.")
    columns = in_columns(matrix.T)
    found = np.empty((len(vectors), len(columns) * COLUMNS), np.float32)
    write_all_products(columns, np.ascontiguousarray(vectors, np.float32), found)
    return np.ascontiguousarray(found[:, : matrix.shape[1]])


def each_product(context, builder, signature, arguments, use):
    """Generate ``use(row, products)`` for each of ``vectors``, a vector of 16 dot products with ``columns[block]``.

    The first five arguments are columns ``[blocks, dim, 16]``, block, vectors ``[T, dim]``, first and last. ``use`` may
    get the last of the vectors several times.
    """

    def at(argument, place):
        return pointer(context, builder, signature.args[argument], arguments[argument], place)

    block, first, last = arguments[1], arguments[3], arguments[4]
    shape = context.make_array(signature.args[2])(context, builder, arguments[2]).shape
    dim = cgutils.unpack_tuple(builder, shape)[1]
    own = at(0, builder.mul(builder.mul(block, ir.Constant(I64, COLUMNS)), dim))
    kind = ir.FunctionType(FLOATS, [FLOATS] * 3)
    fused = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fma.v{COLUMNS}f32")
    sums = [cgutils.alloca_once(builder, FLOATS) for _ in range(ROWS)]
    with cgutils.for_range_slice(builder, first, last, ir.Constant(I64, ROWS)) as (group, _):
        rows = []
        for number in range(ROWS):
            row = builder.add(group, ir.Constant(I64, number))
            end = builder.sub(last, ir.Constant(I64, 1))
            rows.append(builder.select(builder.icmp_signed("<", row, last), row, end))
            builder.store(ir.Constant(FLOATS, [0.0] * COLUMNS), sums[number])
        addresses = [at(2, builder.mul(row, dim)) for row in rows]
        with cgutils.for_range(builder, dim) as loop:
            column = load(builder, builder.gep(own, [builder.mul(loop.index, ir.Constant(I64, COLUMNS))]), FLOATS)
            for address, total in zip(addresses, sums, strict=True):
                value = spread(builder, builder.load(builder.gep(address, [loop.index])), COLUMNS)
                builder.store(builder.call(fused, [column, value, builder.load(total)]), total)
        for row, total in zip(rows, sums, strict=True):
            use(row, builder.load(total))


@intrinsic
def raise_to_products(typing_context, columns, block, vectors, first, last, best):
    """Raise ``best[16 · block:][:16]`` to the dot products of ``columns[block]`` with vectors first to last.

    Args:
        columns: ``[blocks, dim, 16]``.
        vectors: ``[T, dim]``.
        best: ``[16 · blocks]``.
    """
    integer = types.int64

    def generate(context, builder, signature, arguments):
        place = builder.mul(arguments[1], ir.Constant(I64, COLUMNS))
        address = pointer(context, builder, signature.args[5], arguments[5], place)
        best = cgutils.alloca_once_value(builder, load(builder, address, FLOATS))

        def use(row, new):
            old = builder.load(best)
            builder.store(builder.select(builder.fcmp_ordered(">", new, old), new, old), best)

        each_product(context, builder, signature, arguments, use)
        store(builder, builder.load(best), address)
        return context.get_dummy_value()

    return types.void(columns, integer, vectors, integer, integer, best), generate


@intrinsic
def write_products(typing_context, columns, block, vectors, first, last, found):
    """Write the dot products of ``columns[block]`` with vectors first to last to ``found[first:last, 16 · block:]``.

    Args:
        columns: ``[blocks, dim, 16]``.
        vectors: ``[T, dim]``.
        found: ``[T, 16 · blocks]``.
    """
    integer = types.int64

    def generate(context, builder, signature, arguments):
        shape = context.make_array(signature.args[5])(context, builder, arguments[5]).shape
        width = cgutils.unpack_tuple(builder, shape)[1]
        start = builder.mul(arguments[1], ir.Constant(I64, COLUMNS))

        def use(row, products):
            place = builder.add(builder.mul(row, width), start)
            store(builder, products, pointer(context, builder, signature.args[5], arguments[5], place))

        each_product(context, builder, signature, arguments, use)
        return context.get_dummy_value()

    return types.void(columns, integer, vectors, integer, integer, found), generate


@compiled()
def write_all_products(columns, vectors, found):
    """``found [T, 16 · blocks]``: the dot products of ``vectors [T, dim]`` with ``columns [blocks, dim, 16]``."""
    tile = 240  # vectors, which stay in the cache for all blocks; a multiple of ``ROWS``
    for first in range(0, len(vectors), tile):
        for block in range(len(columns)):
            write_products(columns, block, vectors, first, min(first + tile, len(vectors)), found)


@compiled()
def maxsim(columns, bounds, vectors, offsets, floor, scores):
    """``scores [Q, D]``: the sum over a query's vectors of their greatest dot product with a document's vectors.

    Args:
        columns: ``[blocks, dim, 16]``: the query vectors, as :func:`in_columns` gives them.
        bounds: ``[Q + 1]``: where the vectors of each query begin, and the last ones end.
        vectors: ``[T, dim]``, those of all documents.
        offsets: ``[D + 1]``: where the vectors of each document begin, and the last ones end.
        floor: the least value of a maximum.
    """
    best = np.empty(len(columns) * COLUMNS, np.float32)
    for document in range(len(offsets) - 1):
        first, last = offsets[document], offsets[document + 1]
        best[:] = floor
        for block in range(len(columns)):
            raise_to_products(columns, block, vectors, first, last, best)
        for query in range(len(bounds) - 1):
            total = np.float32(0)
            for place in range(bounds[query], bounds[query + 1]):
                total += best[place]
            scores[query, document] = total


@compiled(fastmath=True)
def pair_products(left, right, lefts, rights, found):
    """``found [P]``: the dot products of the vectors ``left[lefts]`` with the vectors ``right[rights]``.

    Sums are not those of :func:`product`, but equal pairs of vectors have equal ones here too.

    Args:
        left: ``[m, dim]``.
        right: ``[n, dim]``.
        lefts, rights: ``[P]``, rows of both.
    """
    for pair in range(len(found)):
        own, other = left[lefts[pair]], right[rights[pair]]
        total = np.float32(0)
        for place in range(len(own)):
            total += own[place] * other[place]
        found[pair] = total
