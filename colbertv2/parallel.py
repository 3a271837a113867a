"""Several threads in one process, and several processes with one device each.

Threads process separate items in parallel, and each does its matrix products on one core. With the threads of OpenBLAS
instead, which wait for each other in each of many small products, one exhaustive query took twenty times as long
(measured on two busy cores).

Processes communicate by NCCL between GPUs and by gloo between CPU processes. They share one batch or divide the shards
among them, so the result does not depend on the number of processes. They may be on several machines, a *team*
(:mod:`colbertv2.team`): then a process per machine starts those of its machine.
"""

import multiprocessing
import os
import pickle
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from multiprocessing.connection import Connection
from typing import Any, TypeVar

import numpy as np  # noqa: F401  (loads the BLAS library, whose threads ``BLAS`` limits)
import torch
import torch.distributed
import torch.distributed.nn.functional
from threadpoolctl import ThreadpoolController
from torch import Tensor

from colbertv2 import team
from colbertv2.errors import InputError
from colbertv2.lifetime import PREEMPTED, Preempted, begin_child, is_listening, listening, warnings_blocked

Item = TypeVar("Item")
Result = TypeVar("Result")

BLAS = ThreadpoolController()
POLL = 0.3  # seconds between two looks at whether the other machines are well


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


@dataclass(frozen=True)
class ProcessCall:
    """What ``run_on`` runs on each machine.

    Args:
        call: the pickled function and arguments. They are unpickled only in the processes, and only once these watch
            their parent: the imports that this causes take seconds.
        processes: number of processes per machine.
        world: number of processes in all.
        threads: CPU threads per process.
        listens: whether the function listens to warnings that the job is about to be ended.
    """

    call: bytes
    processes: int
    world: int
    threads: int
    listens: bool


def run_on(processes: int, function: Callable[..., None], *arguments: Any) -> None:
    """Run ``function(rank, world, *arguments)`` in ``processes`` new processes; with 1, run it in this process.

    In a team of machines (:mod:`colbertv2.team`), each of them starts so many processes, and ``world`` is the number of
    all; ranks are counted machine by machine. The function and its arguments are pickled. CPU threads are divided among
    the processes of a machine. After the first error all processes are killed, and the error is raised here. The
    processes also end whenever this process ends.

    Raises:
        RuntimeError: a process was killed from outside, or another machine of the team is lost.
    """
    leader = team.leader()
    world = processes * team.machines()
    if world == 1:
        function(0, 1, *arguments)
        return
    threads = max(1, torch.get_num_threads() // processes)
    task = ProcessCall(pickle.dumps((function, arguments)), processes, world, threads, is_listening())
    if leader is None:
        run_task(task)
        return
    try:
        leader.ask(task)
        run_task(task, check=lambda: _raise_cause(leader.failures(0)))
        _raise_cause(leader.failures(None))
    except BaseException as error:
        _raise_cause([error, *leader.stop()])


def together(task: Callable[[], Result]) -> Result | None:
    """Return ``task()``; in a team of machines, only process 0 runs it, and the others help it until it ends.

    This returns ``None`` in the others.

    Raises:
        InputError: the job was started in another way than with one process per machine, or its processes can't meet.
        Preempted: the leader raised it; so in all processes.
        SystemExit: another process than this one failed, and has said why.
    """
    place = team.place_of_this_process()
    if place is None:
        return task()
    if place.rank == 0:
        with team.leading(place):
            return task()
    return _serve(team.joined(place), place.rank)


def _serve(leader: Connection, rank: int) -> None:
    """Work on tasks of the leader until it ends."""
    while True:
        try:
            message = leader.recv()
        except (OSError, EOFError):
            raise InputError("Process 0 of this job has ended without a word; see its output.") from None
        if isinstance(message, team.Ended):
            if message.code == PREEMPTED:
                raise Preempted("Process 0 of this job stopped before the job is ended.")
            if message.code:
                raise SystemExit(message.code)
            return
        if isinstance(message, ProcessCall):  # else to stop a task that is done
            answer = _answer(message, rank * message.processes, leader)
            try:
                leader.send(answer)
            except OSError:
                continue  # the leader has ended
            except Exception:  # the error can't be pickled
                assert answer is not None
                leader.send(team.FailedCall(RuntimeError(repr(answer.error)), answer.traceback))


def _answer(task: ProcessCall, first: int, leader: Connection) -> team.FailedCall | None:
    """Run this machine's part of a task; how it failed, if it did."""

    def check() -> None:
        if leader.poll():  # it says to stop, or it has ended
            raise InterruptedError("stopped, as the task has failed on another machine")

    try:
        run_task(task, first, check)
    except BaseException as error:
        return team.FailedCall(error, str(error.__cause__ or ""))
    return None


def _raise_cause(errors: Sequence[BaseException]) -> None:
    """Raise the error that is likely to have caused the others, if there are any.

    When a process ends, those that communicate with it fail with an error of torch, perhaps before its own is known.
    """
    effects = (RuntimeError, torch.distributed.DistError, torch.distributed.DistNetworkError, InterruptedError)
    for error in [one for one in errors if type(one) not in effects] or errors:
        raise error


class KilledError(RuntimeError):
    """A process was killed from outside."""


def run_task(task: ProcessCall, first: int = 0, check: Callable[[], None] | None = None) -> None:
    """Run the processes of a task that belong to this machine.

    Args:
        task: the task.
        first: the rank of the first one.
        check: called about three times per second; what it raises ends the processes.

    Raises:
        KilledError: a process was killed from outside.
    """
    others = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    warning = context.Event() if task.listens else None
    with (
        ProcessPoolExecutor(task.processes, context, begin_child, (warning,)) as pool,
        nullcontext() if warning is None else listening(warning),
    ):
        with warnings_blocked():
            started = [pool.submit(_start, first + number, task) for number in range(task.processes)]
            # The pool's thread may have listed the processes before the last one was started, and would never notice
            # its death. Another task wakes it when all are listed.
            pool.submit(int)
        try:
            waiting = set(started)
            while waiting:
                finished, waiting = wait(waiting, None if check is None else POLL, FIRST_COMPLETED)
                for one in finished:
                    one.result()
                if check is not None:
                    check()
        except BaseException as error:
            for process in set(multiprocessing.active_children()) - others:
                process.kill()  # it may be waiting for the process that failed
            if isinstance(error, BrokenProcessPool):
                raise KilledError(
                    f"One of {task.processes} processes was killed, perhaps because memory ran out; free memory, or "
                    "lower runtime.devices."
                ) from error
            raise


def _start(rank: int, task: ProcessCall) -> None:
    os.environ["OMP_NUM_THREADS"] = str(task.threads)  # for libraries that read this instead of torch's setting
    os.environ.pop(team.AGENT_STORE, None)  # else torch would look for these processes in torchrun's store
    torch.set_num_threads(task.threads)
    function, arguments = pickle.loads(task.call)
    function(rank, task.world, *arguments)


def meeting_point() -> tuple[str, int]:
    """The host and a free TCP port by which the processes that ``run_on`` starts next can communicate."""
    leader = team.leader()
    host = "127.0.0.1" if leader is None else leader.host
    with socket.socket() as free:
        free.bind(("127.0.0.1" if leader is None else "", 0))
        return host, free.getsockname()[1]
