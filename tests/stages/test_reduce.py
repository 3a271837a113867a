"""The stage that makes fewer vectors per document, and what reads its result."""

import json

import numpy as np
import pytest
import torch
from support import shrunk, tiny_folder

from colbertv2.ablation.linter import check_axes
from colbertv2.artifacts.artifact import Artifact
from colbertv2.configuration.composition import CONF, build, compose, plan, target_node
from colbertv2.configuration.points import collect
from colbertv2.errors import InputError
from colbertv2.evaluation.ranking import Ranking
from colbertv2.indexing.embeddings import Embeddings
from colbertv2.modeling.colbert import ColBERT
from colbertv2.reduction.pooling import HierarchicalPooling
from colbertv2.sharing.model_card import measured_otherwise
from colbertv2.sharing.provenance import checkpoint_of

OTHER = "{_target_:colbertv2.data.collection.Collection,id:stdlib}"


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> list[str]:
    directory = tmp_path_factory.mktemp("reduce")
    overrides = shrunk(tiny_folder(directory / "folder"), directory / "artifacts")
    return [*overrides, "runtime.device=cpu", "pipeline=untrained"]


def made(small: list[str], *overrides: str) -> Artifact:
    return build(compose([*small, *overrides]))


def test_without_a_reduction_the_index_reads_the_embeddings_and_its_address_stays(small):
    index = target_node(compose([*small, "target=index"]))
    assert index.parents["embeddings"].stage.name == "encode"
    assert target_node(compose([*small, "target=reduced"])).stage.name == "encode"
    direct = compose([*small, "target=index", "pipeline.index.embeddings=${pipeline.embeddings}"])
    assert target_node(direct).address == index.address


def test_one_budget_reaches_every_rule_that_has_one_and_beside_them_none(small):
    def arguments(*overrides: str) -> dict:
        node = target_node(compose([*small, "target=reduced", *overrides]))
        return node.arguments["reduction"] if node.stage.name == "reduce" else {}

    budgeted = [
        file.stem
        for file in (CONF / "reduction").glob("*.yaml")
        if "factor" in compose([f"reduction={file.stem}"]).reduction
    ]
    assert len(budgeted) >= 8
    for choice in budgeted:
        assert (arguments(f"reduction={choice}")["factor"], arguments(f"reduction={choice}")["num_vectors"]) == (
            2,
            None,
        )
        found = arguments(f"reduction={choice}", "reduction_factor=null", "reduction_num_vectors=9")
        assert (found["factor"], found["num_vectors"]) == (None, 9)
        assert arguments(f"reduction={choice}", "reduction_factor=3") == arguments(
            f"reduction={choice}", "reduction.factor=3"
        )
    for choice in ("none", "stop_words"):
        assert arguments(f"reduction={choice}", "reduction_factor=3") == arguments(f"reduction={choice}")


def test_the_shared_budget_leaves_addresses_as_they_were(small):
    literal = ["reduction.factor=2", "reduction.num_vectors=null"]
    for choice in ("hierarchical", "random"):
        shared, own = ([*small, "target=reduced", f"reduction={choice}", *more] for more in ([], literal))
        assert target_node(compose(shared)).address == target_node(compose(own)).address


def test_a_sweep_over_rules_and_budgets_has_points_without_a_reduction(small):
    points = collect([*small, "target=reduced", "reduction=none,first", "reduction_factor=2,3", "-m"])
    check_axes(points)
    addresses = [point.address for point in points]
    assert len(points) == 4 and addresses[0] == addresses[1] and len({*addresses}) == 3
    with pytest.raises(InputError, match="No stage on the way to target=reduced reads reduction_factor"):
        check_axes(collect([*small, "target=reduced", "reduction=none", "reduction_factor=2,3", "-m"]))


def test_each_document_is_pooled_by_itself_and_its_special_tokens_stay(small):
    marked = "model.tokenization.document_marker='[unused1]'"
    found = made(small, "target=reduced", "reduction=hierarchical", "reduction.factor=3", marked)
    before, after = Embeddings.open(found.parents["embeddings"].path), Embeddings.open(found.path)
    pooling = HierarchicalPooling(factor=3, num_vectors=None, protected="special", normalise=True)
    for place in range(before.num_documents):
        vectors = before.vectors(*before.offsets[place : place + 2].tolist()).astype(np.float32)
        special = np.isin(np.arange(len(vectors)), [0, 1, len(vectors) - 1])  # [CLS], the marker and [SEP]
        expected = pooling.reduce(vectors, np.arange(len(vectors)), special)
        own = after.vectors(*after.offsets[place : place + 2].tolist())
        np.testing.assert_allclose(own, expected, atol=1e-3)
    counts = json.loads((found.path / "statistics.json").read_text())
    assert counts == {"num_vectors_before": before.num_vectors, "num_vectors": after.num_vectors}
    assert after.num_vectors < before.num_vectors and after.doc_ids == before.doc_ids


@pytest.mark.parametrize("kind", ["attention", "norm"])
def test_each_document_keeps_its_heaviest_tokens(small, kind):
    found = made(small, "target=reduced", f"reduction={kind}", "reduction.factor=3", "document_maxlen=20")
    before, after = Embeddings.open(found.parents["embeddings"].path), Embeddings.open(found.path)
    model = ColBERT.load(found.ancestor("checkpoint").path, 20).eval()
    model.transformer.set_attn_implementation("eager")
    for place, (_, text) in enumerate(found.component("documents")):
        vectors = before.vectors(*before.offsets[place : place + 2].tolist())
        encoding = model.tokenizer.documents([text])
        with torch.no_grad():
            inputs = {"input_ids": encoding.input_ids, "attention_mask": encoding.attention_mask}
            states = model.transformer(**inputs, output_attentions=True)
        if kind == "attention":
            weights = states.attentions[-1][0].sum(dim=(0, 1))
        else:
            weights = model.projection(states.last_hidden_state)[0].norm(dim=-1)
        weights = weights[encoding.scored[0]].tolist()
        free = sorted(range(1, len(vectors) - 1), key=lambda token: -weights[token])[: max(1, (len(vectors) - 2) // 3)]
        own = after.vectors(*after.offsets[place : place + 2].tolist())
        np.testing.assert_array_equal(own, vectors[sorted([0, *free, len(vectors) - 1])])


def test_weights_are_only_computed_by_a_reduction_that_needs_them(small, monkeypatch):
    def refuse(*_, **__):
        raise InputError("encoded again")

    monkeypatch.setattr("colbertv2.modeling.token_weights.token_weights", refuse)
    made(small, "target=reduced", "reduction=idf", "reduction.factor=5")
    with pytest.raises(InputError, match="encoded again"):
        made(small, "target=reduced", "reduction=norm", "reduction.factor=5")


@pytest.mark.parametrize("reduction", ["kmeans", "idf", "random", "stop_words", "attention", "norm"])
def test_shards_and_threads_change_nothing(small, tmp_path, reduction):
    one = made(small, "target=reduced", f"reduction={reduction}")
    two = made(
        small, "target=reduced", f"reduction={reduction}", "runtime.shard_documents=7", f"runtime.root={tmp_path}",
        "runtime.threads=2",
    )  # fmt: skip
    one, two = Embeddings.open(one.path), Embeddings.open(two.path)
    np.testing.assert_array_equal(one.lengths, two.lengths)
    np.testing.assert_array_equal(one.vectors(0, one.num_vectors), two.vectors(0, two.num_vectors))
    assert len(two.sizes) == 5


def test_a_search_scores_the_fewer_vectors(small):
    ranking = made(small, "target=ranking", "reduction=sequential", "codec=fp16", "depth=30")
    after = Embeddings.open(ranking.ancestor("embeddings").path)
    model = ColBERT.load(ranking.ancestor("checkpoint").path)
    queries = dict(ranking.component("queries"))
    for query_id, results in Ranking.read(ranking.path / "run.trec").items():
        query = model.encode_queries([queries[query_id]])[0]
        for document, score in results[:5]:
            place = after.doc_ids.index(document)
            vectors = after.vectors(*after.offsets[place : place + 2].tolist()).astype(np.float32)
            assert score == pytest.approx(float((query @ vectors.T).max(axis=1).sum()), abs=1e-3)


def test_an_evaluation_leads_back_to_its_checkpoint_and_says_what_it_measured(small):
    evaluation = made(small, "reduction=first", "reduction.factor=2")
    checkpoint = checkpoint_of(evaluation)
    assert checkpoint is not None and checkpoint.stage == "initialise"
    tokenization = ColBERT.load(checkpoint.path).tokenizer.tokenization
    assert any("FirstPruning" in one for one in measured_otherwise(evaluation, tokenization))
    assert not any("Pruning" in one for one in measured_otherwise(made(small), tokenization))


def test_the_decomposition_shows_the_loss_of_the_reduction(small):
    found = made(small, "analysis=decomposition", "target=decomposition", "reduction=first", "reduction.factor=4")
    steps = (found.path / "decomposition.csv").read_text().partition("\n")[0].split(",")
    assert steps[1:5] == ["unprojected", "projected", "reduced", "centroids"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["reduction=first", "reduction.factor=null"], "expected exactly one of them"),
        (["reduction=first", "reduction.factor=null", "reduction.num_vectors=500"], "none would lose a vector"),
        (["reduction=none", "reduction_factor=0.5"], "'reduction_factor' is 0.5"),
        (["reduction=first", "reduction_num_vectors=3"], "expected exactly one of them"),
        (["reduction=hierarchical", "reduction.factor=300"], "only a single vector would be left"),
        (["reduction=hierarchical", "reduction.factor=0.5"], "expected a number of at least 1"),
        (["reduction=first", f"pipeline.reduced.documents={OTHER}"], "not those of the embeddings"),
        (["reduction=first", "analysis=centroids", "target=centroid_analysis"], "set reduction=none"),
    ],
)
def test_what_cannot_be_reduced_is_refused_before_any_work(small, tmp_path, overrides, message):
    with pytest.raises(InputError, match=message):
        plan(compose([*small, *overrides, f"runtime.root={tmp_path}"]))
    assert not list(tmp_path.iterdir())
