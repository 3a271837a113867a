"""What missing artifacts will cost: seconds, memory and disk, before any of it is spent.

The table of :mod:`colbertv2.planning.work` says how long a step takes on a reference machine. How much longer it takes
here is learnt from finished artifacts of the same stage, version, kind and device; without any it is guessed from how
fast this machine multiplies matrices. A prediction never makes planning fail: what is not known is ``None``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from statistics import median
from typing import Any, NamedTuple

from colbertv2.artifacts.artifact import Artifact, location
from colbertv2.artifacts.node import Node
from colbertv2.artifacts.process import device_name, num_cores
from colbertv2.planning.work import RATE, Step, Work
from colbertv2.runtime import Runtime

BASELINE = 700_000_000  # bytes resident once everything is imported
RUNS = 3  # finished ones that a factor is the median of
LATEST = 30  # finished ones that these are chosen among
SHRINKAGE = 3.0  # seconds at the default speed that a finished run is averaged with: short runs say little
GPU_RATE = 4e13  # floating-point operations a second assumed of one GPU in 16 bits: an eighth of an A100's peak
BENCHMARK_SECONDS = 0.2


@dataclass(frozen=True)
class StepCost:
    """A step of a plan with what is known of its cost.

    Args:
        key: where it stands in the configuration. address: name of its artifact.
        state: ``cached``, ``missing``, or ``not needed``: missing, but everything that reads it is there.
        seconds, memory, disk: ``None`` for what is unknown and for what will not be built. Memory is that of the
            whole process, at its peak.
        source: where the seconds come from.
    """

    key: str
    address: str
    state: str
    seconds: float | None = None
    memory: float | None = None
    disk: float | None = None
    source: str = ""


class FinishedRun(NamedTuple):
    """What a finished artifact took, and the work that it was; ``None`` where the table does not know its stage."""

    version: int
    device: str
    seconds: float
    memory: float
    disk: float
    work: Work | None


class Predictor:
    """Predicts steps from the finished artifacts under ``runtime.root``."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.steps: dict[str, Step] = {}

    def predict(self, node: Node) -> tuple[float, float, float, str] | None:
        """Seconds, memory and disk of building ``node``, and where the seconds come from; ``None`` if unknown."""
        work = quietly(lambda: Step.of_node(node, self.finished_bytes, self.steps).work)
        alike = [
            run
            for run in self.runs(node.stage.name)
            if (run.version, run.device, run.work and run.work.kind)
            == (node.stage.version, self.device, work and work.kind)
        ]
        source = f"from {min(len(alike), RUNS)} run{'s' if len(alike) > 1 else ''} here"
        if work is None:
            if not alike:
                return None
            latest = alike[:RUNS]
            return (*(median(getattr(run, name) for run in latest) for name in ("seconds", "memory", "disk")), source)
        default, memory = self.default_seconds(work), BASELINE + work.memory
        if not alike:
            return default, memory, work.disk, "from a default"

        def distance(run: FinishedRun) -> float:
            sizes = [one.reference_seconds + SHRINKAGE for one in (run.work, work) if one]
            return max(sizes) / min(sizes)

        nearest = sorted(alike[:LATEST], key=distance)[:RUNS]
        slower = median(
            (run.seconds + SHRINKAGE) / (self.default_seconds(run.work) + SHRINKAGE) for run in nearest if run.work
        )
        larger = median(run.memory / (BASELINE + run.work.memory) for run in nearest if run.work)
        return default * slower, memory * larger, work.disk, source

    def default_seconds(self, work: Work) -> float:
        """Seconds on this machine if it is slower than the reference machine in everything alike."""
        if self.runtime.device_type == "cuda":
            return work.flops / (GPU_RATE * self.runtime.devices) + work.seconds
        return work.reference_seconds * RATE / products_per_second(self.runtime.threads or num_cores())

    def finished_bytes(self, node: Node) -> float | None:
        """Bytes of a node's artifact, if it is there."""
        path = location(self.runtime.root, node.address)
        return Artifact.open(path).record["bytes"] if Artifact.present(path) else None

    @cached_property
    def device(self) -> str:
        """What computes."""
        return device_name(self.runtime)

    @cached_property
    def runs(self) -> Callable[[str], list[FinishedRun]]:
        """The finished runs of a stage, latest first, without those that went on where another was interrupted."""

        @cache
        def read(stage: str) -> list[FinishedRun]:
            directories = [path for path in (self.runtime.root / stage).glob(f"{stage}-*") if Artifact.present(path)]
            directories.sort(key=lambda path: path.stat().st_mtime, reverse=True)
            runs = (quietly(lambda path=path: finished_run(Artifact.open(path))) for path in directories[: 2 * LATEST])
            return [run for run in runs if run is not None]

        return read


def finished_run(artifact: Artifact) -> FinishedRun | None:
    """What an artifact's record tells; ``None`` of a resumed run."""
    record = artifact.record
    if record["resumed"]:
        return None
    work = quietly(lambda: Step.of_artifact(artifact).work)
    return FinishedRun(
        record["version"], record["device"], record["seconds"], record["peak_memory"], record["bytes"], work
    )


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
    predictor = Predictor(runtime)
    targets = list(nodes)
    steps = {step.address: step for target in targets for step in target.lineage()}
    present = {address for address in steps if Artifact.present(location(runtime.root, address))}
    needed: set[str] = set()

    def need(node: Node) -> None:
        if node.address not in present | needed:
            needed.add(node.address)
            for parent in node.parents.values():
                need(parent)

    for target in targets:
        need(target)

    def line(node: Node) -> StepCost:
        if node.address not in needed:
            return StepCost(node.key, node.address, "cached" if node.address in present else "not needed")
        known = predictor.predict(node)
        return StepCost(node.key, node.address, "missing", *(known or (None, None, None, "unknown")))

    return [line(node) for node in steps.values()]
