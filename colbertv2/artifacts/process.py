"""The device, cores and memory of this process and machine: recorded with every artifact, never part of a result."""

import os
import platform
import resource
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

from colbertv2.runtime import Runtime
from colbertv2.team import machines


def device_name(runtime: Runtime) -> str:
    """Name of the computing device, with the number of devices if several, on all machines of the job.

    For a GPU such as ``NVIDIA A100-SXM4-40GB``; for a CPU, the processor and the number of threads.
    """
    if runtime.device_type == "cuda":
        import torch

        name = torch.cuda.get_device_name(runtime.torch_device)
    else:
        name = f"{processor()}, {runtime.threads or num_cores()} threads"
    number = runtime.devices * machines()
    return name if number == 1 else f"{number} × {name}"


def num_cores() -> int:
    """Number of cores this process may use; at most ``OMP_NUM_THREADS``, which torch and faiss respect."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        cores = os.cpu_count() or 1
    allowed = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    return min(cores, int(allowed)) if allowed.isdecimal() and int(allowed) else cores


@cache
def processor() -> str:
    """The processor's name, or the machine's architecture if the system does not report a name."""
    names = (line.partition(":")[2].strip() for line in _processor_lines() if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 matrices at least about as fast as float32; true if that is not known.

    Without AVX-512, the libraries have no fast routine for them.
    """
    flags = _processor_flags()
    return not flags or bool({"avx512bw", "amx_bf16", "bf16"} & {*flags})


def fast_precision(device: str) -> str:
    """The precision that is fastest on a device at little loss: ``bf16-mixed``, or ``32-true`` on most processors.

    In a configuration it is ``${fast_precision:${runtime.device}}``. Results then depend on the machine in the third
    digit, and have another address.

    Args:
        device: as ``runtime.device``. A processor is fast in bfloat16 if it has instructions for it (AVX-512 BF16, AMX,
            ARM BF16), which only Linux tells; of a GPU it is assumed.
    """
    if device == "cpu":
        return "bf16-mixed" if {"avx512_bf16", "amx_bf16", "bf16"} & {*_processor_flags()} else "32-true"
    return "bf16-mixed"


def _processor_flags() -> list[str]:
    return next((line.split() for line in _processor_lines() if line.startswith(("flags", "Features"))), [])


def _processor_lines() -> list[str]:
    """What Linux says of the processor, line by line; nothing elsewhere."""
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def reset_peak_memory() -> None:
    """Make :func:`peak_memory` count from now on. Linux only; elsewhere it counts from the start of the process."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> int:
    """Peak resident memory of this process, in bytes, without GPU memory."""
    if (kibibytes := _field("/proc/self/status", "VmHWM")) is not None:
        return kibibytes * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def free_memory() -> int | None:
    """Available memory in bytes (Linux); elsewhere the total memory, or ``None`` if the system does not report it."""
    if (kibibytes := _field("/proc/meminfo", "MemAvailable")) is not None:
        return kibibytes * 1024
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def byte_size(count: float) -> str:
    """A number of bytes as text, in decimal units.

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
    """The number in the line ``name: number kB`` of a file under Linux's ``/proc``."""
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), None)
