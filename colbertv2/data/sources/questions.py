"""DPR's question files for its Wikipedia passages: ``dpr-qas:<file>``.

``ir_datasets`` has the passages (``dpr-w100``) and the files that DPR was trained on. Those files lack all questions
without a labelled passage, a quarter of Natural Questions' dev set. Papers evaluate on ``nq-dev.qa.csv``,
``trivia-dev.qa.csv`` and ``squad1-dev.qa.csv`` of the same release. Each line is ``question<TAB>['answer', …]``, with
the list in Python's notation, and quoted where CSV requires it. A query's id is its ordinal number, from 0.

``ir_datasets`` splits ``psgs_w100.tsv`` at tabs only, which leaves the file's CSV quotes in the texts. This module
removes them, as DPR does.
"""

import ast
import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import ir_datasets
from ir_datasets.datasets.base import Dataset
from ir_datasets.formats import BaseDocs, BaseQueries
from ir_datasets.indices import Docstore

from colbertv2.data.opening import load
from colbertv2.data.readers import Faults, parsed
from colbertv2.errors import InputError

PASSAGES = "dpr-w100"


class Question(NamedTuple):
    """A question with the strings that answer it."""

    query_id: str
    text: str
    answers: tuple[str, ...]

    def default_text(self) -> str:
        return self.text


class Questions(BaseQueries):
    """The questions of one file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def queries_iter(self) -> Iterator[Question]:
        return iter(read_questions(self.path))  # a faulty file yields nothing

    def queries_cls(self) -> type[Question]:
        return Question


def read_questions(path: Path) -> list[Question]:
    """Read the questions of a file in DPR's format.

    Raises:
        InputError: with the lines that have another number of columns, an empty question, or answers that are not a
            list of strings; or the file is missing or has no questions.
    """
    faults = Faults(path)
    found: list[Question] = []
    for _, (question, answers) in parsed(path, faults, lambda _, line: parse_question(line)):
        found.append(Question(str(len(found)), question, answers))
    faults.finish()
    if not found:
        raise InputError(f"{path} contains no question; expected one per line.")
    return found


def parse_question(line: str) -> tuple[str, tuple[str, ...]]:
    """Parse question and answers from one line.

    Raises:
        ValueError, csv.Error: the line does not have that form.

    >>> parse_question("who wrote it\\t['Ann Lee', \\"Lee's sister\\"]")
    ('who wrote it', ('Ann Lee', "Lee's sister"))
    """
    columns = next(csv.reader([line], delimiter="\t"))
    if len(columns) != 2:
        raise ValueError(f"expected 2 columns (question, answers), found {len(columns)}")
    question, written = columns
    if not question.strip():
        raise ValueError("the question is empty")
    try:
        answers = ast.literal_eval(written)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        answers = None
    if not isinstance(answers, list) or not answers or not all(isinstance(answer, str) for answer in answers):
        raise ValueError(f"expected a list of strings as answers, found {written[:40]!r}")
    return question, tuple(answers)


class Passage(NamedTuple):
    """A passage; ``default_text()`` is ``title | text``, as in the official ColBERT code."""

    doc_id: str
    text: str
    title: str

    def default_text(self) -> str:
        return f"{self.title} | {self.text}"


def unquoted(passage: Any) -> Passage:
    """Return a record of ``dpr-w100`` without CSV's quotes, as DPR reads it."""
    return Passage(passage.doc_id, without_quotes(passage.text), without_quotes(passage.title))


def without_quotes(column: str) -> str:
    """Undo the quoting of one CSV column.

    >>> without_quotes('"Aaron ( or ; ""Ahärôn"" ) is"'), without_quotes('the "Great"')
    ('Aaron ( or ; "Ahärôn" ) is', 'the "Great"')
    """
    if len(column) > 1 and column[0] == column[-1] == '"':
        return column[1:-1].replace('""', '"')
    return column


class Passages(BaseDocs):
    """The passages of ``dpr-w100`` without CSV's quotes; ``ir_datasets`` reads and stores them."""

    def __init__(self, source: Any) -> None:
        self.source = source

    def docs_iter(self) -> Iterator[Any]:
        return map(unquoted, self.source.docs_iter())

    def docs_store(self) -> "PassageStore":
        return PassageStore(self.source.docs_store())

    def docs_count(self) -> int | None:
        return self.source.docs_count()

    def docs_cls(self) -> type[Passage]:
        return Passage


class PassageStore(Docstore):
    """Random access to the passages of ``dpr-w100`` without CSV's quotes."""

    def __init__(self, source: Any) -> None:
        super().__init__(source._doc_cls)
        self.source = source

    @property
    def lookup(self) -> Any:
        return self.source.lookup

    def build(self) -> None:
        self.source.build()

    def built(self) -> bool:
        return self.source.built()

    def get_many_iter(self, doc_ids: Iterable[str]) -> Iterator[Any]:
        return map(unquoted, self.source.get_many_iter(doc_ids))


def questions_dataset(path: str) -> Dataset:
    """Return the dataset of a question file: its questions and the passages of ``dpr-w100``.

    Raises:
        InputError: the file does not exist, or is compressed.
    """
    file = Path(path).expanduser().absolute()
    if not file.is_file():
        raise InputError(f"There is no file {file}; expected DPR's questions, such as nq-dev.qa.csv.")
    if file.suffix == ".gz":
        raise InputError(f"{file} is compressed: unpack it (gunzip) and use the unpacked file.")
    return Dataset(Passages(load(PASSAGES).docs_handler()), Questions(file))


def register() -> None:
    """Register the pattern with ``ir_datasets``; registering it again changes nothing."""
    ir_datasets.registry.register_pattern(r"^dpr-qas:(.+)$", lambda _, groups: questions_dataset(groups[0]))
