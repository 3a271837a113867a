"""Denoised supervision: turn scored candidates into training examples (ColBERTv2 §3.2).

Mined "negatives" include unlabelled positives (false negatives). A candidate is *suspected* to be one if its teacher
score is above a threshold that follows from the score of the labelled positive: the positive's score minus ``margin``,
or the positive's score times ``ratio``. Suspects are dropped; if they are to be relabelled, the best one becomes the
positive of another example.
"""

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from annotated_types import Interval

from colbertv2.errors import InputError
from colbertv2.schema import PositiveInt, checked
from colbertv2.training.examples import Example


@checked
@dataclass(frozen=True)
class Denoising:
    """Decide which candidates become negatives.

    Args:
        first_rank, last_rank: the first and last retrieval rank (from 1) that negatives are taken from.
        margin: a candidate is suspected if teacher(candidate) > teacher(positive) − margin.
        action: ``drop`` suspects, or ``relabel``: drop them, and make the best one the positive of another example.
        ratio: a candidate is suspected if teacher(candidate) > ratio · teacher(positive) ("TopK-PercPos" of Moreira et
            al. 2024, arXiv:2407.15831, with .95). At most one of ``margin`` and ``ratio`` is set; if both are ``None``,
            no candidate is suspected. A ratio to a score that is not positive has no meaning, and is refused.
        activation: what is applied to the teacher's scores before they are compared: ``none``, or ``sigmoid``, which
            turns the logits of a classifier into probabilities. The examples keep the scores as they are.

    Raises:
        InputError: ``first_rank`` is greater than ``last_rank``, both ``margin`` and ``ratio`` are set, or a value is
            out of range.

    >>> scores = {"p": 2.0, "a": 1.95, "b": 1.8, "c": 0.1}
    >>> Denoising(first_rank=1, last_rank=100, margin=0.5, action="drop").suspects("p", scores)
    ['a', 'b']
    >>> Denoising(first_rank=1, last_rank=100, margin=None, action="drop", ratio=0.95).suspects("p", scores)
    ['a']
    """

    first_rank: PositiveInt
    last_rank: PositiveInt
    margin: Annotated[float, Interval(ge=-1e6, le=1e6)] | None
    action: Literal["drop", "relabel"]
    ratio: Annotated[float, Interval(gt=0, le=1e6)] | None = None
    activation: Literal["none", "sigmoid"] = "none"
    neutral: ClassVar[dict[str, float | str | None]] = {"ratio": None, "activation": "none"}

    def __post_init__(self) -> None:
        if self.first_rank > self.last_rank:
            raise InputError(f"denoising.first_rank is {self.first_rank}; expected at most last_rank={self.last_rank}.")
        if self.margin is not None and self.ratio is not None:
            raise InputError(
                f"denoising.margin is {self.margin:g} and denoising.ratio is {self.ratio:g}; expected one threshold. "
                "Set the other to null."
            )

    @property
    def needs_teacher(self) -> bool:
        """Whether candidates must have teacher scores, as there is a threshold."""
        return self.margin is not None or self.ratio is not None

    def compared(self, score: float) -> float:
        """The teacher's ``score`` as it is compared: as it is, or as a probability from 0 to 1."""
        if self.activation == "none":
            return score
        return 1 / (1 + math.exp(-score)) if score >= 0 else math.exp(score) / (1 + math.exp(score))

    def threshold(self, positive_score: float) -> float:
        """Return the score above which candidates are suspected.

        Args:
            positive_score: the score of the labelled positive, as it is ``compared``; so is the threshold.

        Raises:
            InputError: there is a ratio, but the score is not positive.
        """
        if self.ratio is None:
            return math.inf if self.margin is None else positive_score - self.margin
        if positive_score <= 0:
            raise InputError(
                f"denoising.ratio is {self.ratio:g}, but the teacher scores a labelled document {positive_score:g}; "
                "expected scores above 0. Set denoising.activation=sigmoid if the scores are logits, or use a margin."
            )
        return self.ratio * positive_score

    def suspects(self, positive: str, scores: Mapping[str, float | None]) -> list[str]:
        """Return the suspected candidates of a positive, best first; ``[]`` if the positive has no teacher score.

        Args:
            positive: the id of the labelled document.
            scores: document id → teacher score, or None, for the positive and the candidates.

        Raises:
            InputError: there is a ratio, but the positive's score is not above 0.
        """
        best = scores[positive]
        if best is None or not self.needs_teacher:
            return []
        threshold = self.threshold(self.compared(best))
        known = {doc: score for doc, score in scores.items() if score is not None and doc != positive}
        return sorted((doc for doc in known if self.compared(known[doc]) > threshold), key=lambda doc: -known[doc])

    def examples(
        self,
        query_id: str,
        ranked: Sequence[tuple[str, float | None]],
        positives: Mapping[str, float | None],
        removed: Counter,
    ) -> Iterator[Example]:
        """Yield one example per positive, and one per relabelled suspect, of a query.

        Args:
            query_id: the query.
            ranked: candidates in retrieval order with their teacher scores, ``None`` if a candidate has none.
            positives: labelled documents with their teacher scores, likewise.
            removed: is updated with the counts ``candidates``, ``labelled``, ``outside_window``, ``suspected``,
                ``relabelled`` and ``kept``.
        """
        window = dict(ranked[self.first_rank - 1 : self.last_rank])
        candidates = {doc: score for doc, score in window.items() if doc not in positives}
        for positive, positive_score in positives.items():
            suspects = self.suspects(positive, {positive: positive_score, **candidates})
            negatives = {doc: score for doc, score in candidates.items() if doc not in suspects}
            removed.update(
                candidates=len(ranked),
                outside_window=len(ranked) - len(window),
                labelled=len(window) - len(candidates),
                suspected=len(suspects),
                kept=len(negatives),
            )
            yield Example(query_id, [positive, *negatives], [positive_score, *negatives.values()])
            if suspects and self.action == "relabel":
                removed.update(relabelled=1)
                yield Example(query_id, [suspects[0], *negatives], [candidates[suspects[0]], *negatives.values()])

    def check_scored(self, scores: Collection[float | None]) -> None:
        """Raise InputError if there is a threshold, but a candidate has no teacher score."""
        if self.needs_teacher and None in scores:
            name = "margin" if self.ratio is None else "ratio"
            raise InputError(
                f"denoising.{name} needs teacher scores, but some candidates have none; set it to null or score them."
            )
