"""The group ``debug``: one batch, a small sample, a profile; results that differ from a real run's go elsewhere."""

import json

import pandas as pd
import pytest
from support import shrunk, tiny_folder

from colbertv2.configuration.composition import build, compose, plan, target_node
from colbertv2.errors import InputError
from colbertv2.indexing.index import Index


@pytest.fixture
def small(tmp_path) -> list[str]:
    return [*shrunk(tiny_folder(tmp_path / "folder"), tmp_path / "artifacts"), "runtime.device=cpu"]


def replaced(overrides: list[str], *others: str) -> list[str]:
    """The overrides with some of them replaced."""
    keys = {word.partition("=")[0] for word in others}
    return [*(word for word in overrides if word.partition("=")[0] not in keys), *others]


def test_the_loss_on_one_batch_falls(small):
    longer = ["optimization.steps=30", "optimization.learning_rate=3e-3", "batch_size=4", "validation_interval=30"]
    overrides = replaced(small, *(f"training.round1.{setting}" for setting in longer))
    trained = build(compose(["+debug=overfit", *overrides]))
    assert trained.stage == "train" and json.loads((trained.path / "summary.json").read_text())["examples"] == 4
    losses = pd.read_csv(trained.path / "log" / "metrics.csv")["train/loss"].dropna().tolist()
    assert losses[-1] < losses[0] / 2
    assert trained.address != target_node(compose(["target=round1", *overrides])).address


def test_one_batch_is_at_least_a_batch(small):
    with pytest.raises(InputError, match=r"max_examples is 1; expected at least the batch size 2"):
        plan(compose(["+debug=overfit", *small, "training.round1.max_examples=1"]))


def test_a_limited_run_goes_through_all_stages_on_few_documents(small):
    machine = [word for word in small if word.startswith(("model.", "runtime.", "publish"))]
    node = target_node(compose(["+debug=limit", *machine]))
    addresses = {one.address for one in node.lineage()}
    assert addresses.isdisjoint(one.address for one in target_node(compose(machine)).lineage())
    metrics = build(compose(["+debug=limit", *machine]))
    assert Index.open(metrics.ancestor("index").path).num_documents == 120


def test_a_limited_run_takes_another_collection(tmp_path):
    collection = compose(["+debug=limit", f"collection.of=folder:{tmp_path}/test"]).collection
    assert collection.documents.id == collection.train.id == f"sample:120:16:folder:{tmp_path}/test"


def test_a_profile_lies_beside_the_same_weights(small):
    plain = target_node(compose(["target=round1", *small]))
    profiled = build(compose(["+debug=profile", "target=round1", *small]))
    assert profiled.address == plain.address
    assert "run_training_batch" in (profiled.path / "fit-profile.txt").read_text()
