"""What missing artifacts will cost: seconds, memory and disk, before any of it is spent.

Finished artifacts of the same stage, version and device say what a step took; the table of
:mod:`colbertv2.planning.work` says how much larger or smaller the step to come is. Without any, the table alone
speaks, for a machine as much slower than its own as its matrix products are. A prediction never makes planning fail:
what is not known is ``None``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import astuple, dataclass
from functools import cache
from statistics import median
from typing import Any

from colbertv2.artifacts.artifact import Artifact, location
from colbertv2.artifacts.integrity import read_record
from colbertv2.artifacts.node import Node
from colbertv2.artifacts.process import device_name, num_cores
from colbertv2.planning.work import RATE, Cost, Step
from colbertv2.runtime import Runtime

RUNS = 3  # finished ones that a prediction is the median of
LATEST = 60  # finished ones that these are chosen among
TOO_FAR = math.log(2)  # runs that differ in size by twice as much as the nearest do not count
GPU_RATE = 4e13  # floating-point operations a second assumed of one GPU in 16 bits: an eighth of an A100's peak
BENCHMARK_SECONDS = 0.2


@dataclass(frozen=True)
class StepCost:
    """A step of a plan with what is known of its cost.

    Args:
        key: where it stands in the configuration. address: name of its artifact.
        state: ``cached``, ``missing``, or ``not needed``: missing, but everything that reads it is there.
        seconds, memory, disk: ``None`` for what is unknown and for what will not be built.
        source: where the numbers come from.
    """

    key: str
    address: str
    state: str
    seconds: float | None = None
    memory: float | None = None
    disk: float | None = None
    source: str = ""


class Predictor:
    """Predicts steps from the finished artifacts under ``runtime.root``.

    Args:
        nodes: what the plan will build; they stand for the deleted ancestors of finished artifacts.
    """

    def __init__(self, runtime: Runtime, nodes: Iterable[Node]) -> None:
        self.runtime = runtime
        self.steps: dict[str, Step] = {}  # by address
        self.finished: dict[str, list[tuple[Cost, Step]]] = {}  # by stage
        for node in nodes:
            quietly(lambda node=node: self.step(node))

    def predict(self, node: Node) -> tuple[Cost, str] | None:
        """The cost of building ``node``, and where it is known from; ``None`` if it is not."""
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
        """By the table, on a machine that is slower than the reference machine in everything alike."""
        cost: Cost | None = quietly(lambda: step and step.cost)
        if cost is None:
            return None
        on_gpu, threads = self.runtime.device_type == "cuda", self.runtime.threads or num_cores()
        rate = GPU_RATE * self.runtime.devices if on_gpu else products_per_second(threads)
        slower = 1 if on_gpu else RATE / rate
        return Cost(cost.seconds * slower + cost.flops / rate, cost.memory, cost.disk)

    def step(self, node: Node) -> Step:
        """How large a node of the plan is."""
        if node.address not in self.steps:
            parents = {role: self.step(parent) for role, parent in node.parents.items()}
            if not self.finished_step(node.address):
                self.steps[node.address] = Step(node.stage.name, node.arguments, node.sizes, parents)
        return self.steps[node.address]

    def finished_step(self, address: str) -> Step | None:
        """How large a finished artifact is; of its ancestors, those that are in the plan or still there."""
        path = location(self.runtime.root, address)
        if address not in self.steps and Artifact.present(path):
            record = quietly(lambda: read_record(path))
            if record is None:
                return None
            parents = {role: self.finished_step(parent) for role, parent in record["parents"].items()}
            known = {role: step for role, step in parents.items() if step}
            self.steps[address] = Step(record["stage"], record["arguments"], record["inputs"], known, record["bytes"])
        return self.steps.get(address)

    def runs(self, node: Node) -> list[tuple[Cost, Step]]:
        """What runs of a node's stage took on this device, latest first, without those that were resumed."""
        stage = node.stage.name
        if stage not in self.finished:
            wanted = {"version": node.stage.version, "device": device_name(self.runtime), "resumed": False}
            paths = [path for path in (self.runtime.root / stage).glob(f"{stage}-*") if Artifact.present(path)]
            paths.sort(key=lambda path: path.stat().st_mtime, reverse=True)
            self.finished[stage] = []
            for path in paths[:LATEST]:
                record = quietly(lambda path=path: read_record(path)) or {}
                if wanted == {key: record.get(key) for key in wanted} and (step := self.finished_step(path.name)):
                    took = Cost(record["seconds"], record["peak_memory"], record["bytes"])
                    self.finished[stage].append((took, step))
        return self.finished[stage]


def distance(known: Cost | None, wanted: Cost | None) -> float:
    """By what factor two costs differ, as a logarithm; 0 where one is unknown."""
    return abs(math.log(known.seconds / wanted.seconds)) if known and wanted else 0.0


def scaled(took: Cost, known: Cost | None, wanted: Cost | None) -> Cost:
    """What ``wanted`` will take if ``known`` took this: the same where the table tells no difference."""
    if known is None or wanted is None:
        return took
    sizes = zip(*(astuple(cost)[:3] for cost in (took, wanted, known)), strict=True)
    return Cost(*(found * new / old for found, new, old in sizes))


def quietly(function: Callable[[], Any]) -> Any:
    """What ``function`` returns, or ``None`` where anything is missing or wrong: building will say it better."""
    try:
        return function()
    except Exception:
        return None


@cache
def products_per_second(threads: int) -> float:
    """Floating-point operations a second of float32 matrix products on ``threads`` idle cores; the best of many."""
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


def estimate_nodes(nodes: Iterable[Node], runtime: Runtime) -> list[StepCost]:
    """The steps of ``nodes`` and everything upstream, each address once, parents first, with their costs.

    What is missing only above finished artifacts is not built, so it costs nothing.
    """
    targets = list(nodes)
    steps = {step.address: step for target in targets for step in target.lineage()}
    present = {address for address in steps if Artifact.present(location(runtime.root, address))}
    read, needed = {target.address for target in targets}, {}
    for address, node in reversed(steps.items()):
        if address in read and address not in present:
            read |= {parent.address for parent in node.parents.values()}
            needed[address] = node
    predictor = Predictor(runtime, needed.values())
    costs = []
    for address, node in steps.items():
        if address in needed:
            cost, source = predictor.predict(node) or (None, "unknown")
            sizes = (cost.seconds, cost.memory, cost.disk) if cost else (None, None, None)
            costs.append(StepCost(node.key, address, "missing", *sizes, source))
        else:
            costs.append(StepCost(node.key, address, "cached" if address in present else "not needed"))
    return costs
