"""n-way training examples: a query, its positive and its negatives, with teacher scores if there are any.

On disk each example is one JSON line in the official layout: ``[query_id, [doc_id, score], …]``, with the positive
first and the negatives in rank order. A score is ``null`` if no teacher has scored the document. Candidates that a
teacher has scored have the same format, in retrieval order.
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

EXAMPLES_FILE, SCORED_FILE = "examples.jsonl", "scored.jsonl"  # in artifacts: training examples, scored candidates


class Example(NamedTuple):
    """A training example: a query with its candidates.

    Args:
        query_id: the query.
        documents: the candidates' ids, the positive first.
        scores: the teacher's score of each candidate, or ``None`` if it has none.
    """

    query_id: str
    documents: list[str]
    scores: Sequence[float | None]

    @property
    def is_scored(self) -> bool:
        """Whether every candidate has a teacher score."""
        return None not in self.scores

    @property
    def teacher_scores(self) -> dict[str, float]:
        """Document id → teacher score, in order, for the candidates that have one."""
        pairs = zip(self.documents, self.scores, strict=True)
        return {document: score for document, score in pairs if score is not None}


class Examples(Sequence[Example]):
    """The examples of a file, read on access: only the lines' positions are in memory, 8 bytes each.

    So training on the released 64-way file (26 GB, 19 million lines) works as on a small one.

    Args:
        path: a file in the format of :func:`write_examples`; also without scores, of triples (ids as JSON or TSV), or
            in the format of the official RankingScorer.

    Raises:
        InputError: there is no such file; or, on access, a line is malformed: the message has its number.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "examples.jsonl"
    >>> write_examples(file, [Example("q", ["a", "b"], [2.0, 1.0]), Example("r", ["c"], [0.5])])
    2
    >>> Examples(file)[1].documents
    ['c']
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise InputError(f"{path} is not a file; expected training examples. Check the path.")
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
        with self.path.open("rb") as stream:  # opened each time, as processes must not share a file position
            stream.seek(int(self.offsets[item]))
            return parsed(self.path, range(len(self))[item] + 1, stream.readline())

    def __iter__(self) -> Iterator[Example]:
        return read_examples(self.path)


class Selected(Sequence[Example]):
    """A selection of a sequence of examples, by their indices ``[n]``; nothing is copied."""

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
    """Return the examples of an artifact of the stage ``examples`` or ``external_examples``; ``[]`` for None."""
    return Examples(artifact.file(EXAMPLES_FILE, mapped=True)) if artifact else []


def write_examples(path: Path, examples: Iterable[Example]) -> int:
    """Write examples, one per line, and return their number."""
    count = 0
    with path.open("w", encoding="utf-8") as stream:
        for example in examples:
            count += 1
            pairs = zip(example.documents, example.scores, strict=True)
            stream.write(json.dumps([example.query_id, *pairs], ensure_ascii=False) + "\n")
    return count


def read_examples(path: Path) -> Iterator[Example]:
    """Yield the examples of a file in any of the formats of :class:`Examples`.

    Raises:
        InputError: a line is malformed; the message has its number.
    """
    faults = Faults(path)
    for number, (_, line) in enumerate(lines(path, faults), start=1):
        yield parsed(path, number, line)
    faults.finish()


def parsed(path: Path, number: int, line: str | bytes) -> Example:
    """Parse a line; raise InputError with its ``number`` if it is malformed."""
    try:
        return parse_example(line if isinstance(line, str) else decoded(line))
    except (ValueError, TypeError, IndexError, OverflowError, RecursionError) as error:
        raise InputError(
            f"{path}, example {number}: expected [query_id, [positive_id, score], [negative_id, score], …], "
            f"or ids separated by tabs, "
            f"found {line.strip()[:80]!r}."
        ) from error


def parse_example(line: str) -> Example:
    """Parse an example in any of its four formats.

    These are ``[query, [doc, score], …]``; ``[query, doc, …]``; the same ids separated by tabs (triples); and the
    RankingScorer's ``[query, [[score, doc], …]]``.

    Raises:
        ValueError, TypeError, IndexError, OverflowError, RecursionError: the line has none of these formats.
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
    """Return an id, given as a string or a whole number, as a string; raise ValueError if it is neither or empty."""
    found = str(value) if isinstance(value, int) and not isinstance(value, bool) else checked_text(value, "id")
    if not found:
        raise ValueError("an id is empty")
    return found


def teacher_score(value: Any) -> float | None:
    """Return a score as float, or None for None.

    Raises:
        ValueError, TypeError, OverflowError: it is not a finite number.
    """
    score = None if value is None else float(value)
    if score is not None and not math.isfinite(score):
        raise ValueError(f"the score {score} is not finite")
    return score
