"""The precisions that encoding and scoring run in, by Lightning's names."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from colbertv2.errors import InputError

if TYPE_CHECKING:
    import torch

DTYPES = {"32-true": "float32", "bf16-mixed": "bfloat16", "16-mixed": "float16"}  # names of torch's types


def autocast(precision: str, device: torch.device) -> AbstractContextManager:
    """The context in which a model computes in ``precision``; its weights and what comes out stay float32.

    Raises:
        InputError: the precision is unknown.

    >>> import torch
    >>> with autocast("bf16-mixed", torch.device("cpu")):
    ...     (torch.ones(1, 2) @ torch.ones(2, 1)).dtype
    torch.bfloat16
    """
    if precision not in DTYPES:
        raise InputError(f"precision is {precision!r}; expected one of {', '.join(DTYPES)}.")
    import torch

    return torch.autocast(device.type, dtype=getattr(torch, DTYPES[precision]), enabled=precision != "32-true")
