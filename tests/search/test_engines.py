"""Tests of the engines against a loop over documents and against each other, and of each setting's effect."""

import numpy as np
import pytest
from support import no_bar, unit

from colbertv2.compression.binary import BinaryCodec
from colbertv2.compression.clustering.clustering import Clustering
from colbertv2.compression.residual import ResidualCodec
from colbertv2.errors import InputError
from colbertv2.indexing.embeddings import Embeddings, EmbeddingsWriter
from colbertv2.indexing.index import Index
from colbertv2.search import exhaustive, scoring
from colbertv2.search import vanilla_colbertv2 as paper
from colbertv2.search.exhaustive import Exhaustive, search_decoded
from colbertv2.search.plaid import Plaid
from colbertv2.search.scoring import nearest_centroids
from colbertv2.search.vanilla_colbertv2 import VanillaColBERTv2

INFINITY = float("inf")


@pytest.fixture(scope="module")
def queries(world):
    return world.queries(12)


def documents(found):
    return [positions.tolist() for positions, _, _ in found]


@pytest.mark.parametrize("k", [1, 10, 500])
def test_exhaustive_is_a_loop_over_decoded_vectors(residual_index, queries, naive, same_results, k):
    decoded = [residual_index.decode(np.array([position])).vectors for position in range(150)]
    expected = [naive(decoded.__getitem__, 150, query, k) for query in queries]
    expected = [(np.array([p for p, _ in one]), np.array([s for _, s in one])) for one in expected]
    same_results(Exhaustive().search(residual_index, queries, k), expected)


def test_exhaustive_over_float16_is_maxsim_of_the_vectors(world, float16_index, queries, naive):
    for (positions, scores, _), query in zip(Exhaustive().search(float16_index, queries, 5), queries, strict=True):
        expected = naive(world.documents.__getitem__, 150, query, 5)
        np.testing.assert_allclose(scores, [score for _, score in expected], atol=5e-3)
        assert positions[0] in {position for position, score in expected if score > expected[0][1] - 5e-3}


def test_exhaustive_does_not_depend_on_blocks_and_batches(residual_index, queries, same_results, monkeypatch):
    whole = search_decoded(residual_index, queries, 20)
    monkeypatch.setattr(exhaustive, "DECODED_VECTORS", 30)
    monkeypatch.setattr(exhaustive, "BATCH_QUERIES", 5)
    same_results(search_decoded(residual_index, queries, 20), whole)


def test_exhaustive_decodes_every_block_once_for_all_queries(residual_index, queries, monkeypatch):
    decoded = []
    decode_rows = type(residual_index).decode_rows

    def counted(self, rows):
        vectors = decode_rows(self, rows)
        decoded.append(len(vectors))
        return vectors

    monkeypatch.setattr(type(residual_index), "decode_rows", counted)
    monkeypatch.setattr(exhaustive, "DECODED_VECTORS", 100)
    search_decoded(residual_index, queries, 3)
    assert sum(decoded) == residual_index.num_vectors and max(decoded) <= 100


@pytest.mark.parametrize("k", [1, 10, 500])
def test_exhaustive_from_tables_is_exhaustive_by_decoding(residual_index, queries, same_results, monkeypatch, k):
    expected = search_decoded(residual_index, queries, k)
    monkeypatch.setattr(type(residual_index), "decode_rows", None)  # so that decoding cannot be used
    same_results(Exhaustive().search(residual_index, queries, k), expected)


@pytest.mark.parametrize("k", [1, 10, 500])
@pytest.mark.parametrize(
    "engine",
    [
        Plaid(nprobe=10_000, centroid_score_threshold=-2.0, ndocs=600),
        VanillaColBERTv2(nprobe=10_000, ncandidates=150),
        VanillaColBERTv2(nprobe=32, ncandidates=None),
    ],
    ids=repr,
)
def test_with_nothing_left_out_an_engine_is_exhaustive(residual_index, queries, same_results, engine, k):
    same_results(engine.search(residual_index, queries, k), Exhaustive().search(residual_index, queries, k))


def test_all_codecs_can_be_searched_exhaustively_and_binary_is_rougher(world, float16_index, residual_index, queries):
    exact = documents(Exhaustive().search(float16_index, queries, 10))

    def overlap(index):
        found = documents(Exhaustive().search(index, queries, 10))
        return sum(len(set(a) & set(b)) for a, b in zip(exact, found, strict=True))

    assert 120 > overlap(residual_index) > overlap(world.index(BinaryCodec(), name="binary")) > 20


@pytest.mark.parametrize(
    ("engine", "moved"),
    [
        (Plaid(1, -2.0, 600), Plaid(2, -2.0, 600)),
        (Plaid(4, -2.0, 40), Plaid(4, 0.9, 40)),
        (Plaid(4, -2.0, 40), Plaid(4, -2.0, 80)),
        (VanillaColBERTv2(1, 150), VanillaColBERTv2(2, 150)),
        (VanillaColBERTv2(2, 5), VanillaColBERTv2(2, 15)),
    ],
    ids=repr,
)
def test_every_knob_moves_what_is_found(residual_index, queries, engine, moved):
    found = documents(engine.search(residual_index, queries, 150))
    assert found == documents(engine.search(residual_index, queries, 150))
    assert found != documents(moved.search(residual_index, queries, 150))


@pytest.mark.parametrize("engine", [Plaid(), Plaid(ndocs=20), VanillaColBERTv2(1, 5)], ids=repr)
def test_scores_are_exact_whatever_was_left_out(residual_index, queries, engine):
    exact = Exhaustive().search(residual_index, queries, 150)
    for (positions, scores, _), (all_positions, all_scores, *_) in zip(
        engine.search(residual_index, queries, 8), exact, strict=True
    ):
        expected = dict(zip(all_positions.tolist(), all_scores.tolist(), strict=True))
        np.testing.assert_allclose(scores, [expected[position] for position in positions.tolist()], atol=2e-5)
        assert (np.diff(scores) <= 0).all()


def test_plaid_keeps_a_fourth_of_ndocs(residual_index, queries):
    found = Plaid(nprobe=32, centroid_score_threshold=-2.0, ndocs=41).search(residual_index, queries, 100)
    assert [len(positions) for positions, _, _ in found] == [10] * len(queries)


def test_plaid_stages_against_loops(residual_index, queries):
    centroids = residual_index.centroids
    nprobe, threshold, ndocs, k = 2, 0.6, 24, 6
    ranks = residual_index.ranks.tolist()
    for query, (positions, _, _) in zip(
        queries, Plaid(nprobe, threshold, ndocs).search(residual_index, queries, k), strict=True
    ):
        similarities = query @ centroids.T
        cells = {int(cell) for row in similarities for cell in np.argsort(-row)[:nprobe]}
        codes = {p: residual_index.codes(np.array([p])).tolist() for p in range(150)}
        stage1 = [p for p in codes if cells & set(codes[p])]

        def by_centroids(position, kept, similarities=similarities, codes=codes):
            own = [code for code in codes[position] if kept(similarities[:, code].max())]
            return float(similarities[:, own].max(axis=1).sum()) if own else -INFINITY

        def best(candidates, number, kept):
            return sorted(candidates, key=lambda candidate: (-by_centroids(candidate, kept), ranks[candidate]))[:number]

        stage2 = best(stage1, ndocs, lambda score: score >= threshold)
        stage3 = best(stage2, ndocs // 4, lambda score: True)
        assert sorted(positions.tolist()) == sorted(stage3)[:k]


def test_paper_engine_stages_against_loops(residual_index, queries):
    centroids = residual_index.centroids
    nprobe, ncandidates = 2, 10
    found = VanillaColBERTv2(nprobe, ncandidates).search(residual_index, queries, ncandidates)
    for query, (positions, _, _) in zip(queries, found, strict=True):
        cells = {int(cell) for row in query @ centroids.T for cell in np.argsort(-row)[:nprobe]}
        bounds = {}
        for position in range(150):
            document = residual_index.decode(np.array([position])).vectors
            codes = residual_index.codes(np.array([position])).tolist()
            probed = [vector for vector, code in zip(document, codes, strict=True) if code in cells]
            if probed:
                bounds[position] = sum(max(0.0, *(float(q @ v) for v in probed)) for q in query)
        assert len(positions) == ncandidates < len(bounds)
        survivors = [bounds.pop(position) for position in positions.tolist()]
        assert min(survivors) >= max(bounds.values()) - 1e-4


def test_blocks_change_nothing(residual_index, queries, same_results, monkeypatch):
    engines = (Plaid(2, 0.5, 40), VanillaColBERTv2(2, 20))
    whole = [engine.search(residual_index, queries, 10) for engine in engines]
    for module in (paper, scoring):
        monkeypatch.setattr(module, "DECODED_VECTORS", 25)
    for engine, expected in zip(engines, whole, strict=True):
        same_results(engine.search(residual_index, queries, 10), expected)


@pytest.mark.parametrize(
    ("k", "expected"),
    [
        (1, (1, 0.5, 256)),
        (10, (1, 0.5, 256)),
        (11, (2, 0.45, 1024)),
        (100, (2, 0.45, 1024)),
        (101, (4, 0.4, 4096)),
        (2000, (4, 0.4, 8000)),
    ],
)
def test_plaid_presets(k, expected):
    assert Plaid().settings(k) == expected
    assert Plaid(nprobe=3, centroid_score_threshold=0.0, ndocs=8).settings(k) == (3, 0.0, 8)


@pytest.mark.parametrize("engine", [Plaid(), VanillaColBERTv2()], ids=repr)
def test_engines_that_probe_need_centroids(float16_index, queries, engine):
    with pytest.raises(InputError, match=r"Float16Codec\(\) has no centroids; use the exhaustive engine"):
        engine.search(float16_index, queries, 10)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Plaid(nprobe=0),
        lambda: Plaid(ndocs=3),
        lambda: Plaid(centroid_score_threshold=float("nan")),
        lambda: VanillaColBERTv2(nprobe=0),
        lambda: VanillaColBERTv2(ncandidates=0),
    ],
)
def test_bad_knobs_are_refused_at_construction(make):
    with pytest.raises(InputError, match="expected"):
        make()


def test_nearest_centroids_are_the_best_of_each_query_vector():
    similarities = np.random.default_rng(0).normal(size=(600, 5)).astype(np.float32)
    for nprobe in (1, 2, 7, 300, 600, 999):
        expected = {int(cell) for row in similarities.T for cell in np.argsort(-row)[:nprobe]}
        assert nearest_centroids(similarities, nprobe).tolist() == sorted(expected)


@pytest.mark.parametrize(("dim", "nbits"), [(16, 4), (8, 2), (32, 4)])
def test_exhaustive_is_exact_for_vectors_that_are_short_before_they_are_normalised(tmp_path, same_results, dim, nbits):
    """With one centroid and long tails some norms are below 1/4, where 16-bit sums used to miss the nearest token."""
    random = np.random.default_rng(0)
    vectors = unit(random.normal(size=(6000, dim)) ** 3)
    writer = EmbeddingsWriter(tmp_path / "embeddings", dim)
    writer.add([f"d{place}" for place in range(500)], vectors, np.full(500, 12))
    writer.close()
    embeddings = Embeddings.open(tmp_path / "embeddings")
    one = Clustering(num_centroids=1, kmeans_iterations=1)
    index = Index.build(embeddings, ResidualCodec(nbits), tmp_path / "index", seed=0, clustering=one, bar=no_bar)
    tables = index.tables
    sums = tables.centroids[index.stored_codes[:]]
    sums = sums + tables.codebook[0][index.arrays["residuals"]].reshape(len(sums), dim)
    assert np.linalg.norm(sums, axis=1).min() < 0.25
    queries = [unit(vectors[12 * d : 12 * d + 8] + 0.02 * random.normal(size=(8, dim))) for d in range(50)]
    same_results(Exhaustive().search(index, queries, 10), search_decoded(index, queries, 10))
