"""What is submitted, without Slurm: resources, options of sbatch, names, and what a job receives."""

import pickle
import re
from pathlib import Path

import pytest

from colbertv2.artifacts.node import Node
from colbertv2.cluster import slurm, watch
from colbertv2.cluster.jobs import name_of, options, phases_of, prefix_of
from colbertv2.cluster.runtime import SlurmRuntime
from colbertv2.cluster.settings import Resources
from colbertv2.cluster.slurm import NoAnswer, Queued
from colbertv2.cluster.task import Task
from colbertv2.configuration.composition import compose, runtime_of
from colbertv2.configuration.targets import target_node
from colbertv2.errors import InputError
from tests.support import shrunk, tiny_folder


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Node:
    """The target of a small pipeline with a training, an encoding and an index."""
    directory = tmp_path_factory.mktemp("cluster")
    words = shrunk(tiny_folder(directory / "folder"), directory / "artifacts")
    return target_node(compose([*words, "pipeline=round1", "target=metrics"]))


def step(node: Node, stage: str) -> Node:
    return next(one for one in node.lineage() if one.stage.name == stage)


def test_a_stage_can_have_resources_of_its_own(tmp_path: Path):
    runtime = SlurmRuntime(tmp_path, gpus_per_node=4, stages={"centroids": {"memory_gb": 200.0, "gpus_per_node": 0}})
    assert runtime.resources("encode").memory_gb == 16.0
    assert runtime.resources("centroids") == Resources(memory_gb=200.0, gpus_per_node=0)


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ({"encode": {"memory": 3}}, "runtime.stages.encode: no value 'memory'; known: account, array_width"),
        ({"encode": {"nodes": 0}}, "runtime.stages.encode: 'nodes' is 0; expected a whole number of at least 1."),
    ],
)
def test_wrong_resources_are_refused(tmp_path: Path, stages: dict[str, dict[str, int]], message: str):
    with pytest.raises(InputError, match=re.escape(message)):
        SlurmRuntime(tmp_path, stages=stages)


def test_the_configuration_reaches_the_options_of_sbatch(node: Node, tmp_path: Path):
    words = ["runtime=slurm", "runtime.nodes=2", "runtime.gpus_per_node=4", "runtime.partition=gpu", "runtime.hours=2"]
    runtime = runtime_of(compose([*words, "+runtime.stages.train.memory_gb=64", "+runtime.extra.qos=high"]))
    assert isinstance(runtime, SlurmRuntime)
    train = step(node, "train")
    found = options(train, "all", runtime.resources("train"), tmp_path / ".slurm", "afterok:7")
    expected = {"partition": "gpu", "nodes": 2, "ntasks_per_node": 1, "gpus_per_node": 4, "mem": "65536M", "time": 120}
    assert {name: found[name] for name in expected} == expected
    assert found["dependency"] == "afterok:7"
    assert found["additional_parameters"] == {"requeue": True, "kill-on-invalid-dep": "yes", "qos": "high"}
    encode = options(step(node, "encode"), "work", runtime.resources("encode"), tmp_path / ".slurm", "")
    assert (encode["nodes"], encode["ntasks_per_node"], encode["gpus_per_node"]) == (1, 1, 1)
    assert "dependency" not in encode
    assert runtime.resources("encode").tasks == 8
    evaluate = options(step(node, "evaluate"), "all", runtime.resources("evaluate"), tmp_path / ".slurm", "")
    assert "gpus_per_node" not in evaluate


def test_a_divided_stage_has_a_phase_for_its_parts(node: Node):
    assert phases_of(step(node, "encode").stage) == ("work", "finish")
    assert phases_of(step(node, "index").stage) == ("prepare", "work", "finish")
    assert phases_of(step(node, "evaluate").stage) == ("all",)


def test_names_tell_roots_and_phases_apart():
    one, other = Path("/a"), Path("/b")
    assert prefix_of(one) != prefix_of(other)
    assert name_of(one, "encode-1", "finish") == name_of(one, "encode-1") == f"{prefix_of(one)}encode-1"
    assert name_of(one, "encode-1", "work") == f"{prefix_of(one)}encode-1.work"


def test_a_job_receives_the_graph_without_the_data(node: Node, tmp_path: Path):
    """The pickle of a node has its address, and none of the collections that validation has read."""
    _ = node.bound, [one.bound for one in node.lineage()]
    task = Task(node, "all", SlurmRuntime(tmp_path))
    sent = pickle.dumps(task)
    assert len(sent) < 200_000
    received = pickle.loads(sent)
    assert received.node.address == node.address
    assert [one.address for one in received.node.lineage()] == [one.address for one in node.lineage()]
    assert received.node.stage.function is node.stage.function
    assert not any("instance" in vars(leaf) for leaf in received.node.values.values() if hasattr(leaf, "target"))


def test_a_job_computes_by_the_settings_of_the_run_without_the_cluster(node: Node, tmp_path: Path):
    runtime = SlurmRuntime(tmp_path, threads=3, shard_documents=7, progress=True, gpus_per_node=4)
    inside = runtime.inside(step(node, "encode"), "work")
    assert not isinstance(inside, SlurmRuntime)
    assert (inside.threads, inside.shard_documents, inside.phase, inside.progress) == (3, 7, "work", False)
    assert (inside.devices, runtime.inside(step(node, "train"), "all").devices) == (1, 4)


def test_a_machine_without_slurm_is_told_so(monkeypatch: pytest.MonkeyPatch, node: Node, tmp_path: Path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="runtime=slurm needs Slurm's commands, but sbatch, srun"):
        SlurmRuntime(tmp_path).provide([node])


def test_the_state_of_a_stage_is_told_from_the_queue(monkeypatch: pytest.MonkeyPatch, node: Node, tmp_path: Path):
    runtime, encode = SlurmRuntime(tmp_path), step(node, "encode")
    name = name_of(runtime.root, encode.address, "work")
    queued = [
        Queued("7", 0, name, "RUNNING", "n1", "None"),
        Queued("7", 1, name, "PENDING", "", "Resources"),
        Queued("8", None, name_of(runtime.root, encode.address), "PENDING", "", "Dependency"),
    ]
    monkeypatch.setattr(watch, "queue", lambda prefix: queued)
    running, unknown = watch.states([encode, node], runtime)
    assert running.text() == "runs on n1"
    assert unknown.failed and unknown.text() == "no job"
    monkeypatch.setattr(watch, "progress", lambda out: (3, 36))
    assert watch.states([encode], runtime)[0].text() == "tasks: 1 running, 1 waiting; 3 of 36 parts"
    one_task = [Queued("7", None, name, "RUNNING", "n1", "None"), queued[2]]  # no array
    monkeypatch.setattr(watch, "queue", lambda prefix: one_task)
    assert watch.states([encode], runtime)[0].text() == "tasks: 1 running, 0 waiting; 3 of 36 parts"
    monkeypatch.setattr(watch, "queue", lambda prefix: queued[1:])
    assert watch.states([encode], runtime)[0].text() == "waits: for free machines, for what it reads"


def test_waiting_outlasts_a_controller_that_is_down(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], node: Node, tmp_path: Path
):
    name = name_of(tmp_path, node.address)
    answers = [NoAnswer("squeue failed: no controller"), NoAnswer("squeue failed: still none")]
    answers += [[Queued("7", None, name, "RUNNING", "n1", "None")], []]

    def answer(prefix: str) -> object:
        if isinstance(one := answers.pop(0) if answers else [], Exception):
            raise one
        return one

    monkeypatch.setattr(watch, "queue", answer)
    monkeypatch.setattr(watch, "PAUSE", 0.01)
    monkeypatch.setattr(watch, "VISIBLE", 0.0)
    watch.wait([node], SlurmRuntime(tmp_path))
    said = capsys.readouterr().err
    assert said.count("Slurm does not answer; waiting for it. squeue failed: no controller") == 1
    assert "runs on n1" in said and not answers
    assert "was not built" in str(watch.failed_here.pop(node.address))
    monkeypatch.setattr(watch, "OUTAGE", 0.0)
    answers += [NoAnswer("squeue failed: none"), NoAnswer("squeue failed: none")]
    with pytest.raises(InputError, match="squeue failed"):
        watch.wait([node], SlurmRuntime(tmp_path))


def test_squeue_is_read(monkeypatch: pytest.MonkeyPatch):
    said = ["12|3|RUNNING|n2|None|colbertv2-1-encode-a.work", "13|N/A|PENDING||Dependency|colbertv2-1-x"]
    said += ["14|N/A|PENDING||None|other"]
    monkeypatch.setattr(slurm, "command", lambda *words: "\n".join(said))
    assert slurm.queue("colbertv2-1-") == [
        Queued("12", 3, "colbertv2-1-encode-a.work", "RUNNING", "n2", "None"),
        Queued("13", None, "colbertv2-1-x", "PENDING", "", "Dependency"),
    ]
