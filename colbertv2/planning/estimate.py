"""What missing artifacts will cost: seconds, memory and disk, before any of it is spent.

A stage may define, beside ``run``, a function ``cost(estimates, **arguments) -> Cost``: the arguments are those of
``check`` (components as instances, parents as nodes), and ``estimates`` tells the sizes of what parents hold, from
their own ``cost`` or, where they are finished, from what they are. So sizes pass down the graph, from the number of
documents to that of vectors and the bytes of an index.

``Cost`` says how long a step takes on a reference machine. How much longer it takes here is learnt from finished
artifacts of the same stage, kind and device, each of which records what it was predicted and what it took. Without any
it is guessed from how fast this machine multiplies matrices. An estimate never makes planning fail: what can't be told
is ``None``.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from statistics import median
from typing import Any

import torch

from colbertv2.artifacts.artifact import RECORD, Artifact, location
from colbertv2.artifacts.node import Node
from colbertv2.planning.machine import cpu_share, device_name, free_disk, free_memory, peak_memory, products_per_second
from colbertv2.runtime import Runtime

REFERENCE_FLOPS = 1e11  # a second, of float32 matrix products: about two cores of a server
BASELINE = 800_000_000  # bytes resident once all is imported (650 MB), and what the allocator keeps of earlier steps
RUNS = 3  # finished ones that a rate is the median of
LATEST = 30  # finished ones that these are chosen among
SHRINKAGE = 3.0  # seconds of work by the default rate that a finished run is averaged with: short ones tell little


class Unknown(LookupError):
    """The size of something is not known before it is built."""


@dataclass(frozen=True)
class Cost:
    """What one step takes, beside a process that has imported everything.

    Args:
        flops: floating-point operations on the device, as many as a plain float32 product does in the same time.
        cpu_flops: the same on the processor, whatever the device: faiss, compiled loops.
        seconds: what takes time beside these on the reference machine: loading, tokenising, writing.
        memory: bytes of main memory held at the peak.
        disk: bytes written.
        sizes: what later steps ask for, such as ``vectors`` and ``dim``.
        kind: steps of one stage and kind are alike but for their size.
    """

    flops: float = 0.0
    cpu_flops: float = 0.0
    seconds: float = 0.0
    memory: float = 0.0
    disk: float = 0.0
    sizes: dict[str, float] = field(default_factory=dict)
    kind: str = ""

    @property
    def work(self) -> float:
        """Seconds on the reference machine."""
        return (self.flops + self.cpu_flops) / REFERENCE_FLOPS + self.seconds


@dataclass(frozen=True)
class Estimate:
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


class Estimates:
    """Costs and sizes of nodes, each computed once.

    Args:
        runtime: whose root holds finished artifacts, and whose device will compute.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.costs: dict[str, Cost | None] = {}

    def cost(self, node: Node) -> Cost | None:
        """What its stage says; ``None`` if it says nothing, or something upstream is unknown."""
        if node.address not in self.costs:
            self.costs[node.address] = self._cost(node)
        return self.costs[node.address]

    def _cost(self, node: Node) -> Cost | None:
        if (function := node.stage.cost) is None:
            return None
        try:
            return function(self, **node.bound)
        except Exception:  # whatever is wrong, building will say it better
            return None

    def size(self, node: Node, name: str) -> float:
        """How much there is of something in what ``node`` writes.

        Raises:
            Unknown: its stage does not tell.
        """
        artifact = self.artifact(node)
        if artifact is not None and node.stage.sizes is not None and name in (exact := node.stage.sizes(artifact)):
            return exact[name]
        cost = self.cost(node)
        if cost is None or name not in cost.sizes:
            raise Unknown(f"{node.key}: {name}")
        return cost.sizes[name]

    def artifact(self, node: Node) -> Artifact | None:
        """What ``node`` has written, if it is finished."""
        path = location(self.runtime.root, node.address)
        return Artifact.open(path) if Artifact.present(path) else None

    def of(self, node: Node) -> tuple[float, float, float, str] | None:
        """Seconds, memory and disk of building ``node``, and where the seconds come from; ``None`` if unknown."""
        try:
            return self._of(node)
        except Exception:  # such as records of another version, or a GPU that is full
            return None

    def _of(self, node: Node) -> tuple[float, float, float, str] | None:
        if (cost := self.cost(node)) is None:
            return None
        memory = BASELINE + cost.memory
        alike, guess = self.alike(node, cost), self.guessed(cost)
        if not alike:
            return guess, memory, cost.disk, "from a default"
        default = guess / cost.work if cost.work else 1.0
        slower = median((run["seconds"] + SHRINKAGE * default) / (run["cost"]["work"] + SHRINKAGE) for run in alike)
        larger = median(run["peak_memory"] / run["cost"]["memory"] for run in alike)
        source = f"from {len(alike)} run{'s' if len(alike) > 1 else ''} here"
        return cost.work * slower, memory * larger, cost.disk, source

    def guessed(self, cost: Cost) -> float:
        """Seconds, by how fast this machine multiplies matrices and how busy it is.

        GPUs add up; processes on a CPU share its threads.
        """
        device, threads = self.runtime.torch_device, self.runtime.threads
        seconds, cpu_flops = 0.0, cost.cpu_flops
        if device.type == "cpu":
            cpu_flops += cost.flops
        elif cost.flops:
            devices = self.runtime.devices if device.type == "cuda" else 1
            seconds += cost.flops / (devices * products_per_second(device, threads))
        on_cpu = cost.seconds
        if cpu_flops:
            on_cpu += cpu_flops / products_per_second(torch.device("cpu"), threads)
        return seconds + on_cpu / self.cpu_share

    @cached_property
    def cpu_share(self) -> float:
        """Of the processor, what others leave."""
        return cpu_share(self.runtime.threads)

    def alike(self, node: Node, cost: Cost) -> list[dict[str, Any]]:
        """Records of the finished runs of the same stage, kind and device that are nearest in size."""
        found = [
            record
            for record in self.records(node.stage.name)
            if (record["version"], record["cost"]["kind"], record["device"])
            == (node.stage.version, cost.kind, self.device)
        ]

        def distance(record: dict[str, Any]) -> float:
            sizes = (record["cost"]["work"] + SHRINKAGE, cost.work + SHRINKAGE)
            return max(sizes) / min(sizes)

        return sorted(found[:LATEST], key=distance)[:RUNS]

    @cached_property
    def device(self) -> str:
        """What computes."""
        return device_name(self.runtime)

    @cached_property
    def records(self) -> Callable[[str], list[dict[str, Any]]]:
        """The records of a stage's finished runs that tell their cost, latest first."""

        @cache
        def read(stage: str) -> list[dict[str, Any]]:
            files = [path / RECORD for path in (self.runtime.root / stage).glob(f"{stage}-*")]
            dated = sorted(((file.stat().st_mtime, file) for file in files if file.is_file()), reverse=True)
            records = (json.loads(file.read_text(encoding="utf-8")) for _, file in dated[: 10 * LATEST])
            return [record for record in records if record.get("cost")]

        return read


def estimate_nodes(nodes: Iterable[Node], runtime: Runtime) -> list[Estimate]:
    """The steps of ``nodes`` and everything upstream, each address once, parents first, with their costs.

    What is missing only above finished artifacts is not built, so it costs nothing.
    """
    estimates = Estimates(runtime)
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

    def line(node: Node) -> Estimate:
        if node.address not in needed:
            return Estimate(node.key, node.address, "cached" if node.address in present else "not needed")
        known = estimates.of(node)
        return Estimate(node.key, node.address, "missing", *(known or (None, None, None, "unknown")))

    return [line(node) for node in steps.values()]


def measured(node: Node, runtime: Runtime, whole: bool) -> dict[str, Any]:
    """What the record of a run just finished keeps for later estimates.

    Args:
        whole: whether it did all the work, rather than going on where another was interrupted.
    """
    cost = Estimates(runtime).cost(node) if whole else None
    kept = {"work": cost.work, "memory": BASELINE + cost.memory, "kind": cost.kind} if cost else None
    return {"device": device_name(runtime), "peak_memory": peak_memory(), "cost": kept}


def to_text(steps: Sequence[Estimate], runtime: Runtime) -> str:
    """The plan as lines of text: a step each, then the sum over what is missing, and what there is too little of."""
    key, address = (max(len(getattr(step, name)) for step in steps) for name in ("key", "address"))
    lines = [f"{step.key:{key}}  {step.address:{address}}  {_columns(step)}".rstrip() for step in steps]
    missing = [step for step in steps if step.state == "missing"]
    if not missing:
        return "\n".join([*lines, "to build: nothing"])
    known = [step for step in missing if step.seconds is not None]
    total = f"to build: {len(missing)} step{'s' if len(missing) > 1 else ''}"
    if known:
        memory, disk = max(step.memory or 0 for step in known), sum(step.disk or 0 for step in known)
        seconds = sum(step.seconds or 0 for step in known)
        total += f", about {duration(seconds)}, {byte_size(memory)} of memory, {byte_size(disk)} of disk"
        shortages = []
        if disk > (free := free_disk(runtime.root)):
            shortages.append(f"{byte_size(free)} of disk free is too little")
        if (free := free_memory()) is not None and memory > free:
            shortages.append(f"{byte_size(free)} of memory free is too little")
        total += f" ({'; '.join(shortages)})" if shortages else ""
    if unknown := len(missing) - len(known):
        total += f"; {unknown} of them unknown (?), not counted"
    return "\n".join([*lines, total])


def _columns(step: Estimate) -> str:
    if step.state != "missing":
        return step.state
    if step.seconds is None or step.memory is None or step.disk is None:
        return f"missing  {'?':>12}  {'?':>8}  {'?':>8}"
    sizes = f"{byte_size(step.memory):>8}  {byte_size(step.disk):>8}"
    return f"missing  {duration(step.seconds):>12}  {sizes}  {step.source}"


def duration(seconds: float) -> str:
    """Seconds in words, as exact as an estimate can be.

    >>> duration(0.04), duration(9.31), duration(160), duration(7500), duration(200_000)
    ('0.1 s', '9.3 s', '2 min 40 s', '2 h 5 min', '2 d 8 h')
    """
    if seconds < 60:
        return f"{max(seconds, 0.1):.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    first = next(place for place, (_, length) in enumerate(units) if seconds >= length)
    (large, length), (small, part) = units[first : first + 2]
    whole, rest = divmod(round(seconds / part), length // part)
    return f"{whole} {large} {rest} {small}" if rest else f"{whole} {large}"


def byte_size(count: float) -> str:
    """Bytes in decimal units.

    >>> byte_size(999), byte_size(1_129_851)
    ('999 B', '1.1 MB')
    """
    size, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
