"""Ties in a ranking: where they cross a cut-off, and the expected value of a measure over all orders of tied documents.

A ranking uses trec_eval's order (:mod:`colbertv2.evaluation.ranking`): of two documents with equal scores their ids
decide which comes first, in effect chance. The expected value removes this chance: it is the mean over all orders of
every group of equal scores, in closed form (McSherry and Najork, ECIR 2008).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from colbertv2.evaluation.ranking import Ranking, Results, tied_groups

if TYPE_CHECKING:
    import ir_measures


class Group(NamedTuple):
    """Consecutive documents with equal scores.

    Args:
        start: the number of documents before the group.
        grades: the grade of every document in the group; 0 for a document without a judgement.
    """

    start: int
    grades: list[int]

    def within(self, cutoff: float) -> int:
        """The number of the group's ranks that are among the first ``cutoff``."""
        return int(max(0, min(len(self.grades), cutoff - self.start)))

    def relevant(self, least: int) -> int:
        """The number of documents in the group with at least this grade."""
        return sum(grade >= least for grade in self.grades)


Expected = Callable[[Sequence[Group], Sequence[int], Mapping[str, object]], float]


def groups_of(found: Results, grades: Mapping[str, int]) -> list[Group]:
    """Split results into groups of equal scores; most groups have one document.

    >>> groups_of([("b", 2.0), ("c", 1.0), ("a", 1.0)], {"a": 1})
    [Group(start=0, grades=[0]), Group(start=1, grades=[0, 1])]
    """
    groups: list[Group] = []
    for _, members in groupby(found, key=lambda result: result[1]):
        start = groups[-1].start + len(groups[-1].grades) if groups else 0
        groups.append(Group(start, [grades.get(doc_id, 0) for doc_id, _ in members]))
    return groups


def hits(groups: Sequence[Group], cutoff: float, least: int) -> float:
    """The expected number of relevant documents among the first ``cutoff``."""
    return sum(group.within(cutoff) * group.relevant(least) / len(group.grades) for group in groups)


def reciprocal_rank(groups: Sequence[Group], judged: Sequence[int], given: Mapping[str, object]) -> float:
    """Expected reciprocal rank.

    In a group of n documents, r of them relevant, the first relevant one is at position j with probability
    C(n − j, r − 1) / C(n, r).
    """
    cutoff, least = limits(given)
    for start, grades in groups:
        number, relevant = len(grades), sum(grade >= least for grade in grades)
        if relevant:
            places = range(1, int(min(number - relevant + 1, cutoff - start)) + 1)
            ways = (math.comb(number - place, relevant - 1) / (start + place) for place in places)
            return sum(ways) / math.comb(number, relevant)
    return 0.0


def recall(groups: Sequence[Group], judged: Sequence[int], given: Mapping[str, object]) -> float:
    """Expected recall: relevant documents found, divided by all relevant documents."""
    cutoff, least = limits(given)
    relevant = sum(grade >= least for grade in judged)
    return hits(groups, cutoff, least) / relevant if relevant else 0.0


def precision(groups: Sequence[Group], judged: Sequence[int], given: Mapping[str, object]) -> float:
    """Expected precision: relevant documents found, divided by the cut-off."""
    cutoff, least = limits(given)
    return hits(groups, cutoff, least) / cutoff


def success(groups: Sequence[Group], judged: Sequence[int], given: Mapping[str, object]) -> float:
    """Expected success: the probability that a relevant document is within the cut-off.

    Of n documents, r of them relevant, m drawn at random contain no relevant one with probability
    C(n − r, m) / C(n, m).
    """
    cutoff, least = limits(given)
    none = 1.0
    for group in groups:
        number, places = len(group.grades), group.within(cutoff)
        none *= math.comb(number - group.relevant(least), places) / math.comb(number, places)
    return 1.0 - none


def discounted_gain(groups: Sequence[Group], judged: Sequence[int], given: Mapping[str, object]) -> float:
    """Expected nDCG: every rank of a group gets the group's mean gain; divided by the gain of the ideal order."""
    cutoff, _ = limits(given)
    exponential = given.get("dcg") == "exp-log2"

    def gain(grade: int) -> float:
        return float(2 ** max(grade, 0) - 1 if exponential else max(grade, 0))

    found = sum(
        sum(map(gain, group.grades)) / len(group.grades) / math.log2(group.start + place + 2)
        for group in groups
        if any(group.grades)
        for place in range(group.within(cutoff))
    )
    best = sorted(map(gain, judged), reverse=True)[: None if cutoff == math.inf else int(cutoff)]
    ideal = sum(value / math.log2(place + 2) for place, value in enumerate(best))
    return found / ideal if ideal else 0.0


EXPECTED: dict[str, Expected] = {
    "RR": reciprocal_rank,
    "R": recall,
    "P": precision,
    "Success": success,
    "nDCG": discounted_gain,
}
PARAMETERS = {"cutoff", "rel", "dcg"}  # the parameters of measures that these functions support


def limits(given: Mapping[str, object]) -> tuple[float, int]:
    """The cut-off (infinite if there is none), and the lowest grade that counts as relevant."""
    cutoff, least = given.get("cutoff", math.inf), given.get("rel", 1)
    assert isinstance(cutoff, int | float) and isinstance(least, int)
    return cutoff, least


def has_expected(measure: ir_measures.Measure) -> bool:
    """Whether the expected value of a measure can be computed in closed form."""
    return measure.NAME in EXPECTED and set(measure.params) <= PARAMETERS


def expected_value(measure: ir_measures.Measure, found: Results, grades: Mapping[str, int]) -> float:
    """The mean of a measure over all orders of documents with equal scores, for one query.

    Args:
        measure: a measure for which ``has_expected`` is true.
        found: the query's results, best first.
        grades: document id → grade, of the query's judgements.
    """
    return EXPECTED[str(measure.NAME)](groups_of(found, grades), list(grades.values()), measure.params)


def crossing(ranking: Ranking, query_ids: Collection[str], cutoff: int | None) -> list[str]:
    """The queries with documents of equal scores on both sides of a cut-off, or of the ranking's end.

    >>> crossing(Ranking({"q": [("b", 1.0), ("a", 1.0)]}), ["q"], 1)
    ['q']
    """
    found = []
    for query_id in query_ids:
        results = ranking.get(query_id, ())
        if cutoff is not None and cutoff < len(results):
            crosses = results[cutoff - 1][1] == results[cutoff][1]
        else:
            crosses = query_id in ranking.tied_beyond and (cutoff is None or cutoff == len(results))
        if crosses:
            found.append(query_id)
    return found


def open_ended(ranking: Ranking, query_ids: Collection[str], cutoff: int | None) -> list[str]:
    """The queries with a group of equal scores that begins before the cut-off and continues beyond the ranking's end.

    Their expected value is unknown, because not all documents of that group are known.
    """
    found = []
    for query_id in query_ids:
        if query_id in ranking.tied_beyond:
            groups, number = tied_groups(ranking[query_id]), len(ranking[query_id])
            start = groups[-1][0] if groups and groups[-1][1] == number else number - 1
            if cutoff is None or start < cutoff:
                found.append(query_id)
    return found
