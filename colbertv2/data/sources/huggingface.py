"""Data sets of Hugging Face as ``ir_datasets`` ids: ``hf:<where>``, of the hub or of local files, read by ``datasets``.

``<where>`` is a local path or ``owner/name[@revision]``, then perhaps ``+subset`` and ``/split``. Three layouts:

- BEIR's and MTEB's: tables ``corpus`` (``_id``, ``title``, ``text``), ``queries`` (``_id``, ``text``) and ``qrels`` or
  ``default`` (``query-id``, ``corpus-id``, ``score``), of which a multilingual set has several, as ``de-corpus``
  (subset ``de``). The split is that of the judgements. Without ``score`` every listed document is relevant;
- PyLate's: ``documents`` (``document_id``, ``text``) and ``queries`` (``query_id``, ``text``), without judgements;
- tuples of texts (:mod:`colbertv2.data.tuples`), as of sentence-transformers: the documents are their texts, and a
  query's positives are relevant, all those of a row that has several. The subset is the name of the table; without a
  split, all splits count.

Local files are checked strictly, as a local folder is: an id must occur once, and judgements must name existing queries
and documents. Repeated ids and unknown judgements in a data set of the hub are not checked. Documents are streamed into
``ir_datasets``' store.
"""

from array import array
from collections.abc import Iterator, Sequence
from typing import Any

import ir_datasets
import numpy as np
from ir_datasets.datasets.base import Dataset
from ir_datasets.formats import BaseQrels, BaseQueries, GenericQuery, TrecQrel

from colbertv2.data.collection import is_empty
from colbertv2.data.readers import Faults, Text, checked_text, is_id
from colbertv2.data.sources.folder import TextDocs, joined
from colbertv2.data.tables import DOCUMENT_TABLES, ONLY, Address, Tables, TableSplit
from colbertv2.data.tuples import Columns, TrainingTuple, read_tuples, text_id
from colbertv2.errors import InputError
from colbertv2.files import sha256

QUERY_TABLES, QRELS_TABLES = ("queries", "query"), ("qrels", ONLY)
DOCUMENT_IDS = ("_id", "id", "document_id", "doc_id", "docid", "corpus_id", "corpus-id", "passage_id", "pid")
QUERY_IDS = ("_id", "id", "query_id", "query-id", "qid")
DOCUMENT_TEXTS, QUERY_TEXTS = ("text", "document", "passage", "content"), ("text", "query")
JUDGED_QUERIES, JUDGED_DOCUMENTS = ("query-id", "query_id", "qid"), ("corpus-id", *DOCUMENT_IDS[2:])
GRADES = ("score", "relevance", "label")
HIGHEST = 9999  # a grade, as in a local folder


class TableDocs(TextDocs):
    """The documents of a table; ids are checked for repetitions if the table is local, with 8 bytes per id."""

    source = "huggingface"

    def __init__(self, tables: Tables, table: TableSplit) -> None:
        self.tables, self.table, self.where = tables, table, table.where

    def fingerprint(self) -> str:
        return self.tables.fingerprint(self.table)

    def identity(self) -> dict[str, str]:
        """What identifies the content: the hash of local files, or the commit and names of a table of the hub."""
        return self.tables.identity(self.table)

    def texts(self) -> Iterator[Text]:
        seen = array("q")
        for record in text_records(self.table, DOCUMENT_IDS, DOCUMENT_TEXTS):
            seen.append(number_of(record.id))
            yield record
        if self.table.is_local:
            refuse_repeated(self.table, np.frombuffer(seen, np.int64))


class TableQueries(BaseQueries):
    """The queries of a table."""

    def __init__(self, table: TableSplit) -> None:
        self.table = table

    def queries_iter(self) -> Iterator[GenericQuery]:
        records = list(text_records(self.table, QUERY_IDS, QUERY_TEXTS, stream=False))  # a faulty table yields nothing
        if self.table.is_local:
            faults, seen = Faults(self.table.where, "row"), set()
            for number, record in enumerate(records, start=1):
                if record.id in seen or is_empty(record.title + record.text):
                    faults.add(number, f"the query {record.id!r} is {'repeated' if record.id in seen else 'empty'}")
                seen.add(record.id)
            faults.finish()
        return (GenericQuery(record.id, joined(record.title, record.text)) for record in records)


class TableQrels(BaseQrels):
    """The judgements of a table."""

    def __init__(self, table: TableSplit, documents: TableDocs, queries: TableQueries) -> None:
        self.table, self.documents, self.queries = table, documents, queries

    def qrels_iter(self) -> Iterator[TrecQrel]:
        query, document = (
            self.table.column(names, f"id of the {what}")
            for names, what in ((JUDGED_QUERIES, "query"), (JUDGED_DOCUMENTS, "document"))
        )
        grade = next((name for name in GRADES if name in self.table.columns), None)
        found: list[TrecQrel] = []
        faults = Faults(self.table.where, "row")
        for number, row in enumerate(self.table.rows(stream=False), start=1):
            try:
                ids = identifier_of(row[query], query), identifier_of(row[document], document)
                found.append(TrecQrel(*ids, 1 if grade is None else grade_of(row[grade], grade), "0"))
            except (KeyError, ValueError) as error:
                faults.add(number, str(error))
        faults.finish()
        if self.table.is_local:
            self.refuse_unknown(found)
        return iter(found)

    def refuse_unknown(self, judgements: Sequence[TrecQrel]) -> None:
        """Raise InputError if judgements name unknown queries or documents, or judge a pair twice."""
        queries = {query.query_id for query in self.queries.queries_iter()}
        documents = self.documents.docs_store().get_many({judgement.doc_id for judgement in judgements})
        faults, seen = Faults(self.table.where, "row"), set()
        for number, one in enumerate(judgements, start=1):
            if one.query_id not in queries:
                faults.add(number, f"no query {one.query_id!r} in {self.queries.table.where}")
            if one.doc_id not in documents:
                faults.add(number, f"no document {one.doc_id!r} in {self.documents.where}")
            if (one.query_id, one.doc_id) in seen:
                faults.add(number, f"query {one.query_id!r} and document {one.doc_id!r} are judged already")
            seen.add((one.query_id, one.doc_id))
        faults.finish()

    def qrels_defs(self) -> dict[int, str]:
        return {}

    def qrels_cls(self) -> type[TrecQrel]:
        return TrecQrel


class TupleDocs(TextDocs):
    """The different texts of documents in the splits of a table of tuples; a number of each is kept in memory."""

    source = "huggingface"

    def __init__(self, tables: Tables, splits: Sequence[TableSplit]) -> None:
        self.tables, self.splits, self.where = tables, splits, splits[0].where

    def fingerprint(self) -> str:
        return sha256("".join(map(self.tables.fingerprint, self.splits)).encode())[:16]

    def identity(self) -> list[dict[str, str]]:
        """What identifies the content of each split."""
        return [self.tables.identity(one) for one in self.splits]

    def texts(self) -> Iterator[Text]:
        seen: set[int] = set()
        for row in rows_of(self.splits):
            for text in row.documents:
                if (number := number_of(text)) not in seen:
                    seen.add(number)
                    yield Text(text_id(text), "", text)


class TupleQueries(BaseQueries):
    """The different queries in the splits of a table of tuples of texts."""

    def __init__(self, splits: Sequence[TableSplit]) -> None:
        self.splits = splits

    def queries_iter(self) -> Iterator[GenericQuery]:
        texts = dict.fromkeys(row.query for row in rows_of(self.splits))
        return (GenericQuery(text_id(text), text) for text in texts)


class TupleQrels(BaseQrels):
    """The positives in the splits of a table of tuples of texts, as judgements of grade 1."""

    def __init__(self, splits: Sequence[TableSplit]) -> None:
        self.splits = splits

    def qrels_iter(self) -> Iterator[TrecQrel]:
        pairs = dict.fromkeys((text_id(row.query), text_id(row.documents[0])) for row in rows_of(self.splits))
        return (TrecQrel(query_id, doc_id, 1, "0") for query_id, doc_id in pairs)

    def qrels_defs(self) -> dict[int, str]:
        return {1: "the positive of a tuple"}

    def qrels_cls(self) -> type[TrecQrel]:
        return TrecQrel


def rows_of(splits: Sequence[TableSplit]) -> Iterator[TrainingTuple]:
    """Yield the tuples of texts of several splits, one after the other.

    Raises:
        InputError: a split has no tuples of texts, can't be read, or a row is malformed.
    """
    return (row for table in splits for row in read_tuples(table, Columns.of(table)))


def text_records(table: TableSplit, ids: Sequence[str], texts: Sequence[str], stream: bool = True) -> Iterator[Text]:
    """Yield the records of a table of documents or queries.

    Raises:
        InputError: a column is missing; or, at the end (or at the eleventh fault), rows are malformed.
    """
    key, body = table.column(ids, "id"), table.column(texts, "text")
    faults = Faults(table.where, "row")
    for number, row in enumerate(table.rows(stream), start=1):
        try:
            title = row.get("title")
            record = Text(
                identifier_of(row[key], key),
                "" if title is None else checked_text(title, "title"),
                checked_text(row[body], body),
            )
        except (KeyError, ValueError) as error:
            faults.add(number, str(error))
        else:
            yield record
    faults.finish()


def identifier_of(value: Any, name: str) -> str:
    """An id, given as a string or a whole number.

    Raises:
        ValueError: it is neither, or it can't be an id.
    """
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else checked_text(value, name)
    if not is_id(text):
        raise ValueError(f"the {name} {text!r} is empty or contains whitespace")
    return text


def grade_of(value: Any, name: str) -> int:
    """A grade, given as a whole number of at most four digits, perhaps as a float.

    Raises:
        ValueError: it is something else.

    >>> grade_of(2.0, "score")
    2
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1 and abs(value) <= HIGHEST:
        return int(value)
    raise ValueError(f"expected a whole number of at most four digits as {name}, found {value!r}")


def number_of(text: str) -> int:
    """64 bits of a text's hash, as a signed number."""
    return int.from_bytes(bytes.fromhex(sha256(text.encode())[:16]), "big", signed=True)


def refuse_repeated(table: TableSplit, seen: np.ndarray) -> None:
    """Raise InputError with the rows whose ids are those of earlier rows.

    Args:
        table: the table of documents.
        seen: int64 ``[rows]``, the numbers of the ids.
    """
    _, first, counts = np.unique(seen, return_index=True, return_counts=True)
    if not (counts > 1).any():
        return
    repeated, earlier = set(seen[first[counts > 1]].tolist()), {}
    faults = Faults(table.where, "row")
    key = table.column(DOCUMENT_IDS, "id")
    for number, row in enumerate(table.rows(), start=1):
        if (value := number_of(str(row[key]))) in repeated:
            if value in earlier:
                faults.add(number, f"the id {str(row[key])!r} is already in row {earlier[value]}")
            earlier.setdefault(value, number)
    faults.finish()


def table_dataset(text: str) -> Dataset:
    """Return the dataset of ``<where>``: documents, queries and judgements, as far as there are any.

    Raises:
        InputError: the data set, its tables, columns or split are not there.
    """
    tables = Tables(Address.parse(text))
    subset, split = tables.address.subset, tables.address.split
    prefix = f"{subset}-" if any(name.startswith(f"{subset}-") for name in tables.names) else ""
    corpus = tables.first([f"{prefix}{name}" for name in DOCUMENT_TABLES])
    if corpus is None or (subset and not prefix and holds_tuples(tables)):
        return tuple_dataset(tables)
    documents = TableDocs(tables, required(tables, corpus, split, exact=False))
    judged = subset if subset and not prefix else tables.first([f"{prefix}{name}" for name in QRELS_TABLES])
    asked = tables.first([f"{prefix}{name}" for name in QUERY_TABLES])
    if asked is None and split is None:
        return Dataset(documents)
    if asked is None:
        raise InputError(f"{tables.where} has no table {prefix}queries; its tables: {', '.join(tables.names)}.")
    queries = TableQueries(required(tables, asked, split, exact=judged is None and split is not None))
    if judged is None or (split is None and len(tables.splits(judged)) > 1):
        return Dataset(documents, queries)
    return Dataset(documents, queries, TableQrels(required(tables, judged, split, exact=True), documents, queries))


def tuple_dataset(tables: Tables) -> Dataset:
    """Return the dataset of a table of tuples of texts; without a split in the address, of all its splits.

    Raises:
        InputError: there is no such table or split, or it holds ids.
    """
    name, split = tuple_table_name(tables), tables.address.split
    splits = [required(tables, name, one, exact=True) for one in ([split] if split else tables.splits(name))]
    columns = Columns.of(splits[0])
    if columns.by_id:
        raise InputError(
            f"{splits[0].where} has tuples of ids ({columns.query}), and no texts; take documents and queries from "
            f"tables {' or '.join(DOCUMENT_TABLES)} and queries, without +subset. Tables: {', '.join(tables.names)}."
        )
    return Dataset(TupleDocs(tables, splits), TupleQueries(splits), TupleQrels(splits))


def holds_tuples(tables: Tables) -> bool:
    """Whether the table that is named as subset holds tuples, rather than judgements."""
    name = tuple_table_name(tables)
    return Columns.among(required(tables, name, tables.splits(name)[0], exact=True).columns) is not None


def tuple_table(tables: Tables) -> TableSplit:
    """The table of tuples that an address names, in one split.

    Raises:
        InputError: there is no such table or split, or there are several splits and none is named.
    """
    return required(tables, tuple_table_name(tables), tables.address.split, exact=True)


def tuple_table_name(tables: Tables) -> str:
    """The name of the table of tuples: the subset, or ``train``, or the only one.

    Raises:
        InputError: there is no such table.
    """
    subset = tables.address.subset
    if subset in tables.names:
        return str(subset)
    name = tables.first(["train", ONLY]) or (tables.names[0] if len(tables.names) == 1 else None)
    if subset is None and name is not None:
        return name
    wanted = f"{subset}, nor {subset}-corpus" if subset else f"{', '.join(DOCUMENT_TABLES)} or train"
    raise InputError(
        f"{tables.where} has no table {wanted}; name one of its tables as +subset: {', '.join(tables.names)}."
    )


def required(tables: Tables, name: str, split: str | None, exact: bool) -> TableSplit:
    """One split of a table.

    Raises:
        InputError: there is no such split, or there are several and none is named.
    """
    if found := tables.table(name, split, exact):
        return found
    raise InputError(
        f"{tables.where}, table {name}, has {'no split ' + split if split else 'several splits'}; name one of them as "
        f"/split: {', '.join(tables.splits(name))}."
    )


def register() -> None:
    """Register the pattern with ``ir_datasets``; registering it again changes nothing."""
    ir_datasets.registry.register_pattern(r"^hf:(.+)$", lambda _, groups: table_dataset(groups[0]))
