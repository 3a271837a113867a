"""Denoised supervision: from scored candidates to training examples (ColBERTv2 §3.2).

Mined "negatives" hold unlabelled positives. A candidate is *suspected* of being one where the teacher puts it within
``margin`` of the labelled positive, or above it. Suspects are dropped, or relabelled: made positives of their own.
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
    """Which candidates become negatives.

    Args:
        first_rank, last_rank: the window of retrieval ranks (from 1) that negatives are taken from.
        margin: a candidate is suspect if teacher(candidate) > teacher(positive) − margin; ``None`` suspects none.
        action: ``drop`` suspects, or ``relabel`` the best-scored one as the positive of an example of its own.

    >>> Denoising(first_rank=1, last_rank=100, margin=0.5, action="drop").suspects("p", {"p": 2.0, "a": 1.8, "b": 0.1})
    ['a']
    """

    first_rank: PositiveInt
    last_rank: PositiveInt
    margin: Annotated[float, Interval(ge=-1e6, le=1e6)] | None
    action: Literal["drop", "relabel"]

    def __post_init__(self) -> None:
        if self.first_rank > self.last_rank:
            raise InputError(f"denoising ranks {self.first_rank}–{self.last_rank}: expected first_rank ≤ last_rank.")

    def suspects(self, positive: str, scores: Mapping[str, float | None]) -> list[str]:
        """Candidates that the teacher thinks are as good as the positive, best first; none of one without a score."""
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
        """One example per positive (and per relabelled suspect) of a query.

        Args:
            ranked: candidates in retrieval order with the teacher's score, ``None`` where it has not spoken.
            positives: labelled documents, likewise.
            removed: counts to add to: ``candidates``, ``labelled``, ``outside_window``, ``suspected``, ``relabelled``,
                ``kept``.
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
        """Refuse a margin over candidates that no teacher has scored."""
        if self.margin is not None and None in scores:
            raise InputError(
                "denoising.margin needs teacher scores, but these candidates have none; set it to null or score them."
            )
