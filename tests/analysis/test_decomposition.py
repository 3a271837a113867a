"""Tests that the steps agree with naive rankings, and that they lose nothing where nothing can be lost."""

import numpy as np
import pandas as pd
import pytest
from support import index_of, unit

from colbertv2.analysis.decomposition import among, changes, most_moved, search_steps
from colbertv2.compression.clustering.clustering import Clustering
from colbertv2.compression.product import ProductCodec
from colbertv2.compression.residual import ResidualCodec
from colbertv2.compression.uncompressed import Float16Codec
from colbertv2.errors import InputError
from colbertv2.indexing.embeddings import Embeddings
from colbertv2.reporting.analysis_figures import draw_decomposition
from colbertv2.search.cascade import Cascade
from colbertv2.search.exhaustive import Exhaustive
from colbertv2.search.plaid import Plaid
from colbertv2.search.vanilla_colbertv2 import VanillaColBERTv2

DIM = 16
ENGINES = [Plaid(nprobe=1, ndocs=8), VanillaColBERTv2(nprobe=1, ncandidates=5), Cascade(nprobe=1, ndocs=4)]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    path = tmp_path_factory.mktemp("decomposition")
    lengths = np.random.default_rng(0).integers(1, 9, size=40).tolist()
    index = index_of(path, ResidualCodec(2), lengths, DIM, 1, Clustering(num_centroids=16, kmeans_iterations=3))
    queries = [unit(np.random.default_rng(place).normal(size=(4, DIM))) for place in range(6)]
    return index, Embeddings.open(path / "embeddings"), queries


def naive(vectors: np.ndarray, lengths: np.ndarray, query: np.ndarray) -> np.ndarray:
    ends = np.cumsum(lengths)
    documents = [vectors[end - length : end] for end, length in zip(ends, lengths, strict=True)]
    return np.array([(query @ document.T).max(axis=1).sum() for document in documents])


@pytest.mark.parametrize("engine", ENGINES)
def test_each_step_is_what_a_loop_over_documents_finds(world, engine):
    index, embeddings, queries = world
    steps = search_steps(index, embeddings, engine, queries, k=5)
    stored = embeddings.vectors(0, embeddings.num_vectors).astype(np.float32)
    kinds = {
        "projected": stored,
        "centroids": index.centroids[index.codes(np.arange(40))],
        "residual": index.decode(np.arange(40)).vectors,
    }
    for step, vectors in kinds.items():
        for query, (positions, scores, _) in zip(queries, steps[step], strict=True):
            expected = naive(vectors, index.lengths, query)
            np.testing.assert_allclose(scores, np.sort(expected)[::-1][:5], atol=1e-5)
            np.testing.assert_allclose(expected[positions], scores, atol=1e-5)
    for query, (positions, scores, _), engine_found in zip(
        queries, steps["probed"], engine.search(index, queries, 5), strict=True
    ):
        expected = naive(kinds["residual"], index.lengths, query)
        np.testing.assert_allclose(expected[positions], scores, atol=1e-4)
        cells = {int((index.centroids @ vector).argmax()) for vector in query}
        codes, ends = index.codes(np.arange(40)), np.cumsum(index.lengths)
        assert all(cells & set(codes[ends[place] - index.lengths[place] : ends[place]].tolist()) for place in positions)
        assert set(engine_found[0].tolist()) <= set(range(40))


@pytest.mark.parametrize(
    "engine",
    [
        Plaid(nprobe=16, centroid_score_threshold=-1, ndocs=400),
        VanillaColBERTv2(nprobe=16),
        Cascade(ndocs=None),
    ],
)
def test_where_all_is_probed_and_nothing_pruned_nothing_is_lost(world, engine):
    index, embeddings, queries = world
    steps = search_steps(index, embeddings, engine, queries, k=10)
    for found, probed, (wanted, exact_scores, _) in zip(
        steps["engine"], steps["probed"], steps["residual"], strict=True
    ):
        assert np.array_equal(probed[0], wanted) and np.array_equal(probed[1], exact_scores)  # bit by bit
        np.testing.assert_allclose(found[1], exact_scores, atol=1e-3)
        assert found[0].tolist() == wanted.tolist()


@pytest.mark.parametrize("k", [1, 5, 30])
def test_what_is_not_probed_is_made_up_for_by_the_next_best(world, k):
    index, _, queries = world
    positions = np.arange(0, 40, 3)
    vectors, exact_found = index.decode(np.arange(40)).vectors, Exhaustive().search(index, queries, k)
    for query, found in zip(queries, exact_found, strict=True):
        expected = naive(vectors, index.lengths, query)
        best, scores, _ = among(index, query, found, positions, k)
        assert best.tolist() == positions[np.argsort(-expected[positions], kind="stable")][:k].tolist()
        np.testing.assert_allclose(scores, expected[best], atol=1e-5)


def test_what_has_no_centroids_and_other_documents_are_refused(world, tmp_path):
    _, embeddings, queries = world
    plain = index_of(tmp_path / "fp16", Float16Codec(), [3, 4], DIM, seed=1)
    with pytest.raises(InputError, match="no centroids"):
        search_steps(plain, Embeddings.open(tmp_path / "fp16" / "embeddings"), Plaid(), queries, k=5)
    other = index_of(tmp_path / "other", ProductCodec(2), [300, 4], DIM, 1, Clustering(num_centroids=2))
    with pytest.raises(InputError, match="was not built from"):
        search_steps(other, embeddings, Plaid(), queries, k=5)


def test_changes_and_the_queries_behind_them(tmp_path):
    generator = np.random.default_rng(0)
    first = pd.Series(generator.random(80), index=[f"q{place}" for place in range(80)])
    second = first - 0.1
    second["q7"] = first["q7"] - 0.5
    values = pd.DataFrame({"projected": first, "centroids": second, "residual": second})
    table = changes(values, seed=0)
    assert table.loc["centroids", "change"] == pytest.approx(-0.105) and table.loc["centroids", "p"] < 0.01
    assert (table.loc["centroids", "worse"], table.loc["centroids", "better"]) == (80, 0)
    assert table.loc["residual", "change"] == 0 and table.loc["residual", "p"] == 1
    moved = most_moved(values, 3)
    assert next(iter(moved["centroids"].lose)) == "q7" and len(moved["centroids"].lose) == 3
    assert moved["centroids"].gain == {} and moved["residual"] == ({}, {})
    back = most_moved(values[["centroids", "projected"]], 2)["projected"]
    assert next(iter(back.gain)) == "q7" and back.gain["q7"] == pytest.approx(0.5) and back.lose == {}
    draw_decomposition(values, table, "RR@10", tmp_path / "picture")
    assert "centroids alone" in (tmp_path / "picture.svg").read_text()
