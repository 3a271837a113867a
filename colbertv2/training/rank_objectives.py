"""Training losses that read only the order, or the grades, of the teacher's scores.

Unlike the losses in :mod:`colbertv2.training.objectives` that match the teacher's scores, these do not change when the
teacher's scores are shifted or scaled. So teachers with different scales can be used without a ``teacher_scale``. None
of them changes when the student's scores are shifted, or when a query's candidates come in another order. They are
objectives (:class:`~colbertv2.training.objectives.Objective`) like the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from annotated_types import Interval

from colbertv2.schema import Scale, Weight, checked
from colbertv2.training.objectives import Scores, minmax

if TYPE_CHECKING:
    from torch import Tensor


@checked
@dataclass(frozen=True)
class ListMLE:
    """The negative log-likelihood of the teacher's order (Xia et al. 2008, doi:10.1145/1390156.1390306).

    Under the Plackett–Luce model, a ranking is drawn from the top: each next candidate is drawn among those that are
    left, with probability proportional to exp(score / temperature). With s_1, s_2, … the student's scores in the
    teacher's order, the loss of a query is Σ_i (log Σ_{j ≥ i} exp(s_j / temperature) − s_i / temperature). It is summed
    over the n candidates, and averaged over queries. Candidates with equal teacher scores stay in the example's order.

    Args:
        weight: its weight in the sum of all losses.
        temperature: divides the student's scores.

    >>> import torch
    >>> own, teacher = torch.tensor([[0.6, 0.8]]), torch.tensor([[1.0, 0.0]])
    >>> round(ListMLE(weight=1.0, temperature=1.0)(Scores(own, teacher, None, torch.tensor([[True]]))).item(), 4)
    0.7981
    """

    weight: Weight
    temperature: Scale
    needs_all_pairs = False
    needs_teacher = True
    minimum_candidates = 2

    def __call__(self, scores: Scores) -> Tensor:
        assert scores.teacher is not None
        order = scores.teacher.argsort(dim=-1, descending=True, stable=True)
        ranked = scores.own.gather(-1, order) / self.temperature
        of_remaining = ranked.flip(-1).logcumsumexp(-1).flip(-1)  # logsumexp of a candidate and those below it
        return (of_remaining - ranked).sum(-1).mean()


@checked
@dataclass(frozen=True)
class RankNet:
    """The logistic loss of every pair of candidates that the teacher orders (Burges et al. 2005, RankNet).

    For candidates i and j with teacher_i > teacher_j, the loss is log(1 + exp((s_j − s_i) / temperature)), the
    cross-entropy of the order in which P(i before j) = sigmoid((s_i − s_j) / temperature). It is averaged over all such
    pairs of the batch. A pair with equal teacher scores has no order and is left out.

    Args:
        weight: its weight in the sum of all losses.
        temperature: divides the differences of the student's scores.

    >>> import torch
    >>> own, teacher = torch.tensor([[0.6, 0.8, 0.1]]), torch.tensor([[3.0, 1.0, 1.0]])
    >>> round(RankNet(weight=1.0, temperature=1.0)(Scores(own, teacher, None, torch.tensor([[True]]))).item(), 4)
    0.6361
    """

    weight: Weight
    temperature: Scale
    needs_all_pairs = False
    needs_teacher = True
    minimum_candidates = 2

    def __call__(self, scores: Scores) -> Tensor:
        from torch.nn.functional import softplus

        assert scores.teacher is not None
        losses = softplus(differences(scores.own) / self.temperature)
        ordered = differences(scores.teacher) < 0
        return losses.masked_fill(~ordered, 0.0).sum() / ordered.sum().clamp(min=1)


@checked
@dataclass(frozen=True)
class ApproxNDCG:
    """1 − NDCG of the student's ranking, with ranks that have gradients (Qin, Liu and Li 2010, ApproxNDCG).

    The rank of a candidate i is approximated by 1 + Σ_{j ≠ i} sigmoid((s_j − s_i) / temperature). Its grade y_i is the
    teacher's score, scaled within the query so that the worst candidate has grade 0 and the best ``highest_grade``.
    NDCG is Σ_i (2^y_i − 1) / log2(1 + rank_i), divided by its value for the teacher's order. The loss is averaged over
    queries. If a teacher scores all candidates of a query the same, every order is right, and its loss is 0.

    Args:
        weight: its weight in the sum of all losses.
        temperature: of the approximate ranks; towards 0, they become the true ranks, and gradients vanish.
        highest_grade: the grade of the teacher's best candidate; larger makes the top of the ranking count more.

    >>> import torch
    >>> own, teacher = torch.tensor([[0.6, 0.8]]), torch.tensor([[1.0, 0.0]])
    >>> loss = ApproxNDCG(weight=1.0, temperature=0.1, highest_grade=1.0)
    >>> round(1 - loss(Scores(own, teacher, None, torch.tensor([[True]]))).item(), 4)
    0.6551
    """

    weight: Weight
    temperature: Scale
    highest_grade: Annotated[float, Interval(gt=0, le=30)]
    needs_all_pairs = False
    needs_teacher = True
    minimum_candidates = 2

    def __call__(self, scores: Scores) -> Tensor:
        import torch

        assert scores.teacher is not None
        gains = torch.exp2(self.highest_grade * minmax(scores.teacher)) - 1
        # The sum includes j = i, whose sigmoid is 1/2.
        ranks = 0.5 + (differences(scores.own) / self.temperature).sigmoid().sum(-1)
        positions = torch.arange(1, gains.shape[-1] + 1, device=gains.device)
        ideal = (gains.sort(dim=-1, descending=True).values / torch.log2(1 + positions)).sum(-1)
        found = (gains / torch.log2(1 + ranks)).sum(-1)
        ndcg = torch.where(ideal > 0, found / ideal.clamp(min=1e-12), 1.0)
        return (1 - ndcg).mean()


def differences(scores: Tensor) -> Tensor:
    """The difference of every pair of a query's scores ``[B, n]``: ``[B, n, n]``, with s_j − s_i at ``[:, i, j]``."""
    return scores[:, None, :] - scores[:, :, None]
