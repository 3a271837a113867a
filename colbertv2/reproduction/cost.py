"""What a published collection would take to encode: why a row is not run here, and what it would cost elsewhere."""

from dataclasses import dataclass

from colbertv2.artifacts.process import free_disk, num_cores
from colbertv2.planning.prediction import GPU_RATE, products_per_second
from colbertv2.runtime import Runtime

CPU_SHARE = 0.5  # of what a processor's matrix products reach alone
STORED = 2 * 128 + 36  # bytes a token: 16-bit floats of 128 dimensions, and 2 bits beside them


@dataclass(frozen=True)
class EncodingCost:
    """Encoding ``passages`` of ``tokens`` each by a transformer of ``parameters`` (embeddings not counted).

    >>> str(EncodingCost(passages=8_841_823, tokens=68, parameters=85e6))
    'about 0.7 GPU hours and 176 GB of disk'
    """

    passages: int
    tokens: int
    parameters: float

    @property
    def flops(self) -> float:
        """Two operations a parameter and token."""
        return 2 * self.parameters * self.passages * self.tokens

    @property
    def gpu_hours(self) -> float:
        """On one GPU."""
        return self.flops / GPU_RATE / 3600

    @property
    def bytes(self) -> float:
        """Vectors and an index of them."""
        return float(self.passages * self.tokens * STORED)

    def __str__(self) -> str:
        if not self.passages:
            return "nothing to encode"
        return f"about {self.gpu_hours:.1f} GPU hours and {self.bytes / 1e9:,.0f} GB of disk"

    def too_much(self, runtime: Runtime, hours: float) -> str:
        """Why it is more than ``hours`` of this machine or its disk allow; nothing if it is not."""
        on_gpu = runtime.device_type == "cuda"
        speed = GPU_RATE if on_gpu else CPU_SHARE * products_per_second(runtime.threads or num_cores())
        needed, free = self.flops / (speed * runtime.devices) / 3600, free_disk(runtime.root)
        if needed > hours:
            return f"{needed:,.0f} hours on this machine, {hours:g} allowed; elsewhere {self}"
        if self.bytes > free:
            return f"{free / 1e9:,.0f} GB of disk are free; it takes {self}"
        return ""
