"""The pipeline of references: a ranking compared with exact search, and BM25 re-ranked, on the same index."""

import json
from pathlib import Path

import numpy as np
import pytest
from support import shrunk, tiny_folder

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.integrity import seal
from colbertv2.configuration.composition import build, compose, plan, target_node
from colbertv2.data.queries import Queries
from colbertv2.errors import InputError
from colbertv2.evaluation.measurement import costs, per_query
from colbertv2.evaluation.ranking import Ranking
from colbertv2.indexing.index import Index
from colbertv2.modeling.query_vectors import encoded_queries
from colbertv2.reporting.system_table import read_system
from colbertv2.runtime import Runtime
from colbertv2.search.exhaustive import Exhaustive
from colbertv2.search.searcher import Searcher
from colbertv2.stages import rerank

PLAID = ["search=plaid-k10", "search.ndocs=16"]


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> list[str]:
    directory = tmp_path_factory.mktemp("reference")
    overrides = shrunk(tiny_folder(directory / "folder", documents=60), directory / "artifacts")
    return [*overrides, "runtime.device=cpu", "pipeline=reference", "depth=60"]


def built(small: list[str], target: str, *overrides: str) -> Artifact:
    return build(compose([*small, f"target={target}", *overrides]))


def ranking(artifact: Artifact) -> Ranking:
    return Ranking.read(artifact.path / "run.trec")


def queries_of(small: list[str]) -> Queries:
    return target_node(compose([*small, "target=ranking"])).bound["queries"]


def test_exact_search_agrees_wholly_with_itself_and_an_engine_that_prunes_less(small):
    same = json.loads((built(small, "agreement").path / "metrics.json").read_text())
    assert {name: value for name, value in same.items() if value != 1} == {"queries": 20}
    pruned = built(small, "agreement", *PLAID)
    table = per_query(pruned)
    means = json.loads((pruned.path / "metrics.json").read_text())
    assert means == pytest.approx({**table.mean().to_dict(), "queries": len(table)})
    assert list(table.columns[:4]) == ["RBO", "overlap@10", "overlap@100", "overlap@1000"]
    assert 0 < means["RBO"] < 1 and means["overlap@100"] == means["found@100"] < 0.1  # 4 of 60 documents are decoded
    assert means["found@10"] >= means["overlap@10"]


def test_a_row_of_agreement_reads_like_one_of_evaluate(small):
    found = built(small, "agreement", *PLAID)
    row = read_system("PLAID", found)
    assert row.engine == "Plaid" and row.ms_per_query and "RBO" in row.values
    assert costs(found)["bytes_per_token"] == 4 + 16 * 2 // 8


def ranking_artifact(directory: Path) -> Artifact:
    """Open the ranking in ``directory`` as an artifact, as if a stage had written it."""
    seal(directory, {"stage": "search", "address": directory.name, "arguments": {}, "parents": {}})
    return Artifact.open(directory)


def test_all_documents_re_ranked_are_exact_search(small, tmp_path):
    """BM25 does not find documents that share no word with a query, so the candidates here rank all documents."""
    exact = built(small, "exact_ranking")
    index, expected = exact.parents["index"], ranking(exact)
    everything = {query: [(document, -float(n)) for n, document in enumerate(Index.open(index.path).doc_ids)]
                  for query in expected}  # fmt: skip
    (tmp_path / "all").mkdir()
    Ranking(everything).write(tmp_path / "all" / "run.trec", tag="all")
    candidates = ranking_artifact(tmp_path / "all")
    out, runtime = tmp_path / "out", Runtime(root=tmp_path, device="cpu", progress=False, latency_queries=2)
    out.mkdir()
    rerank.run(candidates, index, queries_of(small), candidate_depth=60, depth=60, out=out, runtime=runtime)
    found = Ranking.read(out / "run.trec")
    assert list(found) == list(expected)
    for query, results in expected.items():
        assert [document for document, _ in found[query]] == [document for document, _ in results]
        np.testing.assert_allclose([score for _, score in found[query]], [score for _, score in results], atol=1e-5)
    timing = json.loads((out / "timing.json").read_text())
    assert timing["ms_per_query"] is None and timing["rerank_ms_per_query"] > 0  # the candidates were not timed


def test_few_candidates_none_and_documents_cut(small, tmp_path):
    index, queries = built(small, "index"), queries_of(small)
    one, two, *others = [query for query, _ in queries]
    own = {one: [("d7", 1.0)], two: [("d1", 3.0), ("d2", 2.0), ("d3", 1.0)]}  # the others have no candidates
    (tmp_path / "few").mkdir()
    Ranking(own).write(tmp_path / "few" / "run.trec", tag="few")
    (tmp_path / "few" / "timing.json").write_text('{"ms_per_query": 100.0}')
    out, runtime = tmp_path / "out", Runtime(root=tmp_path, device="cpu", progress=False, latency_queries=4)
    out.mkdir()
    rerank.run(ranking_artifact(tmp_path / "few"), index, queries, candidate_depth=2, depth=1, out=out, runtime=runtime)
    found = Ranking.read(out / "run.trec")
    assert set(found) == {one, two} and others
    assert [document for document, _ in found[one]] == ["d7"]
    vectors = encoded_queries(index.ancestor("checkpoint").path, [dict(queries)[two]], runtime)
    (expected,) = Searcher(Index.open(index.path), Exhaustive()).rerank(vectors, [["d1", "d2"]], k=1)
    assert found[two] == [(document, pytest.approx(score, abs=1e-5)) for document, score in expected]
    timing = json.loads((out / "timing.json").read_text())
    assert timing["ms_per_query"] == 100 + timing["rerank_ms_per_query"] > 100


def test_bm25_re_ranked_holds_bm25s_documents_in_the_order_of_exact_search(small):
    reranked = built(small, "reranked", "reranking.depth=5")
    bm25, exact = ranking(reranked.parents["candidates"]), ranking(built(small, "exact_ranking"))
    for query, results in ranking(reranked).items():
        own = [document for document, _ in bm25[query][:5]]
        assert [document for document, _ in results] == [one for one, _ in exact[query] if one in own]
    first, both = (
        json.loads((one.path / "timing.json").read_text()) for one in (reranked.parents["candidates"], reranked)
    )
    assert both["ms_per_query"] == first["ms_per_query"] + both["rerank_ms_per_query"]
    values = per_query(built(small, "reranked_agreement", "reranking.depth=5"))
    deeper = per_query(built(small, "reranked_agreement", "reranking.depth=60"))
    assert values["RBO"].mean() < deeper["RBO"].mean() and (values["found@100"] <= deeper["found@100"]).all()


def test_every_target_is_there_and_the_index_is_built_once(small):
    targets = ("metrics", "bm25_metrics", "single_vector_metrics", "exact_metrics", "reranked_metrics", "agreement")
    steps = {target: plan(compose([*small, f"target={target}", *PLAID])) for target in (*targets, "index_size")}
    indexes = {step.address for found in steps.values() for step in found if step.stage == "index"}
    assert len(indexes) == 1 and len(steps["index_size"]) == 1
    assert json.loads((built(small, "index_size").path / "metrics.json").read_text())["bytes_per_token"] == 8
    assert "reranking" not in compose(["pipeline=untrained"])


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("reranking.depth=61", "at most 60 candidates"),
        ("reranking.depth=0", "'candidate_depth' is 0"),
        ("pipeline.reranked.depth=0", "'depth' is 0"),
        (f"collection.query_prompt='{'sort the list ' * 60}'", "The collection's query_prompt fills all"),
        ("pipeline.bm25_ranking.queries=${collection.dev}", "other queries"),
        ("pipeline.agreement.depths=[]", "at least one"),
        ("pipeline.agreement.persistence=1.5", "less than 1"),
        ("pipeline.exact_ranking.queries=${collection.dev}", "different queries"),
    ],
)
def test_bad_input_is_refused_before_any_work(small, override, expected):
    target = "agreement" if "agreement" in override or "exact" in override else "reranked"
    with pytest.raises(InputError, match=expected):
        plan(compose([*small, f"target={target}", override]))


def test_candidates_of_other_documents_are_refused(small, tmp_path):
    other = tiny_folder(tmp_path / "other", documents=61)
    with pytest.raises(InputError, match="other documents"):
        documents = f"{{_target_: colbertv2.data.collection.Collection, id: 'folder:{other}'}}"
        plan(compose([*small, "target=reranked", f"pipeline.bm25_ranking.documents={documents}"]))
