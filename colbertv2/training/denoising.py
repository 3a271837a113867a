"""Denoised supervision: turn scored candidates into training examples (ColBERTv2 §3.2).

Mined "negatives" include unlabelled positives (false negatives). A candidate is *suspected* to be one if its teacher
score is above that of the labelled positive, or less than ``margin`` below it. Suspects are dropped; if they are to be
relabelled, the best one becomes the positive of another example.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

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
        margin: a candidate is suspected if teacher(candidate) > teacher(positive) − margin; ``None`` suspects none.
        action: ``drop`` suspects, or ``relabel``: drop them, and make the best one the positive of another example.

    Raises:
        InputError: ``first_rank`` is greater than ``last_rank``, or a value is out of range.

    >>> Denoising(first_rank=1, last_rank=100, margin=0.5, action="drop").suspects("p", {"p": 2.0, "a": 1.8, "b": 0.1})
    ['a']
    """

    first_rank: PositiveInt
    last_rank: PositiveInt
    margin: Annotated[float, Interval(ge=-1e6, le=1e6)] | None
    action: Literal["drop", "relabel"]

    def __post_init__(self) -> None:
        if self.first_rank > self.last_rank:
            raise InputError(f"denoising.first_rank is {self.first_rank}; expected at most last_rank={self.last_rank}.")

    def suspects(self, positive: str, scores: Mapping[str, float | None]) -> list[str]:
        """Return the suspected candidates of a positive, best first; ``[]`` if the positive has no teacher score.

        Args:
            positive: the id of the labelled document.
            scores: document id → teacher score, or None, for the positive and the candidates.
        """
        best = scores[positive]
        if self.margin is None or best is None:
            return []
        found = {doc: score for doc, score in scores.items() if score is not None and score > best - self.margin}
        return sorted((doc for doc in found if doc != positive), key=lambda doc: -found[doc])

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
        """Raise InputError if there is a margin, but a candidate has no teacher score."""
        if self.margin is not None and None in scores:
            raise InputError(
                "denoising.margin needs teacher scores, but some candidates have none; set it to null or score them."
            )
