"""What this machine does in a second, has free, and has used: for estimates, never for results."""

import os
import platform
import resource
import shutil
import sys
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

import torch

from colbertv2.runtime import Runtime

BENCHMARK_SECONDS = 0.4


@cache
def products_per_second(device: torch.device, threads: int | None) -> float:
    """Floating-point operations a second of a float32 matrix product on ``device``, were it idle: the best of many.

    On a CPU the time is that of the process, in which it does not wait for others.

    Args:
        threads: of the CPU; ``None`` leaves torch's default.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    left, right = torch.rand(2048, 1024, device=device), torch.rand(1024, 1024, device=device)

    def once() -> None:
        (left @ right)[0, 0].item()  # waits for a GPU

    once()
    passes: list[float] = []
    clock, at_once = (time.process_time, torch.get_num_threads()) if device.type == "cpu" else (time.perf_counter, 1)
    began = time.perf_counter()
    while not passes or time.perf_counter() - began < BENCHMARK_SECONDS:
        start = clock()
        once()
        passes.append((clock() - start) / at_once)
    torch.set_num_threads(before)
    return 2 * left.shape[0] * right.numel() / min(passes)


def cpu_share(threads: int | None) -> float:
    """How much of the cores that ``threads`` could use is left by what runs now: 1 on an idle machine.

    By the load average of the last minute, since whoever wakes for a moment, as a benchmark does, is let ahead.
    """
    try:
        load, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        return 1.0
    return min(1.0, cores / (load + (threads or torch.get_num_threads())))


def device_name(runtime: Runtime) -> str:
    """What computes: ``NVIDIA A100-SXM4-40GB``, or the processor with torch's number of threads; how many of them."""
    device = runtime.torch_device
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = f"{processor()}, {runtime.threads or torch.get_num_threads()} threads"
    return name if runtime.devices == 1 else f"{runtime.devices} × {name}"


@cache
def processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def reset_peak_memory() -> None:
    """Let :func:`peak_memory` count from now on, where the system can (Linux); elsewhere since the process began."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> int:
    """The most bytes of this process that were resident at once; GPU memory is not among them."""
    if (kibibytes := _field("/proc/self/status", "VmHWM")) is not None:
        return kibibytes * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def free_disk(path: Path) -> int:
    """Bytes free where ``path`` lies or would lie."""
    path = path.absolute()
    return shutil.disk_usage(next(one for one in (path, *path.parents) if one.exists())).free


def free_memory() -> int | None:
    """Bytes of memory that a new process can have (Linux), or that there are at all; ``None`` where nobody tells."""
    if (kibibytes := _field("/proc/meminfo", "MemAvailable")) is not None:
        return kibibytes * 1024
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def _field(file: str, name: str) -> int | None:
    """The number in the line ``name: number kB`` of one of Linux's files."""
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), None)
