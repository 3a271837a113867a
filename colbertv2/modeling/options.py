"""Options of models in a configuration: precisions, projections and scoring heads. Importing this loads no torch."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Literal

from colbertv2.errors import InputError

if TYPE_CHECKING:
    import torch

DTYPES = {"32-true": "float32", "bf16-mixed": "bfloat16", "16-mixed": "float16"}  # Lightning's name → torch's type
Projection = Literal["orthogonal", "pca", "linear"]  # the initial projection (colbertv2.modeling.initial)
TokenWeights = Literal["attention", "norm"]  # what a token is weighed by (colbertv2.modeling.token_weights)
ScoringHead = Literal["late_interaction", "classifier"]  # how a cross-encoder scores a jointly encoded pair


def autocast(precision: str, device: torch.device) -> AbstractContextManager:
    """Return a context in which a model computes in ``precision``; its weights and gradients stay float32.

    Args:
        precision: ``32-true``, ``bf16-mixed`` or ``16-mixed``.
        device: the device that the model is on.

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
