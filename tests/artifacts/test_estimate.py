"""Estimates: what a plan says of steps that are missing, before and after there is a history of their like."""

import json
from pathlib import Path

import pytest
import toy.encode
import toy.index
import toy.train

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.node import Node
from colbertv2.configuration.composition import build, runtime_of, target_node
from colbertv2.planning.estimate import (
    BASELINE,
    REFERENCE_FLOPS,
    RUNS,
    SHRINKAGE,
    Cost,
    Estimates,
    estimate_nodes,
    to_text,
)


@pytest.fixture
def costs(monkeypatch) -> None:
    """Toy stages that tell their costs, all but ``table``: 100 vectors a dimension, each 2 bytes, indexed in 30 s.

    The machine is idle.
    """
    monkeypatch.setattr("colbertv2.planning.estimate.cpu_share", lambda threads: 1.0)

    def train(estimates: Estimates, epochs: int, **_: object) -> Cost:
        return Cost(seconds=20.0 * epochs, memory=1e6, disk=10)

    def encode(estimates: Estimates, checkpoint: Node, dim: int, **_: object) -> Cost:
        return Cost(seconds=5, memory=3e6, disk=200 * dim, sizes={"vectors": 100 * dim})

    def index(estimates: Estimates, embeddings: Node, codec, **_: object) -> Cost:
        vectors = estimates.size(embeddings, "vectors")
        return Cost(seconds=30, memory=2e6, disk=vectors * codec.bits, kind=f"{codec.bits} bits")

    for module, function in ((toy.train, train), (toy.encode, encode), (toy.index, index)):
        monkeypatch.setattr(module, "cost", function, raising=False)


def plan(config) -> dict[str, object]:
    runtime = runtime_of(config)
    return {one.key.removeprefix("pipeline."): one for one in estimate_nodes([target_node(config)], runtime)}


def seconds_of(work: float, slower: float) -> float:
    """How long a run must have taken to tell that a kind is so much slower than on the reference machine."""
    return slower * (work + SHRINKAGE) - SHRINKAGE


def rewrite(artifact: Artifact, **changes: object) -> None:
    (artifact.path / "artifact.json").write_text(json.dumps({**artifact.record, **changes}))


def test_sizes_pass_down_the_graph(toy, costs) -> None:
    for dim in (4, 8):
        found = plan(toy("target=index", f"dim={dim}", f"codec.dim={dim}"))
        assert found["embeddings"].disk == 200 * dim
        assert found["index"].disk == 100 * dim * 2
        assert found["round1"].seconds == 60
        assert found["embeddings"].memory == BASELINE + 3e6
        assert {one.source for one in found.values()} == {"from a default"}


def test_what_is_finished_tells_its_own_size(toy, costs, monkeypatch) -> None:
    monkeypatch.setattr("toy.encode.sizes", lambda artifact: {"vectors": 7}, raising=False)
    config = toy("target=index")
    assert plan(config)["index"].disk == 100 * 8 * 2
    build(toy("target=embeddings"))
    assert plan(config)["index"].disk == 7 * 2


def test_history_beats_the_default_and_nothing_else_does(toy, costs) -> None:
    before = plan(toy("target=index", "codec.bits=4"))["index"]
    index = build(toy("target=index"))
    assert index.record["cost"] == {"work": 30.0, "memory": BASELINE + 2e6, "kind": "2 bits"}
    assert index.record["peak_memory"] > 1e7
    rewrite(index, seconds=seconds_of(30, slower=3))
    other_kind = plan(toy("target=index", "codec.bits=4"))["index"]
    assert other_kind == before, "a run of another kind tells nothing"
    same_kind = plan(toy("target=index", "codec.bits=2", "training.rate=0.5"))["index"]
    assert same_kind.seconds == pytest.approx(90)
    assert same_kind.source == "from 1 run here"
    rewrite(index, seconds=seconds_of(30, slower=3), device="another machine")
    assert plan(toy("target=index", "codec.bits=2", "training.rate=0.5"))["index"].source == "from a default"


def test_the_rate_is_the_median_of_the_runs_nearest_in_size(toy, costs) -> None:
    # of five runs the three nearest to 30 s of work are those 2, 3 and 4 times as slow as the reference
    runs = [(1.0, 9), (3000.0, 9), (29.0, 2), (30.0, 3), (31.0, 4)]
    for epochs, (work, slower) in enumerate(runs, start=1):
        artifact = build(toy("target=index", f"training.epochs={epochs}"))
        rewrite(artifact, seconds=seconds_of(work, slower), cost={**artifact.record["cost"], "work": work})
    found = plan(toy("target=index", "training.epochs=9"))["index"]
    assert found.seconds == pytest.approx(3 * 30)
    assert found.source == f"from {RUNS} runs here"


def test_flops_take_as_long_as_the_machine_needs(toy, costs, monkeypatch) -> None:
    monkeypatch.setattr("colbertv2.planning.estimate.products_per_second", lambda device, threads: REFERENCE_FLOPS / 4)
    monkeypatch.setattr("toy.train.cost", lambda estimates, **_: Cost(flops=10 * REFERENCE_FLOPS, seconds=1))
    assert plan(toy("target=round1"))["round1"].seconds == pytest.approx(41)


def test_a_busy_machine_takes_longer(toy, costs, monkeypatch) -> None:
    monkeypatch.setattr("colbertv2.planning.estimate.cpu_share", lambda threads: 0.25)
    assert plan(toy("target=index"))["index"].seconds == pytest.approx(4 * 30)


def test_unknown_steps_are_said_and_not_counted(toy, costs, monkeypatch) -> None:
    config = toy()
    found = plan(config)
    assert found["table"].seconds is None, "the toy table has no cost"
    text = to_text(list(found.values()), runtime_of(config))
    assert "1 of them unknown (?), not counted" in text.splitlines()[-1]

    def broken(estimates: Estimates, **_: object) -> Cost:
        raise ZeroDivisionError

    monkeypatch.setattr("toy.encode.cost", broken)
    found = plan(config)
    assert [found[key].seconds is None for key in ("round1", "embeddings", "index")] == [False, True, True]
    build(config)  # and nothing fails for it
    assert Artifact.open(next((runtime_of(config).root / "encode").glob("encode-*"))).record["cost"] is None


def test_a_plan_for_several_targets_counts_shared_steps_once(toy, costs) -> None:
    configs = [toy("target=index", f"codec.bits={bits}") for bits in (1, 2, 4)]
    runtime = runtime_of(configs[0])
    steps = estimate_nodes([target_node(config) for config in configs], runtime)
    assert [step.address.partition("-")[0] for step in steps] == ["train", "encode", "index", "index", "index"]
    last = to_text(steps, runtime).splitlines()[-1]
    assert last.startswith("to build: 5 steps, about 2 min 35 s, 803.0 MB of memory, ")  # 60 + 5 + 3 · 30 seconds


def test_what_only_finished_artifacts_read_is_not_needed(toy, costs) -> None:
    config = toy("target=index")
    index = build(config)
    embeddings = index.parents["embeddings"]
    (embeddings.path / "artifact.json").unlink()
    assert {key: one.state for key, one in plan(config).items()} == {
        "round1": "cached",
        "embeddings": "not needed",
        "index": "cached",
    }
    text = to_text(list(plan(config).values()), runtime_of(config))
    assert text.splitlines()[-1] == "to build: nothing"


def test_too_little_room_is_said(toy, costs, monkeypatch) -> None:
    config = toy("target=index")
    steps, runtime = list(plan(config).values()), runtime_of(config)
    assert "too little" not in to_text(steps, runtime)
    monkeypatch.setattr("colbertv2.planning.estimate.free_disk", lambda path: 2000)
    monkeypatch.setattr("colbertv2.planning.estimate.free_memory", lambda: 500_000_000)
    last = to_text(steps, runtime).splitlines()[-1]
    assert "(2.0 kB of disk free is too little; 500.0 MB of memory free is too little)" in last


def test_a_resumed_run_teaches_nothing(toy, costs, root: Path) -> None:
    (root / "fail-train").touch()
    with pytest.raises(RuntimeError):
        build(toy("target=round1"))
    (root / "fail-train").unlink()
    assert build(toy("target=round1")).record["cost"] is None
    assert build(toy("target=round1", "training.epochs=2")).record["cost"] is not None
