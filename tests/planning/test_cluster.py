"""Plans for a cluster: how they scale with nodes, what GPUs they know, and what they say of their sources."""

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from support import rewrite_record, shrunk, tiny_folder

from colbertv2.cluster.settings import SlurmSettings
from colbertv2.commands.plan import main
from colbertv2.configuration.composition import build, compose, runtime_of, target_node
from colbertv2.configuration.points import collect
from colbertv2.errors import InputError
from colbertv2.planning import cluster
from colbertv2.planning.cluster import ClusterCost, Machines, critical_path, estimate_on_cluster
from colbertv2.planning.declared import with_declared
from colbertv2.planning.gpus import GPU, table
from colbertv2.planning.prediction import on_gpus
from colbertv2.planning.text import notes_on, to_cluster_text
from colbertv2.planning.work import Cost, Step, undivided
from colbertv2.runtime import Runtime
from experiments.speed.cluster_plan import REPORTED, off_by

CLUSTER = ["runtime=slurm", "runtime.gpus_per_node=8", "runtime.gpu=h100"]
PAPER = [
    "collection=msmarco",
    "model=bert_base",
    "teacher=msmarco_minilm",
    "training@training.round2=colbertv2",
    "precision=bf16-mixed",
    "mining.score_depth=100",
]
DIVIDED = ("embeddings", "index.centroids", "index", "round2.candidates", "round2.scored", "ranking")


def planned(*overrides: str) -> dict[str, ClusterCost]:
    """The steps of a plan for MS MARCO without its data."""
    (point,) = collect([*PAPER, *CLUSTER, *overrides])
    point = with_declared(point)
    found = estimate_on_cluster([point.node], runtime_of(point.config))
    return {one.key.removeprefix("pipeline."): one for one in found}


@pytest.fixture(scope="module")
def msmarco(tmp_path_factory, absence) -> dict[int, dict[str, ClusterCost]]:
    """The plan on one, two and four nodes."""
    root = tmp_path_factory.mktemp("artifacts")
    with absence():
        return {nodes: planned(f"runtime.nodes={nodes}", f"runtime.root={root}") for nodes in (1, 2, 4)}


def test_every_step_is_known_without_the_data(msmarco):
    assert [key for key, one in msmarco[1].items() if one.seconds is None or one.memory is None] == []
    assert all(one.declared for key, one in msmarco[1].items() if key != "teacher") and len(msmarco[1]) > 15


@pytest.mark.parametrize("key", DIVIDED)
def test_twice_the_nodes_take_half_of_the_time_and_the_same_gpu_hours(msmarco, key):
    one, two = msmarco[1][key], msmarco[2][key]
    assert (one.tasks, two.tasks) == (8, 16)
    if key == "index.centroids":
        assert 0.7 * one.seconds < two.seconds < one.seconds, "k-means itself is one job"
    else:
        jobs = 2 * cluster.JOB_SECONDS
        assert two.seconds - jobs == pytest.approx((one.seconds - jobs) / 2, rel=0.1)
    held = [plan.gpu_seconds + plan.idle_gpu_seconds for plan in (one, two)]
    assert held[1] == pytest.approx(held[0] + 8 * cluster.JOB_SECONDS, rel=1e-6)
    assert two.disk == one.disk and two.memory == one.memory


def test_a_training_divides_its_batch_and_pays_for_the_network(msmarco):
    one, two, four = (msmarco[nodes]["round2.checkpoint"] for nodes in (1, 2, 4))
    assert (one.tasks, two.tasks, four.tasks) == (8, 16, 32)
    assert one.seconds / 2 < two.seconds < one.seconds and four.gpu_seconds > two.gpu_seconds > one.gpu_seconds
    assert four.memory < two.memory < one.memory
    assert msmarco[4]["round1"].tasks == 16, "no more tasks than queries in a batch"


def test_other_steps_are_one_job(msmarco):
    for key in ("bm25_train", "metrics", "round2.examples"):
        assert msmarco[1][key].tasks == 1
        assert msmarco[4][key].seconds == pytest.approx(msmarco[1][key].seconds)


def test_the_longest_chain_is_no_longer_than_all_and_no_shorter_than_any(msmarco):
    for steps in msmarco.values():
        seconds, chain = critical_path([*steps.values()])
        assert (
            max(one.seconds or 0 for one in steps.values())
            <= seconds
            <= sum(one.seconds or 0 for one in steps.values())
        )
        assert seconds == pytest.approx(sum(one.seconds or 0 for one in chain))
        for before, after in pairwise(chain):
            assert before.address in after.after
    assert critical_path([]) == (0.0, [])


def test_a_part_is_done_by_one_task(monkeypatch):
    monkeypatch.setattr(cluster, "JOB_SECONDS", 0)
    monkeypatch.setattr(cluster, "parts", lambda step, runtime: 5)
    stage = target_node(compose(["pipeline=untrained", "target=embeddings"])).stage
    step = Step("encode", {}, {}, {})
    runtime = Runtime("artifacts", device="cpu")
    walls = [cluster.divided(stage, step, 100.0, tasks, runtime) for tasks in (1, 2, 3, 5, 9)]
    assert [wall for wall, *_ in walls] == pytest.approx([100, 60, 40, 20, 20])
    assert [tasks for _, tasks, _ in walls] == [1, 2, 3, 5, 5]
    assert {held for *_, held in walls} == {100.0}


def test_kmeans_is_one_job_and_the_assignment_divides():
    initial = Step("initialise", {"backbone": {"name": "any"}, "dim": 128}, {}, {})
    inputs = {"documents": {"texts": 10**6, "characters": 100.0, "lengths": [100] * 9}}
    embeddings = Step("encode", {}, inputs, {"checkpoint": initial}, bytes=1e8 * 128 * 2)
    target = "colbertv2.compression.clustering.clustering.Clustering"
    few, many = (
        undivided(Step("centroids", {"clustering": {"_target_": target, **own}}, {}, {"embeddings": embeddings}))
        for own in ({"kmeans_iterations": 1, "sample_documents": 10}, {"kmeans_iterations": 20})
    )
    assert few < 0.001 < 0.5 < many < 1 and undivided(embeddings) == 0


def test_every_gpu_has_a_source_and_plausible_rates():
    assert len(table()) > 10
    for name, gpu in table().items():
        assert GPU.named(name) is gpu and len(gpu.source) > 10 and gpu.title
        rates = [gpu.fp32, gpu.tf32 or gpu.fp32, gpu.fp16 or math.inf]
        assert rates == sorted(rates), f"{name}: fewer bits are not slower"
        assert gpu.bf16 in (None, gpu.fp16) and 10 < gpu.memory < 300 and 100 < gpu.bandwidth < 10_000
        assert gpu.products_per_second("32-true") <= gpu.products_per_second("16-mixed") < gpu.peak("16-mixed")


def test_a_faster_gpu_is_faster_and_precision_counts():
    cost = Cost(flops=1e15)
    h100, t4 = GPU.named("h100"), GPU.named("t4")
    assert on_gpus(cost, h100, "bf16-mixed") < on_gpus(cost, h100, "32-true") < on_gpus(cost, t4, "32-true")
    assert on_gpus(cost, t4, "bf16-mixed") == on_gpus(cost, t4, "32-true"), "it has no bf16"
    assert on_gpus(cost, t4, "16-mixed", 2) == pytest.approx(on_gpus(cost, t4, "16-mixed") / 2)
    assert on_gpus(Cost(moved=1e12), h100, "32-true") == pytest.approx(1e12 / 3.35e12)


@pytest.mark.parametrize("device", ["NVIDIA A100-SXM4-80GB", "NVIDIA A100 80GB PCIe"])
def test_a_driver_s_name_is_recognised(device):
    assert GPU.recognised(device).name == "a100-80gb"
    assert GPU.recognised("NVIDIA L40S").name == "l40s" and GPU.recognised("NVIDIA L4").name == "l4"


def test_an_unknown_gpu_is_refused_with_the_names(capsys, nothing_here):
    with pytest.raises(InputError, match=r"runtime\.gpu is 'b100'; expected one of a100-40gb, .*titan-v"):
        main([*PAPER, *CLUSTER, "runtime.gpu=b100"])
    assert capsys.readouterr().out == ""


def test_a_stage_may_have_machines_of_its_own():
    runtime = SlurmSettings(Path("artifacts"), nodes=2, gpus_per_node=4, stages={"evaluate": {"gpus_per_node": 0}})
    assert Machines.of(runtime, "encode") == Machines(2, 4, GPU.named("a100-40gb"), 8)
    assert Machines.of(runtime, "evaluate") == Machines(2, 0, None, 2)
    assert Machines.of(replace(runtime, array_width=3), "encode").tasks == 3


def test_work_on_cpus_is_predicted_from_finished_runs_here(tmp_path):
    overrides = [*shrunk(tiny_folder(tmp_path / "folder"), tmp_path / "artifacts"), "runtime.device=cpu"]
    overrides += ["pipeline=untrained", "target=index"]
    rewrite_record(build(compose(overrides)), seconds=300.0)
    runtime = ["runtime=slurm", "runtime.shard_documents=10", "runtime.nodes=3"]
    config = compose([*overrides, "kmeans_seed=7", *runtime])
    steps = estimate_on_cluster([target_node(config)], runtime_of(config))
    index, centroids = steps[-1], steps[-2]
    assert steps[0].state == steps[1].state == "cached" and index.after == (centroids.address,)
    assert index.source == "measured: from 1 run here" and index.tasks == 3 and index.gpu_seconds == 0
    assert index.seconds == pytest.approx(100 + 2 * cluster.JOB_SECONDS)
    text = to_cluster_text(steps, notes_on([], Machines.of(runtime_of(config), "encode")))
    assert "to build: 2 steps, 0.00 GPU hours, about " in text and index.address in text and "assumed" not in text


def test_an_engine_that_runs_on_cpus_is_planned_so_and_holds_no_gpu_hours(tmp_path, nothing_here):
    root, on_cpus = f"runtime.root={tmp_path}", "+runtime.stages.search={gpus_per_node:0,array_width:8}"
    for engine in (["search=plaid"], ["search=xtr"]):
        search, alone = (planned(root, *engine, *more)["ranking"] for more in ([], [on_cpus]))
        assert search.source == alone.source == "from a default" and search.gpu_seconds == alone.gpu_seconds == 0
        assert search.idle_gpu_seconds > 0 == alone.idle_gpu_seconds
        assert search.tasks == alone.tasks == 8 and search.seconds == alone.seconds
    for engine in (["search=exhaustive"], ["search=cascade"]):
        search = planned(root, *engine)["ranking"]
        assert search.source.startswith("assumed: H100") and search.gpu_seconds > 0 == search.idle_gpu_seconds


def test_the_plan_tells_how_not_to_hold_gpus_that_are_idle(msmarco):
    steps = [*msmarco[1].values()]
    (line,) = (line for line in to_cluster_text(steps, []).splitlines() if line.startswith("not counted: "))
    assert "pipeline.round2.candidates" in line and "pipeline.ranking" not in line
    assert "+runtime.stages.search.gpus_per_node=0 asks for none" in line


def test_the_plan_says_what_is_declared_and_assumed(tmp_path, capsys, nothing_here):
    main([*PAPER, *CLUSTER, "runtime.nodes=4", f"runtime.root={tmp_path}"])
    out = capsys.readouterr().out
    assert "declared, not here: msmarco-passage: 8,841,823 documents of 348 characters (597.9 million vectors" in out
    assert "declared, not here: bert-base-uncased: BERT, arXiv" in out and "embeddings" in out and "encode-…" in out
    assert "assumed: H100 SXM 80 GB, bf16-mixed" in out and "assumed: H100 SXM 80 GB with 989.5 TFLOP/s" in out
    assert "longest chain: pipeline.bm25_train → " in out and " GPU hours, about " in out


def test_the_plan_still_fits_the_training_that_calibrates_it(nothing_here):
    (row,) = [row for row in REPORTED if row.calibrates]
    assert off_by(row, row.predicted()) < 1.05
