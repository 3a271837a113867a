"""What a round was taught: mined negatives by rank and by the teacher's margin, false negatives, agreement.

A *margin* is how far the teacher puts a candidate below the query's best labelled document. Where it is not above 0,
the teacher takes the "negative" for a positive: the false negatives that denoising is about (ColBERTv2 §3.2).
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import log_softmax
from scipy.stats import kendalltau

from colbertv2.training.examples import Example

FEWEST_POSITIVES = 20  # that a threshold of `false_negative_bound` must leave above it, lest it measure noise


def candidate_table(scored: Iterable[Example], relevant: Callable[[str], list[str]]) -> tuple[pd.DataFrame, NDArray]:
    """A row per unlabelled candidate, and the teacher's scores of the labelled ones.

    Args:
        scored: a query's candidates in retrieval order, every one with the teacher's score.
        relevant: the labelled documents of a query; of one without, the teacher's best stands for them.

    Returns:
        columns ``query_id``, ``document``, ``rank`` (from 1), ``score``, ``margin``; and scores ``[positives]``.
    """
    rows: list[tuple[str, str, int, float, float]] = []
    of_positives: list[float] = []
    for example in scored:
        scores = example.teacher_scores
        positives = [document for document in relevant(example.query_id) if document in scores]
        positives = positives or [max(scores, key=scores.__getitem__)]
        best = max(scores[document] for document in positives)
        of_positives += [scores[document] for document in positives]
        rows += [
            (example.query_id, document, rank, score, best - score)
            for rank, (document, score) in enumerate(scores.items(), start=1)
            if document not in positives
        ]
    return pd.DataFrame(rows, columns=["query_id", "document", "rank", "score", "margin"]), np.array(of_positives)


def by_rank(candidates: pd.DataFrame) -> pd.DataFrame:
    """A row per rank: how many ``unlabelled`` candidates, their ``median_margin``, the ``share_above_positive``."""
    groups = candidates.groupby("rank")["margin"]
    return pd.DataFrame(
        {
            "unlabelled": groups.size(),
            "median_margin": groups.median(),
            "share_above_positive": groups.apply(lambda margins: float((margins <= 0).mean())),
        }
    )


def false_negative_bound(candidates: NDArray, positives: NDArray) -> float:
    """An upper bound of the share of positives among unlabelled candidates, from the teacher's scores of both.

    If the unlabelled positives are scored like the labelled ones, then above any threshold t the candidates hold at
    least π·P(positive > t), so π ≤ P(candidate > t) / P(positive > t); the smallest such ratio is taken (Blanchard et
    al. 2010, *Semi-supervised novelty detection*). Thresholds need scores that compare across queries.

    Args:
        candidates: ``[N]`` scores of unlabelled documents. positives: ``[P]`` of labelled ones.

    Returns:
        the bound, at most 1; NaN with fewer than 20 positives.

    >>> false_negative_bound(np.array([0.0] * 90 + [2.0] * 10), np.full(50, 2.0))
    0.1
    """
    if len(positives) < FEWEST_POSITIVES or not len(candidates):
        return float("nan")
    thresholds = np.sort(positives)[: len(positives) - FEWEST_POSITIVES + 1]
    above = [np.mean(candidates >= t) / np.mean(positives >= t) for t in thresholds]
    return float(min(1.0, *above))


def agreement(teacher: Sequence[NDArray], student: Sequence[NDArray]) -> pd.DataFrame:
    """How a student ranks each query's candidates compared with the teacher.

    Args:
        teacher, student: a query's scores ``[n]``, n ≥ 2, of the same documents.

    Returns:
        a row per query: Kendall's ``tau`` (b), ``kl`` of the student's softmax from the teacher's in nats, ``top1``
        whether both put the same document first.

    >>> agreement([np.array([2.0, 1.0, 0.0])], [np.array([2.0, 1.0, 0.0])]).round(3).to_dict("records")
    [{'tau': 1.0, 'kl': 0.0, 'top1': True}]
    """
    rows = []
    for wanted, found in zip(teacher, student, strict=True):
        p, q = log_softmax(wanted), log_softmax(found)
        tau = np.asarray(kendalltau(wanted, found))[0]
        rows.append((float(tau), float(np.sum(np.exp(p) * (p - q))), bool(wanted.argmax() == found.argmax())))
    return pd.DataFrame(rows, columns=["tau", "kl", "top1"])
