"""Measures a system in its own process: time, memory, size, and the search results.

It needs only numpy, because the environments of the systems have little else. The script of a system calls ``run`` with
its functions for building and searching. The script's arguments are the working directory, the output file, the task
(``build`` or ``search``), and those of its own. The number of threads is ``OMP_NUM_THREADS``; the process uses as many
cores.
"""

import contextlib
import importlib.metadata
import json
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

K = 100
TIMED, TIMED_OF_SLOW, SLOW = 100, 20, 0.2  # queries per pass; fewer if a query takes more than SLOW seconds
PASSES, BATCH_PASSES, BUDGET = 5, 3, 15.0  # no pass begins after BUDGET seconds, except the second one by one
THREADS = int(os.environ.get("OMP_NUM_THREADS", "1"))


class Setting(NamedTuple):
    """A way to search.

    Args:
        name: its name in the tables.
        one: query ``[Lq, dim]`` → positions of documents, best first.
        many: queries ``[n, Lq, dim]`` → the same for each, with the system's own call for batches.
    """

    name: str
    one: Callable[[np.ndarray], Iterable[int]]
    many: Callable[[np.ndarray], Iterable[Iterable[int]]]


def run(
    packages: Sequence[str], index: Path, build: Callable[[], Any], settings: Callable[[], Iterable[Setting]]
) -> None:
    """Do the task of the command line and write what was measured as JSON, for a search one line per setting.

    Args:
        packages: the packages whose versions are recorded.
        index: the file or directory that ``build`` writes and ``settings`` opens.
        build: builds the index.
        settings: opens the index and returns the ways to search it.
    """
    work, out, task = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-THREADS:])
    if task == "build":
        wall, cpu = time.perf_counter(), time.process_time()
        build()
        found = {
            "build_wall_seconds": time.perf_counter() - wall,
            "build_cpu_seconds": time.process_time() - cpu,
            "build_mib": peak_memory(),
            "index_bytes": size_of(index),
            "versions": {one: importlib.metadata.version(one) for one in packages},
            "python": platform.python_version(),
        }
        out.write_text(json.dumps(found))
    else:
        queries = np.load(work / "queries.npy")
        begun = time.perf_counter()
        opened = list(settings())
        seconds = time.perf_counter() - begun
        with open(out, "w") as lines:
            for setting in opened:
                print(json.dumps({"open_seconds": seconds, **measured(setting, queries)}), file=lines, flush=True)


def measured(setting: Setting, queries: np.ndarray) -> dict[str, Any]:
    """Time a setting, one query at a time and all in one call, after a few queries that are not counted."""
    forget_peak()
    begun = time.perf_counter()
    for query in queries[:3]:
        list(setting.one(query))
    slow = time.perf_counter() - begun > 3 * SLOW
    timed = queries[: TIMED_OF_SLOW if slow else TIMED]
    singly, passes = timed_passes(lambda: [as_list(setting.one(query)) for query in timed], 2, PASSES)
    found, batches = timed_passes(lambda: [as_list(one) for one in setting.many(queries)], 1, BATCH_PASSES)
    return {
        "setting": setting.name,
        "threads": THREADS,
        "ms": 1000 * statistics.median(passes) / len(timed),
        "ms_least": 1000 * min(passes) / len(timed),
        "passes": len(passes),
        "queries_per_second": len(queries) / statistics.median(batches),
        "search_mib": peak_memory(),
        "same_top_10_in_batches": float(np.mean([one[:10] == found[place][:10] for place, one in enumerate(singly)])),
        "found": found,
    }


def as_list(documents: Iterable[int]) -> list[int]:
    return [int(document) for document in documents]


def timed_passes(work: Callable[[], list], least: int, most: int) -> tuple[list, list[float]]:
    """Call ``work`` between ``least`` and ``most`` times. Returns its last result, and the seconds of every call."""
    seconds: list[float] = []
    while len(seconds) < least or (len(seconds) < most and sum(seconds) < BUDGET):
        begun = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - begun)
    return result, seconds


def size_of(path: Path) -> int:
    """The bytes of a file, or of all files in a directory; 0 if it does not exist."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def peak_memory() -> float:
    """The largest memory of this process in MiB, including the pages of memory-mapped files that it used.

    ``ru_maxrss`` is only used if there is no other way, because on Linux a child inherits it from its parent.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def forget_peak() -> None:
    """Reset ``peak_memory`` to the memory that is in use now, if the operating system can."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
