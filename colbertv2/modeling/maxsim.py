"""Late interaction: the score of a query and a document is Σᵢ maxⱼ qᵢ·dⱼ (ColBERTv2 §3.1)."""

import torch
from torch import Tensor


def token_similarities(queries: Tensor, documents: Tensor, document_mask: Tensor) -> Tensor:
    """Best similarity of every query vector in its document: ``[..., Lq]`` from matched leading axes.

    Args:
        queries: ``[..., Lq, dim]``; documents: ``[..., Ld, dim]``, leading axes broadcast against each other.
        document_mask: ``[..., Ld]``, true where a vector takes part.
    """
    similarities = queries @ documents.transpose(-1, -2)
    return similarities.masked_fill(~document_mask.unsqueeze(-2), float("-inf")).amax(-1)


def maxsim(queries: Tensor, documents: Tensor, query_mask: Tensor, document_mask: Tensor) -> Tensor:
    """MaxSim of query b against each of its own n documents: ``[B, n]``.

    Args:
        queries: ``[B, Lq, dim]`` with ``query_mask`` ``[B, Lq]``.
        documents: ``[B, n, Ld, dim]`` with ``document_mask`` ``[B, n, Ld]``. A document without any vector scores 0.

    >>> import torch
    >>> q, d = torch.eye(2)[None], torch.eye(2)[None, None]
    >>> maxsim(q, d, torch.ones(1, 2, dtype=bool), torch.ones(1, 1, 2, dtype=bool))
    tensor([[2.]])
    """
    best = token_similarities(queries.unsqueeze(1), documents, document_mask)
    return sum_over_query(best, query_mask.unsqueeze(1))


def maxsim_all_pairs(queries: Tensor, documents: Tensor, query_mask: Tensor, document_mask: Tensor) -> Tensor:
    """MaxSim of every query against every document: ``[B, N]`` from ``[B, Lq, dim]`` and ``[N, Ld, dim]``."""
    similarities = torch.einsum("bqd,nkd->bnqk", queries, documents)
    best = similarities.masked_fill(~document_mask[None, :, None, :], float("-inf")).amax(-1)
    return sum_over_query(best, query_mask.unsqueeze(1))


def sum_over_query(best: Tensor, query_mask: Tensor) -> Tensor:
    """Sum ``[..., Lq]`` over the query vectors that take part; −inf (an empty document) counts as 0."""
    taking_part = query_mask & torch.isfinite(best)
    return torch.where(taking_part, best, best.new_zeros(())).sum(-1)
