"""n-way training examples: a query, its positive, and a pool of negatives, with the teacher's scores where known.

On disk one JSON line each, in the official layout: ``[query_id, [doc_id, score], …]``, positive first, negatives in
rank order. A score is ``null`` where no teacher has spoken. Candidates that a teacher has scored are written likewise,
in retrieval order.
"""

import json
import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np

from colbertv2.artifacts.artifact import Artifact
from colbertv2.data.readers import Faults, checked_text, decoded, lines
from colbertv2.errors import InputError

EXAMPLES_FILE, SCORED_FILE = "examples.jsonl", "scored.jsonl"  # of artifacts: what to train on, what a teacher scored


class Example(NamedTuple):
    """One query's supervision.

    Args:
        documents: ids, the positive first. scores: the teacher's of each; ``None`` where it has not spoken.
    """

    query_id: str
    documents: list[str]
    scores: Sequence[float | None]

    @property
    def is_scored(self) -> bool:
        """Whether the teacher has scored every document."""
        return None not in self.scores

    @property
    def teacher_scores(self) -> dict[str, float]:
        """The documents that the teacher has scored, in their order, with its scores."""
        pairs = zip(self.documents, self.scores, strict=True)
        return {document: score for document, score in pairs if score is not None}


class Examples(Sequence[Example]):
    """The examples of a file, read where they stand: in memory are only the places of the lines, 8 bytes each.

    So the released 64-way file (26 GB, 19 million lines) trains like a small one.

    Args:
        path: as :func:`write_examples` writes it; unscored lines, triples (JSON or TSV of ids) and the
            official RankingScorer's too.

    Raises:
        InputError: when a line is read that has another form, with its number.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "examples.jsonl"
    >>> write_examples(file, [Example("q", ["a", "b"], [2.0, 1.0]), Example("r", ["c"], [0.5])])
    2
    >>> Examples(file)[1].documents
    ['c']
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        offsets = array("q")
        with path.open("rb") as stream:
            place = 0
            for line in stream:
                if line.strip():
                    offsets.append(place)
                place += len(line)
        self.offsets = np.frombuffer(offsets, dtype=np.int64) if offsets else np.zeros(0, np.int64)

    def __len__(self) -> int:
        return len(self.offsets)

    @overload
    def __getitem__(self, item: int) -> Example: ...
    @overload
    def __getitem__(self, item: slice) -> list[Example]: ...
    def __getitem__(self, item: int | slice) -> Example | list[Example]:
        if isinstance(item, slice):
            return [self[place] for place in range(len(self))[item]]
        with self.path.open("rb") as stream:  # opened anew, so that processes share no position
            stream.seek(int(self.offsets[item]))
            return parsed(self.path, range(len(self))[item] + 1, stream.readline())

    def __iter__(self) -> Iterator[Example]:
        return read_examples(self.path)


class Selected(Sequence[Example]):
    """Some of a sequence of examples, by their places ``[n]``; nothing is copied."""

    def __init__(self, examples: Sequence[Example], places: Sequence[int]) -> None:
        self.examples, self.places = examples, np.asarray(places, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, item: int) -> Example: ...
    @overload
    def __getitem__(self, item: slice) -> "Selected": ...
    def __getitem__(self, item: int | slice) -> "Example | Selected":
        if isinstance(item, slice):
            return Selected(self.examples, self.places[item].tolist())
        return self.examples[int(self.places[item])]


def training_examples(artifact: Artifact | None) -> Sequence[Example]:
    """What an artifact of the stage ``examples`` or ``external_examples`` holds; no examples where there is none."""
    return Examples(artifact.file(EXAMPLES_FILE, mapped=True)) if artifact else []


def write_examples(path: Path, examples: Iterable[Example]) -> int:
    """Write examples one a line; returns how many."""
    count = 0
    with path.open("w", encoding="utf-8") as stream:
        for example in examples:
            count += 1
            pairs = zip(example.documents, example.scores, strict=True)
            stream.write(json.dumps([example.query_id, *pairs], ensure_ascii=False) + "\n")
    return count


def read_examples(path: Path) -> Iterator[Example]:
    """Stream examples from a file, in any of the layouts of :class:`Examples`.

    Raises:
        InputError: for a line of another form, with its number.
    """
    faults = Faults(path)
    for number, (_, line) in enumerate(lines(path, faults), start=1):
        yield parsed(path, number, line)
    faults.finish()


def parsed(path: Path, number: int, line: str | bytes) -> Example:
    """The example of a line; InputError with its number where it has another form."""
    try:
        return parse_example(line if isinstance(line, str) else decoded(line))
    except (ValueError, TypeError, IndexError, OverflowError, RecursionError) as error:
        raise InputError(
            f"{path}, example {number}: expected [query_id, [positive_id, score], [negative_id, score], …], "
            f"or ids between tabs, "
            f"found {line.strip()[:80]!r}."
        ) from error


def parse_example(line: str) -> Example:
    """``[query, [doc, score], …]``, ``[query, doc, …]``, the same ids between tabs (triples), or the RankingScorer's
    ``[query, [[score, doc], …]]``.

    Raises:
        ValueError, TypeError, IndexError, OverflowError, RecursionError: it is none of them.
    """
    query_id, *candidates = json.loads(line) if line.startswith("[") else line.split("\t")
    if len(candidates) == 1 and isinstance(candidates[0], list) and isinstance(candidates[0][0], list):
        candidates = [[doc, score] for score, doc in candidates[0]]
    pairs = [candidate if isinstance(candidate, list) else [candidate, None] for candidate in candidates]
    if not pairs:
        raise ValueError("no candidates")
    return Example(
        identifier(query_id), [identifier(doc) for doc, _ in pairs], [teacher_score(score) for _, score in pairs]
    )


def identifier(value: object) -> str:
    """An id, which may have been written as a number; ValueError where it is neither."""
    found = str(value) if isinstance(value, int) and not isinstance(value, bool) else checked_text(value, "id")
    if not found:
        raise ValueError("an id is empty")
    return found


def teacher_score(value: Any) -> float | None:
    """A finite number, or None.

    Raises:
        ValueError, TypeError, OverflowError: it is something else.
    """
    score = None if value is None else float(value)
    if score is not None and not math.isfinite(score):
        raise ValueError(f"the score {score} is not finite")
    return score
