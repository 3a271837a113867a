"""Choose the kernel of a model's attention: the same result up to rounding, at another speed."""

from __future__ import annotations

from typing import Any, TypeVar

from colbertv2.errors import InputError

Model = TypeVar("Model")


def with_attention(model: Model, kernel: str | None) -> Model:
    """Let the transformer of a model compute attention with ``kernel``; return the model.

    Args:
        model: a model with an attribute ``transformer``, such as a ``ColBERT`` or a ``CrossEncoder``.
        kernel: ``eager`` or ``sdpa``; ``None`` leaves what transformers chose. Flash attention is no choice: it skips
            tokens that nothing attends to, and so the ``[MASK]`` tokens of query augmentation, and needs 16 bits.

    Raises:
        InputError: the architecture lacks the kernel.
    """
    if kernel is None:
        return model
    holder: Any = model
    try:
        holder.transformer.set_attn_implementation(kernel)
    except (ValueError, ImportError, AttributeError) as error:
        raise InputError(
            f"runtime.attention={kernel} is not available for {type(holder.transformer).__name__} here "
            f"({' '.join(str(error).split())[:200]}); set runtime.attention=null."
        ) from None
    return model
