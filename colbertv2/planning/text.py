"""Print a plan with its costs, totals and shortages."""

from collections.abc import Sequence

from colbertv2.artifacts.process import byte_size, free_memory
from colbertv2.planning.prediction import StepCost
from colbertv2.refusals import free_disk
from colbertv2.runtime import Runtime


def to_text(steps: Sequence[StepCost], runtime: Runtime) -> str:
    """The plan as text: one line per step, then the total of the missing steps and any shortage of memory or disk."""
    key, address = (max(len(getattr(step, name)) for step in steps) for name in ("key", "address"))
    lines = [f"{step.key:{key}}  {step.address:{address}}  {_columns(step)}".rstrip() for step in steps]
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
    if step.state != "missing":
        return step.state
    if step.seconds is None or step.memory is None or step.disk is None:
        return f"missing  {'?':>12}  {'?':>8}  {'?':>8}"
    sizes = f"{byte_size(step.memory):>8}  {byte_size(step.disk):>8}"
    return f"missing  {duration(step.seconds):>12}  {sizes}  {step.source}"


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
