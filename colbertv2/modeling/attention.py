"""Choose the kernel of a model's attention: the same result up to rounding, at another speed."""

from __future__ import annotations

from typing import Any, TypeVar

from colbertv2.errors import InputError

Model = TypeVar("Model")


def with_attention(model: Model, kernel: str | None) -> Model:
    """Let the transformer of a model compute attention with ``kernel``; return the model.

    Args:
        model: a model with an attribute ``transformer``, such as a ``ColBERT`` or a ``CrossEncoder``.
        kernel: ``eager``, ``sdpa`` or ``flash_attention_2``; ``None`` leaves what transformers chose.

    Raises:
        InputError: the kernel is not installed, the architecture lacks it, or it would change the vectors: flash
            attention skips tokens that nothing attends to, and so the ``[MASK]`` tokens of query augmentation.
    """
    if kernel is None:
        return model
    holder: Any = model
    tokenization = getattr(holder.tokenizer, "tokenization", None)
    unattended = tokenization and tokenization.query_augmentation and not tokenization.attend_to_mask_tokens
    if kernel.startswith("flash") and unattended:
        raise InputError(
            "runtime.attention=flash_attention_2 can't encode queries that are augmented with [MASK] tokens which "
            "others do not attend to; set runtime.attention=sdpa."
        )
    try:
        holder.transformer.set_attn_implementation(kernel)
    except (ValueError, ImportError, AttributeError) as error:
        raise InputError(
            f"runtime.attention={kernel} is not available for {type(holder.transformer).__name__} here "
            f"({' '.join(str(error).split())[:200]}); set runtime.attention=null."
        ) from None
    return model
