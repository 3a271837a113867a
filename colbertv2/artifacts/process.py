"""What this process and this machine are and have used: recorded with every artifact, never part of a result."""

import os
import platform
import resource
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

from colbertv2.runtime import Runtime


def device_name(runtime: Runtime) -> str:
    """What computes: ``NVIDIA A100-SXM4-40GB``, or the processor with its number of threads; how many of them."""
    if runtime.device_type == "cuda":
        import torch

        name = torch.cuda.get_device_name(runtime.torch_device)
    else:
        name = f"{processor()}, {runtime.threads or num_cores()} threads"
    return name if runtime.devices == 1 else f"{runtime.devices} × {name}"


def num_cores() -> int:
    """Cores that this process may use: no more than ``OMP_NUM_THREADS``, which torch and faiss keep to."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        cores = os.cpu_count() or 1
    allowed = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    return min(cores, int(allowed)) if allowed.isdecimal() and int(allowed) else cores


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


def free_memory() -> int | None:
    """Bytes of memory that a new process can have (Linux), or that there are at all; ``None`` where nobody tells."""
    if (kibibytes := _field("/proc/meminfo", "MemAvailable")) is not None:
        return kibibytes * 1024
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def byte_size(count: float) -> str:
    """Bytes in decimal units.

    >>> byte_size(999), byte_size(1_129_851)
    ('999 B', '1.1 MB')
    """
    size, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


def _field(file: str, name: str) -> int | None:
    """The number in the line ``name: number kB`` of one of Linux's files."""
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), None)
