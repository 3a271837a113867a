"""The parts of a divided stage on disk: which are done, whose attempts failed, and how a process does some of them.

All of this is in a hidden directory inside the directory that the stage fills; it is removed before the artifact is
sealed::

    .parts/prepared.json                 what ``Runtime.once`` returned, and the names of the files it left
    .parts/1c6e4dcb6e/                   named after the layout of the parts, so that layouts never mix
    .parts/1c6e4dcb6e/number.json        how many parts there are
    .parts/1c6e4dcb6e/00003/             the files of part 3, which is done
    .parts/1c6e4dcb6e/00003.lease        held by the worker that does part 3
    .parts/1c6e4dcb6e/00003.….failure.json   why an attempt at part 3 failed, where and when
    .parts/1c6e4dcb6e/finishing          the stage has begun to turn parts into its final files
"""

import json
import os
import platform
import shutil
import time
import traceback
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path
from typing import Any

from colbertv2.errors import InputError
from colbertv2.files import atomic_path, flush_to_disk, read_json, sha256, write_json
from colbertv2.lease import Lease, LeaseLost, held
from colbertv2.lifetime import owner

Taken = Generator[tuple[int, Callable[[], None]], None, None]

PARTS = ".parts"
PREPARED = "prepared.json"
NUMBER = "number.json"
ATTEMPTS = 3  # at one part, on any node, before the stage fails
BAD_PARTS = 2  # different parts that failed on a node before it takes no more
WAIT = 2.0  # seconds until a worker looks again whether a part that another holds is done or free
LOG_LINES = 10  # of an error's traceback that are recorded
NAMED = 5  # absent parts that an error names


class PartsFailed(RuntimeError):
    """Parts are absent, and their failures are not worth another attempt."""


@dataclass(frozen=True)
class WorkPart:
    """One part of a stage's work.

    Args:
        number: from 0.
        directory: for its files.
    """

    number: int
    directory: Path


@dataclass(frozen=True)
class Failure:
    """A failed attempt at a part.

    Args:
        part: number of the part.
        node: name of the machine.
        when: in ISO 8601.
        error: type and message of the error.
        log: the last lines of its traceback.
        final: whether another attempt would fail in the same way.
    """

    part: int
    node: str
    when: str
    error: str
    log: str
    final: bool


def progress(out: Path) -> tuple[int, int] | None:
    """How many parts are done in a directory that a stage fills, and of how many; ``None`` if it has no parts."""
    found = [path.parent for path in (out / PARTS).glob(f"*/{NUMBER}")]
    if not found:
        return None
    newest = max(found, key=lambda path: path.stat().st_mtime)
    return sum(path.name.isdecimal() for path in newest.iterdir()), read_json(newest / NUMBER)["parts"]


def wait_for_workers(out: Path) -> None:
    """Wait until no worker does a part in ``out``: what is unfinished there is then nobody's.

    Workers hold no lease of the stage. So a run on one machine that takes up their stage has to ask for their parts.
    """
    while leases := [*(out / PARTS).glob("*/*.lease")]:
        for file in leases:
            with held(file, f"part {file.stem} of {out.name}"):
                pass


def node_name() -> str:
    """The name of this machine, by Slurm if it runs here."""
    return os.environ.get("SLURMD_NODENAME") or platform.node()


class Division:
    """The parts of a stage, on disk.

    Args:
        out: the directory that the stage fills.
        number: how many parts there are.
        layout: see :func:`colbertv2.division.divide`.
    """

    def __init__(self, out: Path, number: int, layout: Mapping[str, Any]) -> None:
        self.out, self.number = out, number
        content = json.dumps({"parts": number, **layout}, sort_keys=True)
        self.path = out / PARTS / sha256(content.encode())[:10]

    def begin(self) -> None:
        """Make the directory of the parts, and note how many there are, for those who watch."""
        self.path.mkdir(parents=True, exist_ok=True)
        if not (self.path / NUMBER).exists():
            write_json(self.path / NUMBER, {"parts": self.number})

    def part(self, number: int) -> WorkPart:
        """The part with this number, in its final place."""
        return WorkPart(number, self.path / f"{number:05d}")

    def absent(self) -> list[int]:
        """The numbers of the parts that are not done."""
        present = {path.name for path in self.path.iterdir()}
        return [number for number in range(self.number) if self.part(number).directory.name not in present]

    def remove_others(self) -> None:
        """Remove the parts of other layouts."""
        for other in (self.out / PARTS).glob("*/"):
            if other != self.path and other.is_dir():
                shutil.rmtree(other, ignore_errors=True)

    def begin_to_finish(self) -> None:
        """Remove what a finish of another layout left in ``out``; once only, as this one leaves files there too."""
        begun = self.path / "finishing"
        if not begun.exists():
            self.remove_others()
            prepared = self.out / PARTS / PREPARED
            empty(self.out, read_json(prepared)["files"] if prepared.exists() else ())
            begun.touch()

    def failures(self) -> list[Failure]:
        """All recorded failures, by part and time."""
        found = [Failure(**read_json(file)) for file in self.path.glob("*.failure.json")]
        return sorted(found, key=lambda one: (one.part, one.when))

    def record(self, number: int, error: Exception) -> None:
        """Record that an attempt at a part failed here with ``error``."""
        lines = [line for text in traceback.format_exception(error) for line in text.splitlines()]
        failure = Failure(
            part=number,
            node=node_name(),
            when=datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            error=f"{type(error).__name__}: {error}",
            log="\n".join(lines[-LOG_LINES:]),
            final=isinstance(error, InputError),
        )
        name = f"{self.part(number).directory.name}.{owner()}-{time.time_ns()}.failure.json"
        write_json(self.path / name, asdict(failure))
        print(f"Part {number} of {self.number} failed on {failure.node}: {failure.error}", flush=True)

    def report(self, absent: Sequence[int]) -> str:
        """Say which parts are absent, and the last failure of each."""
        failures = {failure.part: failure for failure in self.failures()}
        times = Counter(failure.part for failure in self.failures())
        named = ", ".join(map(str, absent[:NAMED])) + (", …" if len(absent) > NAMED else "")
        lines = [f"{len(absent)} of {self.number} parts are missing in {self.path}: {named}."]
        for number in [number for number in absent if number in failures][:NAMED]:
            last = failures[number]
            lines += [f"Part {number} failed {times[number]} times, last on {last.node} at {last.when}:", last.log]
        return "\n".join([*lines, "Mend the cause and run the same command again; parts that are done are kept."])

    def claims(self) -> Taken:
        """Claim absent parts one after another until none is absent, and yield them with a check of the claim.

        While all absent parts are held by others, this waits: a part is free again when its holder ends without it.
        Parts that failed here come last, since another part may show that it is the node that fails.

        Raises:
            PartsFailed: a part has failed too often, or in a way that another attempt would not change.
        """
        while absent := self.absent():
            failures = self.failures()
            times = Counter(failure.part for failure in failures)
            final = {failure.part for failure in failures if failure.final}
            if lost := [number for number in absent if number in final or times[number] >= ATTEMPTS]:
                raise PartsFailed(self.report(lost))
            here = Counter(failure.part for failure in failures if failure.node == node_name())
            if len(here) >= BAD_PARTS:
                print(f"{node_name()} takes no more parts, as {len(here)} different parts failed here.", flush=True)
                return
            for number in sorted(absent, key=lambda number: (here[number], number)):
                if (lease := Lease.claim(self.path / f"{self.part(number).directory.name}.lease")) is not None:
                    with lease:
                        yield number, lease.check
                    break
            else:
                time.sleep(WAIT)


class Parts:
    """The parts that one process does, in the order in which it takes them. Asking for the next one ends the last.

    Args:
        division: the parts on disk.
        taken: the numbers of the parts to do, each with a function that raises if the part is no longer this process's.
        number: how many there may be, for a progress bar.

    Attributes:
        current: the number of the part that is being done.
    """

    def __init__(self, division: Division, taken: Taken, number: int) -> None:
        self.current: int | None = None
        self._number = number
        self._filled = self._fill(division, taken)
        self._first: list[WorkPart] = []

    def __len__(self) -> int:
        return self._number

    def __iter__(self) -> Iterator[WorkPart]:
        return self

    def __next__(self) -> WorkPart:
        return self._first.pop() if self._first else next(self._filled)

    def is_over(self) -> bool:
        """Whether there is no first part; otherwise it is taken before anything is loaded."""
        self._first = list(islice(self._filled, 1))
        return not self._first

    def close(self) -> None:
        """Give up the part that is being done."""
        self._filled.close()

    def _fill(self, division: Division, taken: Taken) -> Generator[WorkPart, None, None]:
        with closing(taken):
            for number, check in taken:
                final = division.part(number).directory
                if final.is_dir():
                    continue
                self.current = number
                try:
                    with atomic_path(final) as path:
                        yield WorkPart(number, path)
                        flush_to_disk(*path.rglob("*"), path)  # a part that is done survives a power cut
                        check()
                except (OSError, InputError):
                    if not final.is_dir():  # else another process has done the same part
                        raise
                self.current = None


def do_share(
    rank: int, world: int, division: Division, absent: list[int], work: Any, arguments: Any, devices: Sequence[Any]
) -> None:
    """Do every ``world``-th absent part."""
    own = absent[rank::world]
    with closing(Parts(division, ((number, lambda: None) for number in own), len(own))) as parts:
        work(parts, devices[rank % len(devices)], *arguments)  # ranks go on over the machines of a team


def do_claimed(rank: int, world: int, division: Division, work: Any, arguments: Any, devices: Sequence[Any]) -> None:
    """Claim parts and do them; after a failure, begin again with what is absent then."""
    while True:
        with closing(Parts(division, division.claims(), len(division.absent()))) as parts:
            if parts.is_over():
                return
            try:
                work(parts, devices[rank % len(devices)], *arguments)
                if parts.current is not None:
                    raise RuntimeError(f"{work.__name__} ended before its parts were done.")
            except LeaseLost as lost:
                print(lost, flush=True)
            except Exception as error:
                if parts.current is None:  # no part failed: there is none left that may be done
                    raise
                division.record(parts.current, error)
                if isinstance(error, InputError):
                    raise


def empty(out: Path, kept: Iterable[str]) -> None:
    """Remove everything in ``out`` but hidden files and ``kept``."""
    for path in out.iterdir():
        if path.name in kept or path.name.startswith("."):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
