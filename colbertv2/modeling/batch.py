"""Training batches of a ranker: B queries with n candidates each; the first candidate is the positive."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


class TextSettings(NamedTuple):
    """The prompt of a text and the tokens at which it is cut; ``None`` leaves the model's own."""

    prompt: str | None
    maxlen: int | None


class Tuples(NamedTuple):
    """n-way tuples as text, before tokenisation.

    Args:
        queries: B texts.
        documents: B·n texts: the n candidates of the first query, positive first, then those of the second, etc.
        query_settings, document_settings: the settings of each of these texts, as they may be of several collections;
            ``None`` if all have the model's own.
    """

    queries: list[str]
    documents: list[str]
    query_settings: list[TextSettings] | None = None
    document_settings: list[TextSettings] | None = None


def length_groups(attention_mask: Tensor, groups: int = 8) -> list[tuple[Tensor, int]]:
    """Group rows of similar length; return the rows of each group and its greatest length in tokens.

    Encoding group by group avoids most padding. In batches of 32 functions of the standard library, cut at 176 tokens,
    half of the tokens are padding; with eight groups, a twelfth.

    Args:
        attention_mask: ``[N, L]``, 1 for real tokens.
        groups: how many groups at most.

    >>> [(rows.tolist(), longest) for rows, longest in length_groups(torch.tensor([[1, 1], [1, 0]]), groups=2)]
    [([1], 1), ([0], 2)]
    """
    lengths = attention_mask.sum(-1)
    order = lengths.argsort(stable=True)
    return [(rows, int(lengths[rows].max())) for rows in order.tensor_split(groups) if len(rows)]


def encoded_by_length(
    encode: Callable[[Any], Tensor], inputs: Any, attention_mask: Tensor, chunk: int | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Apply ``encode`` to groups of rows of similar length; yield (rows, result) for each part.

    Args:
        encode: a function of a named tuple of tensors, such as a model.
        inputs: the named tuple of ``[N, L, …]`` tensors to encode.
        attention_mask: ``[N, L]``, 1 for real tokens.
        chunk: how many rows to encode at a time. Their activations are not kept but computed again for the gradient,
            with the same dropout. This is gradient caching (Gao et al. 2021): memory only needs the activations of one
            chunk and the vectors of all. If ``None``, all activations are kept.
    """
    for rows, longest in length_groups(attention_mask):
        for part in rows.split(chunk or len(rows)):
            cut = type(inputs)(*(tensor[part, :longest] for tensor in inputs))
            yield part, encode(cut) if chunk is None else checkpoint(encode, cut, use_reentrant=False)


def excluded_in_batch(queries: list[str], document_ids: list[str], groups: int = 1) -> Tensor:
    """Return a mask ``[B, B·n]`` that is true where passage j is not an in-batch negative of query i.

    A query's own n−1 negatives are excluded, as in the official code. So are passages that are known to be relevant:
    copies of its positive, and the candidates of the same query elsewhere in the batch (a query with two positives
    may be there twice).

    Args:
        queries: B texts or ids of queries.
        document_ids: B·n ids of the candidates, positives first.
        groups: number of equal parts of the batch, which must divide B; passages of other parts than the query's are
            excluded.

    >>> excluded_in_batch(["q", "r"], ["a", "b", "c", "a"]).int().tolist()
    [[1, 1, 0, 1], [0, 0, 1, 1]]
    """
    n = len(document_ids) // len(queries)
    places = {query: place for place, query in enumerate(queries)}
    same = torch.tensor([places[query] for query in queries])
    own = (same[:, None] == same[None, :]).repeat_interleave(n, dim=1)
    numbers = {document_id: number for number, document_id in enumerate(document_ids)}
    ids = torch.tensor([numbers[document_id] for document_id in document_ids])
    group = torch.arange(len(queries)) // (len(queries) // groups)
    other = (group[:, None] != group[None, :]).repeat_interleave(n, dim=1)
    return own | other | (ids[::n, None] == ids[None, :])
