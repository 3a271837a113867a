"""The stage ``decomposition``: its first step uses the backbone's vectors, its last is the engine's own ranking."""

import numpy as np
import pandas as pd
import pytest
import torch
from support import shrunk, tiny_folder

from colbertv2.configuration.composition import build, compose, plan, target_node
from colbertv2.errors import InputError
from colbertv2.modeling.colbert import ColBERT


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> list[str]:
    directory = tmp_path_factory.mktemp("decomposition")
    overrides = shrunk(tiny_folder(directory / "folder"), directory / "artifacts")
    return [*overrides, "runtime.device=cpu", "pipeline=untrained", "analysis=decomposition"]


@pytest.mark.parametrize("search", ["plaid", "vanilla_colbertv2", "cascade", "warp"])
def test_the_last_step_is_the_engines_own_result(small, search):
    overrides = [*small, f"search={search}"]
    artifact = build(compose([*overrides, "target=decomposition"]))
    values = pd.read_csv(artifact.path / "decomposition.csv", index_col="query_id")
    assert list(values.columns) == ["unprojected", "projected", "centroids", "residual", "probed", "engine"]
    metrics = build(compose([*overrides, "target=metrics"]))
    own = pd.read_csv(metrics.path / "per_query.csv", index_col="query_id")["RR@10"]
    np.testing.assert_allclose(values["engine"], own.loc[values.index], atol=1e-6)
    text = (artifact.path / "decomposition.md").read_text()
    assert "centroids alone" in text and (artifact.path / "decomposition.png").stat().st_size > 10_000


def test_without_its_projection_a_model_gives_the_backbones_own_vectors(small):
    unprojected = build(compose([*small, "target=unprojected"]))
    model, before = ColBERT.load(unprojected.path), ColBERT.load(unprojected.parents["checkpoint"].path)
    assert model.dim == 32 and before.dim == 16
    (vectors,) = model.encode_queries(["the python list"])
    encoding = before.tokenizer.queries(["the python list"])
    with torch.no_grad():
        states = before.transformer(encoding.input_ids, attention_mask=encoding.attention_mask).last_hidden_state[0]
    expected = torch.nn.functional.normalize(states, dim=-1)[encoding.scored[0]].numpy()
    np.testing.assert_allclose(vectors, expected, atol=1e-5)


def test_the_unprojected_step_can_be_left_out(small):
    config = compose([*small, "search=plaid", "target=decomposition", "pipeline.decomposition.unprojected=null"])
    values = pd.read_csv(build(config).path / "decomposition.csv", index_col="query_id")
    assert "unprojected" not in values.columns


def test_a_trained_checkpoint_is_taken_apart_as_well(small):
    steps = {step.key: step.address for step in plan(compose([*small, "analysis=decomposition", "pipeline=round1"]))}
    config = compose([*small, "analysis=decomposition", "pipeline=round1", "search=plaid", "target=decomposition"])
    node = target_node(config)
    trained = node.parents["index"].ancestor("checkpoint")
    assert trained.address == steps["pipeline.round1"]
    assert node.parents["unprojected"].ancestor("checkpoint").parents["checkpoint"].address == trained.address


def test_unprojected_vectors_of_texts_cut_elsewhere_are_refused(small):
    override = "pipeline.unprojected_embeddings.document_maxlen=5"
    with pytest.raises(InputError, match="another document_maxlen"):
        plan(compose([*small, "search=plaid", "target=decomposition", override]))


@pytest.mark.parametrize(
    ("override", "expected"),
    [("codec=fp16", "no centroids"), ("pipeline.decomposition.measure=nonsense", "Unknown"), ("depth=0", "depth")],
)
def test_bad_input_is_refused_before_any_work(small, override, expected):
    with pytest.raises(InputError, match=expected):
        plan(
            compose(
                [
                    *[one for one in small if not one.startswith("depth")],
                    "search=plaid",
                    "target=decomposition",
                    override,
                ]
            )
        )
