"""The peak rates of GPUs by their vendors' data sheets, and the share of them that a plan assumes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from colbertv2.errors import InputError
from colbertv2.planning.work import TRANSFORMER_SHARE

TABLE = Path(__file__).with_name("gpus.yaml")
DEFAULT = "a100-40gb"  # where no GPU is named
# The share of a GPU's peak that a transformer of BERT's size reaches, counted as in planning.work. Calibrated on one
# published training: JaColBERTv2, 250,000 steps of 32 queries with 32 passages in 20 hours on eight A100
# (docs/benchmarks/msmarco_plan.md). On a CPU, encoding and training reach about the same share as each other.
PEAK_SHARE = 0.104
UNITS = {"32-true": "fp32", "bf16-mixed": "bf16", "16-mixed": "fp16"}  # torch's default uses no tf32


@dataclass(frozen=True)
class GPU:
    """One row of ``gpus.yaml``.

    Args:
        name: its name in the table, as in ``runtime.gpu``.
        title: its name in text.
        memory: in 10^9 bytes.
        bandwidth: of its memory, in 10^9 bytes per second.
        fp32, tf32, fp16, bf16: 10^12 dense operations per second of matrix products; ``None`` if it has no such units.
        source: where these numbers are from.

    >>> GPU.named("t4").products_per_second("16-mixed") > GPU.named("t4").products_per_second("bf16-mixed")
    True
    """

    name: str
    title: str
    memory: float
    bandwidth: float
    fp32: float
    tf32: float | None
    fp16: float | None
    bf16: float | None
    source: str

    @classmethod
    def named(cls, name: str) -> GPU:
        """The GPU of this name.

        Raises:
            InputError: the table has no such GPU; the message lists all names.
        """
        if name not in table():
            raise InputError(f"runtime.gpu is {name!r}; expected one of {', '.join(table())}.")
        return table()[name]

    @classmethod
    def recognised(cls, device: str) -> GPU:
        """The GPU that a driver calls ``device``, or the default if the table has no such GPU.

        >>> GPU.recognised("Tesla V100-SXM2-32GB").name, GPU.recognised("another").name
        ('v100-32gb', 'a100-40gb')
        """
        words = set(re.split(r"[^a-z0-9]+", device.lower()))
        found = (gpu for name, gpu in table().items() if set(name.split("-")) <= words)
        return next(found, table()[DEFAULT])

    def peak(self, precision: str) -> float:
        """Peak operations per second with a ``precision`` of the settings; without 16-bit units, that of fp32."""
        return 1e12 * (getattr(self, UNITS[precision]) or self.fp32)

    def products_per_second(self, precision: str) -> float:
        """Assumed rate of matrix products, of which a transformer reaches ``TRANSFORMER_SHARE``, as on a CPU."""
        return self.peak(precision) * PEAK_SHARE / TRANSFORMER_SHARE


@cache
def table() -> dict[str, GPU]:
    """All GPUs of ``gpus.yaml`` by name."""
    rows: Any = OmegaConf.to_container(OmegaConf.load(TABLE))
    return {name: GPU(name=name, **row) for name, row in rows.items()}
