"""Plans: states and sums that a user sees, and predictions that follow size and finished runs."""

import json
import sys
from pathlib import Path

import pytest
from support import shrunk, tiny_folder

from colbertv2.artifacts.artifact import Artifact
from colbertv2.configuration.composition import build, compose, runtime_of, target_node
from colbertv2.planning.prediction import estimate_nodes
from colbertv2.planning.text import to_text


@pytest.fixture
def small(tmp_path) -> list[str]:
    overrides = shrunk(tiny_folder(tmp_path / "folder"), tmp_path / "artifacts")
    return [*overrides, "runtime.device=cpu", "pipeline=untrained"]


def estimates(overrides: list[str], *more: str) -> dict:
    config = compose([*overrides, *more])
    found = estimate_nodes([target_node(config)], runtime_of(config))
    return {one.key.removeprefix("pipeline."): one for one in found}


def rewrite(artifact: Artifact, **changes: object) -> None:
    (artifact.path / "artifact.json").write_text(json.dumps({**artifact.record, **changes}))


def test_every_step_of_the_default_pipelines_is_predicted(small):
    for pipeline in ("colbertv2", "untrained", "three_rounds", "undistilled"):
        found = estimates(small, f"pipeline={pipeline}")
        unknown = [key for key, one in found.items() if one.seconds is None]
        assert unknown == []
        assert {one.source for one in found.values() if one.seconds is not None} == {"from a default"}


def test_more_work_takes_longer(small):
    def seconds(target: str, *more: str) -> float:
        return estimates(small, "pipeline=colbertv2", f"target={target}", *more)[target].seconds

    assert seconds("round2.checkpoint", "training.round2.n_way=8") > seconds("round2.checkpoint")
    assert seconds("round1", "training.round1.optimization.steps=200") > seconds("round1")
    assert estimates(small, "codec.nbits=8")["index"].disk > estimates(small, "codec.nbits=1")["index"].disk
    more = estimates(small, "clustering.num_centroids=64")["index.centroids"]
    assert more.disk > estimates(small, "clustering.num_centroids=8")["index.centroids"].disk


def test_finished_runs_of_the_same_kind_and_device_are_learnt_from(small):
    before = estimates(small, "seed=2", "kmeans_seed=7")["index"]
    index = build(compose([*small, "target=index"]))
    rewrite(index, seconds=300.0)
    after = estimates(small, "kmeans_seed=7")["index"]
    assert after.source == "from 1 run here" and after.seconds > 10 * before.seconds
    assert estimates(small, "kmeans_seed=7", "codec=fp16")["index"].source == "from a default", "another kind"
    for change in ({"device": "another machine"}, {"resumed": True}, {"version": -1}):
        rewrite(index, **{"seconds": 300.0, **change})
        assert estimates(small, "kmeans_seed=7")["index"].source == "from a default"


def test_disk_is_within_twice(small):
    predicted = estimates(small, "target=index")
    artifacts = build(compose([*small, "target=index"])).lineage()
    for artifact in artifacts:
        key = {"initialise": "initial", "encode": "embeddings", "centroids": "index.centroids", "index": "index"}
        expected = predicted[key[artifact.stage]].disk + 20_000  # headers and settings
        assert 0.4 < (artifact.record["bytes"] + 20_000) / expected < 2.5, artifact.stage


def test_what_only_finished_artifacts_read_is_not_needed(small):
    index = build(compose([*small, "target=index"]))
    (index.parents["embeddings"].path / "artifact.json").unlink()
    found = estimates(small, "target=index")
    assert {key: one.state for key, one in found.items()} == {
        "initial": "cached",
        "embeddings": "not needed",
        "index.centroids": "cached",
        "index": "cached",
    }
    assert to_text(list(found.values()), runtime_of(compose(small))).splitlines()[-1] == "to build: nothing"


def test_shared_steps_count_once_and_unknown_ones_are_said(small, monkeypatch):
    configs = [compose([*small, "target=index", f"codec.nbits={nbits}"]) for nbits in (1, 2, 4)]
    steps = estimate_nodes([target_node(config) for config in configs], runtime_of(configs[0]))
    assert [step.address.partition("-")[0] for step in steps].count("index") == 3 and len(steps) == 6
    last = to_text(steps, runtime_of(configs[0])).splitlines()[-1]
    assert last.startswith("to build: 6 steps, about ") and "unknown" not in last
    monkeypatch.delitem(sys.modules["colbertv2.planning.work"].STAGES, "index")
    steps = estimate_nodes([target_node(config) for config in configs], runtime_of(configs[0]))
    assert "3 of them unknown (?), not counted" in to_text(steps, runtime_of(configs[0])).splitlines()[-1]


def test_too_little_room_is_said(small, monkeypatch):
    steps, runtime = list(estimates(small).values()), runtime_of(compose(small))
    assert "too little" not in to_text(steps, runtime)
    monkeypatch.setattr("colbertv2.planning.text.free_disk", lambda path: 2000)
    monkeypatch.setattr("colbertv2.planning.text.free_memory", lambda: 500_000_000)
    last = to_text(steps, runtime).splitlines()[-1]
    assert "(2.0 kB of disk free is too little; 500.0 MB of memory free is too little)" in last


def test_a_record_keeps_what_plans_need(small):
    record = build(compose([*small, "target=embeddings"])).record
    assert record["inputs"]["documents"]["texts"] == 30 and record["device"] and not record["resumed"]
    assert record["peak_memory"] > 1e7 and Path(record["address"]).name.startswith("encode-")
