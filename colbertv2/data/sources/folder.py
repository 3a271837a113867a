"""Local folders as ``ir_datasets`` ids: ``folder:<path>`` and ``folder:<path>/<split>``.

Two layouts are recognised by their files:

- BEIR: ``corpus.jsonl``, ``queries.jsonl``, ``qrels/<split>.tsv``;
- plain: ``collection.tsv`` or ``collection.jsonl``; ``queries.<split>.tsv`` or ``queries.tsv`` (or ``.jsonl``);
  ``qrels.<split>.tsv``.

Reading checks the files strictly (``colbertv2.data.readers``); judgements must name existing queries and documents.
Documents are kept in ``ir_datasets``' store under its home; path, size and time of the file determine which store.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import ir_datasets
from ir_datasets.datasets.base import Dataset
from ir_datasets.formats import BaseQrels, BaseQueries, GenericQuery, TrecQrel

from colbertv2.data.collection import is_empty
from colbertv2.data.readers import LISTED, Faults, Text, read_judgements, read_texts
from colbertv2.data.sources.stores import StoredDocs, file_fingerprint
from colbertv2.errors import InputError, Unavailable
from colbertv2.files import read_json, write_json

CORPUS_FILES = ("corpus.jsonl", "collection.jsonl", "collection.tsv")


class FolderDoc(NamedTuple):
    """A document of a local folder; ``default_text()`` is title, space and text, or only the text without a title."""

    doc_id: str
    title: str
    text: str

    def default_text(self) -> str:
        return joined(self.title, self.text)


def joined(title: str, text: str) -> str:
    """Return title, space and text, or only the text if the title is empty."""
    return f"{title} {text}" if title else text


class TextDocs(StoredDocs):
    """Documents with titles, of which those without text are refused or kept. A subclass defines ``texts``."""

    where: Any  # what messages call the documents

    def texts(self) -> Iterator[Text]:
        """Yield all documents, also those without text, in corpus order."""
        raise NotImplementedError

    def read(self) -> Iterator[FolderDoc]:
        empty: list[str] = []
        for record in self.texts():
            document = FolderDoc(*record)
            if is_empty(document.default_text()):
                empty.append(document.doc_id)
            yield document
        if empty:
            write_json(self.empty_file, {"documents": empty})

    @property
    def empty_file(self) -> Path:
        """The file next to the stored documents with the ids of those without text; absent if all have text."""
        return Path(self.docs_store().path) / "empty.json"

    def refuse_empty(self) -> None:
        """Raise InputError if stored documents have no text."""
        if self.empty_file.exists():
            empty = read_json(self.empty_file)["documents"]
            listed = ", ".join(map(repr, empty[:LISTED])) + (", …" if len(empty) > LISTED else "")
            raise InputError(
                f"{self.where}: {len(empty)} documents have no text: {listed}. Correct or remove them, or set "
                "collection.empty=keep: they will have no vectors and never be found."
            )

    def docs_cls(self) -> type[FolderDoc]:
        return FolderDoc


class FolderDocs(TextDocs):
    """The documents of one TSV or JSONL file."""

    source = "folder"

    def __init__(self, path: Path) -> None:
        self.path = self.where = path

    def fingerprint(self) -> str:
        return file_fingerprint(self.path)

    def texts(self) -> Iterator[Text]:
        return read_texts(self.path, "document", keep_empty=True)


class FolderQueries(BaseQueries):
    """The queries of one TSV or JSONL file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def queries_iter(self) -> Iterator[GenericQuery]:
        records: list[Text] = list(read_texts(self.path, "query"))  # a faulty file yields nothing
        return (GenericQuery(record.id, joined(record.title, record.text)) for record in records)


class FolderQrels(BaseQrels):
    """The judgements of one file, which must name queries of ``queries`` and documents of ``documents``."""

    def __init__(self, path: Path, documents: FolderDocs, queries: FolderQueries) -> None:
        self.path = path
        self.documents = documents
        self.queries = queries

    def qrels_iter(self) -> Iterator[TrecQrel]:
        judgements = read_judgements(self.path)
        known_queries = {query.query_id for query in self.queries.queries_iter()}
        known_documents = self.documents.docs_store().get_many({judgement.doc_id for judgement in judgements})
        faults = Faults(self.path)
        for judgement in judgements:
            if judgement.query_id not in known_queries:
                faults.add(judgement.line, f"no query {judgement.query_id!r} in {self.queries.path.name}")
            if judgement.doc_id not in known_documents:
                faults.add(judgement.line, f"no document {judgement.doc_id!r} in {self.documents.path.name}")
        faults.finish()
        return (TrecQrel(judgement.query_id, judgement.doc_id, judgement.grade, "0") for judgement in judgements)

    def qrels_defs(self) -> dict[int, str]:
        return {}

    def qrels_cls(self) -> type[TrecQrel]:
        return TrecQrel


def folder_dataset(path: str) -> Dataset:
    """Return the dataset of ``<path>`` or ``<path>/<split>``.

    Raises:
        InputError: the folder or split does not exist, or the folder has no corpus file or several.
    """
    folder, split = Path(path).expanduser().absolute(), ""
    if not corpus_files(folder) and corpus_files(folder.parent):
        folder, split = folder.parent, folder.name
    corpora = corpus_files(folder)
    if len(corpora) != 1:
        found = " and ".join(corpora) or ("none of them" if folder.is_dir() else "no such folder")
        kind = InputError if folder.is_dir() else Unavailable
        raise kind(f"Expected one of {', '.join(CORPUS_FILES)} in {folder}, found {found}.")
    documents = FolderDocs(folder / corpora[0])
    suffix = f".{split}" if split else ""
    queries = existing(folder, [f"queries{suffix}.tsv", f"queries{suffix}.jsonl", "queries.tsv", "queries.jsonl"])
    qrels = existing(folder, [f"qrels{suffix}.tsv", f"qrels/{split}.tsv"])
    if split and (queries is None or (qrels is None and not queries.name.startswith(f"queries{suffix}."))):
        splits = sorted(
            {file.stem.removeprefix("qrels.") for file in [*folder.glob("qrels.*.tsv"), *folder.glob("qrels/*.tsv")]}
        )
        lacking = "queries.tsv or queries.jsonl" if queries is None else f"qrels{suffix}.tsv or qrels/{split}.tsv"
        raise InputError(
            f"{folder} has no {lacking} for the split {split!r}; its splits: {', '.join(splits) or 'none'}."
        )
    parts: list[Any] = [documents]
    if queries is not None:
        parts.append(FolderQueries(queries))
        if qrels is not None:
            parts.append(FolderQrels(qrels, documents, parts[-1]))
    return Dataset(*parts)


def corpus_files(folder: Path) -> list[str]:
    """Return the names of the corpus files in a folder."""
    return [name for name in CORPUS_FILES if (folder / name).is_file()]


def existing(folder: Path, names: list[str]) -> Path | None:
    """Return the first of ``names`` that is a file in ``folder``, or None."""
    return next((folder / name for name in names if (folder / name).is_file()), None)


def register() -> None:
    """Register the pattern with ``ir_datasets``; registering it again changes nothing."""
    ir_datasets.registry.register_pattern(r"^folder:(.+)$", lambda _, groups: folder_dataset(groups[0]))
