"""Print a plan with its costs, totals and shortages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from colbertv2.artifacts.process import byte_size, free_memory
from colbertv2.planning.cluster import JOB_SECONDS, NETWORK, ClusterCost, Machines, critical_path
from colbertv2.planning.declared import Declared
from colbertv2.planning.gpus import PEAK_SHARE
from colbertv2.planning.prediction import StepCost
from colbertv2.refusals import free_disk
from colbertv2.runtime import Runtime


def to_text(steps: Sequence[StepCost], runtime: Runtime) -> str:
    """The plan as text: one line per step, then the total of the missing steps and any shortage of memory or disk."""
    lines = table(steps, _columns)
    missing = [step for step in steps if step.state == "missing"]
    if not missing:
        return "\n".join([*lines, "to build: nothing"])
    known = [step for step in missing if step.seconds is not None]
    total = f"to build: {len(missing)} step{'s' if len(missing) > 1 else ''}"
    if known:
        memory, disk = needs(known)
        seconds = sum(step.seconds or 0 for step in known)
        total += f", about {duration(seconds)}, {byte_size(memory)} of memory, {byte_size(disk)} of disk"
        short = shortages(known, runtime)
        total += f" ({'; '.join(short)})" if short else ""
    if unknown := len(missing) - len(known):
        total += f"; {unknown} of them unknown (?), not counted"
    return "\n".join([*lines, total])


def to_cluster_text(steps: Sequence[ClusterCost], notes: Sequence[str]) -> str:
    """The plan of a cluster as text: one line per step, the totals of the missing steps, the critical path, and notes.

    Args:
        steps: parents first.
        notes: what is declared and assumed; see :func:`notes_on`.
    """
    head = f"{'tasks':>5}  {'wall time':>12}  {'GPU hours':>9}  {'memory':>8}  {'disk':>8}"
    lines = table(steps, _cluster_columns, head)
    missing = [step for step in steps if step.state == "missing"]
    if not missing:
        return "\n".join([*lines[1:], "to build: nothing"])
    known = [step for step in missing if step.seconds is not None]
    memory, disk = needs(known)
    wall, path = critical_path(steps)
    hours = sum(step.gpu_seconds for step in known) / 3600
    lines += [
        f"to build: {len(missing)} step{'s' if len(missing) > 1 else ''}, {gpu_hours(hours)} GPU hours, about "
        f"{duration(wall)} if no job waits in a queue, at most {byte_size(memory)} of memory in one task, "
        f"{byte_size(disk)} of disk",
        f"longest chain: {' → '.join(step.key for step in path)}",
    ]
    if idle := [step for step in known if step.idle_gpu_seconds]:
        stages = dict.fromkeys(step.address.rpartition("-")[0] for step in idle)
        lines.append(
            f"not counted: {gpu_hours(sum(step.idle_gpu_seconds for step in idle) / 3600)} GPU hours that the jobs of "
            f"{', '.join(step.key for step in idle)} hold while their engines search on CPUs; "
            f"{', '.join(f'+runtime.stages.{stage}.gpus_per_node=0' for stage in stages)} asks for none (and "
            "array_width there for as many tasks)"
        )
    if unknown := len(missing) - len(known):
        lines.append(f"{unknown} of them unknown (?), not counted")
    return "\n".join([*lines, *notes])


def gpu_hours(hours: float) -> str:
    """GPU hours as text.

    >>> gpu_hours(0.034), gpu_hours(4.26), gpu_hours(1234.5)
    ('0.03', '4.3', '1,234')
    """
    return f"{hours:.2f}" if hours < 1 else f"{hours:.1f}" if hours < 100 else f"{hours:,.0f}"


def notes_on(stand_ins: Iterable[Declared], machines: Machines | None) -> list[str]:
    """One line for each thing that is declared or assumed in a plan.

    Args:
        stand_ins: what is not on this machine.
        machines: what the stages of a cluster get; ``None`` if the plan is not for a cluster.
    """
    sentences = dict.fromkeys(one.sentence for one in stand_ins)
    notes = [f"declared, not here: {sentence}" for sentence in sentences]
    if notes:
        notes.append("Addresses that depend on these are not known (…), so finished steps among them are not seen.")
    if machines and machines.gpu:
        gpu = machines.gpu
        notes.append(
            f"assumed: {gpu.title} with {gpu.peak('bf16-mixed') / 1e12:g} TFLOP/s in bf16-mixed and {gpu.fp32:g} in "
            f"32-true ({gpu.source}), of which a transformer reaches {PEAK_SHARE:.0%}; {NETWORK / 1e9:g} GB/s between "
            f"nodes; {JOB_SECONDS} s until a job computes."
        )
    return notes


def table(steps: Sequence[StepCost], columns: Callable[[Any], str], head: str = "") -> list[str]:
    """One line per step with its key, its address as far as it is known, and ``columns``; below ``head`` if given."""
    shown = {step.address: f"{step.address.rpartition('-')[0]}-…" if step.declared else step.address for step in steps}
    key, address = max(len(step.key) for step in steps), max(map(len, shown.values()))
    lines = [f"{step.key:{key}}  {shown[step.address]:{address}}  {columns(step)}".rstrip() for step in steps]
    return [f"{'':{key}}  {'':{address}}  {'':7}  {head}", *lines] if head else lines


def needs(steps: Sequence[StepCost]) -> tuple[float, float]:
    """The memory that the largest of these steps needs and the disk they need together, in bytes, as far as known."""
    return max((step.memory or 0 for step in steps), default=0), sum(step.disk or 0 for step in steps)


def shortages(steps: Sequence[StepCost], runtime: Runtime) -> list[str]:
    """A phrase for memory and for disk if less is free than these steps need, as far as their needs are known."""
    memory, disk = needs(steps)
    found = []
    if disk > (free := free_disk(runtime.root)):
        found.append(f"only {byte_size(free)} of disk are free")
    if (free := free_memory()) is not None and memory > free:
        found.append(f"only {byte_size(free)} of memory are free")
    return found


def _columns(step: StepCost) -> str:
    return _row(step, (12, duration(step.seconds or 0)))


def _cluster_columns(step: ClusterCost) -> str:
    hours = gpu_hours(step.gpu_seconds / 3600)
    return _row(step, (5, str(step.tasks)), (12, duration(step.seconds or 0)), (9, hours))


def _row(step: StepCost, *cells: tuple[int, str]) -> str:
    """The state of a step; if it is missing, then also ``cells`` of some width, its sizes, and its source."""
    if step.state != "missing":
        return step.state
    known = None not in (step.seconds, step.memory, step.disk)
    cells = (*cells, (8, byte_size(step.memory or 0)), (8, byte_size(step.disk or 0)))
    shown = (f"{text if known else '?':>{width}}" for width, text in cells)
    return "  ".join(["missing", *shown, step.source if known else ""])


def duration(seconds: float) -> str:
    """A duration in seconds as text, rounded to the precision of an estimate.

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
