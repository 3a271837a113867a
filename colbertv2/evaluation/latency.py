"""Search latency as PLAID measures it (its section 4.1): one query at a time, the best of three passes over all."""

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from colbertv2.errors import InputError

Query = TypeVar("Query")


def milliseconds_per_query(search_one: Callable[[Query], object], queries: Sequence[Query], trials: int = 3) -> float:
    """The minimum over ``trials`` passes of the mean time of one query, in milliseconds.

    ``search_one`` must have its results on the CPU when it returns, else a GPU's work is not counted.

    Raises:
        InputError: there are no queries.

    >>> milliseconds_per_query(len, ["a", "b"]) < 1
    True
    """
    if not queries:
        raise InputError("There are no queries to time.")
    passes: list[float] = []
    for _ in range(trials):
        start = time.perf_counter()
        for query in queries:
            search_one(query)
        passes.append(time.perf_counter() - start)
    return 1000 * min(passes) / len(queries)
