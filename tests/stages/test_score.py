"""How the teacher's scores are computed."""

import pytest
from support import shrunk, tiny_folder

from colbertv2.artifacts.artifact import Artifact
from colbertv2.configuration.composition import build, compose
from colbertv2.evaluation.ranking import Ranking
from colbertv2.training.examples import Examples


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    directory = tmp_path_factory.mktemp("score")
    folder = tiny_folder(directory / "folder")

    def run(*overrides: str) -> Artifact:
        return build(compose([*shrunk(folder, directory / "artifacts"), "target=round2.scored", *overrides]))

    return run


def test_retriever_weight_adds_the_retrieval_score(scored):
    plain, mixed = scored(), scored("mining.retriever_weight=2")
    retrieved = Ranking.read(plain.parents["candidates"].path / "run.trec")
    for one, other in zip(*(Examples(a.path / "scored.jsonl") for a in (plain, mixed)), strict=True):
        scores = dict(retrieved[one.query_id])
        for document, before, after in zip(one.documents, one.scores, other.scores, strict=True):
            assert after == pytest.approx(before + 2 * scores.get(document, min(scores.values())), rel=1e-4)


def test_labelled_documents_are_scored_even_where_retrieval_missed_them(scored):
    for example in Examples(scored("mining.score_depth=1").path / "scored.jsonl"):
        assert example.query_id.replace("q", "d") in example.documents


def test_num_queries_draws_some(scored):
    assert len(Examples(scored("mining.score_queries=3").path / "scored.jsonl")) == 3


def test_the_run_is_the_teachers_order_above_what_it_did_not_score(scored):
    artifact = scored("mining.score_depth=2")
    run, retrieved = (Ranking.read(a.path / "run.trec") for a in (artifact, artifact.parents["candidates"]))
    for example in Examples(artifact.path / "scored.jsonl"):
        ranked = [document for document, _ in run[example.query_id]]
        best_first = sorted(example.documents, key=lambda d: -example.scores[example.documents.index(d)])
        assert ranked[: len(best_first)] == best_first
        assert set(ranked) >= {document for document, _ in retrieved[example.query_id]}
