"""The complete pipeline on a tiny collection with a tiny model: every stage, every artifact, the table."""

import json

import numpy as np
import pandas as pd
import pytest
from support import shrunk, tiny_folder

from colbertv2.artifacts.artifact import Artifact
from colbertv2.configuration.composition import build, compose, plan
from colbertv2.evaluation.ranking import Ranking
from colbertv2.indexing.index import Index
from colbertv2.training.examples import Examples


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Artifact:
    directory = tmp_path_factory.mktemp("pipeline")
    overrides = [
        "+demo=stdlib",
        *shrunk(tiny_folder(directory / "folder"), directory / "artifacts"),
        "denoising.margin=-1",
    ]
    table = build(compose(overrides))
    assert all(step.cached for step in plan(compose(overrides)))
    return table


def test_the_table_has_every_row_and_column(table):
    frame = pd.read_csv(table.path / "table.csv")
    measures = ["RR@10", "nDCG@10", "R@10", "R@100"]
    assert list(frame.columns[:8]) == ["system", "codec", *measures, "bytes_per_token", "ms_per_query"]
    assert len(frame) == 11
    sizes = frame.set_index("codec")["bytes_per_token"].dropna()
    assert sizes["fp16"].iloc[0] == 32 and sizes["4 bits"] == 12
    assert (table.path / "quality_bytes.png").stat().st_size > 10_000


def test_round_two_learns_from_what_round_one_mined_and_the_teacher_scored(table):
    index = table.parents["systems.ColBERT distilled, 2 bits"].ancestor("index")
    round2 = index.ancestor("checkpoint")
    examples = Examples(round2.parents["examples"].path / "examples.jsonl")
    assert examples and all(example.is_scored for example in examples), "all are scored"
    scored = round2.parents["examples"].parents["candidates"]
    assert scored.stage == "score" and scored.parents["teacher"].stage == "teacher"
    mined_by = scored.parents["candidates"].parents["index"].ancestor("checkpoint")
    assert mined_by.path == round2.parents["checkpoint"].path, "round 1 mined"
    report = json.loads((round2.parents["examples"].path / "denoising.json").read_text())
    assert report["examples"] == len(examples)


def test_labelled_documents_are_never_negatives(table):
    round2 = table.parents["systems.ColBERT distilled, 2 bits"].ancestor("index").ancestor("checkpoint")
    for example in Examples(round2.parents["examples"].path / "examples.jsonl"):
        assert example.documents[0] == example.query_id.replace("q", "d")
        assert example.documents[0] not in example.documents[1:]


def test_rankings_are_trec_files_over_the_test_queries(table):
    ranking = table.parents["systems.ColBERT distilled, 2 bits"].parents["ranking"]
    run = Ranking.read(ranking.path / "run.trec")
    assert len(run) == 10 and all(len(run[query]) == 20 for query in run)
    assert Index.open(ranking.parents["index"].path).num_documents == 30


@pytest.mark.parametrize("documents", [1, 2, 10])
@pytest.mark.parametrize(
    "choices",
    [
        ["codec=residual", "search=plaid"],
        ["codec=fp16", "search=exhaustive"],
        ["codec=product", "codec.queries=null", "search=cascade"],
    ],
    ids=str,
)
def test_tiny_corpora_without_training_queries(tmp_path, documents, choices):
    folder = tiny_folder(tmp_path / "folder", documents, splits=("test",))
    overrides = ["pipeline=untrained", *choices, *shrunk(folder, tmp_path / "artifacts")]
    metrics = build(compose(overrides))
    assert json.loads((metrics.path / "metrics.json").read_text())["queries"] == documents


def test_the_product_codec_sees_training_queries_and_lloyd_moves_the_buckets(tmp_path):
    folder = tiny_folder(tmp_path / "folder")
    overrides = ["pipeline=untrained", "target=index", *shrunk(folder, tmp_path / "artifacts")]
    seeing, blind, fewer, lloyd, quantile = (
        build(compose([*overrides, *choices])).path
        for choices in (
            ["codec=product"],
            ["codec=product", "codec.queries=null"],
            ["codec=product", "codec.num_queries=1"],
            ["codec=lloyd"],
            ["codec=residual"],
        )
    )
    transforms = [np.load(path / "codec" / "transform.npy") for path in (seeing, blind, fewer)]
    assert not np.allclose(transforms[0], transforms[1], atol=1e-3)
    assert not np.allclose(transforms[0], transforms[2], atol=1e-3)
    assert not np.array_equal(*(np.load(path / "codec" / "weights.npy") for path in (lloyd, quantile)))


def test_a_collection_without_dev_queries(tmp_path):
    folder = tiny_folder(tmp_path / "folder", splits=("train", "test"))
    overrides = [
        "pipeline=no_dev",
        *shrunk(folder, tmp_path / "artifacts"),
        "collection.dev=null",
        "target=round2.checkpoint",
    ]
    trained = build(compose([*overrides, "denoising=none"]))
    assert json.loads((trained.path / "summary.json").read_text())["dev_best"] is None


def test_a_third_round_reads_the_index_of_the_second(tmp_path):
    overrides = ["pipeline=three_rounds", *shrunk(tiny_folder(tmp_path / "folder"), tmp_path / "artifacts")]
    third = build(compose([*overrides, "target=round3.checkpoint", "denoising=none"]))
    second = third.parents["checkpoint"]
    mined_by = third.parents["examples"].parents["candidates"].parents["candidates"].ancestor("checkpoint")
    assert mined_by.path == second.path and second.parents["examples"].path != third.parents["examples"].path
    embeddings = compose([*overrides, "target=embeddings", "denoising=none"])
    assert third.path.name in [step.address for step in plan(embeddings) if step.cached]


def test_the_recipe_runs(tmp_path):
    overrides = ["+quality=recipe", *shrunk(tiny_folder(tmp_path / "folder"), tmp_path / "artifacts")]
    metrics = build(compose([*overrides, "denoising=none", "document_maxlen=10"]))
    assert json.loads((metrics.path / "metrics.json").read_text())["queries"] == 10
    assert metrics.ancestor("embeddings").arguments["document_maxlen"] == 10


@pytest.mark.parametrize("target", ["contrastive_metrics", "mined_metrics", "metrics"])
def test_ingredients_run(tmp_path_factory, target):
    directory = tmp_path_factory.getbasetemp() / "ingredients"  # shared: a second run reuses artifacts of the first
    folder = directory / "folder" if directory.exists() else tiny_folder(directory / "folder")
    overrides = ["+quality=scifact", *shrunk(folder, directory / "artifacts"), "denoising=none"]
    built = build(compose([*overrides, f"target={target}", "training.undistilled.n_way=3"]))
    assert json.loads((built.path / "metrics.json").read_text())["queries"] == 10
    trained = built.ancestor("checkpoint")
    candidates = trained.parents["examples"].parents["candidates"]
    assert candidates.stage == {"contrastive_metrics": "bm25", "mined_metrics": "search"}.get(target, "score")
