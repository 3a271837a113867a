"""Tests of XTR's scoring against a loop over tokens from the papers' formulas, and against exhaustive search."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import index_of, unit

from colbertv2.compression.bitpack import unpack, unpack_ternary
from colbertv2.compression.clustering.clustering import Clustering
from colbertv2.compression.product import ProductCodec
from colbertv2.compression.residual import ResidualCodec
from colbertv2.compression.ternary import TernaryCodec
from colbertv2.errors import InputError
from colbertv2.kernels.products import pair_products
from colbertv2.search import xtr
from colbertv2.search.exhaustive import Exhaustive, search_decoded
from colbertv2.search.searcher import Searcher
from colbertv2.search.xtr import XTR

FEW = Clustering(num_centroids=5, kmeans_iterations=2)


def stored_vectors(index, normalise):
    """All vectors as the codecs' papers define them, scaled to length 1 or not."""
    codec, codes = index.codec, index.stored_codes[:]
    if normalise or isinstance(codec, ProductCodec):
        return index.decode(np.arange(index.num_documents)).vectors
    if isinstance(codec, TernaryCodec):
        digits = unpack_ternary(index.arrays["residuals"][:], index.dim)
        return index.centroids[codes] + np.float32(codec.weight) * (digits.astype(np.float32) - 1)
    return index.centroids[codes] + codec.weights[unpack(index.arrays["residuals"][:], codec.nbits)]


def naive(index, query, nprobe, num_tokens, imputation_tokens, normalise):
    """Document position → score, one query vector, token and document after another."""
    codes = index.stored_codes[:].tolist()
    vectors = stored_vectors(index, normalise).tolist()
    owner = np.repeat(np.arange(index.num_documents), index.lengths).tolist()
    scores, found = dict.fromkeys(owner, 0.0), set()
    for one in query.tolist():
        to_centroids = [float(np.dot(one, centroid)) for centroid in index.centroids]
        order = sorted(range(len(to_centroids)), key=lambda centroid: -to_centroids[centroid])
        probed = set(order[:nprobe])
        similar = {row: float(np.dot(one, vectors[row])) for row, code in enumerate(codes) if code in probed}
        last = sorted(similar.values(), reverse=True)[:num_tokens][-1:]
        kept = [row for row in similar if similar[row] >= last[0] - 1e-6]  # tokens may be equal
        if imputation_tokens is None:
            missing = min((similar[row] for row in kept), default=0.0)
        else:
            wanted = math.isqrt(8 * len(codes)) if imputation_tokens == "sqrt" else imputation_tokens
            seen, missing = 0, to_centroids[order[-1]]
            for centroid in order:
                seen += codes.count(centroid)
                if seen >= wanted:
                    missing = to_centroids[centroid]
                    break
        for document in scores:
            own = [similar[row] for row in kept if owner[row] == document]
            scores[document] += max(own) if own else missing
            found |= {document} if own else set()
    return {document: scores[document] for document in found}


@pytest.fixture(scope="module")
def indexes(tmp_path_factory):
    """Small indexes; some documents are empty, some clusters have one token, and some vectors are equal."""
    lengths = [[4, 0, 3, 6, 1, 5], np.random.default_rng(0).integers(0, 6, 20).tolist()]
    return [
        index_of(tmp_path_factory.mktemp("xtr"), codec, own, 8, 0, FEW)
        for own in lengths
        for codec in (ResidualCodec(2), ProductCodec(2), TernaryCodec())
    ]


@settings(max_examples=60, derandomize=True)  # rounding may change which tokens are retrieved
@given(
    number=st.integers(0, 5),
    query_length=st.integers(1, 5),
    nprobe=st.one_of(st.none(), st.integers(1, 7)),
    num_tokens=st.one_of(st.none(), st.integers(1, 30)),
    imputation_tokens=st.one_of(st.none(), st.just("sqrt"), st.integers(1, 60)),
    normalise=st.booleans(),
    nearest=st.sampled_from([1, 3, 128]),
    k=st.integers(1, 25),
    seed=st.integers(0, 2**16),
)
def test_the_scores_are_those_of_the_formulas(
    indexes, number, query_length, nprobe, num_tokens, imputation_tokens, normalise, nearest, k, seed
):
    index, query = indexes[number], unit(np.random.default_rng(seed).normal(size=(query_length, 8)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(xtr, "NEAREST", nearest)
        patch.setattr(xtr, "DECODED_VECTORS", 7)
        ((positions, scores, _),) = XTR(nprobe, num_tokens, imputation_tokens, normalise).search(index, [query], k)
    expected = naive(index, query, nprobe, num_tokens, imputation_tokens, normalise)
    assert len(positions) == min(k, len(expected))
    np.testing.assert_allclose(scores, sorted(expected.values(), reverse=True)[:k], atol=1e-5)
    np.testing.assert_allclose(scores, [expected[place] for place in positions.tolist()], atol=1e-5)


@pytest.fixture(scope="module")
def queries(world):
    return world.queries(12)


@pytest.mark.parametrize("k", [1, 10, 500])
@pytest.mark.parametrize("engine", [XTR(None, None, None), XTR(10_000, None, 7), XTR(32, 10**6, "sqrt")], ids=repr)
def test_with_every_token_retrieved_it_is_exhaustive_search(residual_index, queries, same_results, engine, k):
    same_results(engine.search(residual_index, queries, k), search_decoded(residual_index, queries, k))


def test_xtrs_estimate_bounds_maxsim_from_above_and_more_tokens_come_closer(residual_index, queries):
    """If all centroids are probed: no token that was not retrieved is as similar as the last one that was."""
    exact = [dict(zip(*one[:2], strict=True)) for one in Exhaustive().search(residual_index, queries, 150)]

    def errors(num_tokens):
        found = XTR(None, num_tokens, None).search(residual_index, queries, 150)
        return [
            score - truth[place]
            for (positions, scores, _), truth in zip(found, exact, strict=True)
            for place, score in zip(positions.tolist(), scores.tolist(), strict=True)
        ]

    means = [np.mean(errors(num_tokens)) for num_tokens in (20, 100, 500, 1400)]
    assert min(map(min, map(errors, (20, 100, 500)))) > -1e-4
    assert means == sorted(means, reverse=True) and means[-1] < 0.05 < means[0]


def test_it_is_the_same_in_threads_and_alone_and_every_score_belongs_to_one_document(residual_index, queries):
    engine = XTR(2, 50, "sqrt")
    together = engine.search(residual_index, queries * 3, 20)
    for one, query in zip(together, queries * 3, strict=True):
        alone = engine.search_one(residual_index, query, 20)
        assert one.positions.tolist() == alone.positions.tolist() and one.scores.tolist() == alone.scores.tolist()
        assert len(set(one.positions.tolist())) == len(one.positions) and residual_index.lengths[one.positions].all()


def test_a_codec_without_centroids_is_refused(float16_index, queries):
    message = r"XTR probes centroids, but Float16Codec has none; use search=exhaustive or codec=residual"
    assert [*XTR().check(float16_index.codec)] == [message.replace("\\", "") + "."]
    for search in (XTR().search, lambda index, *rest: Searcher(index, XTR()).find(*rest)):
        with pytest.raises(InputError, match=r"Float16Codec\(\) has no centroids; use the exhaustive engine"):
            search(float16_index, queries, 10)


@pytest.mark.parametrize(
    "settings", [{"nprobe": 0}, {"num_tokens": 0}, {"imputation_tokens": 0}, {"imputation_tokens": "log"}], ids=str
)
def test_bad_settings_are_refused(settings):
    with pytest.raises(InputError, match=f"XTR: {next(iter(settings))!r} is"):
        XTR(**settings)


@pytest.mark.parametrize("dim", [16, 50, 128])
def test_equal_tokens_are_equally_similar_wherever_they_stand(dim):
    random = np.random.default_rng(0)
    queries, vectors = unit(random.normal(size=(5, dim))), unit(random.normal(size=(300, dim)))
    vectors[7::9] = vectors[0]
    every = np.repeat(np.arange(5), 300), np.tile(np.arange(300), 5)
    found = np.empty(1500, np.float32)
    pair_products(queries, vectors, *every, found)
    assert all(len(set(row[7::9].tolist())) == 1 for row in found.reshape(5, 300))


def test_a_query_whose_centroids_have_no_tokens_finds_nothing(residual_index, queries, monkeypatch):
    rows, offsets = residual_index.token_lists
    monkeypatch.setitem(residual_index.__dict__, "token_lists", (rows[:0], offsets * 0))
    assert [len(one.positions) for one in XTR(1).search(residual_index, queries, 10)] == [0] * len(queries)
