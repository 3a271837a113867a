"""Similarities from products of bytes: several times as fast as from floats, and with a known largest error.

A query vector becomes signed bytes, and every entry of a codebook becomes bytes from 0 to 126. One instruction of
AVX-512 (VNNI) then multiplies and adds 64 pairs of bytes. With AVX2 this takes three instructions for 32 pairs. Bytes
of at most 126 keep the sums of two products within 16 bits, which AVX2 needs. Decoded bytes go from the codebook
straight into the product, so no decoded vector is ever written to memory.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from colbertv2.kernels.intrinsics import I8, I16, I32, I64, SHORTS, intrinsic, load, pointer, spread, store

COLUMNS = 16  # query vectors of a block: one sum of 32 bits for each fills an AVX-512 register
BLOCKS = 2  # that are multiplied with a token's bytes at once
GROUP = 4  # bytes whose products are added up by one instruction
ZERO = 63  # the byte of a codebook that stands for 0

SUMS = ir.VectorType(I32, COLUMNS)
FLOATS = ir.VectorType(ir.FloatType(), COLUMNS)
BYTES = ir.VectorType(I8, GROUP * COLUMNS)


def instructions(context: Any) -> str:
    """Which instructions the loops are compiled for: ``vnni``, ``avx2``, or ``any`` processor's."""
    features = context.codegen().magic_tuple()[2].split(",")
    return next((name for flag, name in (("+avx512vnni", "vnni"), ("+avx2", "avx2")) if flag in features), "any")


def part(builder: Any, vector: Any, lanes: range) -> Any:
    """The given lanes of a vector."""
    return builder.shuffle_vector(vector, vector, ir.Constant(ir.VectorType(I32, len(lanes)), list(lanes)))


def add_products(builder: Any, chosen: str, total: Any, unsigned: Any, signed: Any) -> Any:
    """Add to each of 16 sums the products of its four bytes in ``unsigned`` and in ``signed``, ``[16 x i32]`` all."""

    def function(name: str, result: Any, *arguments: Any) -> Any:
        return cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, arguments), f"llvm.x86.{name}")

    if chosen == "vnni":
        return builder.call(function("avx512.vpdpbusd.512", SUMS, SUMS, SUMS, SUMS), [total, unsigned, signed])
    if chosen == "avx2":
        half, shorts, words = (ir.VectorType(kind, 32 * 8 // kind.width) for kind in (I8, I16, I32))
        pairs = function("avx2.pmadd.ub.sw", shorts, half, half)
        pairs_of_pairs = function("avx2.pmadd.wd", words, shorts, shorts)
        halves = []
        for lanes in (range(8), range(8, 16)):
            own = [builder.bitcast(part(builder, one, lanes), half) for one in (unsigned, signed)]
            halves.append(builder.call(pairs_of_pairs, [builder.call(pairs, own), ir.Constant(shorts, [1] * 16)]))
        return builder.add(total, builder.shuffle_vector(*halves, ir.Constant(SUMS, list(range(COLUMNS)))))
    left = builder.zext(builder.bitcast(unsigned, BYTES), ir.VectorType(I16, GROUP * COLUMNS))
    right = builder.sext(builder.bitcast(signed, BYTES), ir.VectorType(I16, GROUP * COLUMNS))
    products = builder.mul(left, right)  # at most 126 · 127, which fits into 16 bits
    for kind in (SHORTS, SUMS):
        every_other = [part(builder, products, range(start, 2 * kind.count, 2)) for start in (0, 1)]
        products = builder.add(*(widened(builder, one) for one in every_other))
    return builder.add(total, products)


def widened(builder: Any, vector: Any) -> Any:
    """The same integers with 32 bits."""
    kind = ir.VectorType(I32, vector.type.count)
    return vector if vector.type == kind else builder.sext(vector, kind)


@intrinsic
def write_estimates(typing_context, columns, zeros, units, block, codebook, step, residuals, token, number,
                    table, places, gains, factors, best, out):  # fmt: skip
    """Write the similarities of adjacent tokens to ``BLOCKS`` blocks of 16 query vectors, and raise the maxima.

    Token t, counted from ``token``, has for query vector i the similarity
    ``(gains[t] · units[i] · (bytes of t · columns of i + zeros[i]) + table[places[t] + i]) · factors[t]``.

    Args:
        columns: int8 ``[blocks, groups, 64]``, the query vectors: 16 of a block, four dimensions of each side by side.
        zeros: int32 ``[W]``, what to add to the sums because the byte ``ZERO`` stands for 0.
        units: float32 ``[W]``, the product that a sum of 1 stands for.
        block: the first of the blocks.
        codebook: ``[M or 1, 256, words]``, the d bytes of each entry as an unsigned integer, or as several if it has
            64 bits. M times the bytes of an entry is a multiple of 4.
        step: how many integers further each byte's entries begin; 0 if all bytes share them.
        residuals: uint8 ``[T, M]``.
        number: of tokens.
        table: float32, flat, similarities to centroids; ``places [number]`` is where each token's row begins.
        gains, factors: float32 ``[number]``.
        best: float32 ``[W]``, raised.
        out: float32 ``[number, W]``, filled.
    """
    size = types.int64
    signature = types.void(columns, zeros, units, size, codebook, size, residuals, size, size, table, places,
                           gains, factors, best, out)  # fmt: skip
    bits = codebook.dtype.bitwidth

    def generate(context, builder, signature, arguments):
        chosen = instructions(context)
        rows_at_once = 8 if chosen == "vnni" else 3  # their sums fill half of the registers, or three quarters

        def at(argument, place=None):
            return pointer(context, builder, signature.args[argument], arguments[argument], place)

        def constant(value):
            return ir.Constant(I64, value)

        def shape(argument):
            array = context.make_array(signature.args[argument])(context, builder, arguments[argument])
            return cgutils.unpack_tuple(builder, array.shape)

        block, step, token, number = (arguments[i] for i in (3, 5, 7, 8))
        groups, width, num_bytes, words = shape(0)[1], shape(14)[1], shape(6)[1], shape(4)[2]
        first_column = builder.mul(block, constant(COLUMNS))
        starts = [builder.add(first_column, constant(COLUMNS * i)) for i in range(BLOCKS)]
        column_size = constant(GROUP * COLUMNS)
        owns = [at(0, builder.mul(builder.mul(builder.add(block, constant(i)), column_size), groups))
                for i in range(BLOCKS)]  # fmt: skip
        zero = [load(builder, at(1, start), SUMS) for start in starts]
        unit = [load(builder, at(2, start), FLOATS) for start in starts]
        largest = [cgutils.alloca_once_value(builder, load(builder, at(13, start), FLOATS)) for start in starts]
        sums = [[cgutils.alloca_once(builder, SUMS) for _ in starts] for _ in range(rows_at_once)]
        entries = at(4)

        def multiply(values, group):
            """Multiply four bytes of each row with all columns' bytes of the same dimensions."""
            place = builder.mul(group, column_size)
            own = [load(builder, builder.gep(start, [place]), SUMS) for start in owns]
            for value, totals in zip(values, sums, strict=True):
                four = spread(builder, value, COLUMNS)
                for total, column in zip(totals, own, strict=True):
                    builder.store(add_products(builder, chosen, builder.load(total), four, column), total)

        def entry(address, byte, word):
            """The integer of a row's codebook entry for one of its residual bytes."""
            value = builder.zext(builder.load(builder.gep(address, [byte])), I64)
            place = builder.add(builder.mul(byte, step), builder.mul(value, words))
            return builder.load(builder.gep(entries, [builder.add(place, word)]))

        with cgutils.for_range_slice(builder, constant(0), number, constant(rows_at_once)) as (group, _):
            rows = []
            for i in range(rows_at_once):  # the last group repeats the last token
                row = builder.add(group, constant(i))
                last = builder.sub(number, constant(1))
                rows.append(builder.select(builder.icmp_signed("<", row, last), row, last))
                for total, value in zip(sums[i], zero, strict=True):
                    builder.store(value, total)
            addresses = [at(6, builder.mul(builder.add(row, token), num_bytes)) for row in rows]
            if bits == 64:
                with cgutils.for_range(builder, num_bytes) as byte, cgutils.for_range(builder, words) as word:
                    values = [entry(address, byte.index, word.index) for address in addresses]
                    place = builder.add(builder.mul(byte.index, words), word.index)
                    group_place = builder.shl(place, constant(1))
                    multiply([builder.trunc(value, I32) for value in values], group_place)
                    high = [builder.trunc(builder.lshr(value, constant(32)), I32) for value in values]
                    multiply(high, builder.add(group_place, constant(1)))
            else:
                together = 32 // bits
                with cgutils.for_range(builder, groups) as loop:
                    values = []
                    for address in addresses:
                        four = ir.Constant(I32, 0)
                        for i in range(together):
                            byte = builder.add(builder.mul(loop.index, constant(together)), constant(i))
                            value = entry(address, byte, constant(0))
                            value = value if bits == 32 else builder.zext(value, I32)
                            four = builder.or_(four, builder.shl(value, ir.Constant(I32, bits * i)))
                        values.append(four)
                    multiply(values, loop.index)
            for row, totals in zip(rows, sums, strict=True):
                gain, factor = (
                    spread(builder, builder.load(builder.gep(at(argument), [row])), COLUMNS) for argument in (11, 12)
                )
                place = builder.load(builder.gep(at(10), [row]))
                for i, start in enumerate(starts):
                    residual = builder.fmul(builder.sitofp(builder.load(totals[i]), FLOATS), unit[i])
                    centroid = load(builder, at(9, builder.add(place, start)), FLOATS)
                    value = builder.fmul(builder.fadd(builder.fmul(residual, gain), centroid), factor)
                    store(builder, value, at(14, builder.add(builder.mul(row, width), start)))
                    old = builder.load(largest[i])
                    builder.store(builder.select(builder.fcmp_ordered(">", value, old), value, old), largest[i])
        for start, value in zip(starts, largest, strict=True):
            store(builder, builder.load(value), at(13, start))
        return context.get_dummy_value()

    return signature, generate
