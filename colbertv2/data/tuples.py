"""Rows of training tuples in the columns of PyLate and sentence-transformers: a query, documents, perhaps scores.

A row names its texts by ids, or holds the texts themselves. Which is which, its columns tell:

============  ==================================================  =========================================
part          columns with ids                                    columns with texts
============  ==================================================  =========================================
query         ``query_id``, ``qid``                               ``anchor``, ``query``, ``question``
positive      ``positive_id``, ``pos_id``                         ``positive``, ``pos``, ``answer``
negatives     ``negative_id``, ``negative_ids``, ``neg_id``,      ``negative``, ``negatives``, ``neg``,
              ``negative_id_1``, …                                ``negative_1``, …
or all        ``document_ids``, ``doc_ids``, ``passage_ids``      ``documents``, ``docs``, ``passages``
scores        ``scores``, ``labels``, ``label``, ``score``        the same
============  ==================================================  =========================================

A list of all documents has the positive first, as in PyLate; with ``labels``, the positive is the first document with
the highest label. A row with a list of positives, as in the format of FlagEmbedding, is one tuple for each of them,
with the same negatives.

As many scores as documents are the teacher's scores. One fewer are margins, positive minus negative, as of
``MarginMSELoss``: the positive then gets 0 and a negative minus its margin, as only differences enter the losses.

Some rows have no positive: pairs without negatives whose score or label is 0 or less, and lists of documents whose
labels all are. They are left out, and a warning gives their number.

Texts get ids from their hash, so the same text is the same document or query in every table.
"""

import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from colbertv2.data.readers import checked_text
from colbertv2.data.tables import TableSplit
from colbertv2.errors import InputError
from colbertv2.files import sha256

QUERY = {True: ("query_id", "qid"), False: ("anchor", "query", "question")}
POSITIVE = {True: ("positive_id", "pos_id"), False: ("positive", "pos", "answer")}
NEGATIVE = {
    True: re.compile(r"(negative|neg)_ids?(_\d+)?|(negative|neg)_\d+_id"),
    False: re.compile(r"(negatives?|neg)(_\d+)?"),
}
ALL = {True: ("document_ids", "doc_ids", "passage_ids"), False: ("documents", "docs", "passages")}
SCORES = ("scores", "labels", "label", "score")
logger = logging.getLogger(__name__)


class Columns(NamedTuple):
    """Which column of a table of tuples is what; ``by_id`` says whether they hold ids, or texts."""

    by_id: bool
    query: str
    positive: str | None
    negatives: tuple[str, ...]
    all: str | None
    scores: str | None

    @classmethod
    def among(cls, names: Sequence[str]) -> "Columns | None":
        """The columns of tuples among the names of columns; None if they are not those of tuples.

        >>> Columns.among(["anchor", "positive", "negative_2", "negative_1"]).negatives
        ('negative_1', 'negative_2')
        >>> Columns.among(["_id", "text"]) is None
        True
        """
        for by_id in (True, False):
            query, positive, every = (
                next((name for name in group[by_id] if name in names), None) for group in (QUERY, POSITIVE, ALL)
            )
            if query and (positive or every):
                found = [name for name in names if NEGATIVE[by_id].fullmatch(name)]
                negatives = sorted(found, key=lambda name: [int(one) for one in re.findall(r"\d+", name)])
                scores = next((name for name in SCORES if name in names), None)
                return cls(by_id, query, None if every else positive, () if every else tuple(negatives), every, scores)
        return None

    @classmethod
    def of(cls, table: TableSplit) -> "Columns":
        """The columns of a table of tuples.

        Raises:
            InputError: its columns are not those of tuples.
        """
        if found := cls.among(table.columns):
            return found
        raise InputError(
            f"{table.where} has no tuples: expected query_id with document_ids, or with positive_id and negative_id; "
            "or the texts, such as anchor, positive and negative, or query, documents and scores; found "
            f"{', '.join(table.columns)}. Rename the columns, for example with rename_columns of datasets."
        )


class TrainingTuple(NamedTuple):
    """One tuple: ids or texts of the query and its documents, the positive first, with a score or None for each."""

    query: str
    documents: list[str]
    scores: list[float | None]


def read_tuples(table: TableSplit, columns: Columns) -> Iterator[TrainingTuple]:
    """Yield the tuples of a table: those of its first row, then those of its second, ….

    Raises:
        InputError: the table can't be read, no row has a positive, or a row is malformed; the message has its number,
            from 1.
    """
    number = without = 0
    for number, record in enumerate(table.rows(), start=1):
        try:
            found = parse_tuples(record, columns)
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            raise InputError(f"{table.where}, row {number}: {error}.") from error
        without += not found
        yield from found
    if without == number > 0:
        raise InputError(
            f"{table.where} has no positive: {columns.scores} is 0 or less in all {number:,} rows. Give a label above "
            "0 to what is relevant, or remove the column."
        )
    if without:
        warn_of_left_out(table.where, str(columns.scores), without, number)


@cache  # the same table is read for its documents, its queries and its judgements
def warn_of_left_out(where: str, scores: str, without: int, number: int) -> None:
    """Log how many rows of a table have no positive."""
    logger.warning(
        "%s: %s of %s rows have no positive, as their %s is 0 or less; they and their texts are left out. If these are "
        "scores of a teacher and no grades, remove the column.",
        where,
        f"{without:,}",
        f"{number:,}",
        scores,
    )


def parse_tuples(record: Mapping[str, Any], columns: Columns) -> list[TrainingTuple]:
    """Parse a row: one tuple for each positive; none if its labels say that nothing is relevant.

    Raises:
        ValueError, TypeError, KeyError, OverflowError, RecursionError: it is malformed.

    >>> columns = Columns.among(["query", "positive", "negative", "score"])
    >>> parse_tuples({"query": "q", "positive": "a", "negative": "b", "score": 2.5}, columns)
    [TrainingTuple(query='q', documents=['a', 'b'], scores=[0.0, -2.5])]
    >>> columns = Columns.among(["query", "pos", "neg"])
    >>> [one.documents for one in parse_tuples({"query": "q", "pos": ["a", "b"], "neg": ["c"]}, columns)]
    [['a', 'c'], ['b', 'c']]
    """
    query = value_of(record[columns.query], columns, columns.query)
    if columns.all:
        documents = [value_of(one, columns, columns.all) for one in listed(record[columns.all], as_json=True)]
        if not documents:
            raise ValueError("no documents")
        scores = scores_of(record, columns, len(documents))
        if columns.scores in ("labels", "label"):
            grades = [0.0 if one is None else one for one in scores]  # a column of scores has no None
            best = grades.index(max(grades))
            if grades[best] <= 0:
                return []
            documents.insert(0, documents.pop(best))
            scores.insert(0, scores.pop(best))
        return [TrainingTuple(query, documents, scores)]
    assert columns.positive
    positives = documents_of(record, columns, [columns.positive])
    negatives = documents_of(record, columns, columns.negatives)
    if not positives:
        raise ValueError(f"no documents as {columns.positive}")
    scores = scores_of(
        record, columns, len(positives) + len(negatives), margins=len(positives) == 1 and negatives != []
    )
    given, of_negatives = scores[: len(positives)], scores[len(positives) :]
    if not negatives and any(score is not None and score <= 0 for score in given):
        if len(positives) > 1:
            raise ValueError(f"{columns.scores} of 0 or less for one of several documents as {columns.positive}")
        return []
    return [
        TrainingTuple(query, [positive, *negatives], [score, *of_negatives])
        for positive, score in zip(positives, given, strict=True)
    ]


def documents_of(record: Mapping[str, Any], columns: Columns, names: Sequence[str]) -> list[str]:
    """The ids or texts in some columns of a row; ValueError if one is neither, or empty."""
    return [value_of(one, columns, name) for name in names for one in listed(record[name], columns.by_id)]


def listed(value: Any, as_json: bool) -> list[Any]:
    """A list, or one value; null is an empty list. With ``as_json``, also a list as JSON text, as PyLate releases."""
    if as_json and isinstance(value, str) and value.startswith("[") and value.endswith("]"):
        try:
            found = json.loads(value)
        except json.JSONDecodeError:
            return [value]
        return found if isinstance(found, list) else [value]
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]


def value_of(value: Any, columns: Columns, name: str) -> str:
    """An id (a string or a whole number) or a text, as a string.

    Raises:
        ValueError: it is neither, or empty.
    """
    if columns.by_id and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    text = checked_text(value, name)
    if not text.strip():
        raise ValueError(f"{name} is empty")
    return text


def scores_of(record: Mapping[str, Any], columns: Columns, number: int, margins: bool = False) -> list[float | None]:
    """The scores of a row's documents; None for each without a column of scores.

    Args:
        record: the row.
        columns: its columns.
        number: how many documents it has.
        margins: whether one score fewer than documents may be given: the margins of one positive.

    Raises:
        ValueError, TypeError, OverflowError: there are neither as many scores as documents nor as many margins.
    """
    if columns.scores is None:
        return [None] * number
    found = [float(one) for one in listed(record[columns.scores], as_json=True)]
    if not all(abs(one) < float("inf") for one in found):
        raise ValueError(f"{columns.scores} are not all finite")
    if len(found) == number:
        return [*found]
    if len(found) == number - 1 and margins:
        return [0.0, *(-one for one in found)]
    raise ValueError(f"{number} documents and {len(found)} {columns.scores}")


def text_id(text: str) -> str:
    """The id of a text of a tuple: 64 bits of its hash.

    >>> text_id("how are strings joined?")
    'b2601d9ded46baa6'
    """
    return sha256(text.encode())[:16]
