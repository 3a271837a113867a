"""Scored candidates: the scores of several systems for the same documents are brought together, and written.

The systems of an ensemble are teachers, or rankings such as the retriever's own. Their scores are on different scales:
logits, similarities, sums over query tokens. So each system's scores are normalised within a query, over the documents
that all of them score, and then averaged, as in JaColBERTv2.5 (Clavié 2024, arXiv:2407.20750, §3.7.2, with min-max).
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from colbertv2.evaluation.ranking import Ranking
from colbertv2.training.examples import SCORED_FILE, Example, write_examples
from colbertv2.training.objectives import NORMALISATIONS, Normalisation


def weighted_mean(
    scores: Sequence[Sequence[float]], weights: Sequence[float], normalisation: Normalisation
) -> list[float]:
    """The weighted mean over m systems of their normalised scores for the same n documents of a query.

    Args:
        scores: the systems' scores ``[m, n]``.
        weights: one per system ``[m]``; only their ratios count.
        normalisation: of each system's n scores: ``none``, ``minmax`` (to 0 … 1) or ``zscore`` (mean 0 and standard
            deviation 1). Equal scores become 0. One document alone gets 0, unless it is ``none``.

    Returns:
        The scores ``[n]``.

    >>> weighted_mean([[8.0, 2.0, -2.0], [0.5, 0.9, 0.1]], [1, 1], "minmax")
    [0.75, 0.7, 0.0]
    >>> weighted_mean([[8.0, 2.0, -2.0], [0.5, 0.9, 0.1]], [3, 1], "none")
    [6.125, 1.725, -1.475]
    """
    import torch

    normalised = NORMALISATIONS[normalisation](torch.tensor(scores, dtype=torch.float64))
    shares = torch.tensor(weights, dtype=torch.float64)
    return [round(score, 7) for score in (shares / shares.sum() @ normalised).tolist()]  # as precise as float32


def retrieval_scores(ranked: Mapping[str, float], documents: Iterable[str]) -> list[float]:
    """The scores of documents in a ranking; one that was not retrieved gets the lowest score.

    Args:
        ranked: document id → score, of one query.
        documents: the documents.

    >>> retrieval_scores({"a": 7.0, "b": 5.0}, ["b", "c"])
    [5.0, 5.0]
    """
    worst = min(ranked.values(), default=0.0)
    return [ranked.get(document, worst) for document in documents]


def write_scored(
    out: Path, scored: Mapping[str, Mapping[str, float]], unscored: Mapping[str, Sequence[str]], tag: str
) -> None:
    """Write ``scored.jsonl``, and ``run.trec``: the scored candidates by their scores, then those without scores.

    Args:
        out: the directory of the artifact.
        scored: query → document → score, the documents in retrieval order.
        unscored: query → its other candidates, in retrieval order.
        tag: of the run file.
    """
    write_examples(
        out / SCORED_FILE, (Example(query_id, [*found], [*found.values()]) for query_id, found in scored.items())
    )
    ranking = {}
    for query_id, found in scored.items():
        below = min(found.values())
        rest = {document: below - rank for rank, document in enumerate(unscored[query_id], start=1)}
        ranking[query_id] = [*(rest | dict(found)).items()]
    Ranking(ranking).write(out / "run.trec", tag=tag)
