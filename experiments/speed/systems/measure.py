"""What every system measures of itself, in a process of its own: time, memory, size, what it found.

Needs numpy alone, as the systems' own environments have little else. A system's script calls ``run`` with how it builds
and how it searches; its arguments are the working directory, where to write, what to do (``build`` or ``search``), and
what it needs besides. Threads are those of ``OMP_NUM_THREADS``, and the process keeps to as many cores.
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
TIMED, TIMED_OF_SLOW, SLOW = 100, 20, 0.2  # queries a pass; as many if one takes more seconds than SLOW
PASSES, BATCH_PASSES, BUDGET = 5, 3, 15.0  # no further pass begins after BUDGET seconds, but one at a time has two
THREADS = int(os.environ.get("OMP_NUM_THREADS", "1"))


class Setting(NamedTuple):
    """A way to search. ``one`` takes a query ``[Lq, dim]``, ``many`` queries ``[n, Lq, dim]``.

    Both give positions of documents, best first; ``many`` by the system's own call for batches.
    """

    name: str
    one: Callable[[np.ndarray], Iterable[int]]
    many: Callable[[np.ndarray], Iterable[Iterable[int]]]


def run(
    packages: Sequence[str], index: Path, build: Callable[[], Any], settings: Callable[[], Iterable[Setting]]
) -> None:
    """Do what the command line says, and write it as JSON, a line for each setting of a search.

    Args:
        packages: whose versions to note. index: the file or directory that ``build`` makes and ``settings`` opens.
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
    """Time a setting, one query at a time and all at once, after a few that are not counted."""
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
    """What ``work`` gave at last, and the seconds of each time."""
    seconds: list[float] = []
    while len(seconds) < least or (len(seconds) < most and sum(seconds) < BUDGET):
        begun = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - begun)
    return result, seconds


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a directory; 0 if there is none."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def peak_memory() -> float:
    """MiB of this process at its largest, with the pages of memory-mapped files that it touched.

    Not ``ru_maxrss`` where there is another way: on Linux a child inherits it from its parent.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def forget_peak() -> None:
    """Let ``peak_memory`` begin anew from what is in use, where the system can."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
