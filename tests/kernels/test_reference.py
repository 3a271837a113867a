"""Tests of every compiled routine against its reference in plain numpy, on random and extreme inputs."""

import inspect
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numba import njit
from numba.core.dispatcher import Dispatcher
from support import CODECS

from colbertv2.compression.bitpack import reversed_bits
from colbertv2.compression.byte_codebook import ByteCodebook
from colbertv2.compression.quantisers import columns
from colbertv2.indexing import packed
from colbertv2.kernels import codecs, estimates, intrinsics, lists, products, queries, reference, scoring
from colbertv2.kernels.intrinsics import CODEWORDS, LANES
from colbertv2.search.query_tables import QueryTables

SEEDS = st.integers(0, 2**32 - 1)
WITHOUT_TWIN = {  # parts of loops that have a twin, and loops over lists, which tests/indexing/test_inverted.py tests
    *("insert", "fill_factors", "estimate_tokens", "longest", "encode_lists", "union", "concatenation"),
}
FEW = settings(max_examples=40)  # the first call compiles


ROUTINES = {**vars(intrinsics), **vars(products), **vars(estimates)}


def twins():
    """Name → compiled function, of all routines in LLVM and all compiled loops."""
    found = {name: one for name, one in ROUTINES.items() if type(one) is type(intrinsics.load_id)}
    for module in (codecs, lists, products, queries, scoring):
        found |= {name: one for name, one in vars(module).items() if isinstance(one, Dispatcher)}
    return found


@cache
def called_from_python(name):
    """A routine in LLVM, which compiled functions alone can call."""
    routine = ROUTINES[name]

    @njit
    def call(*arguments):
        return routine(*arguments)

    return call


def agree(name, *arguments, atol=0.0):
    """Both functions return the same and leave all arrays the same; gives back what they return."""
    compiled = twins()[name]
    if not isinstance(compiled, Dispatcher):
        compiled = called_from_python(name)
    both = [[one.copy() if isinstance(one, np.ndarray) else one for one in arguments] for _ in range(2)]
    result, expected = compiled(*both[0]), getattr(reference, name)(*both[1])
    if expected is not None:
        np.testing.assert_allclose(result, expected, rtol=0, atol=atol)
    for ours, theirs in zip(*both, strict=True):
        if isinstance(ours, np.ndarray):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=atol)
    return result


def integers(random, kind, shape):
    """Random integers of a dtype, half of them near its limits or near 0."""
    info = np.iinfo(kind)
    ends = np.array([info.min, info.min + 1, max(info.min, -1), 0, 1, info.max - 1, info.max]).astype(kind)
    anything = random.integers(info.min, info.max, shape, dtype=kind, endpoint=True)
    return np.where(random.random(shape) < 0.5, random.choice(ends, shape), anything)


def eighths(random, shape):
    """Random multiples of 1/8: sums of their products are exact, some values are equal, and some are halves."""
    return (random.integers(-40, 41, shape) / 8).astype(np.float32)


def test_every_routine_has_a_twin_with_the_same_arguments():
    for name, compiled in twins().items():
        if name not in WITHOUT_TWIN:
            function = compiled.py_func if isinstance(compiled, Dispatcher) else compiled._defn
            arguments = [one for one in inspect.signature(function).parameters if one != "typing_context"]
            assert arguments == list(inspect.signature(getattr(reference, name)).parameters), name
    assert set(twins()) >= WITHOUT_TWIN


@FEW
@given(SEEDS, st.integers(1, 4), st.integers(0, 40))
def test_load_id(seed, width, token):
    ids = integers(np.random.default_rng(seed), np.uint8, 41 * width + 3)
    assert agree("load_id", ids, width, token) < 256**width


@FEW
@given(SEEDS, st.sampled_from([1, 2]), st.integers(0, 30), st.integers(0, 30))
def test_largest_rows(seed, width, first, length):
    random = np.random.default_rng(seed)
    ids = np.pad(random.integers(9, size=61, dtype=np.uint8)[:, None], ((0, 0), (0, width - 1))).ravel()
    ids = np.append(ids, np.full(3, 255, np.uint8))
    table = integers(random, np.uint8, (9, 64))
    agree("largest_rows", table, 64, 32, ids, width, first, first + length, np.full(LANES, 7, np.uint8))


def test_the_sum_of_the_largest_bytes_does_not_wrap_around():
    full, out = np.full((1, LANES), 255, np.uint8), np.zeros(LANES, np.uint8)
    assert agree("largest_rows", full, LANES, 0, np.zeros(4, np.uint8), 1, 0, 1, out) == 255 * LANES


@FEW
@given(SEEDS, st.integers(0, LANES - 1))
def test_any_at_least(seed, lane):
    random = np.random.default_rng(seed)
    table, bounds = eighths(random, (3, 64)), eighths(random, 64)
    table[0, ::7], table[2, ::3], bounds[::5] = np.inf, -np.inf, np.inf
    agree("any_at_least", table, 64, bounds, 32)
    bounds[32:] = np.nextafter(table[1, :32], np.float32(np.inf))
    assert not agree("any_at_least", table, 64, bounds, 32)
    table[1, lane] = bounds[32 + lane]
    assert agree("any_at_least", table, 64, bounds, 32)


def test_prefetch_changes_nothing():
    agree("prefetch", np.arange(300, dtype=np.uint8), 7)


@FEW
@given(SEEDS, st.integers(1, 5), st.integers(1, 8))
def test_nearest_codeword(seed, num_parts, width):
    random = np.random.default_rng(seed)
    codebook, penalties = columns(eighths(random, (num_parts, CODEWORDS, width)))
    vectors = eighths(random, (3, num_parts * width))
    for part in range(num_parts):
        agree("nearest_codeword", codebook, penalties, part, width, vectors[0])
    agree("nearest_codewords", vectors, codebook, penalties, np.zeros((3, num_parts), np.uint8))
    sums, counts = np.zeros((num_parts, CODEWORDS, width)), np.zeros((num_parts, CODEWORDS))
    agree("sum_by_codeword", vectors, integers(random, np.uint8, (3, num_parts)), sums, counts)


@FEW
@given(SEEDS, st.integers(0, 9), st.integers(1, 5), st.integers(1, 8))
def test_shapes_and_gains(seed, number, num_parts, width):
    random = np.random.default_rng(seed)
    vectors, centroids = (random.normal(size=(n, num_parts * width)).astype(np.float32) for n in (number, 3))
    codebook = columns(random.normal(size=(num_parts, CODEWORDS, width)).astype(np.float32))
    packed, gains = np.zeros((number, num_parts), np.uint8), np.zeros(number, np.float32)
    codes = random.integers(3, size=number).astype(np.int32)
    if number:
        vectors[0] = centroids[codes[0]]  # a residual of norm 0
    both = [(packed.copy(), gains.copy()) for _ in range(2)]
    codecs.shapes_and_gains(vectors, codes, centroids, *codebook, *both[0])
    reference.shapes_and_gains(vectors, codes, centroids, *codebook, *both[1])
    residuals = vectors - centroids[codes]
    shapes = residuals / np.maximum(np.linalg.norm(residuals, axis=1, keepdims=True), 1e-12)
    rows, words = shapes.reshape(number, num_parts, width), codebook[0].transpose(0, 2, 1)
    distances = []
    for chosen, gain in both:  # two codewords may be equally near, up to rounding, so their numbers may differ
        pieces = words[np.arange(num_parts), chosen]
        distances.append(np.square(rows - pieces).sum(2))
        products = (residuals.reshape(rows.shape) * pieces).sum((1, 2))
        best = np.maximum(products, 0) / (np.square(pieces).sum((1, 2)) + 1e-12)
        np.testing.assert_allclose(gain, best, rtol=0, atol=1e-4)
    nearest = np.square(rows[:, :, None] - words).sum(3).min(2)
    np.testing.assert_allclose(distances, [nearest] * 2, rtol=0, atol=1e-5)


@FEW
@given(st.integers(1, 2**64 - 1), st.integers(0, 63), st.integers(0, 3))
def test_words(word, shift, place):
    word = (word << shift) % 2**64 or 2**63
    assert agree("trailing_zeros", np.uint64(word)) < 64
    data = np.concatenate([np.zeros(place, np.uint8), np.frombuffer(word.to_bytes(8, "little"), np.uint8)])
    assert agree("word_at", data, place) == word


@FEW
@given(SEEDS, st.sampled_from([1, 2, 4, 8]), st.integers(0, 5), st.integers(1, 4))
def test_pack_buckets(seed, nbits, number, num_bytes):
    random = np.random.default_rng(seed)
    vectors, centroids = (eighths(random, (n, num_bytes * 8 // nbits)) for n in (number, 3))
    cutoffs, packed = np.sort(eighths(random, 2**nbits - 1)), np.zeros((number, num_bytes), np.uint8)
    codes = random.integers(3, size=number).astype(np.int32)
    agree("pack_buckets", vectors, codes, centroids, cutoffs, reversed_bits(nbits), packed)


@FEW
@given(SEEDS, st.integers(0, 5), st.integers(1, 5), st.sampled_from([1, 2, 8]), st.booleans(), st.booleans())
def test_decoding(seed, number, num_bytes, width, shared, gained):
    random = np.random.default_rng(seed)
    dim, own = num_bytes * width, 1 if shared else num_bytes
    centroids, codebook = (random.normal(size=shape).astype(np.float32) for shape in ((3, dim), (own, 256, width)))
    gains = integers(random, np.uint8, number if gained else 0)
    kept = random.integers(3, size=number).astype(np.int32), integers(random, np.uint8, (number, num_bytes)), gains
    out, values = np.zeros((number, dim), np.float32), np.linspace(0, 2, 256, dtype=np.float32)
    for normalise in (False, True):
        agree("decode_vectors", centroids, *kept, values, codebook, normalise, out, atol=1e-5)
    if number:
        token = number - 1
        arguments = centroids, int(kept[0][token]), kept[1].ravel(), token, gains, values, codebook, out[0]
        agree("decode_vector", *arguments, atol=1e-5)
        nothing = [one * 0 for one in (centroids, codebook)]
        agree("decode_vector", nothing[0], *arguments[1:6], nothing[1], out[0], atol=1e-5)
        no_bytes = np.zeros(0, np.uint8), token, np.zeros(0, np.uint8), values, np.zeros((0, 256, dim), np.float32)
        agree("decode_vector", *arguments[:2], *no_bytes, out[0], atol=1e-5)


@FEW
@given(SEEDS, st.integers(1, 700), st.integers(1, 2))
def test_quantise_and_nearest_rows(seed, num_rows, blocks):
    random = np.random.default_rng(seed)
    similarities = eighths(random, (num_rows, LANES * blocks))
    agree("quantise", similarities, np.float32(random.choice([0.5, 4, 60])), np.zeros(similarities.shape, np.uint8))
    distinct = random.permuted(np.tile(np.arange(num_rows, dtype=np.float32), (LANES, 1)), axis=1).T
    number = int(random.integers(1, num_rows + 1))
    agree("nearest_rows", np.ascontiguousarray(distinct), np.zeros((5, number), np.int64))


@FEW
@given(
    seed=SEEDS,
    size=st.sampled_from([1, 2, 3, 4, 5, 8, 9, 16]),
    num_bytes=st.integers(0, 9),
    shared=st.booleans(),
    number=st.integers(1, 20),
    blocks=st.sampled_from([2, 4]),
)
def test_write_estimates(seed, size, num_bytes, shared, number, blocks):
    random = np.random.default_rng(seed)
    rows = 1 if shared or not num_bytes else num_bytes
    codebook = ByteCodebook(random.normal(size=(rows, 256, size)).astype(np.float32), num_bytes)
    query = codebook.query(random.normal(size=(16 * blocks, num_bytes * size)).astype(np.float32))
    width, token = 16 * blocks, int(random.integers(4))
    residuals = integers(random, np.uint8, (token + number, num_bytes))
    table, places = eighths(random, 5 * width), width * random.integers(5, size=number)
    best = np.where(random.random(width) < 0.5, -np.inf, 0).astype(np.float32)
    gains_and_factors, out = np.abs(eighths(random, (2, number))), np.zeros((number, width), np.float32)
    agree("write_estimates", *query[:3], blocks - 2, codebook.words, codebook.step, residuals, token, number, table,
          places, *gains_and_factors, best, out, atol=1e-3)  # fmt: skip


@FEW
@given(SEEDS, st.sampled_from([1, 2, 3, 4, 5, 8, 16]), st.integers(1, 9), st.booleans(), st.floats(0.001, 100))
def test_no_product_of_bytes_is_farther_off_than_its_bound(seed, size, num_bytes, shared, scale):
    random = np.random.default_rng(seed)
    entries = (random.standard_t(2, size=(1 if shared else num_bytes, 256, size)) * scale).astype(np.float32)
    codebook = ByteCodebook(entries, num_bytes)
    vectors = random.standard_t(2, size=(32, num_bytes * size)).astype(np.float32)
    vectors[3] = 0
    query, residuals = codebook.query(vectors), random.integers(256, size=(50, num_bytes), dtype=np.uint8)
    best, out = np.full(32, -np.inf, np.float32), np.empty((50, 32), np.float32)
    reference.write_estimates(*query[:3], 0, codebook.words, codebook.step, residuals, 0, 50, np.zeros(32, np.float32),
                              np.zeros(50, np.int64), *np.ones((2, 50), np.float32), best, out)  # fmt: skip
    decoded = entries[np.arange(num_bytes) % len(entries), residuals].reshape(50, -1).astype(np.float64)
    wrong = np.abs(out - decoded @ vectors.T.astype(np.float64))
    assert (wrong <= query.errors * (1 + 1e-5)).all()
    assert np.linalg.norm(decoded, axis=1).max() <= codebook.norm * (1 + 1e-5)


# Fewer instructions: subprocesses, because numba compiles for one processor per process.
@pytest.mark.parametrize("features", ["+avx2,+fma,+avx,+sse4.2", ""])
def test_processors_without_the_instructions_estimate_the_same(features):
    environment = os.environ | {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": features, "NUMBA_DISABLE_CACHE": "1"}
    if "avx2" in features and "avx2" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("this processor has no AVX2")
    subprocess.run([sys.executable, "-c", ESTIMATES_OF_BYTES], env=environment, check=True, timeout=600)


ESTIMATES_OF_BYTES = """
import numpy as np
from numba import njit
from colbertv2.compression.byte_codebook import ByteCodebook
from colbertv2.kernels import reference
from colbertv2.kernels.estimates import write_estimates

@njit
def compiled(*arguments):
    write_estimates(*arguments)

random = np.random.default_rng(0)
for size, num_bytes in ((8, 3), (4, 5), (2, 6), (1, 8)):
    codebook = ByteCodebook(random.normal(size=(num_bytes, 256, size)).astype(np.float32), num_bytes)
    query = codebook.query(random.normal(size=(32, num_bytes * size)).astype(np.float32))
    found = []
    for write in (compiled, reference.write_estimates):
        best, out = np.full(32, -np.inf, np.float32), np.zeros((11, 32), np.float32)
        residuals = np.random.default_rng(1).integers(256, size=(11, num_bytes), dtype=np.uint8)
        write(*query[:3], 0, codebook.words, codebook.step, residuals, 0, 11, np.ones(64, np.float32),
              np.full(11, 32), *np.ones((2, 11), np.float32), best, out)
        found.append((best, out))
    np.testing.assert_allclose(found[0][0], found[1][0], atol=1e-4)
    np.testing.assert_allclose(found[0][1], found[1][1], atol=1e-4)
"""


@pytest.fixture(scope="module", params=[name for name in CODECS if name != "fp16"])
def index(world, request):
    return world.index(CODECS[request.param](2), name=f"reference-{request.param}")


@pytest.mark.parametrize("length", [1, 5, 40])
def test_scan_estimate_and_score(world, index, length):
    query = world.tokens(length)
    tables = QueryTables(index, query)
    documents = np.random.default_rng(length).permutation(index.num_documents)
    scores, bounds = np.zeros(len(documents), np.float32), np.zeros(len(documents), np.float32)
    in_bytes = np.zeros(tables.similarities.shape, np.uint8)
    queries.quantise(tables.similarities, np.float32(100), in_bytes)
    agree("scan", in_bytes, *tables.ids, index.offsets, documents, scores)
    similarities = np.ascontiguousarray(tables.similarities[:, :length])
    for kept in (similarities.max(1) > 0.3, np.zeros(len(similarities), bool)):
        agree("scan_kept", similarities, kept, *tables.ids, index.offsets, documents, scores, atol=1e-4)
    # Norms may differ in the last digit, so factors may differ by one.
    agree("estimate", *tables.arguments, index.offsets, documents, scores, bounds, atol=1)
    scoring.estimate(*tables.arguments, index.offsets, documents, scores, bounds)  # from here on all factors are known
    estimates, exact = scores.copy(), scores.copy()
    agree("score", tables.query[:length], *tables.arguments, index.offsets, documents, exact, atol=1e-4)
    scoring.score(tables.query[:length], *tables.arguments, index.offsets, documents, exact)
    full = np.isfinite(exact)
    assert (np.abs(estimates[full] - exact[full]) <= bounds[full]).all()
    assert (bounds[full] < 0.12 * length).all()  # else they would tell nothing


NUMBERS = st.lists(st.one_of(st.integers(0, 3), st.integers(0, 300), st.integers(2**16, 2**20)), max_size=60)


@FEW
@given(NUMBERS, st.integers(0, 20), st.integers(0, 3))
@example([300, 5, 1000], 0, 1)  # zeros that fill several words
def test_coded_lists(gaps, low_bits, start):
    numbers = np.cumsum(np.array(gaps, np.int64) + 1) - 1
    best, least = agree("best_low_bits", numbers)
    for bits in {best, low_bits}:
        size = (len(gaps) * (bits + 1) + sum(gap >> bits for gap in gaps) + 7) // 8
        assert size >= least
        if size > 10_000:
            continue
        data = np.zeros(start + size + lists.PADDING, np.uint8)
        agree("encode_list", numbers, bits, data, start)
        lists.encode_list(numbers, bits, data, start)
        assert agree("decode_list", data, start, len(data) - lists.PADDING, bits, np.zeros(len(numbers), np.int64))


@FEW
@given(SEEDS, st.integers(0, 40), st.integers(0, 30), st.integers(0, 12))
def test_damaged_lists_are_told_alike(seed, num_bytes, number, low_bits):
    data = np.random.default_rng(seed).integers(256, size=num_bytes + lists.PADDING, dtype=np.uint8)
    found = [np.zeros(number, np.int64) for _ in range(2)]
    whole = [
        function(data, 0, num_bytes, low_bits, out)
        for function, out in zip((lists.decode_list, reference.decode_list), found, strict=True)
    ]
    assert whole[0] == whole[1]
    if whole[0]:
        np.testing.assert_array_equal(*found)


@FEW
@given(SEEDS, st.integers(1, 20), st.integers(0, 9))
def test_collect(seed, num_documents, first):
    random = np.random.default_rng(seed)
    lengths = random.integers(0, 6, num_documents)
    codes = random.integers(0, 12, lengths.sum()).astype(np.int32)
    counts = np.bincount(codes, minlength=12)[first:]
    starts = np.concatenate([[0], np.cumsum(counts)])
    agree("collect", codes, lengths, 100, first, starts, starts[:-1].copy(), np.zeros(starts[-1], np.int32))


@FEW
@given(SEEDS, st.integers(1, 40), st.integers(0, 30))
def test_pair_products(seed, dim, number):
    random = np.random.default_rng(seed)
    left, right = eighths(random, (3, dim)), eighths(random, (5, dim))
    lefts, rights = random.integers(3, size=number), random.integers(5, size=number)
    agree("pair_products", left, right, lefts, rights, np.empty(number, np.float32))


@FEW
@given(SEEDS, st.integers(0, 40))
def test_group_rows(seed, number):
    codes = np.random.default_rng(seed).integers(0, 6, number).astype(np.int32)
    agree("group_rows", codes, packed.offsets_of(np.bincount(codes, minlength=6)), np.zeros(number, np.uint32))


@FEW
@given(SEEDS, st.integers(1, 9), st.lists(st.integers(0, 14), max_size=5), st.lists(st.integers(1, 20), min_size=1))
def test_products(seed, dim, lengths, query_lengths):
    random = np.random.default_rng(seed)
    columns = products.in_columns(eighths(random, (sum(query_lengths), dim)))
    bounds, offsets = packed.offsets_of(np.array(query_lengths)), packed.offsets_of(np.array(lengths, np.int64))
    vectors, scores = eighths(random, (sum(lengths), dim)), np.zeros((len(query_lengths), len(lengths)), np.float32)
    for floor in (-np.inf, 0):
        agree("maxsim", columns, bounds, vectors, offsets, np.float32(floor), scores)
    agree("raise_to_products", columns, len(columns) - 1, vectors, 0, len(vectors), eighths(random, columns[:, 0].size))
    found = np.zeros((len(vectors), columns[:, 0].size), np.float32)
    agree("write_products", columns, len(columns) - 1, vectors, len(vectors) // 2, len(vectors), found)
    agree("write_all_products", columns, vectors, found)


@pytest.mark.parametrize("width", [1, 16, 50])
@pytest.mark.parametrize("number", [0, 1, 7, 1000])
def test_a_product_is_the_same_whatever_is_beside_it(number, width):
    random = np.random.default_rng(0)
    matrix, vectors = (random.normal(size=size).astype(np.float32) for size in ((48, width), (number, 48)))
    found = products.product(vectors, matrix)
    assert found.shape == (number, width) and found.flags.c_contiguous
    np.testing.assert_allclose(found, vectors @ matrix, atol=1e-4)
    for place in range(0, number, 3):
        np.testing.assert_array_equal(found[place], products.product(vectors[place : place + 1], matrix)[0])
    with pytest.raises(ValueError, match="Vectors of 48 dimensions times a matrix of 3 rows"):
        products.product(vectors, matrix[:3])
