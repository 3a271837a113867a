"""Predict what missing artifacts will cost on a cluster: GPU hours, wall time, memory of a task, and disk.

Three kinds of figures meet here, and each step says which it has. *Measured*: work on CPUs, from finished runs on this
machine. *Declared*: sizes of data that are not here. *Assumed*: the rate of a GPU, which is its peak by the vendor's
data sheet times a share that one published training reached; the constants below; and that no job waits in a queue.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from colbertv2.artifacts.node import Node
from colbertv2.artifacts.stage import Stage
from colbertv2.planning.declared import stand_ins
from colbertv2.planning.gpus import DEFAULT, GPU
from colbertv2.planning.prediction import Predictor, StepCost, on_gpus, quietly, states
from colbertv2.planning.transformers import transformer
from colbertv2.planning.work import RATE, Cost, Step, undivided
from colbertv2.runtime import Runtime
from colbertv2.search.engine import Engine

JOB_SECONDS = 30  # until a job that has started computes: imports from a shared file system, and the model
NODE_LINK, NETWORK = 5e10, 1.25e10  # bytes per second between the GPUs of a node, and between nodes (100 Gbit/s)
ON_GPU = ("encode", "streamed", "train", "teacher", "score", "centroids", "search", "pools", "rerank", "single_vector")
DIVIDED_BY_QUERIES = ("score", "search")


@dataclass(frozen=True)
class Machines:
    """What the jobs of one stage get.

    Args:
        nodes: machines.
        gpus_per_node: GPUs of each; 0 computes on CPUs.
        gpu: their kind; ``None`` without GPUs.
        tasks: tasks of a stage that divides.
    """

    nodes: int
    gpus_per_node: int
    gpu: GPU | None
    tasks: int

    @classmethod
    def of(cls, runtime: Any, stage: str) -> Machines:
        """The machines that the runtime of a cluster gives to a stage, by its method ``resources``.

        Raises:
            InputError: the runtime names an unknown GPU.
        """
        own = runtime.resources(stage)
        gpu = GPU.named(own.gpu or DEFAULT) if own.gpus_per_node else None
        return cls(own.nodes, own.gpus_per_node, gpu, own.tasks)


@dataclass(frozen=True)
class ClusterCost(StepCost):
    """A step of a plan with its estimated cost on a cluster; ``seconds`` are from its first job to its last.

    Args:
        tasks: how many tasks work on it at the same time.
        gpu_seconds: GPUs that its jobs hold, times the seconds they hold them.
        idle_gpu_seconds: the same if its engine searches on CPUs; these are not in ``gpu_seconds``.
        after: the addresses of the missing steps that it waits for.
    """

    tasks: int = 1
    gpu_seconds: float = 0.0
    idle_gpu_seconds: float = 0.0
    after: tuple[str, ...] = ()


def is_cluster(runtime: Runtime) -> bool:
    """Whether a runtime distributes stages over the nodes of a cluster, so that stages have resources."""
    return hasattr(runtime, "resources")


def estimate_on_cluster(nodes: Iterable[Node], runtime: Runtime) -> list[ClusterCost]:
    """As ``estimate_nodes``, for the runtime of a cluster.

    Raises:
        InputError: the runtime names an unknown GPU.
    """
    steps = states([*nodes], runtime.root)
    missing = {node.address: node for node, state in steps if state == "missing"}
    here = Runtime(runtime.root, device="cpu", threads=runtime.threads, shard_documents=runtime.shard_documents)
    predictor = Predictor(here, missing.values())
    costs = []
    for node, state in steps:
        found = ClusterCost(node.key, node.address, state, declared=bool(stand_ins(node)), source="unknown")
        if state == "missing":
            after = tuple(dict.fromkeys(one.address for one in node.parents.values() if one.address in missing))
            machines = Machines.of(runtime, node.stage.name)
            found = replace(found, after=after, **estimate(node, machines, predictor))
        costs.append(found)
    return costs


def estimate(node: Node, machines: Machines, predictor: Predictor) -> dict[str, Any]:
    """The fields of a ``ClusterCost`` that say what one step costs; nothing if it can't be estimated."""
    step: Step | None = quietly(lambda: predictor.step(node))
    table: Cost | None = quietly(lambda: step and step.cost)
    engine = node.bound.get("engine")
    searches_on_cpus = isinstance(engine, Engine) and not engine.uses_gpu
    gpu = machines.gpu if node.stage.name in ON_GPU and not searches_on_cpus else None
    if gpu and step and table:
        cost, source = scanned(engine, table), f"assumed: {gpu.title}, {step.precision}"
        cost = replace(cost, seconds=on_gpus(cost, gpu, step.precision))
    else:
        cost, source = predictor.predict(node) or (None, "unknown")
        source = f"measured: {source}" if " run" in source else source
    if cost is None:
        return {}
    if step and table and node.stage.spans_nodes and step.arguments.get("recipe"):  # a released teacher has none
        wall, tasks, memory = training(step, cost, machines, gpu)
        held = wall * tasks
    else:
        wall, tasks, held = divided(node.stage, step, cost.seconds, machines.tasks, predictor.runtime)
        memory = cost.memory
    held *= bool(machines.gpus_per_node)
    gpu_seconds = {"idle_gpu_seconds" if searches_on_cpus else "gpu_seconds": held}
    sizes = {"memory": memory, "disk": cost.disk, "source": source}
    return {"seconds": wall, "tasks": tasks, **gpu_seconds, **sizes}


def divided(stage: Stage, step: Step | None, seconds: float, tasks: int, runtime: Runtime) -> tuple[float, int, float]:
    """The wall time of a stage, its tasks, and the seconds that all its jobs take together.

    Args:
        seconds: how long one task would take alone.
        tasks: how many there are if it divides.
        runtime: says how many documents a part has.
    """
    number = quietly(lambda: step and parts(step, runtime)) if stage.divided else None
    if not step or not number:
        return seconds + JOB_SECONDS, 1, seconds + JOB_SECONDS
    first, tasks = undivided(step), min(tasks, number)
    jobs = 2 + (first > 0)  # one prepares, if there is something to prepare; some work; one finishes
    wall = seconds * (first + (1 - first) * math.ceil(number / tasks) / number) + JOB_SECONDS * jobs
    return wall, tasks, seconds + JOB_SECONDS * (jobs - 1 + tasks)


def training(step: Step, cost: Cost, machines: Machines, gpu: GPU | None) -> tuple[float, int, float]:
    """The wall time of a training, its tasks, and the memory of one of them.

    The tasks divide each batch, and exchange gradients after it.
    """
    recipe = step.arguments["recipe"]
    tasks = max(1, min(machines.nodes * max(1, machines.gpus_per_node), recipe["batch_size"]))
    share = {**recipe, "batch_size": recipe["batch_size"] / tasks}
    part = Step(step.stage, {**step.arguments, "recipe": share}, step.inputs, step.parents)
    link = NODE_LINK if tasks <= machines.gpus_per_node else NETWORK
    exchanged = 2 * transformer(step.backbone)[1] * (tasks - 1) / tasks * recipe["optimization"]["steps"]
    busy = on_gpus(step.cost, gpu, step.precision, tasks) if gpu else cost.seconds / tasks
    return busy + exchanged / link + JOB_SECONDS, tasks, part.cost.memory


def scanned(engine: object, cost: Cost) -> Cost:
    """A cost whose seconds are operations of a GPU, if the step is a search by an engine that scans vectors there."""
    if not isinstance(engine, Engine) or engine.needs_centroids or not engine.uses_gpu:
        return cost
    return replace(cost, seconds=0.0, flops=cost.flops + cost.seconds * RATE)


def parts(step: Step, runtime: Runtime) -> int:
    """The number of parts of a stage that divides; queries are taken one by one."""
    documents = step.stage not in DIVIDED_BY_QUERIES
    number = step.texts("documents") / runtime.shard_documents if documents else step.texts("queries")
    return max(1, math.ceil(number))


def critical_path(steps: Sequence[ClusterCost]) -> tuple[float, list[ClusterCost]]:
    """The seconds from the start to the end of all missing steps, and the longest chain of steps that wait.

    Args:
        steps: parents first.
    """
    ends: dict[str, float] = {}
    chains: dict[str, list[ClusterCost]] = {}
    for step in steps:
        if step.state == "missing":
            last = max(step.after, key=lambda address: ends[address], default=None)
            ends[step.address] = (ends[last] if last else 0.0) + (step.seconds or 0.0)
            chains[step.address] = [*(chains[last] if last else []), step]
    longest = max(ends, key=lambda address: ends[address], default=None)
    return (ends[longest], chains[longest]) if longest else (0.0, [])
