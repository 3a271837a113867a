"""Several threads in one process, and several processes with one device each.

Threads work on whole pieces side by side, and each does its matrix products on one core. Measured on two busy cores:
with the threads of OpenBLAS instead, which wait for each other in every one of many small products, one exhaustive
query took twenty times as long.

Processes communicate by NCCL between GPUs and by gloo between CPU processes. They share one batch or divide shards
among them, so the result does not depend on how many there are.
"""

import multiprocessing
import os
import pickle
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from typing import Any, TypeVar

import numpy as np  # noqa: F401  (loads the library that BLAS limits)
import torch
import torch.distributed
import torch.distributed.nn.functional
from threadpoolctl import ThreadpoolController
from torch import Tensor

from colbertv2.lifetime import end_with_parent

Item = TypeVar("Item")
Result = TypeVar("Result")

BLAS = ThreadpoolController()


@cache
def threads(number: int) -> ThreadPoolExecutor:
    """A pool of ``number`` threads that stays, so that buffers which its threads hold are reused."""
    return ThreadPoolExecutor(number, initializer=torch.set_num_threads, initargs=(1,))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=threads.cache_clear)  # threads do not survive a fork


def parallel_map(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield ``function(item)`` for every item, in order, computed on ``torch.get_num_threads()`` threads.

    At most about twice as many results as threads are held at once. ``function`` should be mostly numpy or torch, which
    let other threads run.

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
            torch.set_num_threads(num_threads)  # else threads that start later would take over the pool's 1


def rank_and_world() -> tuple[int, int]:
    """The rank of this process and the number of processes; (0, 1) outside a process group."""
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return 0, 1
    return torch.distributed.get_rank(), torch.distributed.get_world_size()


def gathered(vectors: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The vectors ``[world · N, L, dim]`` and masks ``[world · N, L]`` of all processes, by rank; gradients flow back.

    Args:
        vectors: ``[N, L, dim]`` of this process; N is the same in all, L may differ and is padded to the longest.
        mask: ``[N, L]``, true where a vector takes part; false in the padding.
    """
    longest = torch.tensor(vectors.shape[1], device=vectors.device)
    torch.distributed.all_reduce(longest, torch.distributed.ReduceOp.MAX)
    missing = int(longest) - vectors.shape[1]
    vectors = torch.nn.functional.pad(vectors, (0, 0, 0, missing)).contiguous()
    masks = torch.nn.functional.pad(mask.to(torch.uint8), (0, missing)).contiguous()
    listed = [torch.empty_like(masks) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(listed, masks)
    everything = torch.distributed.nn.functional.all_gather(vectors)
    return torch.cat(tuple(everything)), torch.cat(listed).bool()


def run_on(processes: int, function: Callable[..., None], *arguments: Any) -> None:
    """Run ``function(rank, processes, *arguments)`` in as many new processes, or in this one if ``processes`` is 1.

    The function and its arguments are pickled. CPU threads are divided among the processes. The first error ends all
    of them and is raised here; they end, too, with this process, from their first moment on.
    """
    if processes == 1:
        function(0, 1, *arguments)
        return
    threads = max(1, torch.get_num_threads() // processes)
    task = pickle.dumps((function, arguments))  # opened once the process watches its parent, since imports take seconds
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), end_with_parent) as pool:
        started = [pool.submit(_start, rank, processes, threads, task) for rank in range(processes)]
        try:
            for finished in as_completed(started):
                finished.result()
        except BaseException as error:
            for process in set(multiprocessing.active_children()) - others:
                process.kill()  # it may wait for the one that failed
            if isinstance(error, BrokenProcessPool):
                raise RuntimeError(f"One of {processes} processes was killed, perhaps for want of memory.") from error
            raise


def free_port() -> int:
    """A port of this machine on which processes can meet."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _start(rank: int, processes: int, threads: int, task: bytes) -> None:
    os.environ["OMP_NUM_THREADS"] = str(threads)  # for what asks for it instead of torch
    torch.set_num_threads(threads)
    function, arguments = pickle.loads(task)
    function(rank, processes, *arguments)
