"""What a ranker trains on: B queries with n candidates each, the first of which is the positive."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


class Tuples(NamedTuple):
    """n-way tuples as text, before tokenisation.

    Args:
        queries: B texts. documents: B·n texts, query by query, the positive first.
    """

    queries: list[str]
    documents: list[str]


def length_groups(attention_mask: Tensor, groups: int = 8) -> list[tuple[Tensor, int]]:
    """Rows of like length and the longest of each group: encoding group by group, little is padding.

    Of batches of 32 functions of the standard library, cut at 176 tokens, half is padding; in eight groups, a twelfth.

    >>> [(rows.tolist(), longest) for rows, longest in length_groups(torch.tensor([[1, 1], [1, 0]]), groups=2)]
    [([1], 1), ([0], 2)]
    """
    lengths = attention_mask.sum(-1)
    order = lengths.argsort(stable=True)
    return [(rows, int(lengths[rows].max())) for rows in order.tensor_split(groups) if len(rows)]


def encoded_by_length(
    encode: Callable[[Any], Tensor], inputs: Any, attention_mask: Tensor, chunk: int | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """``encode`` of a named tuple of ``[N, L]`` tensors, group by group of like length: (rows, what came out).

    Args:
        chunk: rows encoded at a time. Their activations are not kept but computed again when their gradient is wanted,
            with the same dropout. This is gradient caching (Gao et al. 2021): memory holds one chunk's activations
            and the vectors of all. ``None`` keeps everything.
    """
    for rows, longest in length_groups(attention_mask):
        for part in rows.split(chunk or len(rows)):
            cut = type(inputs)(*(tensor[part, :longest] for tensor in inputs))
            yield part, encode(cut) if chunk is None else checkpoint(encode, cut, use_reentrant=False)


def excluded_in_batch(queries: list[str], document_ids: list[str], groups: int = 1) -> Tensor:
    """Where passage j is no in-batch negative of query i: ``[B, B·n]``.

    The own n−1 negatives are left out as in the official code. So are passages that are known to be relevant: a copy
    of the own positive, and the candidates of the same query, which stands in a batch twice if it has two positives.

    Args:
        groups: equal parts of the batch, B divisible by it; passages of another part than the query's are left out.

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
