"""Training losses, one small class each (ColBERTv2 §3.2, in the form of the official code).

Every objective maps :class:`Scores` to a scalar. A training configuration can combine any of them, each with a weight.
Losses that read only the teacher's order are in :mod:`colbertv2.training.rank_objectives`.

These settings reproduce the losses of other systems, always with weight 1 (``make agree`` measures the agreement):

- colbert-ai: for scored examples ``KLDivergence(temperature=1, teacher_scale=distillation_alpha)``, for others
  ``CrossEntropy(temperature=1)``; with ``use_ib_negatives``, add ``InBatchNegatives(temperature=1)``.
- PyLate's ``Distillation``: ``KLDivergence(temperature=1, teacher_scale=1, student_normalisation="minmax")``, and
  ``"none"`` for its ``normalize_scores=False``.
- PyLate's ``Contrastive`` and ``CachedContrastive``: ``InBatchNegatives(temperature=…, own_negatives=True)``.

PyLate gives masked positions of a document (padding, punctuation) the similarity 0, which is the maximum if all other
similarities of a query vector are negative. Here masked positions are never the maximum.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, runtime_checkable

from colbertv2.schema import Scale, Weight, checked

if TYPE_CHECKING:
    from torch import Tensor


class Scores(NamedTuple):
    """The scores of a batch of B queries with n candidates each.

    Args:
        own: the student's scores of every query's own candidates, ``[B, n]``, the positive in column 0.
        teacher: the teacher's scores of the same candidates, ``[B, n]``, or ``None`` if any is missing.
        all_pairs: the student's scores of every query with every passage of the batch, ``[B, B·n]``, or ``None``.
        excluded: ``[B, B·n]``, true for passages that are not in-batch negatives of the query.
    """

    own: Tensor
    teacher: Tensor | None
    all_pairs: Tensor | None
    excluded: Tensor


def minmax(scores: Tensor) -> Tensor:
    """Scale each row of ``[B, n]`` linearly to 0 … 1; rows of equal scores become 0."""
    low, high = scores.amin(-1, keepdim=True), scores.amax(-1, keepdim=True)
    return (scores - low) / (high - low + 1e-8)


def zscore(scores: Tensor) -> Tensor:
    """Scale each row of ``[B, n]`` to mean 0 and standard deviation 1; rows of equal scores become 0."""
    return (scores - scores.mean(-1, keepdim=True)) / (scores.std(-1, keepdim=True, correction=0) + 1e-8)


Normalisation = Literal["none", "minmax", "zscore"]
NORMALISATIONS: dict[Normalisation, Callable[[Tensor], Tensor]] = {
    "none": lambda scores: scores,
    "minmax": minmax,
    "zscore": zscore,
}


@runtime_checkable
class Objective(Protocol):
    """The interface of a loss: a call maps :class:`Scores` to a scalar tensor.

    Args:
        weight: its weight in the sum of all losses.
        needs_all_pairs: whether it reads ``Scores.all_pairs``, so that they must be computed.
        needs_teacher: whether it reads ``Scores.teacher``, so that examples without scores are refused.
        minimum_candidates: the smallest n that it is defined for.
    """

    weight: float
    needs_all_pairs: bool
    needs_teacher: bool
    minimum_candidates: int

    def __call__(self, scores: Scores) -> Tensor: ...


@checked
@dataclass(frozen=True)
class CrossEntropy:
    """Softmax cross-entropy of the positive among the query's n candidates; n = 2 is ColBERT's pairwise loss.

    Args:
        weight: its weight in the sum of all losses.
        temperature: divides the scores.
    """

    weight: Weight
    temperature: Scale
    needs_all_pairs = False
    needs_teacher = False
    minimum_candidates = 2

    def __call__(self, scores: Scores) -> Tensor:
        import torch
        from torch.nn.functional import cross_entropy

        return cross_entropy(
            scores.own / self.temperature, torch.zeros(len(scores.own), dtype=torch.long, device=scores.own.device)
        )


@checked
@dataclass(frozen=True)
class KLDivergence:
    """KL(teacher ‖ student) of the distributions over a query's n candidates, averaged over queries (ColBERTv2 §3.2).

    Args:
        weight: its weight in the sum of all losses.
        temperature: divides the student's scores.
        teacher_scale: multiplies the teacher's scores (``distillation_alpha`` in the official code).
        student_normalisation, teacher_normalisation: how a query's n scores are normalised before that: ``none``,
            ``minmax`` (to 0 … 1) or ``zscore``.
    """

    weight: Weight
    temperature: Scale
    teacher_scale: Scale
    student_normalisation: Normalisation = "none"
    teacher_normalisation: Normalisation = "none"
    needs_all_pairs = False
    needs_teacher = True
    minimum_candidates = 2

    @property
    def ignores_scale(self) -> bool:
        """Whether a common factor of a query's scores changes nothing."""
        return self.student_normalisation != "none"

    def __call__(self, scores: Scores) -> Tensor:
        from torch.nn.functional import kl_div, log_softmax

        assert scores.teacher is not None
        student = log_softmax(NORMALISATIONS[self.student_normalisation](scores.own) / self.temperature, dim=-1)
        teacher = NORMALISATIONS[self.teacher_normalisation](scores.teacher) * self.teacher_scale
        teacher = log_softmax(teacher, dim=-1)
        return kl_div(student, teacher, reduction="batchmean", log_target=True)


@checked
@dataclass(frozen=True)
class MarginMSE:
    """Mean squared error between student's and teacher's margin, positive minus negative (Hofstätter et al. 2020).

    Args:
        weight: its weight in the sum of all losses.
        teacher_scale: multiplies the teacher's margins.
    """

    weight: Weight
    teacher_scale: Scale
    needs_all_pairs = False
    needs_teacher = True
    minimum_candidates = 2

    def __call__(self, scores: Scores) -> Tensor:
        from torch.nn.functional import mse_loss

        assert scores.teacher is not None
        student = scores.own[:, :1] - scores.own[:, 1:]
        teacher = scores.teacher[:, :1] - scores.teacher[:, 1:]
        return mse_loss(student, self.teacher_scale * teacher)


@checked
@dataclass(frozen=True)
class InBatchNegatives:
    """Cross-entropy of a query's positive against all passages of the *other* queries, as in the official code.

    Other systems count a second copy of a positive as a negative; here ``Scores.excluded`` leaves it out.

    Args:
        weight: its weight in the sum of all losses.
        temperature: divides the scores.
        own_negatives: also use the query's own n − 1 negatives, as PyLate's ``Contrastive`` does.
    """

    weight: Weight
    temperature: Scale
    own_negatives: bool = False
    needs_all_pairs = True
    needs_teacher = False
    minimum_candidates = 1

    def __call__(self, scores: Scores) -> Tensor:
        import torch
        from torch.nn.functional import cross_entropy

        assert scores.all_pairs is not None
        others = scores.all_pairs.masked_fill(scores.excluded, float("-inf"))
        own = scores.own if self.own_negatives else scores.own[:, :1]
        logits = torch.cat([own, others], dim=1) / self.temperature
        return cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device))
