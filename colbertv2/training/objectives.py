"""The losses, one small class each (ColBERTv2 §3.2; forms as in the official code).

Every objective maps :class:`Scores` to a scalar; a training configuration names any mix of them, each with its weight.

What reproduces the losses of others (``make agree`` measures it; weight 1 throughout):

- colbert-ai, scored examples: ``KLDivergence(temperature=1, teacher_scale=distillation_alpha)``; unscored ones:
  ``CrossEntropy(temperature=1)``; with ``use_ib_negatives`` plus ``InBatchNegatives(temperature=1)``.
- PyLate's ``Distillation``: ``KLDivergence(temperature=1, teacher_scale=1, student_normalisation="minmax")``, and
  ``"none"`` for its ``normalize_scores=False``.
- PyLate's ``Contrastive`` and ``CachedContrastive``: ``InBatchNegatives(temperature=…, own_negatives=True)``.

PyLate counts a masked position of a document (padding, punctuation) as similarity 0, which wins where a query vector's
best similarity is negative; here it never does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, runtime_checkable

from colbertv2.schema import Scale, Weight, checked

if TYPE_CHECKING:
    from torch import Tensor


class Scores(NamedTuple):
    """A batch's scores.

    Args:
        own: ``[B, n]`` of every query's own candidates, the positive in slot 0.
        teacher: ``[B, n]`` the teacher's scores of the same, or ``None`` if any of them has none.
        all_pairs: ``[B, B·n]`` of every query against every passage of the batch, or ``None``.
        excluded: ``[B, B·n]`` passages that are no in-batch negatives of the query.
    """

    own: Tensor
    teacher: Tensor | None
    all_pairs: Tensor | None
    excluded: Tensor


def minmax(scores: Tensor) -> Tensor:
    """Each row of ``[B, n]`` stretched to 0 … 1; rows of equal scores to 0."""
    low, high = scores.amin(-1, keepdim=True), scores.amax(-1, keepdim=True)
    return (scores - low) / (high - low + 1e-8)


def zscore(scores: Tensor) -> Tensor:
    """Each row of ``[B, n]`` with mean 0 and standard deviation 1; rows of equal scores to 0."""
    return (scores - scores.mean(-1, keepdim=True)) / (scores.std(-1, keepdim=True, correction=0) + 1e-8)


Normalisation = Literal["none", "minmax", "zscore"]
NORMALISATIONS: dict[Normalisation, Callable[[Tensor], Tensor]] = {
    "none": lambda scores: scores,
    "minmax": minmax,
    "zscore": zscore,
}


@runtime_checkable
class Objective(Protocol):
    """What the training module asks of a loss.

    Args:
        weight: in the sum of all losses. minimum_candidates: the least n that it is defined for.
        needs_all_pairs: it reads ``Scores.all_pairs``, which are then computed.
        needs_teacher: it reads ``Scores.teacher``; examples without scores are then refused.
    """

    weight: float
    needs_all_pairs: bool
    needs_teacher: bool
    minimum_candidates: int

    def __call__(self, scores: Scores) -> Tensor: ...


@checked
@dataclass(frozen=True)
class CrossEntropy:
    """Softmax cross-entropy of the positive among the own n candidates; n = 2 is ColBERT's pairwise loss."""

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
    """KL of the student's distribution over the n candidates from the teacher's: ``batchmean`` over queries.

    Args:
        temperature: divides the student's scores. teacher_scale: multiplies the teacher's (the official ``alpha``).
        student_normalisation, teacher_normalisation: of a query's n scores, before that: ``none``, ``minmax`` (to
            0 … 1) or ``zscore``.
    """

    weight: Weight
    temperature: Scale
    teacher_scale: Scale
    student_normalisation: Normalisation = "none"
    teacher_normalisation: Normalisation = "none"
    needs_all_pairs = False
    needs_teacher = True
    minimum_candidates = 2

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
    """Mean squared error between student's and teacher's margin, positive minus negative (Hofstätter et al. 2020)."""

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
    """Cross-entropy of the own positive against all passages of the *other* queries, the official form.

    Args:
        own_negatives: and against the query's own n − 1 negatives, as PyLate's Contrastive does. The peers count a
            second copy of a positive as a negative; ``Scores.excluded`` leaves it out here.
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
