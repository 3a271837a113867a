"""The losses, one small class each (ColBERTv2 §3.2; published.md names the official forms).

Every objective maps :class:`Scores` to a scalar; a training configuration names any mix of them, each with its weight.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax, mse_loss

from colbertv2.errors import InputError


class Scores(NamedTuple):
    """A batch's scores.

    Args:
        own: ``[B, n]`` of every query's own candidates, the positive in slot 0.
        teacher: ``[B, n]`` the teacher's scores of the same, NaN where there is none.
        all_pairs: ``[B, B·n]`` of every query against every passage of the batch, or ``None``.
        excluded: ``[B, B·n]`` passages that are no in-batch negatives of the query.
    """

    own: Tensor
    teacher: Tensor
    all_pairs: Tensor | None
    excluded: Tensor


class Objective(Protocol):
    """What the training module asks of a loss."""

    weight: float
    needs_all_pairs: bool
    needs_teacher: bool
    minimum_candidates: int

    def __call__(self, scores: Scores) -> Tensor: ...


@dataclass(frozen=True)
class CrossEntropy:
    """Softmax cross-entropy of the positive among the own n candidates; n = 2 is ColBERT's pairwise loss."""

    weight: float
    temperature: float
    needs_all_pairs = False
    needs_teacher = False
    minimum_candidates = 2

    def __post_init__(self) -> None:
        check_positive("temperature", self.temperature)

    def __call__(self, scores: Scores) -> Tensor:
        return cross_entropy(
            scores.own / self.temperature, torch.zeros(len(scores.own), dtype=torch.long, device=scores.own.device)
        )


@dataclass(frozen=True)
class KLDivergence:
    """KL of the student's distribution over the n candidates from the teacher's: ``batchmean`` over queries.

    The official form is ``temperature=1, teacher_scale=1`` (their ``alpha``).
    """

    weight: float
    temperature: float
    teacher_scale: float
    needs_all_pairs = False
    needs_teacher = True
    minimum_candidates = 2

    def __post_init__(self) -> None:
        check_positive("temperature", self.temperature)
        check_positive("teacher_scale", self.teacher_scale)

    def __call__(self, scores: Scores) -> Tensor:
        student = log_softmax(scores.own / self.temperature, dim=-1)
        teacher = log_softmax(scores.teacher * self.teacher_scale, dim=-1)
        return kl_div(student, teacher, reduction="batchmean", log_target=True)


@dataclass(frozen=True)
class MarginMSE:
    """Mean squared error between student's and teacher's margin, positive minus negative (Hofstätter et al. 2020)."""

    weight: float
    teacher_scale: float
    needs_all_pairs = False
    needs_teacher = True
    minimum_candidates = 2

    def __post_init__(self) -> None:
        check_positive("teacher_scale", self.teacher_scale)

    def __call__(self, scores: Scores) -> Tensor:
        student = scores.own[:, :1] - scores.own[:, 1:]
        teacher = scores.teacher[:, :1] - scores.teacher[:, 1:]
        return mse_loss(student, self.teacher_scale * teacher)


@dataclass(frozen=True)
class InBatchNegatives:
    """Cross-entropy of the own positive against all passages of the *other* queries, the official form."""

    weight: float
    temperature: float
    needs_all_pairs = True
    needs_teacher = False
    minimum_candidates = 1

    def __post_init__(self) -> None:
        check_positive("temperature", self.temperature)

    def __call__(self, scores: Scores) -> Tensor:
        assert scores.all_pairs is not None
        others = scores.all_pairs.masked_fill(scores.excluded, float("-inf"))
        logits = torch.cat([scores.own[:, :1], others], dim=1) / self.temperature
        return cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device))


def check_positive(name: str, value: float) -> None:
    if not value > 0:
        raise InputError(f"{name} is {value}; expected a number above 0.")
