"""Predict what missing artifacts will cost: time, memory and disk.

The measured costs of finished artifacts of the same stage, version and device are scaled to the size of the new step,
with the table of :mod:`colbertv2.planning.work`. If there are no such artifacts, the cost comes from the table alone,
scaled by the speed of matrix products on this machine, or by the peak of its GPU (:mod:`colbertv2.planning.gpus`). A
prediction never makes planning fail: unknown costs are ``None``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

from colbertv2.artifacts.artifact import Artifact, location
from colbertv2.artifacts.build import to_build
from colbertv2.artifacts.integrity import read_record
from colbertv2.artifacts.node import Node
from colbertv2.artifacts.process import device_name, num_cores
from colbertv2.artifacts.stage import Stage
from colbertv2.planning.declared import stand_ins
from colbertv2.planning.gpus import GPU
from colbertv2.planning.work import BANDWIDTH, RATE, Cost, Step
from colbertv2.runtime import Runtime

RUNS = 3  # a prediction is the median of at most so many finished runs, the nearest in size
LATEST = 60  # only this many of the latest runs are considered
TOO_FAR = math.log(2)  # a run whose size ratio is more than twice that of the nearest run is not used
BENCHMARK_SECONDS = 0.2


@dataclass(frozen=True)
class StepCost:
    """A step of a plan with its estimated cost.

    Args:
        key: its place in the configuration.
        address: name of its artifact.
        state: ``cached``, ``missing``, or ``not needed`` (missing, but everything that reads it exists).
        seconds: wall-clock time; ``None`` if unknown, or if the step will not be built.
        memory: peak memory in bytes; ``None`` in the same cases.
        disk: bytes written; ``None`` in the same cases.
        source: how the cost was estimated, for the plan.
        declared: whether its address is not known, as it reads a collection or model of which only sizes are.
    """

    key: str
    address: str
    state: str
    seconds: float | None = None
    memory: float | None = None
    disk: float | None = None
    source: str = ""
    declared: bool = False


class Predictor:
    """Predict the cost of steps from the finished artifacts under ``runtime.root``.

    Args:
        runtime: the artifact root and the device of the plan.
        nodes: the nodes that the plan will build; they also describe deleted ancestors of finished artifacts.
    """

    def __init__(self, runtime: Runtime, nodes: Iterable[Node]) -> None:
        self.runtime = runtime
        self.steps: dict[str, Step] = {}  # by address
        self.finished: dict[str, list[tuple[Cost, Step]]] = {}  # by stage
        for node in nodes:
            quietly(lambda node=node: self.step(node))

    def predict(self, node: Node) -> tuple[Cost, str] | None:
        """The cost of building ``node``, and how it was estimated; ``None`` if it can't be estimated."""
        step = quietly(lambda: self.step(node))
        wanted = self.expected(step)
        runs = [(took, self.expected(one), one.kind) for took, one in self.runs(node)]
        runs = [run for run in runs if run[1] or wanted is None]
        if not runs:
            return wanted and (wanted, "from a default")
        alike = [run for run in runs if step and run[2] == step.kind]
        nearest = [(distance(known, wanted), took, known) for took, known, _ in alike or runs]
        nearest = sorted(nearest, key=lambda run: run[0])[:RUNS]
        costs = [scaled(took, known, wanted) for far, took, known in nearest if far < nearest[0][0] + TOO_FAR]
        source = f"from {len(costs)} run{'s' * (len(costs) > 1)} {'here' if alike else 'of another kind'}"
        return Cost(*(median(values) for values in zip(*map(astuple, costs), strict=True))), source

    def expected(self, step: Step | None) -> Cost | None:
        """The cost of a step by the table, scaled to the speed of this machine; ``None`` if it is not known."""
        cost: Cost | None = quietly(lambda: step and step.cost)
        if step is None or cost is None:
            return None
        if self.runtime.device_type == "cuda":
            seconds = on_gpus(cost, GPU.recognised(device_name(self.runtime)), step.precision, self.runtime.devices)
        else:
            rate = products_per_second(self.runtime.threads or num_cores())
            seconds = (cost.seconds + cost.moved / BANDWIDTH) * RATE / rate + cost.flops / rate
        return Cost(seconds, cost.memory, cost.disk)

    def step(self, node: Node) -> Step:
        """The sizes of a node of the plan."""
        if node.address not in self.steps:
            parents = {role: self.step(parent) for role, parent in node.parents.items()}
            if not self.finished_step(node.address):
                self.steps[node.address] = Step(name_of(node.stage), node.arguments, node.sizes, parents)
        return self.steps[node.address]

    def finished_step(self, address: str) -> Step | None:
        """The sizes of a finished artifact, with those of its ancestors that are in the plan or still exist."""
        path = location(self.runtime.root, address)
        if address not in self.steps and Artifact.present(path):
            record = quietly(lambda: read_record(path))
            if record is None:
                return None
            parents = {role: self.finished_step(parent) for role, parent in record["parents"].items()}
            known = {role: step for role, step in parents.items() if step}
            stage = record.get("identity", {}).get("function", record["stage"])
            self.steps[address] = Step(stage, record["arguments"], record["inputs"], known, record["bytes"])
        return self.steps.get(address)

    def runs(self, node: Node) -> list[tuple[Cost, Step]]:
        """The measured costs and sizes of a stage's runs on this device, latest first, without resumed runs."""
        stage, folder = name_of(node.stage), node.stage.name
        if stage not in self.finished:
            wanted = {"version": node.stage.version, "device": device_name(self.runtime), "resumed": False}
            paths = [path for path in (self.runtime.root / folder).glob(f"{folder}-*") if Artifact.present(path)]
            paths.sort(key=lambda path: path.stat().st_mtime, reverse=True)
            self.finished[stage] = []
            for path in paths[:LATEST]:
                record = quietly(lambda path=path: read_record(path)) or {}
                alike = wanted == {key: record.get(key) for key in wanted}
                if alike and (step := self.finished_step(path.name)) and step.stage == stage:
                    took = Cost(record["seconds"], record["peak_memory"], record["bytes"])
                    self.finished[stage].append((took, step))
        return self.finished[stage]


def on_gpus(cost: Cost, gpu: GPU, precision: str, number: int = 1) -> float:
    """The seconds that a cost of the table takes on a ``number`` of GPUs that divide its operations."""
    rate, bandwidth = gpu.products_per_second(precision), gpu.bandwidth * 1e9
    return cost.seconds + cost.flops / (rate * number) + cost.moved / bandwidth


def name_of(stage: Stage) -> str:
    """The name by which a stage is known to plans: the full name if it is outside this package."""
    return stage.outside or stage.name


def distance(known: Cost | None, wanted: Cost | None) -> float:
    """The absolute log ratio of two times; 0 if one of them is unknown."""
    return abs(math.log(known.seconds / wanted.seconds)) if known and wanted else 0.0


def scaled(took: Cost, known: Cost | None, wanted: Cost | None) -> Cost:
    """A measured cost, scaled to another size; unchanged if one of the sizes is unknown.

    Args:
        took: the measured cost of a run.
        known: the cost of that run by the table.
        wanted: the cost of the new step by the table.
    """
    if known is None or wanted is None:
        return took
    sizes = zip(*(astuple(cost)[:3] for cost in (took, wanted, known)), strict=True)
    return Cost(*(found * new / old for found, new, old in sizes))


def quietly(function: Callable[[], Any]) -> Any:
    """The result of ``function``, or ``None`` if it raises: the build will report the problem better."""
    try:
        return function()
    except Exception:
        return None


@cache
def products_per_second(threads: int) -> float:
    """Floating-point operations per second of float32 matrix products on ``threads`` idle cores; the best of many."""
    import numpy as np
    from threadpoolctl import threadpool_limits

    left, right = np.ones((1024, 512), np.float32), np.ones((512, 512), np.float32)
    times: list[float] = []
    with threadpool_limits(threads):
        began = time.perf_counter()
        while not times or time.perf_counter() - began < BENCHMARK_SECONDS:
            start = time.process_time()
            _ = left @ right
            times.append((time.process_time() - start) / threads)
    return 2 * left.shape[0] * right.size / min(times)


def states(targets: Sequence[Node], root: Path) -> list[tuple[Node, str]]:
    """The nodes of ``targets`` and everything upstream with their states: each address once, parents first.

    Missing artifacts that only finished artifacts depend on are not built, so they are not needed.
    """
    steps = {step.address: step for target in targets for step in target.lineage()}
    needed = {node.address for node in to_build(targets, root)}
    present = {address for address in steps if Artifact.present(location(root, address))}
    state = {
        address: "missing" if address in needed else "cached" if address in present else "not needed"
        for address in steps
    }
    return [(node, state[address]) for address, node in steps.items()]


def estimate_nodes(nodes: Iterable[Node], runtime: Runtime) -> list[StepCost]:
    """The steps of ``nodes`` and everything upstream with their costs: each address once, parents first.

    What is not built costs nothing.
    """
    steps = states([*nodes], runtime.root)
    predictor = Predictor(runtime, [node for node, state in steps if state == "missing"])
    costs = []
    for node, state in steps:
        declared = bool(stand_ins(node))
        if state == "missing":
            cost, source = predictor.predict(node) or (None, "unknown")
            sizes = (cost.seconds, cost.memory, cost.disk) if cost else (None, None, None)
            costs.append(StepCost(node.key, node.address, state, *sizes, source, declared))
        else:
            costs.append(StepCost(node.key, node.address, state, declared=declared))
    return costs
