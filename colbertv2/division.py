"""Work that is divided into parts, for several processes on one or several machines.

A stage divides its work with :meth:`colbertv2.runtime.Runtime.divide`. Each part fills a directory of its own, which is
renamed to its final name once it is complete. So a part is whole or absent, like an artifact: parts that exist are not
done again, and whatever an interrupted process left of a part does not count.

On one machine, the absent parts are divided among ``runtime.devices`` processes. On several machines, each worker
claims absent parts by leases (:mod:`colbertv2.lease`), one after another, until no part is absent.

``colbertv2.parts`` is what all of this looks like on disk.
"""

import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeVar

from colbertv2.files import flush_to_disk, read_json, write_json
from colbertv2.parts import PARTS, PREPARED, Division, PartsFailed, WorkPart, do_claimed, do_share, empty

Item = TypeVar("Item")
Phase = Literal["all", "prepare", "work", "finish"]

MAX_PARTS = 256  # so that large collections do not fill the file system with small files


class Paused(Exception):
    """The phase of this process is over. The stage ends here, and its artifact is not complete yet."""


def part_size(number: int, unit: int) -> int:
    """How many of ``number`` items make a part: a multiple of ``unit``, so that there are at most ``MAX_PARTS`` parts.

    It depends on the collection alone, so the parts are the same wherever and however they are done.

    >>> part_size(1000, 64), part_size(1_000_000, 64)
    (64, 3968)
    """
    return unit * max(1, -(-number // (unit * MAX_PARTS)))


def with_items(
    parts: Iterable[WorkPart], items: Iterable[Item], bounds: Sequence[int]
) -> Iterator[tuple[WorkPart, list[Item]]]:
    """Yield each part with its own items, which are read one after another.

    Args:
        items: the items of all parts; iterated over again if a part precedes the one before it.
        bounds: part n has the items from ``bounds[n]`` to ``bounds[n + 1]``.

    >>> [own for _, own in with_items([WorkPart(1, Path()), WorkPart(0, Path())], "abcde", [0, 2, 5])]
    [['c', 'd', 'e'], ['a', 'b']]
    """
    stream, place = iter(items), 0
    for part in parts:
        start, end = bounds[part.number], bounds[part.number + 1]
        if start < place:
            stream, place = iter(items), 0
        deque(islice(stream, start - place), maxlen=0)  # skipped
        yield part, list(islice(stream, end - start))
        place = end


def once(out: Path, learn: Callable[[], Any], phase: Phase = "all") -> Any:
    """Call ``learn``, which may leave files in ``out``, unless an earlier run has; return what it returned.

    Args:
        out: the directory that the stage fills.
        learn: returns a value that JSON can hold.
        phase: only ``all`` and ``prepare`` call it.

    Raises:
        PartsFailed: it has not been called, and ``phase`` expects that it has.
    """
    file = out / PARTS / PREPARED
    if not file.exists():
        if phase not in ("all", "prepare"):
            raise PartsFailed(f"{out} is not prepared, which must come before its parts; run the phase prepare first.")
        clear(out)
        empty(out, ())
        value = learn()
        flush_to_disk(*out.rglob("*"), out)
        write_json(file, {"value": value, "files": sorted(path.name for path in out.iterdir())})
    return read_json(file)["value"]


def divide(
    number: int,
    work: Callable[..., None],
    *arguments: Any,
    out: Path,
    devices: Sequence[Any],
    phase: Phase = "all",
    layout: Mapping[str, Any] | None = None,
) -> list[WorkPart]:
    """Do the absent ones of ``number`` parts, as far as ``phase`` asks for it, and return all parts.

    A stage does this at most once. What it does with the parts afterwards must be repeatable, as it may be interrupted:
    a file that is gone from a part has been moved before.

    Args:
        number: how many parts there are.
        work: ``work(parts, device, *arguments)`` loads what it needs, then writes the files of each of ``parts``, an
            iterable of :class:`WorkPart`, into its directory. When it asks for the next part, the one before is done.
        arguments: of ``work``; both are pickled for other processes.
        out: the directory that the stage fills. Whatever it holds of another layout is removed, except hidden files
            and what :func:`once` left.
        devices: one device per process; with a single one, everything runs in this process.
        phase: ``all`` does all parts; ``prepare`` ends before them; ``work`` does those that it can claim, and ends;
            ``finish`` expects all parts to be there.
        layout: what else the content of a part depends on besides its number and ``number``.

    Raises:
        Paused: ``phase`` ends here.
        PartsFailed: parts are absent in the phase ``finish``, or failed too often in the phase ``work``.
    """
    from colbertv2.parallel import run_on

    division = Division(out, number, layout or {})
    if phase in ("all", "prepare"):
        division.remove_others()
        forget_failures(out)
    if phase == "prepare":
        raise Paused
    division.begin()
    if phase == "work":
        run_on(len(devices), do_claimed, division, work, arguments, devices)
        raise Paused
    absent = division.absent()
    if absent and phase == "all":
        run_on(min(len(devices), len(absent)), do_share, division, absent, work, arguments, devices)
        absent = division.absent()
    if absent:
        raise PartsFailed(division.report(absent))
    division.begin_to_finish()
    return [division.part(one) for one in range(number)]


def clear(out: Path) -> None:
    """Remove everything about parts from ``out``; its own files stay."""
    shutil.rmtree(out / PARTS, ignore_errors=True)


def forget_failures(out: Path) -> None:
    """Remove the records of failures in ``out``, for a new attempt once their cause is mended."""
    for file in (out / PARTS).glob("*/*.failure.json"):
        file.unlink(missing_ok=True)
