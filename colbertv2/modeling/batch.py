"""Training batches of a ranker: B queries with n candidates each; the first candidate is the positive."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
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


# A forward and a backward pass of a transformer take as long as so many tokens more, whatever they hold. Measured for
# MiniLM on one core: 28 in float32, 42 in bfloat16 (LOG, 2026-12-01). For a GPU it is an estimate: starting the kernels
# of twelve layers takes some 20 ms.
PASS_TOKENS = {"cpu": 40, "cuda": 2000, "mps": 2000}


def length_groups(attention_mask: Tensor, pass_tokens: int) -> list[tuple[Tensor, int]]:
    """Group rows of similar length; return the rows of each group and its greatest length in tokens.

    Encoding group by group avoids padding, but each group costs a pass. The groups are those with the smallest sum of
    both: real tokens, padding, and ``pass_tokens`` for each group.

    Args:
        attention_mask: ``[N, L]``, 1 for real tokens.
        pass_tokens: what a pass costs, in tokens.

    >>> mask = torch.tensor([[1, 1, 1], [1, 0, 0], [1, 0, 0]])
    >>> [(rows.tolist(), longest) for rows, longest in length_groups(mask, pass_tokens=1)]
    [([1, 2], 1), ([0], 3)]
    >>> [(rows.tolist(), longest) for rows, longest in length_groups(mask, pass_tokens=10)]
    [([1, 2, 0], 3)]
    """
    ordered, order = attention_mask.sum(-1).sort(stable=True)
    different, counts = ordered.unique_consecutive(return_counts=True)
    lengths, ends = different.tolist(), np.append(0, counts.cumsum(0).tolist())
    least, begins = np.zeros(len(ends)), [0] * len(ends)  # for the rows before each end
    for end, length in enumerate(lengths, start=1):
        costs = least[:end] + length * (ends[end] - ends[:end]) + pass_tokens
        begins[end] = int(costs.argmin())
        least[end] = costs[begins[end]]
    groups, end = [], len(lengths)
    while end:
        groups.append((order[ends[begins[end]] : ends[end]], lengths[end - 1]))
        end = begins[end]
    return groups[::-1]


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
    for rows, longest in length_groups(attention_mask, PASS_TOKENS[attention_mask.device.type]):
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
