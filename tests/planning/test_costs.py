"""What stages say of their costs, against what they then take: the whole loop on a tiny collection."""

from collections.abc import Iterator

import pytest
from support import shrunk, tiny_folder

from colbertv2.artifacts.artifact import Artifact, location
from colbertv2.artifacts.node import Node
from colbertv2.configuration.composition import build, compose, runtime_of, target_node
from colbertv2.indexing.index import Index
from colbertv2.planning.estimate import Cost, Estimates, estimate_nodes
from colbertv2.runtime import Runtime

ENTRY = 4096  # bytes: what is smaller is headers and settings


@pytest.fixture(scope="module")
def steps(tmp_path_factory) -> list[tuple[Node, Cost, Artifact]]:
    """Every stage of the demonstration: its node, what was predicted before anything was there, and its artifact."""
    directory = tmp_path_factory.mktemp("costs")
    folder = tiny_folder(directory / "folder", documents=150)
    config = compose(["+demo=stdlib", *shrunk(folder, directory / "artifacts"), "denoising.margin=-1"])
    node, runtime = target_node(config), runtime_of(config)
    estimates = Estimates(runtime)
    lineage = {one.address: one for one in node.lineage()}.values()
    predicted = [(one, estimates.cost(one)) for one in lineage]
    assert all(cost is not None for _, cost in predicted), "every stage of the loop tells its cost"
    build(config)
    return [(one, cost, Artifact.open(location(runtime.root, one.address))) for one, cost in predicted if cost]


def stages(steps: list, *names: str) -> Iterator[tuple[Node, Cost, Artifact]]:
    return (step for step in steps if step[0].stage.name in names)


def test_the_loop_covers_the_stages(steps):
    assert {node.stage.name for node, _, _ in steps} >= {
        "bm25", "centroids", "encode", "evaluate", "examples", "index", "initialise", "score", "search",
        "single_vector", "table", "teacher", "train",
    }  # fmt: skip


def test_disk_is_within_twice(steps):
    for node, cost, artifact in steps:
        if node.stage.name == "table":  # whose picture is of any size
            continue
        found, expected = artifact.record["bytes"] + ENTRY, cost.disk + ENTRY
        assert 0.5 < found / expected < 2, (node.key, artifact.record["bytes"], cost.disk)


def test_vectors_are_counted_from_a_sample(steps):
    for node, cost, artifact in stages(steps, "encode"):
        exact = node.stage.sizes(artifact)
        assert cost.sizes["documents"] == exact["documents"]
        assert cost.sizes["vectors"] == pytest.approx(exact["vectors"], rel=0.2)


def test_centroids_are_those_of_the_rule(steps):
    for node, cost, artifact in stages(steps, "index"):
        index = Index.open(artifact.path)
        number = 0 if index.codec.additive() is None else len(index.codec.additive().centroids)
        assert number / 2 <= cost.sizes["centroids"] <= 2 * number, (
            node.key
        )  # a power of two of a number that is sampled
        assert cost.sizes["vectors"] == pytest.approx(index.num_vectors, rel=0.2)


def test_records_keep_what_later_estimates_need(steps):
    for node, cost, artifact in steps:
        kept = artifact.record["cost"]
        assert kept["kind"] == cost.kind
        assert kept["work"] == pytest.approx(cost.work, rel=0.5), node.key
        assert artifact.record["peak_memory"] > 1e8
        assert artifact.record["device"]


def test_more_work_takes_longer(tmp_path):
    """Each cost follows the knob that it should."""
    folder = tiny_folder(tmp_path / "folder", documents=60)
    small = [*shrunk(folder, tmp_path / "artifacts")]

    def work(target: str, *overrides: str) -> float:
        config = compose([*small, f"target={target}", *overrides])
        cost = Estimates(runtime_of(config)).cost(target_node(config))
        assert cost is not None
        return cost.work

    assert work("round1", "training.round1.optimization.steps=20") > work("round1")
    assert work("round2.checkpoint", "training.round2.n=8") > work("round2.checkpoint")
    assert work("round2.scored", "mining.score_depth=8") > work("round2.scored")
    assert work("index.centroids", "codec.kmeans_iterations=40") > work("index.centroids")
    assert work("ranking", "runtime.latency_queries=20") > work("ranking")
    assert work("embeddings", "document_maxlen=5") < work("embeddings")


def test_nothing_is_left_to_build_afterwards(steps):
    node, _, artifact = steps[-1]
    found = estimate_nodes([node], Runtime(root=artifact.path.parents[1], device="cpu"))
    assert {one.state for one in found} == {"cached"}
