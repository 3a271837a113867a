"""What centroids hold, against loops and what is known of vectors that were made to cluster."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from support import index_of, unit

from colbertv2.analysis import centroids as analysis
from colbertv2.analysis.centroids import (
    centroid_tokens,
    clustered,
    count_tokens,
    random_vectors,
    residual_norms,
    sampled_documents,
    share_of_clusters,
    token_table,
)
from colbertv2.analysis.centroids_figure import Clusters, draw_centroids
from colbertv2.compression import Float16Codec, ResidualCodec
from colbertv2.errors import InputError

LENGTHS = [3, 0, 7, 12, 1, 30, 9, 18]


def spelled(ids) -> list[str]:
    return [f"w{number}" for number in ids.tolist()]


def tokens_of(lengths, seed=0) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.integers(0, 9, length) for length in lengths]


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    codec = ResidualCodec(2, num_centroids=12, kmeans_iterations=4)
    return index_of(tmp_path_factory.mktemp("index"), codec, LENGTHS, 16, seed=0)


@pytest.mark.parametrize("block", [1, 10, 2**20])
def test_the_table_agrees_with_a_loop(index, monkeypatch, block):
    monkeypatch.setattr(analysis, "BLOCK_VECTORS", block)
    tokens = tokens_of(LENGTHS)
    table = centroid_tokens(index, iter(tokens), spelled)
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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tokens: tokens[:-1], "There are 7 documents, but 8"),
        (lambda tokens: [*tokens, np.arange(3)], "There are more documents, but 8"),
        (lambda tokens: [*tokens[:3], tokens[3][:-1], *tokens[4:]], "Document 'd3' has 11 tokens, but 12 vectors"),
        (lambda tokens: [], "There are 0 documents"),
    ],
)
def test_other_documents_are_refused(index, change, message):
    with pytest.raises(InputError, match=message):
        centroid_tokens(index, change(tokens_of(LENGTHS)), spelled)


def test_a_codec_without_centroids_is_refused(tmp_path):
    with pytest.raises(InputError, match="no centroids"):
        centroid_tokens(index_of(tmp_path, Float16Codec(), LENGTHS, 16, seed=0), tokens_of(LENGTHS), spelled)


def test_a_centroid_without_vectors_has_a_row_and_no_share():
    table = token_table(count_tokens([(np.array([2, 2, 0]), np.array([5, 5, 5]))]), 4, spelled)
    assert table["size"].tolist() == [1, 0, 2, 0]
    assert share_of_clusters(table, at_most=(1,)).tolist() == [1.0]
    assert share_of_clusters(token_table(count_tokens([]), 2, spelled)).isna().all()


def test_shares_are_those_of_a_loop_and_do_not_fall():
    distinct = np.random.default_rng(1).integers(0, 40, 500)
    shares = share_of_clusters(pd.DataFrame({"distinct_tokens": distinct}))
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
    """Vectors around one direction a token: the clusters find the tokens again, those of random vectors do not."""
    random = np.random.default_rng(5)
    directions, ids = random.normal(size=(40, 32)), random.integers(0, 40, 4000)
    noise = 0.4
    vectors = unit(directions[ids] + noise * random.normal(size=(4000, 32)))
    codec = ResidualCodec(1, centroid_factor=0.5, kmeans_iterations=8)
    found = {}
    for name, points in {"real": vectors, "random": random_vectors(4000, 32, seed=6)}.items():
        codes, centroids = clustered(codec, points, 80, seed=0, device="cpu")
        assert len(centroids) == 80 and codes.max() < 80
        norms = residual_norms(points, codes, centroids)
        loop = [np.linalg.norm(point - centroids[code]) for point, code in zip(points[:50], codes, strict=False)]
        np.testing.assert_allclose(norms[:50], loop, rtol=1e-5)
        found[name] = token_table(count_tokens([(codes, ids)]), 80, spelled), norms
        assert found[name][0]["size"].sum() == 4000
    (real, near), (scattered, far) = found["real"], found["random"]
    assert share_of_clusters(real)[4] > 0.9 > 0.1 > share_of_clusters(scattered)[16]
    # For unit vectors of noise of σ a dimension around a unit direction in d dimensions the distance is known: with
    # r = σ / |direction|, their cosine is 1 / √(1 + r²d), and the distance √(2 − 2 · cosine).
    cosine = 1 / np.sqrt(1 + noise**2)  # |direction|² is d on average
    assert near.mean() == pytest.approx(np.sqrt(2 - 2 * cosine), rel=0.1)
    assert far.mean() > 1.5 * near.mean()


def test_random_vectors_are_of_norm_one_and_seeded():
    vectors = random_vectors(1000, 64, seed=1)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert np.abs(vectors.mean(axis=0)).max() < 5 / np.sqrt(64 * 1000)
    assert np.array_equal(vectors, random_vectors(1000, 64, seed=1))
    assert not np.array_equal(vectors, random_vectors(1000, 64, seed=2))


def test_the_figure_draws_the_shares_and_the_norms(tmp_path):
    table = pd.DataFrame({"distinct_tokens": [0, 1, 2, 2, 40]})
    clusters = {"real": Clusters(table, None), "random": Clusters(table + 1, np.linspace(0, 1, 50, dtype=np.float32))}
    figure = draw_centroids(clusters, "Made up", tmp_path / "made.up")
    assert (tmp_path / "made.up.png").stat().st_size > 5_000 and (tmp_path / "made.up.svg").exists()
    shares, norms = figure.axes
    assert shares.lines[0].get_xydata().tolist() == [[1, 25], [2, 50], [2, 75], [40, 100], [41, 100]]
    assert shares.get_legend().get_texts()[0].get_text() == "real: 75.0% at most 16"
    assert [text.get_text() for text in norms.get_legend().get_texts()] == ["random: mean 0.50"]
