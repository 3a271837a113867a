"""Operations on 32 query vectors at once, which numba compiles to vector instructions wherever it runs.

A plain numba loop over the 32 bytes of a row is not vectorised across rows; with LLVM's own vector types the maximum
over all tokens of a collection runs at a few instructions a token, whatever the processor. A *row* is one entry of a
table for 32 query vectors side by side; all arrays are C-ordered and addressed flat.
"""

from typing import Any

from llvmlite import ir
from numba import extending, types
from numba.core import cgutils

LANES = 32

intrinsic: Any = extending.intrinsic  # which gives functions that lack the first parameter

I8, I16, I32, I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
BYTES, SHORTS, WORDS = (ir.VectorType(lane, LANES) for lane in (I8, I16, I32))


def pointer(context: Any, builder: Any, array_type: Any, array: Any, place: Any = None) -> Any:
    """Address of an array's first element, or of the one at ``place``."""
    data = context.make_array(array_type)(context, builder, array).data
    return data if place is None else builder.gep(data, [place])


def load(builder: Any, address: Any, kind: Any) -> Any:
    """The vector at an address that need not be aligned."""
    value = builder.load(builder.bitcast(address, kind.as_pointer()))
    value.align = 1
    return value


def store(builder: Any, value: Any, address: Any) -> None:
    """Write a vector to an address that need not be aligned."""
    builder.store(value, builder.bitcast(address, value.type.as_pointer())).align = 1


def spread(builder: Any, value: Any) -> Any:
    """A vector with ``value`` in every lane."""
    kind = ir.VectorType(value.type, LANES)
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(I32, 0))
    return builder.shuffle_vector(one, one, ir.Constant(WORDS, [0] * LANES))


@intrinsic
def largest_rows(typing_context, table, stride, column, codes, first, last, out):
    """Write to ``out[:32]`` the maximum of ``table[codes[t] · stride + column:][:32]`` over tokens from first to last.

    Returns:
        The sum of the 32 maxima.
    """
    size = types.int64
    signature = size(table, size, size, codes, size, size, out)

    def generate(context, builder, signature, arguments):
        stride, column, first, last = arguments[1], arguments[2], arguments[4], arguments[5]
        base = pointer(context, builder, signature.args[0], arguments[0], column)
        ids = pointer(context, builder, signature.args[3], arguments[3])
        best = cgutils.alloca_once_value(builder, ir.Constant(BYTES, [0] * LANES))
        with cgutils.for_range_slice(builder, first, last, ir.Constant(I64, 1)) as (token, _):
            code = builder.load(builder.gep(ids, [token]))
            if code.type != I64:
                code = builder.zext(code, I64)
            row = load(builder, builder.gep(base, [builder.mul(code, stride)]), BYTES)
            old = builder.load(best)
            builder.store(builder.select(builder.icmp_unsigned(">", row, old), row, old), best)
        result = builder.load(best)
        store(builder, result, pointer(context, builder, signature.args[6], arguments[6]))
        total = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(I16, [SHORTS]), "llvm.vector.reduce.add.v32i16"
        )
        return builder.zext(builder.call(total, [builder.zext(result, SHORTS)]), I64)

    return signature, generate


@intrinsic
def any_at_least(typing_context, table, place, bounds, column):
    """Whether any of ``table[place:][:32]`` is at least its bound in ``bounds[column:][:32]``."""
    signature = types.boolean(table, types.int64, bounds, types.int64)

    def generate(context, builder, signature, arguments):
        row = load(builder, pointer(context, builder, signature.args[0], arguments[0], arguments[1]), BYTES)
        bound = load(builder, pointer(context, builder, signature.args[2], arguments[2], arguments[3]), BYTES)
        mask = builder.bitcast(builder.icmp_unsigned(">=", row, bound), I32)
        return builder.icmp_unsigned("!=", mask, ir.Constant(I32, 0))

    return signature, generate


@intrinsic
def take_maximum(typing_context, start, tables, stride, column, code, residuals, place, order, num_bytes, factor, token,
                 best, where):  # fmt: skip
    """Add up one token's similarity to 32 query vectors; where it beats ``best[column:]``, note it and the token.

    The sum is ``start[code]`` and, for each of the first ``num_bytes`` bytes in ``order``, the row of ``tables`` that
    this byte of ``residuals[place:]`` stands for, times ``factor`` / 2^13. Sums wrap around at 16 bits, so only the
    result has to fit.
    """
    size = types.int64
    signature = types.void(start, tables, size, size, size, residuals, size, order, size, size, size, best, where)

    def generate(context, builder, signature, arguments):
        def at(argument, place=None):
            return pointer(context, builder, signature.args[argument], arguments[argument], place)

        stride, column, code, place, num_bytes, factor, token = (arguments[i] for i in (2, 3, 4, 6, 8, 9, 10))
        first = load(builder, at(0, builder.add(builder.mul(code, stride), column)), SHORTS)
        total = cgutils.alloca_once_value(builder, first)
        rows, own, places = at(1, column), at(5, place), at(7)
        with cgutils.for_range(builder, num_bytes) as loop:
            byte = builder.load(builder.gep(own, [builder.load(builder.gep(places, [loop.index]))]))
            row = builder.add(builder.shl(loop.index, ir.Constant(I64, 8)), builder.zext(byte, I64))
            addend = load(builder, builder.gep(rows, [builder.mul(row, stride)]), SHORTS)
            builder.store(builder.add(builder.load(total), addend), total)
        with builder.if_then(builder.icmp_signed("!=", factor, ir.Constant(I64, 1 << 13))):
            product = builder.mul(builder.sext(builder.load(total), WORDS), spread(builder, builder.trunc(factor, I32)))
            shifted = builder.ashr(product, ir.Constant(WORDS, [13] * LANES))
            builder.store(builder.trunc(shifted, SHORTS), total)
        value = builder.load(total)
        old, old_token = load(builder, at(11, column), SHORTS), load(builder, at(12, column), SHORTS)
        better = builder.icmp_signed(">", value, old)
        store(builder, builder.select(better, value, old), at(11, column))
        chosen = builder.select(better, spread(builder, builder.trunc(token, I16)), old_token)
        store(builder, chosen, at(12, column))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def prefetch(typing_context, array, place):
    """Ask for the cache line at ``array[place]`` ahead of its use."""

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
