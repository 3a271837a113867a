"""Late interaction: the score of a query and a document is Σᵢ maxⱼ qᵢ·dⱼ (ColBERTv2 §3.1).

Training needs the gradient of the score, which is not zero only for the best j of each i. So similarities are computed
one query at a time, and only their maxima and positions are kept. The backward pass then needs N·Lq numbers per query
instead of N·Lq·Ld similarities, and spends no time on gradients that are zero.
"""

from typing import Any

import torch
from torch import Tensor


class BestSimilarities(torch.autograd.Function):
    """The highest similarity of every query vector in each document, ``[B, n, Lq]``; −inf if a document has no vectors.

    With ``k``, the second result is the k-th highest similarity of every query vector among all vectors of these
    documents, ``[B, Lq]``, without a gradient; −inf if there are fewer. Without, it is ``None``. Either way one query's
    similarities, 4·n·Ld·Lq bytes, are in memory at a time.

    Args of :meth:`apply`:
        queries: ``[B, Lq, dim]``.
        documents: ``[B, n, Ld, dim]``, n for each query, or ``[1, n, Ld, dim]``, the same n for all queries.
        document_mask: ``[B, n, Ld]`` or ``[1, n, Ld]``, true where a vector takes part.
        k: an integer, or ``None``.
    """

    @staticmethod
    def forward(
        ctx: Any, queries: Tensor, documents: Tensor, document_mask: Tensor, k: int | None
    ) -> tuple[Tensor, Tensor | None]:
        groups, n, length, dim = documents.shape
        flat = documents.reshape(groups, n * length, dim)
        best = queries.new_empty(len(queries), n, queries.shape[1])
        winners = torch.empty(best.shape, dtype=torch.int32, device=best.device)
        kth = None if k is None else queries.new_full(queries.shape[:2], float("-inf"))
        for position, query in enumerate(queries):
            group = position % groups
            similarities = (flat[group] @ query.T).view(n, length, -1)
            similarities.masked_fill_(~document_mask[group].unsqueeze(-1), float("-inf"))
            best[position], winners[position] = similarities.max(1)
            if k is not None and kth is not None and k <= n * length:
                kth[position] = similarities.view(n * length, -1).topk(k, dim=0).values[-1]
        ctx.save_for_backward(queries, documents, winners)
        if kth is not None:
            ctx.mark_non_differentiable(kth)
        return best, kth

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
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
        return of_queries, of_documents.view_as(documents), None, None


def best_similarities(
    queries: Tensor, documents: Tensor, document_mask: Tensor, k: int | None = None
) -> tuple[Tensor, Tensor | None]:
    """Return the results of :class:`BestSimilarities`."""
    return BestSimilarities.apply(queries, documents, document_mask, k)  # pyright: ignore (no types there)


def maxsim(queries: Tensor, documents: Tensor, query_mask: Tensor, document_mask: Tensor) -> Tensor:
    """Return MaxSim of each query with its own n documents, ``[B, n]``; a document without vectors scores 0.

    Args:
        queries: ``[B, Lq, dim]``.
        documents: ``[B, n, Ld, dim]``.
        query_mask: ``[B, Lq]``, true where a vector takes part.
        document_mask: ``[B, n, Ld]``, true where a vector takes part.

    >>> import torch
    >>> q, d = torch.eye(2)[None], torch.eye(2)[None, None]
    >>> maxsim(q, d, torch.ones(1, 2, dtype=bool), torch.ones(1, 1, 2, dtype=bool))
    tensor([[2.]])
    """
    best, _ = best_similarities(queries, documents, document_mask)
    return sum_over_query(best, query_mask.unsqueeze(1))


def maxsim_all_pairs(queries: Tensor, documents: Tensor, query_mask: Tensor, document_mask: Tensor) -> Tensor:
    """Return MaxSim of every query with every document, ``[B, N]``; a document without vectors scores 0.

    Args:
        queries: ``[B, Lq, dim]``.
        documents: ``[N, Ld, dim]``.
        query_mask: ``[B, Lq]``, true where a vector takes part.
        document_mask: ``[N, Ld]``, true where a vector takes part.
    """
    return maxsim(queries, documents.unsqueeze(0), query_mask, document_mask.unsqueeze(0))


def sum_over_query(best: Tensor, query_mask: Tensor) -> Tensor:
    """Sum maxima ``[..., Lq]`` over the query vectors that take part; −inf (a document without vectors) counts as 0."""
    taking_part = query_mask & torch.isfinite(best)
    return torch.where(taking_part, best, best.new_zeros(())).sum(-1)
