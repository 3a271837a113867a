"""A sentence that describes the machine of a benchmark."""

import os
import platform
from pathlib import Path


def described() -> str:
    """A sentence with the processor, cores, memory, operating system and Python version."""
    information = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in lines_of(information) if line.startswith("model name")]
    memory = [int(line.split()[1]) / 2**20 for line in lines_of(Path("/proc/meminfo")) if line.startswith("MemTotal")]
    parts = [names[0] if names else platform.processor() or platform.machine(), f"{os.cpu_count()} cores"]
    parts += [f"{memory[0]:.0f} GiB"] if memory else []
    return f"On {', '.join(parts)}, {platform.system()}, Python {platform.python_version()}."


def lines_of(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.is_file() else []
