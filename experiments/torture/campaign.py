"""Campaigns: numbered cases of a part, each seeded by its number, and their outcomes.

A part is a module with

- ``COUNT``: the number of cases that ``make torture`` runs;
- ``prepare(work) -> setting``: makes what all cases share, once under ``work``, and reuses it later;
- ``run(setting, random, work) -> Outcome``: runs one case. It must leave nothing behind that affects the next one.
"""

import random
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path

from colbertv2.files import read_json, write_json

Digests = dict[str, dict[str, str]]  # address → file → SHA-256
TIMES = "timing.json"  # the only file of an artifact that differs between two builds
LOG = "log"  # how the directories of a training's logs begin

GOOD = ("same", "refused", "unrecorded")
BAD = ("silent", "traceback", "crash", "hang", "orphan", "differs")


@dataclass(frozen=True)
class Outcome:
    """The outcome of one case.

    Args:
        kind: what was done to what, without numbers, so that cases can be counted: ``flipped byte in codes.npy``.
        verdict: one of ``GOOD`` or ``BAD``. Good are ``same`` (the right result), ``refused`` (a clear error that names
            the fault) and ``unrecorded`` (another result from files that have no checksums). Bad are ``silent``
            (another result without an error), ``traceback``, ``crash`` (the interpreter died), ``hang`` (not finished
            in time), ``orphan`` (a process or a temporary directory was left), and ``differs`` (a repeated build has
            other digests).
        detail: what a reader needs to reproduce the case: place, message, last lines.
    """

    kind: str
    verdict: str
    detail: str = ""

    def __post_init__(self) -> None:
        if self.verdict not in GOOD + BAD:
            raise ValueError(f"{self.verdict!r} is not a verdict; expected one of {GOOD + BAD}.")


def run_part(name: str, work: Path, seed: int, count: int | None = None) -> list[Outcome]:
    """Run the cases of a part that have no outcome yet. Returns the outcomes of all its cases.

    Args:
        name: the name of a module of this package.
        work: the part's own directory; outcomes are stored in ``outcomes-<seed>.json`` after every case.
        seed: of all cases.
        count: the number of cases; None uses the part's ``COUNT``.
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
    """Return the SHA-256 of every file of every artifact under ``root``, without those that contain times.

    A training's log is left out too: if the training was resumed, its log has several parts.
    """
    records = {file.parent.name: read_json(file)["sha256"] for file in sorted(root.glob("*/*/artifact.json"))}
    return {
        name: {file: one for file, one in found.items() if file != TIMES and not file.startswith(LOG)}
        for name, found in records.items()
    }
