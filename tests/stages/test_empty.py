"""Documents without text: refused in a folder, or kept without vectors and never found."""

import json

import pytest
from support import shrunk, tiny_folder

from colbertv2.artifacts.build import BuildError
from colbertv2.configuration.composition import build, compose, plan
from colbertv2.data.collection import Collection
from colbertv2.data.queries import Queries
from colbertv2.errors import InputError
from colbertv2.evaluation.ranking import Ranking
from colbertv2.indexing.index import Index

EMPTY = {"e0", "e1"}


@pytest.fixture
def world(tmp_path):
    """A folder whose first and last document have no text, and the overrides that run anything on it."""
    folder = tiny_folder(tmp_path / "folder")
    empty = [
        json.dumps({"_id": name, "title": "", "text": text})
        for name, text in zip(sorted(EMPTY), ["", " \t"], strict=True)
    ]
    corpus = folder / "corpus.jsonl"
    corpus.write_text(f"{empty[0]}\n{corpus.read_text()}{empty[1]}\n")
    return folder, [*shrunk(folder, tmp_path / "artifacts"), "collection.empty=keep"]


def test_a_folder_with_them_is_refused_before_any_work(world):
    folder, overrides = world
    message = r"corpus\.jsonl: 2 documents have no text: 'e0', 'e1'\. .*collection\.empty=keep"
    for _ in range(2):  # first when the store is built, then when it exists
        with pytest.raises(InputError, match=message):
            len(Collection(f"folder:{folder}"))
    assert len(Collection(f"folder:{folder}", empty="keep")) == 32
    with pytest.raises(InputError, match=message):
        plan(compose([*overrides, "pipeline=untrained", "target=metrics", "collection.empty=refuse"]))
    assert len(Queries(f"folder:{folder}/test").qrels) == 10  # queries and judgements are read nevertheless
    with pytest.raises(InputError, match="empty is 'drop'; expected refuse or keep"):
        Collection(f"folder:{folder}", empty="drop")


def test_no_system_finds_them(world):
    _, overrides = world
    index = build(compose([*overrides, "pipeline=untrained", "target=index"]))
    opened = Index.open(index.path)
    assert {opened.doc_ids[place] for place in range(32) if not opened.lengths[place]} == EMPTY
    untrained = [*overrides, "pipeline=untrained", "depth=40"]
    targets = {
        "search": [*untrained, "target=ranking", "search=exhaustive"],
        "BM25": [*untrained, "target=bm25_ranking"],
        "single vector": [*untrained, "target=single_vector_ranking"],
        "random": [
            *overrides,
            "source@pipeline.round2.candidates=random",
            "target=round2.candidates",
            "mining.depth=40",
        ],
    }
    for name, chosen in targets.items():
        ranking = Ranking.read(build(compose(chosen)).path / "run.trec")
        assert len(ranking) == 10 and not any(doc_id in EMPTY for found in ranking.values() for doc_id, _ in found)
        assert name == "BM25" or all(len(found) == 30 for found in ranking.values()), name


def test_what_others_found_is_left_out_when_it_is_ranked_anew(world, tmp_path):
    """Candidates may include them, although exact MaxSim has no vectors for them."""
    _, overrides = world
    run = tmp_path / "run.trec"
    run.write_text("".join(f"q{number} Q0 e0 1 2 t\nq{number} Q0 d1 2 1 t\n" for number in range(2, 30, 3)))
    config = compose([*overrides, "pipeline=reference", "target=reranked"])
    config.pipeline.reranked.candidates = {
        "_target_": "colbertv2.stages.external_ranking.run",
        "file": {"_target_": "colbertv2.data.file.File", "path": str(run)},
        "documents": "${collection.documents}",
        "queries": "${collection.eval}",
        "depth": 20,
    }
    reranked = build(config)
    assert {doc_id for doc_id, _ in Ranking.read(reranked.parents["candidates"].path / "run.trec")["q2"]} == {
        "e0",
        "d1",
    }
    assert [doc_id for doc_id, _ in Ranking.read(reranked.path / "run.trec")["q2"]] == ["d1"]


@pytest.mark.parametrize("sample_vectors", [100, 10_000])
def test_every_vector_has_its_token_where_some_documents_have_none(world, sample_vectors):
    _, overrides = world
    chosen = ["pipeline=untrained", "analysis=centroids", "target=centroid_analysis"]
    report = build(compose([*overrides, *chosen, f"pipeline.centroid_analysis.sample_vectors={sample_vectors}"]))
    assert (report.path / "centroids.csv").is_file()


def test_a_collection_of_nothing_else_is_refused(tmp_path):
    folder = tiny_folder(tmp_path / "folder", documents=3)
    (folder / "corpus.jsonl").write_text("".join(json.dumps({"_id": f"d{n}", "text": ""}) + "\n" for n in range(3)))
    overrides = [*shrunk(folder, tmp_path / "artifacts"), "collection.empty=keep", "pipeline=untrained"]
    for target in (["target=metrics"], ["target=single_vector_metrics"]):
        with pytest.raises((InputError, BuildError), match=r"no vectors|no document with text"):
            build(compose([*overrides, *target]))
