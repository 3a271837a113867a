"""Several processes, one a device: NCCL between GPUs, gloo between CPU processes.

What is made does not depend on how many there are: they share one batch, or divide shards between them.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed
import torch.distributed.nn.functional
from torch import Tensor
from torch.multiprocessing.spawn import ProcessRaisedException, spawn

from colbertv2.errors import InputError


def rank_and_world() -> tuple[int, int]:
    """This process's number and how many there are; (0, 1) outside a process group."""
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return 0, 1
    return torch.distributed.get_rank(), torch.distributed.get_world_size()


def gathered(vectors: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Every process's ``[N, L, dim]`` vectors and ``[N, L]`` mask, in the order of the processes; gradients flow back.

    All have N rows; shorter ones are padded to the longest L, masked.
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
    """``function(rank, processes, *arguments)`` in so many new processes, or here if it is one.

    The function and its arguments are pickled. CPU threads are divided among the processes. The first error ends all
    and is raised here.
    """
    if processes == 1:
        function(0, 1, *arguments)
    else:
        threads = max(1, torch.get_num_threads() // processes)
        with input_errors():
            spawn(_start, (processes, threads, function, arguments), nprocs=processes)


@contextmanager
def input_errors() -> Iterator[None]:
    """Around what runs in other processes: their InputError is raised here as what it is, not as its traceback."""
    try:
        yield
    except ProcessRaisedException as error:
        if found := re.search(r"^colbertv2\.errors\.InputError: (.*)", str(error), re.MULTILINE | re.DOTALL):
            raise InputError(found[1].strip()) from None
        raise


def _start(rank: int, processes: int, threads: int, function: Callable[..., None], arguments: tuple) -> None:
    torch.set_num_threads(threads)
    function(rank, processes, *arguments)
