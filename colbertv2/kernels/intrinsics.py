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

SHIFT = 13
ONE = 1 << SHIFT  # a factor of 1 as a fixed-point number
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


def of_floats(builder: Any, name: str) -> Any:
    """LLVM's function ``name`` for 32 floats."""
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(FLOATS, [FLOATS]), f"llvm.{name}.v32f32")


def keep_largest(builder: Any, values: Any, address: Any) -> None:
    """Replace the 32 floats at an address by the absolute ``values`` where these are greater."""
    absolute = builder.call(of_floats(builder, "fabs"), [values])
    old = load(builder, address, FLOATS)
    store(builder, builder.select(builder.fcmp_ordered(">", absolute, old), absolute, old), address)


@intrinsic
def raise_to_row(typing_context, table, place, largest, column):
    """Update the maxima ``largest[column:][:32]`` with the absolute values of the floats ``table[place:][:32]``."""

    def generate(context, builder, signature, arguments):
        row = load(builder, pointer(context, builder, signature.args[0], arguments[0], arguments[1]), FLOATS)
        keep_largest(builder, row, pointer(context, builder, signature.args[2], arguments[2], arguments[3]))
        return context.get_dummy_value()

    return types.void(table, types.int64, largest, types.int64), generate


def piece_similarities(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """Similarities of 32 query vectors to one piece: Σᵢ codebook[piece + i] · parts[place + i · stride:][:32].

    The first six of ``arguments`` are codebook, piece, size, parts, place and stride.
    """
    size, stride = arguments[2], arguments[5]
    piece, parts = (pointer(context, builder, signature.args[i], arguments[i], arguments[i + 1]) for i in (0, 3))
    total = cgutils.alloca_once_value(builder, ir.Constant(FLOATS, [0.0] * LANES))
    with cgutils.for_range(builder, size) as loop:
        part = load(builder, builder.gep(parts, [builder.mul(loop.index, stride)]), FLOATS)
        value = spread(builder, builder.load(builder.gep(piece, [loop.index])))
        product = builder.fmul(part, value, flags=("fast",))
        builder.store(builder.fadd(builder.load(total), product, flags=("fast",)), total)
    return builder.load(total)


@intrinsic
def raise_to_piece(typing_context, codebook, piece, size, parts, place, stride, largest, column):
    """Update the maxima ``largest[column:][:32]`` with the absolute similarities of one piece to ``parts``.

    The piece is ``codebook[piece:][:size]``.
    """
    integer = types.int64

    def generate(context, builder, signature, arguments):
        values = piece_similarities(context, builder, signature, arguments)
        keep_largest(builder, values, pointer(context, builder, signature.args[6], arguments[6], arguments[7]))
        return context.get_dummy_value()

    return types.void(codebook, integer, integer, parts, integer, integer, largest, integer), generate


@intrinsic
def write_piece(typing_context, codebook, piece, size, parts, place, stride, table, row):
    """Write the rounded similarities of the piece ``codebook[piece:][:size]`` to ``parts[place:]`` to a table's row.

    The row is ``table[row:][:32]``, int16.
    """
    integer = types.int64

    def generate(context, builder, signature, arguments):
        values = piece_similarities(context, builder, signature, arguments)
        rounded = builder.fptosi(builder.call(of_floats(builder, "rint"), [values]), WORDS)
        address = pointer(context, builder, signature.args[6], arguments[6], arguments[7])
        store(builder, builder.trunc(rounded, SHORTS), address)
        return context.get_dummy_value()

    return types.void(codebook, integer, integer, parts, integer, integer, table, integer), generate


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
    """Whether any of ``table[place:][:32]`` (uint8 or int16) is at least its bound in ``bounds[column:][:32]``."""
    signature = types.boolean(table, types.int64, bounds, types.int64)
    kind, compare = (BYTES, "icmp_unsigned") if table.dtype == types.uint8 else (SHORTS, "icmp_signed")

    def generate(context, builder, signature, arguments):
        row = load(builder, pointer(context, builder, signature.args[0], arguments[0], arguments[1]), kind)
        bound = load(builder, pointer(context, builder, signature.args[2], arguments[2], arguments[3]), kind)
        mask = builder.bitcast(getattr(builder, compare)(">=", row, bound), I32)
        return builder.icmp_unsigned("!=", mask, ir.Constant(I32, 0))

    return signature, generate


@intrinsic
def add_up(typing_context, start, tables, stride, column, code, residuals, place, order, num_bytes, gain, factor,
           best, out, row):  # fmt: skip
    """Write one token's similarities to 32 query vectors to ``out[row:]``, and update the maxima ``best[column:]``.

    The similarities are (``gain`` · Σᵢ rowᵢ + ``start[code]``) · ``factor``. The sum is over the first ``num_bytes``
    entries of ``order``: rowᵢ is the row of ``tables`` selected by byte ``order[i]`` of ``residuals[place:]``. ``gain``
    and ``factor`` are in units of 1 / ``ONE``. Sums wrap around at 16 bits, so only the numbers that are multiplied and
    the result must fit into 16 bits.
    """
    size = types.int64
    signature = types.void(start, tables, size, size, size, residuals, size, order, size, size, size, best, out, size)

    def generate(context, builder, signature, arguments):
        def at(argument, place=None):
            return pointer(context, builder, signature.args[argument], arguments[argument], place)

        stride, column, code, place, num_bytes, gain, factor = (arguments[i] for i in (2, 3, 4, 6, 8, 9, 10))
        total = cgutils.alloca_once_value(builder, ir.Constant(SHORTS, [0] * LANES))
        rows, own, places = at(1, column), at(5, place), at(7)
        with cgutils.for_range(builder, num_bytes) as loop:
            byte = builder.load(builder.gep(own, [builder.load(builder.gep(places, [loop.index]))]))
            table_row = builder.add(builder.shl(loop.index, ir.Constant(I64, 8)), builder.zext(byte, I64))
            addend = load(builder, builder.gep(rows, [builder.mul(table_row, stride)]), SHORTS)
            builder.store(builder.add(builder.load(total), addend), total)
        multiply(builder, total, gain)
        first = load(builder, at(0, builder.add(builder.mul(code, stride), column)), SHORTS)
        builder.store(builder.add(builder.load(total), first), total)
        multiply(builder, total, factor)
        value, old = builder.load(total), load(builder, at(11, column), SHORTS)
        store(builder, builder.select(builder.icmp_signed(">", value, old), value, old), at(11, column))
        store(builder, value, at(12, arguments[13]))
        return context.get_dummy_value()

    return signature, generate


def multiply(builder: Any, shorts: Any, factor: Any) -> None:
    """Multiply the int16 vector at the address ``shorts`` by ``factor``, which is in units of 1 / ``ONE``."""
    with builder.if_then(builder.icmp_signed("!=", factor, ir.Constant(I64, ONE))):
        product = builder.mul(builder.sext(builder.load(shorts), WORDS), spread(builder, builder.trunc(factor, I32)))
        shifted = builder.ashr(product, ir.Constant(WORDS, [SHIFT] * LANES))
        builder.store(builder.trunc(shifted, SHORTS), shorts)


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
