"""Search within pools: equal to naive MaxSim in each pool, with no documents of other pools, even in tiny pools."""

import json
import shutil

import numpy as np
import pytest
from peerqa_sample import ONE, PAPERS, QUESTIONS, TINY, TWO, write_sample
from support import shrunk, tiny_folder
from support import unit as unit_vectors

from colbertv2.artifacts.artifact import Artifact
from colbertv2.compression.clustering.clustering import Clustering
from colbertv2.compression.residual import ResidualCodec
from colbertv2.compression.uncompressed import Float16Codec
from colbertv2.configuration.composition import build, compose, plan
from colbertv2.data.queries import Queries
from colbertv2.errors import InputError
from colbertv2.evaluation.ranking import Ranking
from colbertv2.indexing.embeddings import Embeddings, EmbeddingsWriter
from colbertv2.modeling.colbert import ColBERT
from colbertv2.runtime import Runtime
from colbertv2.search.exhaustive import Exhaustive
from colbertv2.search.plaid import Plaid
from colbertv2.search.searcher import Searcher
from colbertv2.stages.pools import index_of

EXACT, PLAID = ["codec=fp16", "search=exhaustive"], ["codec=residual", "search=plaid"]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("pools")
    write_sample(directory / "peerqa")
    return directory


def overrides(directory, *choices: str, unit: str = "paragraph-title", sample: str = "peerqa") -> list[str]:
    small = [one for one in shrunk(directory, directory / "artifacts") if not one.startswith(("collection", "depth"))]
    place = ["collection=peerqa", f"collection.path={directory / sample}", f"collection.unit={unit}"]
    return [*place, "pipeline=pooled", "depth=10000", "measures=[RR,R@10]", *small, *choices]


def ranking_of(metrics: Artifact) -> Ranking:
    return Ranking.read(metrics.parents["ranking"].path / "run.trec")


def naive(ranking: Artifact, queries: Queries) -> dict[str, dict[str, float]]:
    """Query id → document id → MaxSim, for all documents of all pools."""
    vectors = Embeddings.open(ranking.parents["embeddings"].path)
    model = ColBERT.load(ranking.ancestor("checkpoint").path)
    asked = dict(queries)
    encoded = model.encode_queries(list(asked.values()))
    documents = {
        doc_id: vectors.vectors(*vectors.offsets[place : place + 2]).astype(np.float32)
        for place, doc_id in enumerate(vectors.doc_ids)
    }
    return {
        query_id: {doc_id: float((query @ own.T).max(axis=1).sum()) for doc_id, own in documents.items()}
        for query_id, query in zip(asked, encoded, strict=True)
    }


@pytest.mark.parametrize("unit", ["paragraph-title", "sentence"])
def test_exact_search_is_the_naive_one_of_each_pool(directory, unit):
    metrics = build(compose(overrides(directory, *EXACT, unit=unit)))
    queries, run = Queries(f"peerqa:{directory / 'peerqa'}/{unit}"), ranking_of(metrics)
    scores = naive(metrics.parents["ranking"], queries)
    for query_id, pool in {"spans": ONE, "two": TWO, "tied": ONE, "tiny": TINY}.items():
        own = {doc_id: score for doc_id, score in scores[query_id].items() if doc_id.startswith(f"{pool}/")}
        assert dict(run[query_id]) == pytest.approx(own, abs=1e-3)
    means = json.loads((metrics.path / "metrics.json").read_text())
    best = [
        max(1 / rank for rank, (doc_id, _) in enumerate(run[name], 1) if doc_id in queries.qrels.relevant(name))
        for name, _ in queries
    ]
    assert means["RR"] == pytest.approx(np.mean(best)) and means["queries"] == 4


@pytest.mark.parametrize("codec", ["residual", "residual_1bit", "product"])
@pytest.mark.parametrize("search", ["plaid", "vanilla_colbertv2", "cascade", "exhaustive"])
def test_every_engine_stays_within_the_pool(directory, codec, search):
    run = ranking_of(build(compose(overrides(directory, f"codec={codec}", f"search={search}"))))
    for query_id, pool, size in (("spans", ONE, 10), ("two", TWO, 3), ("tied", ONE, 10), ("tiny", TINY, 1)):
        assert all(doc_id.startswith(f"{pool}/") for doc_id, _ in run[query_id])
        assert len(run[query_id]) == size if search == "exhaustive" else 1 <= len(run[query_id]) <= size


def test_plaid_returns_what_it_decodes_with_the_scores_of_the_pools_index(directory):
    found = ranking_of(build(compose(overrides(directory, *PLAID, "search.ndocs=8", unit="sentence"))))
    everything = ranking_of(build(compose(overrides(directory, "codec=residual", unit="sentence"))))
    sizes = {name: (len(found[name]), len(everything[name])) for name in found}
    assert sizes == {"spans": (2, 13), "two": (2, 3), "tied": (2, 13), "tiny": (1, 1)}
    for query_id, results in found.items():
        assert dict(results) == pytest.approx({doc_id: dict(everything[query_id])[doc_id] for doc_id, _ in results})


def test_what_is_written_beside_the_ranking(directory):
    ranking = build(compose(overrides(directory, *PLAID, "target=ranking")))
    files = {path.name for path in ranking.path.iterdir()}
    files.discard("run.ties.json")  # exists only if scores are tied
    assert files == {"artifact.json", "run.trec", "statistics.json", "timing.json"}, "no pool's index is left"
    timing = json.loads((ranking.path / "timing.json").read_text())
    assert timing["ms_per_query"] > 0 and timing["searched_by"] == "Plaid on the CPU"
    statistics = json.loads((ranking.path / "statistics.json").read_text())
    embeddings = Embeddings.open(ranking.parents["embeddings"].path)
    assert statistics["codec"] == "2 bits" and statistics["num_pools"] == 3
    assert statistics["num_documents"] == 14 and statistics["num_vectors"] == embeddings.num_vectors
    assert statistics["bytes_per_token"] == 4 + 16 * 2 / 8
    assert statistics["index_bytes_per_token"] > 16 * 2 / 8
    assert any(note.startswith(f"{TINY}: ") and "clamped to the" in note for note in statistics["notes"])


def test_pools_without_questions_are_left_out(tmp_path):
    write_sample(tmp_path / "peerqa", questions=QUESTIONS[1:2])
    ranking = build(compose(overrides(tmp_path, *EXACT, "target=ranking")))
    statistics = json.loads((ranking.path / "statistics.json").read_text())
    assert (statistics["num_pools"], statistics["num_documents"], statistics["num_centroids"]) == (1, 3, 0)
    assert list(Ranking.read(ranking.path / "run.trec")) == ["two"]


def test_embeddings_that_were_made_elsewhere_are_used_for_the_same_papers(tmp_path):
    write_sample(tmp_path / "before")
    first = build(compose(overrides(tmp_path, *PLAID, "target=ranking", sample="before")))
    shutil.move(tmp_path / "before", tmp_path / "after")
    second = build(compose(overrides(tmp_path, *PLAID, "target=ranking", "kmeans_seed=7", sample="after")))
    assert second.path != first.path and second.parents["embeddings"].path == first.parents["embeddings"].path


@pytest.mark.parametrize(
    ("choices", "expected"),
    [
        (["codec=fp16", "search=plaid"], "Plaid probes centroids"),
        (["codec.nbits=1", "model.dim=12"], "do not fill bytes"),
        (["depth=0"], "of at least 1"),
        ([f"+collection.eval.prompt='{'sort the list ' * 60}'"], "The collection's query_prompt fills all"),
        (["collection.eval.id=stdlib/test"], "use one id"),
        (["collection.eval.id=peerqa:${collection.path}/sentence"], "use one id"),
    ],
)
def test_what_can_not_work_is_refused_before_any_work(directory, choices, expected):
    changed = {choice.split("=")[0] for choice in choices}
    small = [one for one in overrides(directory) if one.split("=")[0] not in changed]
    with pytest.raises(InputError, match=expected):
        plan(compose([*small, *choices]))


def test_other_collections_have_no_pools(tmp_path):
    folder = tiny_folder(tmp_path / "folder", splits=("test",))
    with pytest.raises(InputError, match=r"no pool_id.*use collection=peerqa"):
        plan(compose(["pipeline=pooled", *shrunk(folder, tmp_path / "artifacts")]))


def test_a_question_of_a_paper_without_text_is_refused(tmp_path):
    write_sample(tmp_path / "peerqa", [row for row in PAPERS if row["paper_id"] != TINY])
    with pytest.raises(InputError, match=rf"qa\.jsonl, line 6: .*lacks the paper '{TINY}'"):
        plan(compose(overrides(tmp_path)))


@pytest.mark.parametrize(
    ("codec", "engine"),
    [(ResidualCodec(nbits=2), Plaid()), (Float16Codec(), Exhaustive())],
    ids=["plaid", "exhaustive"],
)
@pytest.mark.parametrize("length", [1, 3])
def test_a_pool_of_one_paragraph_of_few_tokens(tmp_path, codec, engine, length):
    document = unit_vectors(np.random.default_rng(0).normal(size=(length, 8)))
    writer = EmbeddingsWriter(tmp_path / "all", 8)
    writer.add(["only"], document, np.array([length]))
    writer.close()
    runtime = Runtime(root=tmp_path, device="cpu")
    index = index_of(
        Embeddings.open(tmp_path / "all"), np.array([0]), Clustering(), codec, tmp_path / "pool", 0, runtime
    )
    [[(doc_id, score)]] = Searcher(index, engine).search([document], 10_000)
    assert doc_id == "only" and score == pytest.approx(length, abs=0.01)


def test_an_index_holds_the_documents_asked_for(tmp_path):
    rng, lengths = np.random.default_rng(0), [2, 1, 3, 4, 1, 2, 3]
    documents = [unit_vectors(rng.normal(size=(length, 8))) for length in lengths]
    writer = EmbeddingsWriter(tmp_path / "all", 8)
    for part in (slice(0, 3), slice(3, 7)):  # two shards
        names = [f"d{place}" for place in range(7)[part]]
        writer.add(names, np.concatenate(documents[part]), np.array(lengths[part]))
    writer.close()
    positions = np.array([0, 2, 3, 6])
    runtime = Runtime(root=tmp_path, device="cpu")
    index = index_of(
        Embeddings.open(tmp_path / "all"), positions, Clustering(), Float16Codec(), tmp_path / "pool", 0, runtime
    )
    assert index.doc_ids == ["d0", "d2", "d3", "d6"]
    expected = np.concatenate([documents[place] for place in positions])
    np.testing.assert_allclose(index.decode(np.arange(4)).vectors, expected, atol=1e-3)
