"""Several threads: whole pieces of work side by side, the matrix products of each on one.

Measured on two busy cores: with the threads of OpenBLAS instead, which wait for each other in every one of many small
products, one exhaustive query took twenty times as long.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import numpy as np  # noqa: F401  (loads the library that BLAS limits)
import torch
from threadpoolctl import ThreadpoolController

Item = TypeVar("Item")
Result = TypeVar("Result")

BLAS = ThreadpoolController()


@cache
def threads(number: int) -> ThreadPoolExecutor:
    """A pool that stays: what its threads hold for the next query is not made anew."""
    return ThreadPoolExecutor(number, initializer=torch.set_num_threads, initargs=(1,))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=threads.cache_clear)  # threads do not survive a fork


def parallel_map(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """``function`` of every item, in order, on ``torch.get_num_threads()`` threads.

    Few results are held at once. ``function`` should be mostly numpy or torch, which let other threads run.

    >>> list(parallel_map(len, ["a", "bc"]))
    [1, 2]
    """
    num_threads = torch.get_num_threads()
    with BLAS.limit(limits=1, user_api="blas"):
        if num_threads == 1:
            yield from map(function, items)
            return
        pool = threads(num_threads)
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > 2 * num_threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            torch.set_num_threads(num_threads)  # threads that begin later would take the pool's 1
