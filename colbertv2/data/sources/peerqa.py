"""PeerQA (Baumgärtner et al., NAACL 2025) as ``ir_datasets`` ids: ``peerqa:<directory>/<unit>``.

The directory contains ``papers.jsonl`` and ``qa.jsonl`` in the format of PeerQA's release. A unit is ``paragraph`` or
``sentence``; with ``-title`` appended, each document begins with its paper's title:

- A paragraph consists of all rows with one ``pidx``, of any type, joined by a space in the order of ``idx``. Its id is
  ``<paper_id>/<pidx>``.
- A sentence is the row with one ``pidx`` and ``sidx``. Its id is ``<paper_id>/<pidx>/<sidx>``. Rows that share both (as
  a caption and a formula at the end of a paper may) are joined like those of a paragraph; the official code has two
  passages with the same id there.
- With the title, the text is ``Title: … Paragraph: …`` or ``Title: … Sentence: …``.

Queries are the questions with evidence that was found in the text; all others, such as unanswerable questions, are left
out. Judgements are binary: a document is relevant if one of its rows is evidence. Documents and queries have a
``pool_id``, the paper: a question is searched only within its own paper (``colbertv2.data.queries``).

Both files are read strictly: an error lists the faulty lines, the first ten together.

Ids begin with the paper's id. So within a paper they sort like the official ids, ``<pidx>`` and ``<pidx>/<sidx>``, and
ties between equal scores are broken in the same way.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import ir_datasets
from ir_datasets.datasets.base import Dataset
from ir_datasets.formats import BaseQrels, BaseQueries, TrecQrel

from colbertv2.data.readers import Faults, checked_text, is_id, json_object, parsed
from colbertv2.data.sources.stores import StoredDocs, file_fingerprint
from colbertv2.errors import InputError

SOURCE = (
    "The release, peerqa-data-v1.0.zip of https://tudatalib.ulb.tu-darmstadt.de/handle/tudatalib/4467, has qa.jsonl "
    "and, in papers.jsonl, the papers whose licences permit it; the scripts of https://github.com/UKPLab/PeerQA add "
    "those of OpenReview. Put both files into one directory and name it: peerqa:<directory>/<unit>."
)
UNITS = ("paragraph", "paragraph-title", "sentence", "sentence-title")


class PaperRow(NamedTuple):
    """One line of ``papers.jsonl``: sentence, heading, caption, formula or title number ``idx`` of its paper."""

    line: int
    paper_id: str
    idx: int
    pidx: int
    sidx: int
    type: str
    content: str

    def doc_id(self, unit: str) -> str:
        """Return the id of the document that contains the row.

        >>> PaperRow(1, "nlpeer/a", 7, 2, 0, "sentence", "").doc_id("sentence-title")
        'nlpeer/a/2/0'
        """
        paragraph = f"{self.paper_id}/{self.pidx}"
        return paragraph if unit.startswith("paragraph") else f"{paragraph}/{self.sidx}"


class PeerQAQuestion(NamedTuple):
    """One line of ``qa.jsonl``; ``evidence`` is the ``idx`` of each row that answers it."""

    line: int
    id: str
    text: str
    paper_id: str
    evidence: list[int]


def read_papers(path: Path) -> dict[str, dict[int, PaperRow]]:
    """Read paper id → ``idx`` → row: papers in the order of the file, rows by ``idx``; all in memory (20 MB).

    Raises:
        InputError: with the lines that are cut short, lack a field, repeat an ``idx`` of a paper, or have an id with
            whitespace; or the file is missing or empty.
    """
    faults = Faults(path)
    found: dict[str, dict[int, PaperRow]] = {}
    for number, row in parsed(path, faults, parse_row):
        before = found.setdefault(row.paper_id, {}).setdefault(row.idx, row)
        if before is not row:
            place = f"idx {row.idx} of the paper {row.paper_id!r}"
            faults.add(number, f"{place} is already on line {before.line}; keep one extraction of the paper")
    faults.finish()
    if not found:
        raise InputError(f"{path} contains no paper; expected one sentence per line. {SOURCE}")
    return {paper_id: dict(sorted(rows.items())) for paper_id, rows in found.items()}


def parse_row(number: int, line: str) -> PaperRow:
    """Parse one line of ``papers.jsonl``; raise ValueError if it is not such a row."""
    record = parse(line, ("paper_id", "idx", "pidx", "sidx", "type", "content"))
    idx, pidx, sidx = (whole_number(record[field], field) for field in ("idx", "pidx", "sidx"))
    kind, content = (checked_text(record[field], field) for field in ("type", "content"))
    return PaperRow(number, identifier(record, "paper_id"), idx, pidx, sidx, kind, content)


def read_questions(path: Path) -> list[PeerQAQuestion]:
    """Read the questions with evidence that was found in the text.

    Raises:
        InputError: with the lines that are cut short, lack a field, repeat a ``question_id``, or have an id with
            whitespace or evidence in another form; or the file is missing.
    """
    faults = Faults(path)
    found: dict[str, PeerQAQuestion] = {}
    for number, question in parsed(path, faults, parse_question):
        before = found.setdefault(question.id, question) if question.evidence else question
        if before is not question:
            faults.add(number, f"the question_id {question.id!r} is already on line {before.line}; rename one")
    faults.finish()
    return list(found.values())


def parse_question(number: int, line: str) -> PeerQAQuestion:
    """Parse one line of ``qa.jsonl``; raise ValueError if it is not such a question."""
    record = parse(line, ("paper_id", "question_id", "question", "answer_evidence_mapped"))
    question_id, question = identifier(record, "question_id"), checked_text(record["question"], "question")
    if not question.strip():
        raise ValueError(f"the question {question_id!r} is empty")
    found = evidence(record["answer_evidence_mapped"])
    return PeerQAQuestion(number, question_id, question, identifier(record, "paper_id"), found)


def evidence(mapped: Any) -> list[int]:
    """Return the ``idx`` of all evidence, in order, without nulls, which mark evidence that was not found in the text.

    The Hugging Face hub's loader turns the list of objects into an object of lists; both forms are accepted.

    Raises:
        ValueError: ``mapped`` has another form.

    >>> evidence([{"sentence": "One.", "idx": [4, 5]}, {"sentence": "Two.", "idx": [None]}])
    [4, 5]
    """
    try:
        groups = mapped["idx"] if isinstance(mapped, dict) else [entry["idx"] for entry in mapped or []]
        return [whole_number(idx, "idx of evidence") for group in groups for idx in group if idx is not None]
    except (TypeError, KeyError):
        raise ValueError(
            'expected null or [{"sentence": "…", "idx": [12, null, …]}, …] as answer_evidence_mapped, '
            f"found {json.dumps(mapped)[:80]}"
        ) from None


def parse(line: str, fields: Iterable[str]) -> dict[str, Any]:
    """Parse a line that is a JSON object; raise ValueError if it is not one, or lacks one of ``fields``."""
    record = json_object(line)
    if lacking := [field for field in fields if field not in record]:
        found = ", ".join(record) or "no fields"
        raise ValueError(f"no {', '.join(lacking)}, only {found}; use the file of PeerQA's release")
    return record


def whole_number(value: object, field: str) -> int:
    """Return ``value`` as int, 12.0 as 12 (pandas writes such floats); raise ValueError if it is not a whole number."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"expected a whole number as {field}, found {value!r}")
    return value


def identifier(record: dict[str, Any], field: str) -> str:
    """Return the id in ``field``; raise ValueError if it can't be an id in a TREC run file."""
    value = checked_text(record[field], field)
    if not is_id(value):
        raise ValueError(f"the {field} {value!r} is empty or contains whitespace; rename it in both files")
    return value


class PeerQADoc(NamedTuple):
    """A paragraph or sentence of the paper ``pool_id``."""

    doc_id: str
    text: str
    pool_id: str


class PeerQAQuery(NamedTuple):
    """A question about the paper ``pool_id``."""

    query_id: str
    text: str
    pool_id: str


class PeerQADocs(StoredDocs):
    """The paragraphs or sentences of ``papers.jsonl``."""

    source = "peerqa"

    def __init__(self, path: Path, unit: str) -> None:
        self.path = path
        self.unit = unit

    def fingerprint(self) -> str:
        return file_fingerprint(self.path, self.unit)

    def read(self) -> Iterator[PeerQADoc]:
        papers = read_papers(self.path)
        titles = self.titles(papers) if self.unit.endswith("-title") else {}
        kind = self.unit.removesuffix("-title").capitalize()
        for paper_id, rows in papers.items():
            contents: dict[str, list[str]] = {}
            for row in rows.values():
                contents.setdefault(row.doc_id(self.unit), []).append(row.content)
            for doc_id, parts in contents.items():
                content = " ".join(parts)
                templated = f"Title: {titles[paper_id]} {kind}: {content}" if titles else content
                yield PeerQADoc(doc_id, templated, paper_id)

    def titles(self, papers: dict[str, dict[int, PaperRow]]) -> dict[str, str]:
        """Return paper id → content of its only row of type ``title``.

        Raises:
            InputError: a paper has none or several; the official code stops there, too.
        """
        faults = Faults(self.path)
        found: dict[str, str] = {}
        for paper_id, rows in papers.items():
            titles = [row for row in rows.values() if row.type == "title"]
            if len(titles) != 1:
                line = (titles or list(rows.values()))[-1].line
                plain = self.unit.removesuffix("-title")
                faults.add(
                    line,
                    f"the paper {paper_id!r} has {len(titles)} rows of type title, expected one; correct it, or use "
                    f"the unit {plain}",
                )
            found[paper_id] = titles[0].content if titles else ""
        faults.finish()
        return found

    def docs_cls(self) -> type[PeerQADoc]:
        return PeerQADoc


class PeerQAQueries(BaseQueries):
    """The questions of ``qa.jsonl`` that have evidence."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def queries_iter(self) -> Iterator[PeerQAQuery]:
        questions = read_questions(self.path)  # a faulty file yields nothing
        return (PeerQAQuery(question.id, question.text, question.paper_id) for question in questions)

    def queries_cls(self) -> type[PeerQAQuery]:
        return PeerQAQuery


class PeerQAQrels(BaseQrels):
    """Evidence as judgements: the document of each row that is evidence has grade 1."""

    def __init__(self, questions: Path, papers: Path, unit: str) -> None:
        self.questions = questions
        self.papers = papers
        self.unit = unit

    def qrels_iter(self) -> Iterator[TrecQrel]:
        papers = read_papers(self.papers)
        faults = Faults(self.questions)
        found: list[TrecQrel] = []
        for question in read_questions(self.questions):
            rows = papers.get(question.paper_id)
            if rows is None:
                faults.add(
                    question.line,
                    f"{self.papers.name} lacks the paper {question.paper_id!r} of the question {question.id!r}; add it "
                    "(PeerQA's scripts fetch OpenReview's papers, which the release lacks), or remove the question",
                )
                continue
            if unknown := [idx for idx in question.evidence if idx not in rows]:
                faults.add(
                    question.line,
                    f"the evidence {unknown[0]} of the question {question.id!r} is not a row of the paper "
                    f"{question.paper_id!r}, whose idx end at {max(rows)}; {self.papers.name} is of another version or "
                    "cut short: use both files of the same release",
                )
                continue
            relevant = dict.fromkeys(rows[idx].doc_id(self.unit) for idx in question.evidence)
            found += [TrecQrel(question.id, doc_id, 1, "0") for doc_id in relevant]
        faults.finish()
        return iter(found)

    def qrels_defs(self) -> dict[int, str]:
        return {1: "holds evidence for the answer"}

    def qrels_cls(self) -> type[TrecQrel]:
        return TrecQrel


def peerqa_dataset(path: str) -> Dataset:
    """Return the dataset of ``<directory>/<unit>``.

    Raises:
        InputError: the unit is unknown, or the directory or a file does not exist; the message says where to get the
            files.
    """
    place, _, unit = path.rpartition("/")
    if unit not in UNITS or not place:
        raise InputError(f"Expected peerqa:<directory>/<unit>, found peerqa:{path}. Units are {', '.join(UNITS)}.")
    if place == "hub":
        raise InputError(f"UKPLab/PeerQA on the Hugging Face hub is a script and has no texts of its own. {SOURCE}")
    directory = Path(place).expanduser().absolute()
    papers, questions = directory / "papers.jsonl", directory / "qa.jsonl"
    if lacking := [file.name for file in (papers, questions) if not file.is_file()]:
        what = f"has no {' and no '.join(lacking)}" if directory.is_dir() else "is not a directory"
        raise InputError(f"{directory} {what}; expected papers.jsonl and qa.jsonl. {SOURCE}")
    return Dataset(PeerQADocs(papers, unit), PeerQAQueries(questions), PeerQAQrels(questions, papers, unit))


def register() -> None:
    """Register the pattern with ``ir_datasets``; registering it again changes nothing."""
    ir_datasets.registry.register_pattern(r"^peerqa:(.+)$", lambda _, groups: peerqa_dataset(groups[0]))
