"""Routines written in LLVM, which numba compiles to the vector instructions of any processor.

A plain numba loop over the 32 bytes of a row is not vectorised across rows. With LLVM's own vector types, the maximum
over all tokens of a collection takes a few instructions per token on any processor.

A *row* is one entry of a table for 32 query vectors, side by side. A *piece* is one entry of a codebook: the values
that one byte of a residual encodes. All arrays are C-ordered and addressed flat.
:mod:`~colbertv2.kernels.reference` specifies each routine in plain numpy, under the same name.
"""

import math
from typing import Any

from llvmlite import ir
from numba import extending, types
from numba.core import cgutils

intrinsic: Any = extending.intrinsic  # untyped, since the functions it returns lack the first parameter

LANES = 32  # values side by side in an LLVM vector

I8, I16, I32, I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
BYTES, SHORTS, WORDS = (ir.VectorType(lane, LANES) for lane in (I8, I16, I32))
FLOATS = ir.VectorType(ir.FloatType(), LANES)

CODEWORDS = 256  # one for each value of a byte


def pointer(context: Any, builder: Any, array_type: Any, array: Any, place: Any = None) -> Any:
    """The address of an array's first element, or of the element at ``place``."""
    data = context.make_array(array_type)(context, builder, array).data
    return data if place is None else builder.gep(data, [place])


def load(builder: Any, address: Any, kind: Any) -> Any:
    """Load a vector from an address that need not be aligned."""
    value = builder.load(builder.bitcast(address, kind.as_pointer()))
    value.align = 1
    return value


def store(builder: Any, value: Any, address: Any) -> None:
    """Store a vector at an address that need not be aligned."""
    builder.store(value, builder.bitcast(address, value.type.as_pointer())).align = 1


def spread(builder: Any, value: Any, lanes: int = LANES) -> Any:
    """A vector with ``value`` in every lane."""
    kind = ir.VectorType(value.type, lanes)
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(I32, 0))
    return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(I32, lanes), [0] * lanes))


@intrinsic
def load_id(typing_context, ids, width, token):
    """The ``width`` bytes (1 to 4) at ``ids[width · token]`` as an integer.

    Four bytes are always read, so ``ids`` needs padding behind the last id.
    """
    size = types.int64

    def generate(context, builder, signature, arguments):
        data = pointer(context, builder, signature.args[0], arguments[0])
        return read_id(builder, data, arguments[1], id_mask(builder, arguments[1]), arguments[2])

    return size(ids, size, size), generate


def id_mask(builder: Any, width: Any) -> Any:
    """A 32-bit mask with the lowest ``width`` bytes set."""
    missing = builder.sub(ir.Constant(I64, 32), builder.shl(width, ir.Constant(I64, 3)))
    return builder.lshr(ir.Constant(I32, 2**32 - 1), builder.trunc(missing, I32))


def read_id(builder: Any, data: Any, width: Any, mask: Any, token: Any) -> Any:
    """The id of ``token``, extended to 64 bits."""
    address = builder.gep(data, [builder.mul(token, width)])
    value = builder.load(builder.bitcast(address, I32.as_pointer()))
    value.align = 1
    return builder.zext(builder.and_(value, mask), I64)


@intrinsic
def largest_rows(typing_context, table, stride, column, ids, width, first, last, out):
    """Write to ``out[:32]`` the maximum of ``table[id · stride + column:][:32]`` over the ids of some tokens.

    The tokens are those from ``first`` up to, but not including, ``last``.

    Returns:
        the sum of the 32 maxima.
    """
    size = types.int64
    signature = size(table, size, size, ids, size, size, size, out)

    def generate(context, builder, signature, arguments):
        stride, column, width, first, last = (arguments[i] for i in (1, 2, 4, 5, 6))
        base = pointer(context, builder, signature.args[0], arguments[0], column)
        data = pointer(context, builder, signature.args[3], arguments[3])
        mask = id_mask(builder, width)
        best = cgutils.alloca_once_value(builder, ir.Constant(BYTES, [0] * LANES))
        with cgutils.for_range_slice(builder, first, last, ir.Constant(I64, 1)) as (token, _):
            code = read_id(builder, data, width, mask, token)
            row = load(builder, builder.gep(base, [builder.mul(code, stride)]), BYTES)
            old = builder.load(best)
            builder.store(builder.select(builder.icmp_unsigned(">", row, old), row, old), best)
        result = builder.load(best)
        store(builder, result, pointer(context, builder, signature.args[7], arguments[7]))
        total = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(I16, [SHORTS]), "llvm.vector.reduce.add.v32i16"
        )
        return builder.zext(builder.call(total, [builder.zext(result, SHORTS)]), I64)

    return signature, generate


@intrinsic
def any_at_least(typing_context, table, place, bounds, column):
    """Whether any of the floats ``table[place:][:32]`` is at least its bound in ``bounds[column:][:32]``."""
    signature = types.boolean(table, types.int64, bounds, types.int64)

    def generate(context, builder, signature, arguments):
        row = load(builder, pointer(context, builder, signature.args[0], arguments[0], arguments[1]), FLOATS)
        bound = load(builder, pointer(context, builder, signature.args[2], arguments[2], arguments[3]), FLOATS)
        mask = builder.bitcast(builder.fcmp_ordered(">=", row, bound), I32)
        return builder.icmp_unsigned("!=", mask, ir.Constant(I32, 0))

    return signature, generate


@intrinsic
def prefetch(typing_context, array, place):
    """Prefetch the cache line of ``array[place]``."""

    def generate(context, builder, signature, arguments):
        address = pointer(context, builder, signature.args[0], arguments[0], arguments[1])
        byte = I8.as_pointer()
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [byte, I32, I32, I32]), "llvm.prefetch.p0"
        )
        read, keep, data = ir.Constant(I32, 0), ir.Constant(I32, 3), ir.Constant(I32, 1)
        builder.call(function, [builder.bitcast(address, byte), read, keep, data])
        return context.get_dummy_value()

    return types.void(array, types.int64), generate


@intrinsic
def nearest_codeword(typing_context, codebook, penalties, part, width, values):
    """The ``k`` with the greatest ``own · codebook[part, :, k] - penalties[part, k]``; of equal ones the first.

    Args:
        values: float32; ``own`` is ``values[part · width:][:width]``.
        codebook: float32 ``[M, width, 256]``.
        penalties: ``[M, 256]``, half of the codewords' squared norms.
    """
    size = types.int64
    signature = types.uint8(codebook, penalties, size, size, values)

    def generate(context, builder, signature, arguments):
        def at(argument, place):
            return pointer(context, builder, signature.args[argument], arguments[argument], place)

        part, width, number = arguments[2], arguments[3], ir.Constant(I64, CODEWORDS)
        row = builder.mul(part, width)
        columns, penalty, value = at(0, builder.mul(row, number)), at(1, builder.mul(part, number)), at(4, row)
        best = cgutils.alloca_once_value(builder, ir.Constant(FLOATS, [-math.inf] * LANES))
        block = cgutils.alloca_once_value(builder, ir.Constant(WORDS, [0] * LANES))
        score = cgutils.alloca_once(builder, FLOATS)
        with cgutils.for_range(builder, ir.Constant(I64, CODEWORDS // LANES)) as blocks:
            first = builder.mul(blocks.index, ir.Constant(I64, LANES))
            builder.store(builder.fneg(load(builder, builder.gep(penalty, [first]), FLOATS)), score)
            with cgutils.for_range(builder, width) as dimensions:
                column = builder.gep(columns, [builder.add(first, builder.mul(dimensions.index, number))])
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
        codewords = builder.mul(builder.load(block), ir.Constant(WORDS, [LANES] * LANES))
        codewords = builder.add(codewords, ir.Constant(WORDS, list(range(LANES))))
        candidates = builder.select(equal, codewords, ir.Constant(WORDS, [CODEWORDS] * LANES))
        return builder.trunc(reduced(builder, "umin", candidates), I8)

    return signature, generate


def reduced(builder: Any, operation: str, vector: Any) -> Any:
    """Reduce all lanes of an LLVM vector to one value with ``operation``: ``fmax`` (floats) or ``umin`` (integers)."""
    name = f"llvm.vector.reduce.{operation}.v{LANES}{'f' if operation == 'fmax' else 'i'}32"
    kind = ir.FunctionType(vector.type.element, [vector.type])
    function = cgutils.get_or_insert_function(builder.module, kind, name)
    return builder.call(function, [vector], fastmath=("nnan",) if operation == "fmax" else ())


@intrinsic
def word_at(typing_context, array, place):
    """The 64 bits that begin at byte ``place``, as a little-endian integer."""

    def generate(context, builder, signature, arguments):
        address = pointer(context, builder, signature.args[0], arguments[0], arguments[1])
        word = builder.load(builder.bitcast(address, I64.as_pointer()))
        word.align = 1
        return word

    return types.uint64(array, types.int64), generate


@intrinsic
def trailing_zeros(typing_context, word):
    """The number of trailing zero bits of a 64-bit word, which must not be 0."""

    def generate(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), generate
