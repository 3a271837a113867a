"""What every system measures of itself in a process of its own: time a query, memory, what it found.

Needs numpy alone, as the systems' own environments have little else.
"""

import json
import resource
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

PASSES = 3


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a directory."""
    return (
        sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) if path.is_dir() else path.stat().st_size
    )


def peak_memory() -> float:
    """MiB of this process at its largest."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def write_points(
    out: Path, queries: np.ndarray, settings: Iterable[tuple[str, Callable[[np.ndarray], Iterable[int]]]], **common: Any
) -> None:
    """Time each setting over all queries, one at a time, the best of several passes; write JSON lines as they come.

    Args:
        queries: ``[n, Lq, dim]``. settings: a name, and what gives a query's documents, best first.
        common: what else is known of the index.
    """
    with open(out, "w") as lines:
        for name, search_one in settings:
            search_one(queries[0])
            passes = []
            for _ in range(PASSES):
                begun = time.perf_counter()
                found = [[int(document) for document in search_one(query)] for query in queries]
                passes.append(1000 * (time.perf_counter() - begun) / len(queries))
            point = {"setting": name, "ms": min(passes), "search_mib": peak_memory(), "found": found, **common}
            print(json.dumps(point), file=lines, flush=True)
