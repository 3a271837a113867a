"""Tests of the cascade against exhaustive search with decoded vectors, for many shapes; of its stages and settings."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import agree, index_of, unit

from colbertv2.compression.clustering.clustering import Clustering
from colbertv2.compression.product import ProductCodec
from colbertv2.compression.residual import ResidualCodec
from colbertv2.errors import InputError
from colbertv2.indexing.index import Index
from colbertv2.search.cascade import Cascade
from colbertv2.search.exhaustive import Exhaustive, search_decoded
from colbertv2.search.query_tables import QueryTables


@settings(max_examples=40)
@given(
    product=st.booleans(),
    bits=st.sampled_from([1, 2, 4, 8]),
    dim=st.sampled_from([32, 40, 64, 768]),
    lengths=st.lists(st.integers(0, 30), min_size=1, max_size=25).filter(any),
    num_centroids=st.integers(1, 6),
    query_length=st.one_of(st.integers(1, 40), st.just(300)),
    k=st.integers(1, 40),
    seed=st.integers(0, 2**16),
)
def test_with_nothing_left_out_the_cascade_is_exhaustive(
    tmp_path_factory, product, bits, dim, lengths, num_centroids, query_length, k, seed
):
    clustering = Clustering(min(num_centroids, sum(lengths)), kmeans_iterations=2)
    if clustering.wanted(0) > sum(lengths) - int(0.05 * sum(lengths)):
        return
    codec = (ProductCodec if product else ResidualCodec)(bits)
    index = index_of(tmp_path_factory.mktemp("cascade"), codec, lengths, dim, seed, clustering)
    queries = [unit(np.random.default_rng(seed + 1).normal(size=(query_length, dim)))]
    exact = search_decoded(index, queries, len(lengths))
    agree(Exhaustive().search(index, queries, k), exact, 1e-3)
    found = Cascade(nprobe=None, ndocs=None).search(index, queries, k)
    assert len(found[0][0]) == min(k, sum(length > 0 for length in lengths))
    agree(found, exact, 1e-3)


@pytest.fixture(scope="module", params=["quantile", "product"])
def index(world, request):
    if request.param == "quantile":
        return world.index(name="cascade-quantile")
    return world.index(ProductCodec(2), name="cascade-product", queries=np.concatenate(world.queries(5)))


@pytest.fixture(scope="module")
def queries(world):
    return world.queries(12)


@pytest.mark.parametrize("engine", [Cascade(ndocs=5), Cascade(1, 20), Cascade(2, 8)], ids=repr)
def test_scores_are_exact_whatever_was_left_out(index, queries, engine):
    exact = search_decoded(index, queries, 150)
    for (positions, scores, _), (all_positions, all_scores, *_) in zip(
        engine.search(index, queries, 5), exact, strict=True
    ):
        expected = dict(zip(all_positions.tolist(), all_scores.tolist(), strict=True))
        np.testing.assert_allclose(scores, [expected[place] for place in positions.tolist()], atol=1e-3)
        assert (np.diff(scores) <= 0).all() and len(set(positions.tolist())) == len(positions) == 5


@pytest.mark.parametrize("moved", [{"nprobe": 1}, {"ndocs": 6}], ids=str)
def test_every_knob_moves_what_is_found(index, queries, moved):
    start = {"nprobe": None, "ndocs": None if "nprobe" in moved else 40}
    before, after = (
        [Cascade(**knobs).candidates(QueryTables(index, query), 5).tolist() for query in queries]
        for knobs in (start, start | moved)
    )
    assert before != after


def test_the_scan_is_maxsim_over_centroids(index, queries):
    for query in queries:
        positions = np.arange(index.num_documents)
        found = QueryTables(index, query).centroid_scores(positions)
        similarities = np.maximum(query @ index.centroids.T, 0)
        for position in positions:
            codes = index.codes(np.array([position]))
            expected = similarities[:, codes].max(axis=1).sum() if len(codes) else 0
            assert abs(found[position] - expected) < 0.01 * len(query)


def test_threads_and_order_change_nothing(index, queries, same_results):
    engine = Cascade(None, 40)
    together = engine.search(index, queries * 4, 10)
    alone = [engine.search_one(Index.open(index.path), query, 10) for query in queries]
    same_results(together, alone * 4)


@pytest.mark.parametrize(
    "knobs",
    [
        {"nprobe": 0},
        {"ndocs": 0},
        {"ndocs": 2.5},
    ],
)
def test_bad_knobs_are_refused(knobs):
    with pytest.raises(InputError, match=f"Cascade: {next(iter(knobs))!r} is"):
        Cascade(**knobs)
