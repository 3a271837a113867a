"""How closely one ranking agrees with another, such as an engine's ranking with exact search over the same vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from colbertv2.errors import InputError
from colbertv2.evaluation.ranking import Results

if TYPE_CHECKING:
    import pandas as pd


def agreement(
    ranking: Mapping[str, Results], reference: Mapping[str, Results], depths: Sequence[int], persistence: float
) -> pd.DataFrame:
    """Compute ``RBO``, and ``overlap@k`` and ``found@k`` at each depth, for every query of ``reference``.

    ``RBO`` is rank-biased overlap. ``overlap@k`` is the share of the reference's first k documents that are among the
    ranking's first k; ``found@k`` is the share of them that are anywhere in the ranking. A query that is missing from
    the ranking counts as zero; a query that is missing from the reference is ignored.

    Args:
        ranking: query id → (document, score), best first.
        reference: the ranking to compare with, in the same form.
        depths: the values of k for ``overlap@k`` and ``found@k``.
        persistence: the parameter p of ``RBO``.

    Returns:
        one row per query (index ``query_id``, in the order of ``reference``), one column per measure.

    Raises:
        InputError: the reference has no queries, or a depth or the persistence is out of range.

    >>> exact, found = {"q": [("a", 3.0), ("b", 2.0), ("c", 1.0)]}, {"q": [("b", 2.0), ("c", 1.0), ("a", 0.5)]}
    >>> agreement(found, exact, [1, 2], persistence=0.99).round(3).to_dict("index")
    {'q': {'RBO': 0.497, 'overlap@1': 0.0, 'overlap@2': 0.5, 'found@1': 1.0, 'found@2': 1.0}}
    """
    import pandas as pd

    for problem in problems(depths, persistence):
        raise InputError(problem)
    if not reference:
        raise InputError("The reference ranking has no queries, so there is nothing to compare with.")
    rows = []
    for query_id, wanted in reference.items():
        own, ideal = ([document for document, _ in results] for results in (ranking.get(query_id, ()), wanted))
        rows.append(
            {
                "RBO": rank_biased_overlap(own, ideal, persistence),
                **{f"overlap@{k}": share_found(own[:k], ideal[:k]) for k in depths},
                **{f"found@{k}": share_found(own, ideal[:k]) for k in depths},
            }
        )
    return pd.DataFrame(rows, index=pd.Index(list(reference), name="query_id"), columns=measures_at(depths))


def measures_at(depths: Sequence[int]) -> list[str]:
    """The column names of ``agreement`` for these depths.

    >>> measures_at([10])
    ['RBO', 'overlap@10', 'found@10']
    """
    return ["RBO", *(f"overlap@{k}" for k in depths), *(f"found@{k}" for k in depths)]


def problems(depths: Sequence[int], persistence: float) -> list[str]:
    """What is wrong with these arguments of ``agreement``, one sentence per problem; empty if they are valid."""
    found = []
    if not depths or min(depths) < 1 or len(set(depths)) < len(depths):
        found.append(f"depths are {list(depths)}; expected at least one, each once, and all at least 1.")
    if not 0 < persistence < 1:
        found.append(f"persistence is {persistence}; expected more than 0 and less than 1.")
    return found


def rank_biased_overlap(first: Sequence[str], second: Sequence[str], persistence: float) -> float:
    """Rank-biased overlap of two lists, from 0 to 1 (Webber et al. 2010).

    At each depth d, take the share of documents that the first d entries of both lists have in common. The result is
    the weighted mean of these shares with weights p^(d−1). Webber et al. sum over infinite lists. This sum ends with
    the longer list and is divided by its value for two equal lists, as in the reproducibility study of PLAID (with
    p = .99 and 1,000 documents). Nothing is extrapolated: a list that ends early has nothing more in common with the
    other. Two empty lists agree fully.

    Args:
        first: document ids, best first, without repetitions.
        second: document ids, best first, without repetitions.
        persistence: p, between 0 and 1; roughly the first 1 / (1 − p) ranks carry most of the weight.

    >>> round(rank_biased_overlap("abc", "bac", 0.5), 4)  # (0 · 4 + 1 · 2 + 1 · 1) / 7
    0.4286
    """
    depth = max(len(first), len(second))
    if not depth:
        return 1.0
    ranks = {document: rank for rank, document in enumerate(second)}
    shared_from = [max(rank, ranks[document]) for rank, document in enumerate(first) if document in ranks]
    shared = np.cumsum(np.bincount(np.array(shared_from, dtype=np.int64), minlength=depth))
    return float(np.average(shared / np.arange(1, depth + 1), weights=persistence ** np.arange(depth)))


def share_found(found: Sequence[str], wanted: Sequence[str]) -> float:
    """The share of ``wanted`` that is in ``found``, in any order; 1 if ``wanted`` is empty.

    >>> share_found(["a", "c"], ["a", "b"])
    0.5
    """
    return len(set(found) & set(wanted)) / len(wanted) if wanted else 1.0
