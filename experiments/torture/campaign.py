"""A campaign: numbered cases of one kind of torture, each seeded by its number, and what came of every one.

A part is a module with

- ``COUNT``: how many cases ``make torture`` runs;
- ``prepare(work) -> setting``: what all cases share, made once under ``work`` and reused when it is there;
- ``run(setting, random, work) -> Outcome``: one case. It must not leave anything behind that the next one sees.
"""

import random
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path

from colbertv2.files import read_json, write_json

Digests = dict[str, dict[str, str]]  # of every file, by address
TIMES = "timing.json"  # the one file of an artifact that no two builds have alike

GOOD = ("same", "refused", "unrecorded")
BAD = ("silent", "traceback", "crash", "hang", "orphan", "differs")


@dataclass(frozen=True)
class Outcome:
    """What one case ended in.

    Args:
        kind: what was done to what, without numbers, so that cases can be counted: ``flipped byte in codes.npy``.
        verdict: of ``GOOD``: ``same`` (the right result) or ``refused`` (a clear error that names the fault). Of
            ``BAD``: ``silent`` (another result without a word), ``traceback``, ``crash`` (the interpreter died),
            ``hang`` (no end in time), ``orphan`` (a process or a temporary directory was left), ``differs`` (a
            repeated build has another digest).
        detail: what a reader needs to see the case again: place, message, last lines.
    """

    kind: str
    verdict: str
    detail: str = ""

    def __post_init__(self) -> None:
        if self.verdict not in GOOD + BAD:
            raise ValueError(f"{self.verdict!r} is no verdict; expected one of {GOOD + BAD}.")


def run_part(name: str, work: Path, seed: int, count: int | None = None) -> list[Outcome]:
    """Run the cases of a part that ``work`` has no outcome of, and return the outcomes of all of them.

    Args:
        name: of a module of this package.
        work: a directory that is the part's own; outcomes lie in ``outcomes-<seed>.json`` after every case.
        count: number of cases; the part's ``COUNT`` if ``None``.
    """
    part = import_module(f"experiments.torture.{name}")
    work.mkdir(parents=True, exist_ok=True)
    record = work / f"outcomes-{seed}.json"
    found = {number: Outcome(**outcome) for number, outcome in _recorded(record)}
    numbers = range(count or part.COUNT)
    if missing := [number for number in numbers if number not in found]:
        setting = part.prepare(work)
        for number in missing:
            started = time.perf_counter()
            outcome = part.run(setting, random.Random(f"{seed}/{name}/{number}"), work)
            found[number] = outcome
            write_json(record, {str(number): asdict(one) for number, one in sorted(found.items())})
            seconds = time.perf_counter() - started
            print(f"{name} {number}: {outcome.verdict} ({seconds:.1f} s): {outcome.kind}. {outcome.detail}", flush=True)
    return [found[number] for number in numbers]


def _recorded(record: Path) -> Iterator[tuple[int, dict[str, str]]]:
    if record.is_file():
        for number, outcome in read_json(record).items():
            yield int(number), outcome


def digests(root: Path) -> Digests:
    """The SHA-256 of every file of every artifact under ``root``, but for those that hold times."""
    records = {file.parent.name: read_json(file)["sha256"] for file in sorted(root.glob("*/*/artifact.json"))}
    return {name: {file: one for file, one in found.items() if file != TIMES} for name, found in records.items()}
