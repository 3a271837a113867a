"""Late interaction: the score of a query and a document is Σᵢ maxⱼ qᵢ·dⱼ (ColBERTv2 §3.1).

Training needs its gradient, which only the winning j of every i receives. So one query's similarities are computed at
a time, and of them only the maxima and their places are kept: memory is N·Lq of them for the backward pass instead of
N·Lq·Ld similarities a query, and no time goes into gradients that are zero.
"""

from typing import Any

import torch
from torch import Tensor


class BestSimilarities(torch.autograd.Function):
    """``[B, n, Lq]``: the best similarity of every query vector in each document; −inf in one without any vector.

    Args of :meth:`apply`:
        queries: ``[B, Lq, dim]``. documents: ``[B, n, Ld, dim]``, n for each query, or ``[1, n, Ld, dim]`` for all.
        document_mask: without ``dim``, true where a vector takes part.
    """

    @staticmethod
    def forward(ctx: Any, queries: Tensor, documents: Tensor, document_mask: Tensor) -> Tensor:
        groups, n, length, dim = documents.shape
        flat = documents.reshape(groups, n * length, dim)
        best = queries.new_empty(len(queries), n, queries.shape[1])
        winners = torch.empty(best.shape, dtype=torch.int32, device=best.device)
        for position, query in enumerate(queries):
            group = position % groups
            similarities = (flat[group] @ query.T).view(n, length, -1)
            similarities.masked_fill_(~document_mask[group].unsqueeze(-1), float("-inf"))
            best[position], winners[position] = similarities.max(1)
        ctx.save_for_backward(queries, documents, winners)
        return best

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        queries, documents, winners = ctx.saved_tensors
        groups, n, length, dim = documents.shape
        flat = documents.reshape(groups, n * length, dim)
        of_queries, of_documents = torch.empty_like(queries), torch.zeros_like(flat)
        starts = length * torch.arange(n, device=winners.device).unsqueeze(-1)
        for position, query in enumerate(queries):
            group, weights = position % groups, gradients[0][position].unsqueeze(-1)
            rows = winners[position] + starts
            of_queries[position] = (weights * flat[group][rows]).sum(0)
            of_documents[group].index_add_(0, rows.flatten(), (weights * query).view(-1, dim))
        return of_queries, of_documents.view_as(documents), None


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
    best: Tensor = BestSimilarities.apply(queries, documents, document_mask)  # pyright: ignore (no types there)
    return sum_over_query(best, query_mask.unsqueeze(1))


def maxsim_all_pairs(queries: Tensor, documents: Tensor, query_mask: Tensor, document_mask: Tensor) -> Tensor:
    """MaxSim of every query against every document: ``[B, N]`` from ``[B, Lq, dim]`` and ``[N, Ld, dim]``."""
    return maxsim(queries, documents.unsqueeze(0), query_mask, document_mask.unsqueeze(0))


def sum_over_query(best: Tensor, query_mask: Tensor) -> Tensor:
    """Sum ``[..., Lq]`` over the query vectors that take part; −inf (an empty document) counts as 0."""
    taking_part = query_mask & torch.isfinite(best)
    return torch.where(taking_part, best, best.new_zeros(())).sum(-1)
