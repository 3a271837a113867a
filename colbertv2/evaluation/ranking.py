"""``Ranking``: what a system returns, in memory and as a TREC run file."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from colbertv2.data.readers import Faults, is_id, lines
from colbertv2.errors import InputError

Results = Sequence[tuple[str, float]]


class Ranking(Mapping[str, Results]):
    """Query id → [(document id, score)], best first.

    Scores are float32 and ties go to the greater document id, as in trec_eval, so that every tool that reads the run
    file sees the same order.

    Args:
        results: query id → documents with scores, in any order.

    Raises:
        InputError: a document stands twice under one query, a score is NaN, or an id is empty or holds whitespace.

    >>> Ranking({"q": [("a", 1.0), ("b", 2.0), ("c", 1.0)]})["q"]
    [('b', 2.0), ('c', 1.0), ('a', 1.0)]
    """

    def __init__(self, results: Mapping[str, Results]) -> None:
        self.results = {query_id: ordered(query_id, found) for query_id, found in results.items()}

    def __getitem__(self, query_id: str) -> Results:
        return self.results[query_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    def __repr__(self) -> str:
        return f"Ranking({len(self)} queries, {sum(map(len, self.results.values()))} documents)"

    def top(self, k: int) -> "Ranking":
        """The first ``k`` documents of each query.

        >>> Ranking({"q": [("a", 1.0), ("b", 2.0)]}).top(1)["q"]
        [('b', 2.0)]
        """
        return Ranking({query_id: found[:k] for query_id, found in self.results.items()})

    def write(self, path: Path | str, tag: str) -> None:
        """Write a TREC run file: ``query Q0 document rank score tag``, ranks from 1; a query without results leaves
        no line.

        Tools break ties differently (ir_measures computes RR@10 with one that prefers the smaller id, trec_eval the
        greater). So of equal scores the later ones are written smaller by the least that float32 can tell.

        Raises:
            InputError: ``tag`` is empty or holds whitespace.
        """
        checked(tag, "tag of a run")
        with open(path, "w", encoding="utf-8", newline="\n") as file:
            for query_id, found in self.results.items():
                scores = falling([score for _, score in found])
                for rank, ((doc_id, _), score) in enumerate(zip(found, scores, strict=True), start=1):
                    file.write(f"{query_id} Q0 {doc_id} {rank} {score:.9g} {tag}\n")

    @classmethod
    def read(cls, path: Path | str) -> "Ranking":
        """Read a TREC run file; as in trec_eval the order follows from the scores, not from the ranks.

        Raises:
            InputError: naming the lines that have not six columns, no number as score, or repeat a document; or the
                file can't be read.
        """
        faults = Faults(Path(path))
        results: dict[str, dict[str, float]] = {}
        for number, line in lines(Path(path), faults):
            columns = line.split()
            if len(columns) != 6:
                faults.add(number, f"expected 6 columns (query Q0 document rank score tag), found {len(columns)}")
                continue
            query_id, _, doc_id, _, score, _ = columns
            found = results.setdefault(query_id, {})
            if doc_id in found:
                faults.add(number, f"query {query_id!r} has document {doc_id!r} already")
            try:
                found[doc_id] = float(score)
            except ValueError:
                faults.add(number, f"expected a number as score, found {score!r}")
                continue
            if math.isnan(found[doc_id]):
                faults.add(number, "the score is NaN")
        faults.finish()
        return cls({query_id: list(found.items()) for query_id, found in results.items()})


def falling(scores: Sequence[float]) -> list[float]:
    """``scores``, which do not rise, made to fall: each at most the next smaller float32 than the one before.

    >>> falling([2.0, 1.0, 1.0])
    [2.0, 1.0, 0.9999999403953552]
    """
    written: list[float] = []
    for score in scores:
        below = float(np.nextafter(np.float32(written[-1]), np.float32(-np.inf))) if written else math.inf
        written.append(min(score, below))
    return written


def ordered(query_id: str, found: Results) -> list[tuple[str, float]]:
    """``found`` with float32 scores, best first, ties by document id descending; checked as ``Ranking`` says."""
    checked(query_id, "query id")
    with np.errstate(over="ignore"):
        scores = np.array([score for _, score in found], dtype=np.float32)
    if np.isnan(scores).any():
        doc_id = found[int(np.isnan(scores).argmax())][0]
        raise InputError(f"Query {query_id!r} has NaN as the score of document {doc_id!r}.")
    results = [
        (checked(doc_id, "document id"), score) for (doc_id, _), score in zip(found, scores.tolist(), strict=True)
    ]
    if len(dict(results)) < len(results):
        seen: set[str] = set()
        twice = next(doc_id for doc_id, _ in results if doc_id in seen or seen.add(doc_id))
        raise InputError(f"Query {query_id!r} has document {twice!r} twice.")
    if not np.all(scores[1:] < scores[:-1]):  # most come sorted
        results.sort(key=lambda result: (result[1], result[0]), reverse=True)
    return results


def checked(value: str, name: str) -> str:
    """``value``, if it can be a column of a run file."""
    if not is_id(value):
        raise InputError(f"The {name} {value!r} is empty or holds whitespace, which a TREC run file can't hold.")
    return value
