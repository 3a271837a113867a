"""Tests of centroid analysis against plain loops, and against known properties of artificially clustered vectors."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from support import index_of, unit

from colbertv2.analysis import centroids as analysis
from colbertv2.analysis.centroids import (
    EDGES,
    centroid_table,
    clustered,
    count_tokens,
    cumulative,
    index_counts,
    random_vectors,
    residuals_of,
    sampled_documents,
    token_table,
)
from colbertv2.compression.bitpack import unpack
from colbertv2.compression.clustering.clustering import Clustering
from colbertv2.compression.residual import ResidualCodec
from colbertv2.compression.uncompressed import Float16Codec
from colbertv2.errors import InputError
from colbertv2.indexing.embeddings import Embeddings
from colbertv2.reporting.centroids_figure import ClusterTables, draw_centroids, draw_residuals

LENGTHS = [3, 0, 7, 12, 1, 30, 9, 18]


def spelled(ids) -> list[str]:
    return [f"w{number}" for number in ids.tolist()]


def tokens_of(lengths, seed=0) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.integers(0, 9, length) for length in lengths]


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    clustering = Clustering(num_centroids=12, kmeans_iterations=4)
    return index_of(tmp_path_factory.mktemp("index"), ResidualCodec(2), LENGTHS, 16, 0, clustering)


@pytest.mark.parametrize("block", [1, 10, 2**20])
def test_the_table_agrees_with_a_loop(index, monkeypatch, block):
    monkeypatch.setattr(analysis, "BLOCK_VECTORS", block)
    tokens = tokens_of(LENGTHS)
    counts = index_counts(index, iter(tokens))
    table = centroid_table(counts, 12, spelled)
    held = {centroid: Counter() for centroid in range(12)}
    for position, ids in enumerate(tokens):
        for code, token in zip(index.codes(np.array([position])), ids, strict=True):
            held[int(code)][int(token)] += 1
    assert table["size"].sum() == index.num_vectors and len(table) == 12
    for centroid, counter in held.items():
        row = table.loc[centroid]
        ranked = sorted(counter.items(), key=lambda item: (-item[1], item[0]))
        assert row["size"] == counter.total() and row["distinct_tokens"] == len(counter)
        assert row["examples"] == " ".join(f"w{token}" for token, _ in ranked[:5])
        if ranked:
            assert row["majority_token"] == f"w{ranked[0][0]}"
            assert row["majority_share"] == ranked[0][1] / counter.total()
        else:
            assert row["majority_token"] == "" and np.isnan(row["majority_share"])
    spread = token_table(counts, spelled)
    assert spread["token"].tolist() == [f"w{token}" for token in range(9)] and spread.index.tolist() == list(range(9))
    for token, row in spread.iterrows():
        at = {centroid: counter[token] for centroid, counter in held.items() if counter[token]}
        by_count = sorted(at.items(), key=lambda item: (-item[1], item[0]))
        assert row["vectors"] == sum(at.values()) and row["clusters"] == len(at)
        assert row["centroids"] == " ".join(str(centroid) for centroid, _ in by_count[:5])
        assert row["majority_share"] == by_count[0][1] / row["vectors"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tokens: tokens[:-1], "Expected 8 documents as in .*, found 7"),
        (lambda tokens: [*tokens, np.arange(3)], "Expected 8 documents as in .*, found more"),
        (lambda tokens: [*tokens[:3], tokens[3][:-1], *tokens[4:]], "Document 'd3' has 11 tokens, but 12 vectors"),
        (lambda tokens: [], "Expected 8 documents as in .*, found 0"),
    ],
)
def test_other_documents_are_refused(index, change, message):
    with pytest.raises(InputError, match=message):
        index_counts(index, change(tokens_of(LENGTHS)))


def test_a_codec_without_centroids_is_refused(tmp_path):
    with pytest.raises(InputError, match="no centroids"):
        index_counts(index_of(tmp_path, Float16Codec(), LENGTHS, 16, seed=0), tokens_of(LENGTHS))


def test_a_centroid_without_vectors_has_a_row_and_no_share():
    counts = count_tokens([(np.array([2, 2, 0]), np.array([5, 5, 5]))])
    table = centroid_table(counts, 4, spelled)
    assert table["size"].tolist() == [1, 0, 2, 0]
    assert table["majority_share"].fillna(-1).tolist() == [1, -1, 1, -1]
    assert cumulative(table["distinct_tokens"], at_most=(1,)).tolist() == [1.0]
    assert token_table(counts, spelled)["clusters"].to_dict() == {5: 2}
    nothing = count_tokens([])
    assert cumulative(centroid_table(nothing, 2, spelled)["distinct_tokens"]).isna().all()
    assert len(token_table(nothing, spelled)) == 0


def test_shares_are_those_of_a_loop_and_do_not_fall():
    distinct = np.random.default_rng(1).integers(0, 40, 500)
    shares = cumulative(distinct)
    full = [number for number in distinct.tolist() if number]
    for most, share in shares.items():
        assert share == sum(number <= most for number in full) / len(full)
    assert shares.is_monotonic_increasing


def test_documents_are_drawn_up_to_so_many_vectors():
    lengths = np.random.default_rng(2).integers(0, 30, 200)
    chosen = sampled_documents(lengths, 500, seed=3)
    assert len(set(chosen.tolist())) == len(chosen) and (np.diff(chosen) > 0).all()
    assert 470 < lengths[chosen].sum() <= 500
    assert not np.array_equal(chosen, sampled_documents(lengths, 500, seed=4))
    assert len(sampled_documents(lengths, 10**9, seed=3)) == 200
    assert len(sampled_documents(np.array([50, 60]), 1, seed=0)) == 1


def test_clusters_of_tokens_are_purer_and_tighter_than_random_ones():
    """With vectors around one direction per token, clusters recover the tokens; clusters of random vectors do not."""
    random = np.random.default_rng(5)
    directions, ids = random.normal(size=(40, 32)), random.integers(0, 40, 4000)
    noise = 0.4
    vectors = unit(directions[ids] + noise * random.normal(size=(4000, 32)))
    codec, clustering = ResidualCodec(1), Clustering(num_centroids=80, kmeans_iterations=8)
    found = {}
    for name, points in {"real": vectors, "random": random_vectors(4000, 32, seed=6)}.items():
        codes, learnt = clustered(codec, clustering, points, seed=0, device="cpu")
        assert len(learnt.fitted()) == 80 and codes.max() < 80
        found[name] = (
            centroid_table(count_tokens([(codes, ids)]), 80, spelled),
            residuals_of(points, codes, learnt).norms,
        )
        assert found[name][0]["size"].sum() == 4000
    (real, near), (scattered, far) = found["real"], found["random"]
    shares, scattered_shares = (cumulative(table["distinct_tokens"]) for table in (real, scattered))
    assert shares[4] > 0.9 > 0.1 > scattered_shares[16]
    # The distance of a unit vector from its unit direction in d dimensions is known. With noise σ per dimension and
    # r = σ / |direction|, their cosine is 1 / √(1 + r²d), and their distance is √(2 − 2 · cosine).
    cosine = 1 / np.sqrt(1 + noise**2)  # |direction|² is d on average
    assert near.mean() == pytest.approx(np.sqrt(2 - 2 * cosine), rel=0.1)
    assert far.mean() > 1.5 * near.mean()


def test_random_vectors_are_of_norm_one_and_seeded():
    vectors = random_vectors(1000, 64, seed=1)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert np.abs(vectors.mean(axis=0)).max() < 5 / np.sqrt(64 * 1000)
    assert np.array_equal(vectors, random_vectors(1000, 64, seed=1))
    assert not np.array_equal(vectors, random_vectors(1000, 64, seed=2))


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_residuals_fill_the_buckets_that_the_codec_writes(index, bits):
    """Compare with the codec's own bytes, and with a loop."""
    embeddings = Embeddings.open(index.path.parent / "embeddings")
    vectors = embeddings.vectors(0, embeddings.num_vectors).astype(np.float32)
    codec = ResidualCodec.from_tables(bits, index.centroids)
    codec.fit_buckets(vectors)
    written = codec.encode(vectors)
    found = residuals_of(vectors, written["codes"], codec)
    buckets = unpack(written["residuals"], bits)
    residuals = vectors - codec.fitted().vectors[written["codes"]]
    for dimension, row in found.dimensions.iterrows():
        shares = [(buckets[:, dimension] == bucket).mean() for bucket in range(2**bits)]
        assert row.filter(regex="^bucket_").tolist() == pytest.approx(shares)
        present = [share for share in shares if share]
        assert found.bits_used[dimension] == pytest.approx(-sum(share * np.log2(share) for share in present))
    np.testing.assert_allclose(found.norms, np.linalg.norm(residuals, axis=1), rtol=1e-5)
    np.testing.assert_allclose(found.dimensions["deviation"], residuals.std(axis=0), rtol=1e-4)
    np.testing.assert_allclose(found.dimensions["p95"], np.percentile(residuals, 95, axis=0), rtol=1e-5)
    np.testing.assert_allclose(found.histogram, np.histogram(residuals, EDGES)[0] / residuals.size, atol=1e-6)
    assert found.histogram.sum() == pytest.approx(1)


def test_dimensions_that_differ_in_width_use_fewer_bits_of_common_buckets():
    """A dimension with hardly any spread uses few bits; dimensions with equal spread use all bits."""
    values = np.random.default_rng(0).normal(size=(4000, 16)).astype(np.float32) / 10
    for scale, expected in ((np.ones(16), 2.0), (np.array([1e-3, 1] * 8), None)):
        codec = ResidualCodec.from_tables(2, np.zeros((1, 16)))
        scaled = (values * scale).astype(np.float32)
        codec.fit_buckets(scaled)
        used = residuals_of(scaled, np.zeros(4000, int), codec).bits_used
        if expected:
            assert used == pytest.approx(expected, abs=0.01)
        else:
            assert used.mean() < 1.7


def test_the_figures_draw_the_shares_and_the_residuals(tmp_path):
    centroids, tokens = pd.DataFrame({"distinct_tokens": [0, 1, 2, 2, 40]}), pd.DataFrame({"clusters": [1, 3]})
    vectors = random_vectors(100, 16, seed=0)
    codec = ResidualCodec.from_tables(2, vectors[:4])
    codec.fit_buckets(vectors)
    residuals = residuals_of(vectors, codec.fitted().nearest(vectors), codec)
    clusters = {
        "real": ClusterTables(centroids, tokens, None),
        "random": ClusterTables(centroids + 1, tokens, residuals),
    }
    figure = draw_centroids(clusters, "Made up", tmp_path / "made.up")
    assert (tmp_path / "made.up.png").stat().st_size > 5_000 and (tmp_path / "made.up.svg").exists()
    held, spread = figure.axes
    assert held.lines[0].get_xydata().tolist() == [[1, 25], [2, 50], [2, 75], [40, 100], [41, 100]]
    assert held.get_legend().get_texts()[0].get_text() == "real: 75.0% with at most 16"
    assert spread.lines[0].get_xydata().tolist() == [[1, 50], [3, 100], [3, 100]]
    norms, values, dimensions = draw_residuals(clusters, "Made up", tmp_path / "residuals").axes
    mean = f"random: mean {residuals.norms.mean():.2f}"
    assert [text.get_text() for text in norms.get_legend().get_texts()] == [mean]
    assert [path.vertices[0, 0] for path in values.collections[0].get_paths()] == pytest.approx(codec.cutoffs)
    assert f"{residuals.bits_used.mean():.2f} of 2 bits" in dimensions.get_legend().get_texts()[0].get_text()
