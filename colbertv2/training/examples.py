"""n-way training examples: a query, its positive, and a pool of negatives, with the teacher's scores where known.

On disk one JSON line each, in the official layout: ``[query_id, [doc_id, score], …]``, positive first, negatives in
rank order. A score is ``null`` where no teacher has spoken.
"""

import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from colbertv2.errors import InputError


class Example(NamedTuple):
    """One query's supervision; ``documents[0]`` is the positive."""

    query_id: str
    documents: list[str]
    scores: list[float]

    def sample(self, n: int, generator: np.random.Generator) -> "Example":
        """The positive and n−1 negatives drawn uniformly without replacement from the pool."""
        drawn = [0, *(1 + generator.choice(len(self.documents) - 1, size=n - 1, replace=False))] if n > 1 else [0]
        return Example(self.query_id, [self.documents[i] for i in drawn], [self.scores[i] for i in drawn])


class Examples(list[Example]):
    """A list of :class:`Example` that can be written to and read from a file."""

    def write(self, path: Path) -> None:
        write_examples(path, self)

    @classmethod
    def read(cls, path: Path) -> "Examples":
        return cls(read_examples(path))


def write_examples(path: Path, examples: Iterable[Example]) -> int:
    """Write examples one a line; returns how many."""
    count = 0
    with path.open("w", encoding="utf-8") as stream:
        for example in examples:
            count += 1
            scored = [
                [doc, None if math.isnan(s) else s] for doc, s in zip(example.documents, example.scores, strict=True)
            ]
            stream.write(json.dumps([example.query_id, *scored], ensure_ascii=False) + "\n")
    return count


def read_examples(path: Path) -> Iterator[Example]:
    """Stream examples from a file; bare ids (``[query_id, doc_id, …]``, the unscored layout) are read as well.

    Raises:
        InputError: for a line of another form, with its number.
    """
    with path.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                yield parse_example(line)
            except (ValueError, TypeError, KeyError, IndexError) as error:
                raise InputError(
                    f"{path}, line {number}: expected [query_id, [positive_id, score], [negative_id, score], …], "
                    f"found {line.strip()[:80]!r}."
                ) from error


def parse_example(line: str) -> Example:
    query_id, *candidates = json.loads(line)
    pairs = [candidate if isinstance(candidate, list) else [candidate, None] for candidate in candidates]
    if not pairs:
        raise ValueError("no candidates")
    documents = [str(doc) for doc, _ in pairs]
    return Example(str(query_id), documents, [math.nan if score is None else float(score) for _, score in pairs])
