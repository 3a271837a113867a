"""PyLate's layout for distillation: tables ``train``, ``queries`` and ``documents``, as Parquet or JSON lines.

``train`` has ``query_id``, ``document_ids`` and ``scores`` (lists, or lists as JSON text), ``queries`` has ``query_id``
and ``text``, ``documents`` has ``document_id`` and ``text``. The layout does not say which document is the positive;
here it is the first one, and :func:`write_pylate_examples` writes it first.
"""

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from colbertv2.data.readers import Faults, json_object, parsed
from colbertv2.errors import InputError
from colbertv2.training.examples import Example, identifier, teacher_score

ROWS = 1000  # rows of a table in memory at a time
TEXT = pyarrow.string()
SCHEMAS = {
    "train": pyarrow.schema(
        {"query_id": TEXT, "document_ids": pyarrow.list_(TEXT), "scores": pyarrow.list_(pyarrow.float64())}
    ),
    "queries": pyarrow.schema({"query_id": TEXT, "text": TEXT}),
    "documents": pyarrow.schema({"document_id": TEXT, "text": TEXT}),
}


def write_pylate_examples(
    directory: Path,
    examples: Iterable[Example],
    queries: Iterable[tuple[str, str]],
    documents: Iterable[tuple[str, str]],
) -> int:
    """Write the three tables as Parquet, 1,000 rows at a time, and return the number of examples.

    Args:
        directory: an existing directory; the caller removes it if this function fails.
        examples: the examples to write, with teacher scores.
        queries, documents: ``(id, text)`` of everything that the examples may name; only ids are kept in memory.

    Raises:
        InputError: an example names an unknown query or document, or has no teacher scores.
    """
    known: dict[str, set[str]] = {}
    for name, key, texts in (("queries", "query_id", queries), ("documents", "document_id", documents)):
        ids = known[name] = set()
        write_table(directory, name, ({key: one, "text": text} for one, text in texts if not ids.add(one)))
    return write_table(directory, "train", rows(examples, known["queries"], known["documents"]))


def rows(examples: Iterable[Example], queries: set[str], documents: set[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows of ``train``; raise InputError if an id is unknown or a score is missing."""
    for number, example in enumerate(examples, start=1):
        unknown = [doc for doc in example.documents if doc not in documents]
        if example.query_id not in queries or unknown:
            raise InputError(
                f"Example {number} of query {example.query_id!r} names an unknown query or document "
                f"{unknown[:3]}; use the collection that the examples were made from."
            )
        if not example.is_scored:
            raise InputError(f"Example {number} has no teacher scores, which PyLate's distillation needs.")
        yield {"query_id": example.query_id, "document_ids": example.documents, "scores": example.scores}


def write_table(directory: Path, name: str, records: Iterable[dict[str, Any]]) -> int:
    """Write ``<name>.parquet`` and return the number of rows."""
    iterator, count = iter(records), 0
    with pyarrow.parquet.ParquetWriter(directory / f"{name}.parquet", SCHEMAS[name]) as writer:
        while block := list(islice(iterator, ROWS)):
            writer.write_table(pyarrow.Table.from_pylist(block, SCHEMAS[name]))
            count += len(block)
    return count


def read_pylate_examples(directory: Path) -> Iterator[Example]:
    """Yield the examples of ``train.parquet`` or ``train.jsonl``; ids that are numbers become strings.

    Raises:
        InputError: there is no such table, or a row is malformed; the message has its number.
    """
    for number, record in enumerate(records_of(directory, "train"), start=1):
        try:
            documents, scores = (
                json.loads(value) if isinstance(value, str) else list(value)
                for value in (record["document_ids"], record["scores"])
            )
            if not documents or len(documents) != len(scores):
                raise ValueError(f"{len(documents)} document_ids and {len(scores)} scores")
            ids = [identifier(doc) for doc in documents]
            yield Example(identifier(record["query_id"]), ids, [teacher_score(score) for score in scores])
        except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise InputError(
                f"{directory}, train, row {number}: expected query_id, document_ids and as many scores; {error!r}."
            ) from error


def records_of(directory: Path, name: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table in either format; raise InputError if it is missing or damaged."""
    parquet, jsonl = directory / f"{name}.parquet", directory / f"{name}.jsonl"
    if parquet.is_file():
        try:
            with pyarrow.parquet.ParquetFile(parquet) as table:
                for batch in table.iter_batches(ROWS):
                    yield from batch.to_pylist()
        except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
            raise InputError(f"{parquet} is damaged or not a Parquet file ({error}).") from error
    elif jsonl.is_file():
        faults = Faults(jsonl)
        yield from (record for _, record in parsed(jsonl, faults, lambda _, line: json_object(line)))
        faults.finish()
    else:
        raise InputError(f"{directory} has neither {parquet.name} nor {jsonl.name}; expected PyLate's tables.")
