"""``Ranking``: the results of a system, in memory and as a TREC run file."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from colbertv2.artifacts.artifact import Artifact
from colbertv2.data.readers import Faults, is_id, lines
from colbertv2.errors import InputError
from colbertv2.files import read_json, write_json

RUN = "run.trec"  # the run file of every stage that ranks
METADATA_START, METADATA_END = "# ir_metadata.start", "# ir_metadata.end"  # the header of https://www.ir-metadata.org

Results = Sequence[tuple[str, float]]


class Ranking(Mapping[str, Results]):
    """The results of a system: query id → [(document id, score)], best first.

    Scores are float32. Of two documents with equal scores the one with the greater id comes first, as in trec_eval, so
    that every tool that reads the run file sees the same order.

    Args:
        results: query id → [(document id, score)], in any order.
        tied_beyond: ids of the queries whose last document has the same score as a document that was cut off.

    Raises:
        InputError: a query has a document twice, a score is NaN, or an id is empty or contains whitespace.

    >>> Ranking({"q": [("a", 1.0), ("b", 2.0), ("c", 1.0)]})["q"]
    [('b', 2.0), ('c', 1.0), ('a', 1.0)]
    """

    def __init__(self, results: Mapping[str, Results], tied_beyond: Iterable[str] = ()) -> None:
        self.results = {query_id: ordered(query_id, found) for query_id, found in results.items()}
        self.tied_beyond = frozenset(tied_beyond)

    def __getitem__(self, query_id: str) -> Results:
        return self.results[query_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    def __repr__(self) -> str:
        return f"Ranking({len(self)} queries, {sum(map(len, self.results.values()))} documents)"

    def top(self, k: int) -> "Ranking":
        """Keep the first ``k`` documents of every query.

        >>> Ranking({"q": [("a", 1.0), ("b", 2.0)]}).top(1)["q"]
        [('b', 2.0)]
        """
        cut = {query_id for query_id, found in self.results.items() if len(found) > k}
        tied = {query_id for query_id in cut if k and self[query_id][k - 1][1] == self[query_id][k][1]}
        return Ranking(
            {query_id: found[:k] for query_id, found in self.results.items()}, tied | (self.tied_beyond - cut)
        )

    def of(self, query_ids: Iterable[str]) -> "Ranking":
        """Keep the results of these queries, in the order given; queries that the ranking lacks are skipped."""
        kept = {one: self.results[one] for one in query_ids if one in self.results}
        return Ranking(kept, self.tied_beyond & kept.keys())

    def write(self, path: Path | str, tag: str) -> None:
        """Write a TREC run file: lines ``query Q0 document rank score tag``, ranks from 1.

        A query without results gets no line. Tools break ties differently (ir_measures computes RR@10 with a tool that
        puts the smaller id first, trec_eval puts the greater one first). Therefore, each score that is equal to the one
        before is written as the next smaller float32. A second file next to the first (``run.ties.json`` for
        ``run.trec``) records which scores were equal, and ``read`` restores them; without ties there is no such file.

        Raises:
            InputError: ``tag`` is empty or contains whitespace.
        """
        checked(tag, "tag of a run")
        with open(path, "w", encoding="utf-8", newline="\n") as file:
            for query_id, found in self.results.items():
                scores = falling([score for _, score in found])
                for rank, ((doc_id, _), score) in enumerate(zip(found, scores, strict=True), start=1):
                    file.write(f"{query_id} Q0 {doc_id} {rank} {score:.9g} {tag}\n")
        ties = ties_beside(path)
        groups = {query_id: own for query_id, found in self.results.items() if (own := tied_groups(found))}
        if groups or self.tied_beyond:
            write_json(ties, {"groups": groups, "beyond": sorted(self.tied_beyond)})
        else:
            ties.unlink(missing_ok=True)

    @classmethod
    def read(cls, path: Path | str) -> "Ranking":
        """Read a TREC run file. As in trec_eval, the scores give the order, not the ranks.

        A header of ir_metadata is skipped.

        Raises:
            InputError: some lines do not have six columns, have a score that is not a number, or repeat a document (the
                lines are named); or the file can't be read.
        """
        faults = Faults(Path(path))
        results: dict[str, dict[str, float]] = {}
        for number, line in without_metadata(lines(Path(path), faults), faults):
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
        return with_ties(cls({query_id: list(found.items()) for query_id, found in results.items()}), ties_beside(path))


def without_metadata(numbered: Iterable[tuple[int, str]], faults: Faults) -> Iterator[tuple[int, str]]:
    """Leave the header of ir_metadata out of the numbered lines of a run; one without an end is added to ``faults``."""
    begun, inside, first = 0, False, True
    for number, line in numbered:
        if first and line.strip() == METADATA_START:
            begun, inside = number, True
        elif not inside:
            yield number, line
        elif line.strip() == METADATA_END:
            inside = False
        first = False
    if inside:
        faults.add(begun, f"the header that begins here has no end ({METADATA_END})")


def stored_ranking(artifact: Artifact) -> Ranking:
    """Read the ranking that a stage wrote, after checking its files against their checksums.

    Raises:
        InputError: its run file or its file of ties is damaged.
    """
    run = artifact.file(RUN)
    if artifact.has(ties_beside(RUN).name):
        artifact.file(ties_beside(RUN).name)
    return Ranking.read(run)


def ties_beside(path: Path | str) -> Path:
    """The path of the file that records the ties of a run file."""
    return Path(path).with_suffix(".ties.json")


def remove(path: Path) -> None:
    """Delete a run file and its file of ties."""
    path.unlink()
    ties_beside(path).unlink(missing_ok=True)


def tied_groups(found: Results) -> list[tuple[int, int]]:
    """The groups of documents with equal scores in the results of a query: (start, end) of each, end exclusive.

    >>> tied_groups([("d", 2.0), ("c", 1.0), ("b", 1.0), ("a", 0.0)])
    [(1, 3)]
    """
    scores = np.array([score for _, score in found])
    bounds = np.concatenate([[0], np.flatnonzero(np.diff(scores)) + 1, [len(scores)]]).tolist()
    return [(start, end) for start, end in pairwise(bounds) if end - start > 1]


def with_ties(ranking: Ranking, file: Path) -> Ranking:
    """Restore the equal scores that ``Ranking.write`` made different; without ``file`` the ranking stays as it is.

    Raises:
        InputError: the file is damaged, or belongs to another ranking.
    """
    if not file.is_file():
        return ranking
    written, results = read_json(file), {query_id: list(found) for query_id, found in ranking.items()}
    try:
        for query_id, groups in written["groups"].items():
            found = results[query_id]
            for start, end in groups:
                found[start:end] = [(found[place][0], found[start][1]) for place in range(start, end)]
        return Ranking(results, written["beyond"])
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        raise InputError(f"{file} does not belong to the run file next to it; build the ranking again.") from None


def greatest_first(doc_ids: Sequence[str]) -> NDArray[np.int64]:
    """The positions of document ids from the greatest id to the least, ``[n]``: the order of equally scored documents.

    This is trec_eval's order, which compares the bytes of ids; in UTF-8 that is the order of code points, which is used
    here. Sorting a million ids takes one to four seconds.

    >>> greatest_first(["d10", "d9", "e"]).tolist()
    [2, 1, 0]
    """
    return np.array(sorted(range(len(doc_ids)), key=doc_ids.__getitem__, reverse=True), dtype=np.int64)


def inverse(order: NDArray[np.int64]) -> NDArray[np.int32]:
    """Invert a permutation: the position of every number from 0 to n − 1 in ``order``, ``[n]``.

    >>> inverse(np.array([2, 0, 1])).tolist()
    [1, 2, 0]
    """
    places = np.empty(len(order), np.int32)
    places[order] = np.arange(len(order), dtype=np.int32)
    return places


def falling(scores: Sequence[float]) -> list[float]:
    """Make non-increasing scores strictly decreasing: each is at most the next smaller float32 than the one before.

    Only scores of -inf stay equal. Where the next smaller float32 is -inf, the scores before become greater instead.

    >>> falling([2.0, 1.0, 1.0])
    [2.0, 1.0, 0.9999999403953552]
    """
    written: list[float] = []
    with np.errstate(over="ignore"):
        for score in scores:
            below = float(np.nextafter(np.float32(written[-1]), np.float32(-np.inf))) if written else math.inf
            written.append(min(score, below))
    least = float(np.finfo(np.float32).min)
    for place in reversed([place for place, score in enumerate(scores) if score > -math.inf]):
        if written[place] >= least:
            break
        written[place], least = least, float(np.nextafter(np.float32(least), np.float32(np.inf)))
    return written


def ordered(query_id: str, found: Results) -> list[tuple[str, float]]:
    """Check the results of one query and sort them: float32 scores, best first, ties by document id descending.

    Raises:
        InputError: as for ``Ranking``.
    """
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
    if not np.all(scores[1:] < scores[:-1]):  # most are sorted already
        results.sort(key=lambda result: (result[1], result[0]), reverse=True)
    return results


def checked(value: str, name: str) -> str:
    """Return ``value`` if it can be a column of a run file.

    Raises:
        InputError: it is empty or contains whitespace.
    """
    if not is_id(value):
        raise InputError(f"The {name} {value!r} is empty or contains whitespace, which a TREC run file does not allow.")
    return value
