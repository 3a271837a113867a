"""The precisions that encoding and scoring run in, by Lightning's names."""

from contextlib import AbstractContextManager

import torch

from colbertv2.errors import InputError

DTYPES = {"32-true": torch.float32, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def autocast(precision: str, device: torch.device) -> AbstractContextManager:
    """The context in which a model computes in ``precision``; its weights and what comes out stay float32.

    Raises:
        InputError: the precision is unknown.

    >>> with autocast("bf16-mixed", torch.device("cpu")):
    ...     (torch.ones(1, 2) @ torch.ones(2, 1)).dtype
    torch.bfloat16
    """
    if precision not in DTYPES:
        raise InputError(f"precision is {precision!r}; expected one of {', '.join(DTYPES)}.")
    return torch.autocast(device.type, dtype=DTYPES[precision], enabled=precision != "32-true")
