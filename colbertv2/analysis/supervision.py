"""The supervision of a training round: hard negatives by rank and margin, false negatives, student–teacher agreement.

The *margin* of a candidate is the teacher's score of the query's best labelled document minus that of the candidate. If
the margin is 0 or less, the teacher considers the "negative" a positive. Denoised supervision is meant for such false
negatives (ColBERTv2 §3.2).
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import log_softmax
from scipy.stats import kendalltau

from colbertv2.training.examples import Example

FEWEST_POSITIVES = 20  # above every threshold of `false_negative_bound`; with fewer it would measure noise


def candidate_table(scored: Iterable[Example], relevant: Callable[[str], list[str]]) -> tuple[pd.DataFrame, NDArray]:
    """A table with one row per unlabelled candidate, and the teacher's scores of the labelled candidates.

    Args:
        scored: for each query, its candidates in retrieval order with the teacher's scores.
        relevant: returns the labelled documents of a query. If none of them is a candidate, the teacher's best
            candidate counts as labelled.

    Returns:
        a table with the columns ``query_id``, ``document``, ``rank`` (from 1), ``score`` and ``margin``; and the scores
        ``[P]`` of the P labelled candidates.
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
    """A table with one row per rank of the unlabelled candidates.

    Columns: ``unlabelled`` (number of candidates), ``median_margin``, and ``share_above_positive`` (the share of
    candidates with a margin of 0 or less).

    Args:
        candidates: the table of ``candidate_table``.
    """
    groups = candidates.groupby("rank")["margin"]
    return pd.DataFrame(
        {
            "unlabelled": groups.size(),
            "median_margin": groups.median(),
            "share_above_positive": groups.apply(lambda margins: float((margins <= 0).mean())),
        }
    )


def false_negative_bound(candidates: NDArray, positives: NDArray) -> float:
    """An upper bound of the share of positives among unlabelled candidates, from the teacher's scores.

    Let π be that share. If unlabelled and labelled positives have the same score distribution, then for any threshold t
    the share of candidates with scores of at least t is at least π·P(positive ≥ t). Hence
    π ≤ P(candidate ≥ t) / P(positive ≥ t), and the bound is the smallest such ratio (Blanchard et al. 2010,
    *Semi-supervised novelty detection*). The scores must be comparable across queries.

    Args:
        candidates: ``[N]``, scores of unlabelled documents.
        positives: ``[P]``, scores of labelled documents.

    Returns:
        the bound, at most 1; NaN if there are fewer than 20 positives or no candidates.

    >>> false_negative_bound(np.array([0.0] * 90 + [2.0] * 10), np.full(50, 2.0))
    0.1
    """
    if len(positives) < FEWEST_POSITIVES or not len(candidates):
        return float("nan")
    thresholds = np.sort(positives)[: len(positives) - FEWEST_POSITIVES + 1]
    above = [np.mean(candidates >= t) / np.mean(positives >= t) for t in thresholds]
    return float(min(1.0, *above))


def agreement(teacher: Sequence[NDArray], student: Sequence[NDArray]) -> pd.DataFrame:
    """How well a student's scores of each query's candidates agree with the teacher's.

    Args:
        teacher, student: for each query, scores ``[n]`` of the same documents, n ≥ 2.

    Returns:
        one row per query: ``tau`` (Kendall's tau-b), ``kl`` (the divergence KL(teacher ‖ student) of the softmax
        distributions, in nats), and ``top1`` (whether both rank the same document first).

    >>> agreement([np.array([2.0, 1.0, 0.0])], [np.array([2.0, 1.0, 0.0])]).round(3).to_dict("records")
    [{'tau': 1.0, 'kl': 0.0, 'top1': True}]
    """
    rows = []
    for wanted, found in zip(teacher, student, strict=True):
        p, q = log_softmax(wanted), log_softmax(found)
        tau = np.asarray(kendalltau(wanted, found))[0]
        rows.append((float(tau), float(np.sum(np.exp(p) * (p - q))), bool(wanted.argmax() == found.argmax())))
    return pd.DataFrame(rows, columns=["tau", "kl", "top1"])
