"""Several threads in one process, and several processes with one device each.

Threads process separate items in parallel, and each does its matrix products on one core. With the threads of OpenBLAS
instead, which wait for each other in each of many small products, one exhaustive query took twenty times as long
(measured on two busy cores).

Processes communicate by NCCL between GPUs and by gloo between CPU processes. They share one batch or divide the shards
among them, so the result does not depend on the number of processes.
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

import numpy as np  # noqa: F401  (loads the BLAS library, whose threads ``BLAS`` limits)
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
    """A permanent pool of ``number`` threads, so that buffers held by its threads are reused."""
    return ThreadPoolExecutor(number, initializer=torch.set_num_threads, initargs=(1,))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=threads.cache_clear)  # threads do not survive a fork


def parallel_map(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield ``function(item)`` for every item, in order, computed on ``torch.get_num_threads()`` threads.

    At most about two results per thread are held at once. ``function`` should spend its time in numpy, torch or
    compiled kernels, which release the GIL.

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
            torch.set_num_threads(num_threads)  # else threads that start later would inherit the pool's setting of 1


def rank_and_world() -> tuple[int, int]:
    """The rank of this process and the number of processes; (0, 1) outside a process group."""
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return 0, 1
    return torch.distributed.get_rank(), torch.distributed.get_world_size()


def gathered(vectors: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Gather the vectors ``[world · N, L, dim]`` and masks ``[world · N, L]`` of all processes, ordered by rank.

    Gradients flow back to the process that each vector came from.

    Args:
        vectors: ``[N, L, dim]`` of this process. N must be the same in all processes; L may differ and is padded to the
            longest.
        mask: ``[N, L]``, true where a vector takes part; it becomes false in the padding.
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


def gathered_objects(item: Item) -> list[Item]:
    """The ``item`` of every process, ordered by rank; ``[item]`` outside a process group. Items are pickled."""
    _, world = rank_and_world()
    if world == 1:
        return [item]
    found: list[Any] = [None] * world
    torch.distributed.all_gather_object(found, item)
    return found


def run_on(processes: int, function: Callable[..., None], *arguments: Any) -> None:
    """Run ``function(rank, processes, *arguments)`` in ``processes`` new processes; with 1, run it in this process.

    The function and its arguments are pickled. CPU threads are divided among the processes. After the first error all
    processes are killed, and the error is raised here. The processes also end whenever this process ends.

    Raises:
        RuntimeError: a process was killed from outside.
    """
    if processes == 1:
        function(0, 1, *arguments)
        return
    threads = max(1, torch.get_num_threads() // processes)
    # Unpickled only once a process watches its parent: the imports that this causes take seconds.
    task = pickle.dumps((function, arguments))
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), end_with_parent) as pool:
        started = [pool.submit(_start, rank, processes, threads, task) for rank in range(processes)]
        # The pool's thread may have listed the processes before the last one was started, and would never notice its
        # death. Another task wakes it when all are listed.
        pool.submit(int)
        try:
            for finished in as_completed(started):
                finished.result()
        except BaseException as error:
            for process in set(multiprocessing.active_children()) - others:
                process.kill()  # it may be waiting for the process that failed
            if isinstance(error, BrokenProcessPool):
                raise RuntimeError(
                    f"One of {processes} processes was killed, perhaps because memory ran out; free memory, or lower "
                    "runtime.devices."
                ) from error
            raise


def free_port() -> int:
    """A free TCP port of this machine, for processes to communicate."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _start(rank: int, processes: int, threads: int, task: bytes) -> None:
    os.environ["OMP_NUM_THREADS"] = str(threads)  # for libraries that read this instead of torch's setting
    torch.set_num_threads(threads)
    function, arguments = pickle.loads(task)
    function(rank, processes, *arguments)
