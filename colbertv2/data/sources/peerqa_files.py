"""Strict readers for PeerQA's two files, ``papers.jsonl`` and ``qa.jsonl``: every fault with its line."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from colbertv2.data.readers import Faults, checked_text, json_object, lines
from colbertv2.errors import InputError

SOURCE = (
    "The release, peerqa-data-v1.0.zip of https://tudatalib.ulb.tu-darmstadt.de/handle/tudatalib/4467, holds qa.jsonl "
    "and, in papers.jsonl, the papers whose licences permit it; the scripts of https://github.com/UKPLab/PeerQA add "
    "those of OpenReview. Put both files into one directory and name it: peerqa:<directory>/<unit>."
)


class PaperRow(NamedTuple):
    """One line of ``papers.jsonl``: a sentence, heading, caption, formula or title, the ``idx``-th of its paper."""

    line: int
    paper_id: str
    idx: int
    pidx: int
    sidx: int
    type: str
    content: str

    def doc_id(self, unit: str) -> str:
        """The document that holds it.

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
    """Paper id → ``idx`` → row, papers in the order of the file, rows in that of ``idx``; all in memory (20 MB).

    Raises:
        InputError: naming the lines that are cut short, lack a field or repeat an ``idx`` of a paper, and ids with
            whitespace; or the file is missing or empty.
    """
    faults = Faults(path)
    found: dict[str, dict[int, PaperRow]] = {}
    for number, line in lines(path, faults):
        try:
            row = parse_row(number, line)
        except ValueError as error:
            faults.add(number, str(error))
            continue
        before = found.setdefault(row.paper_id, {}).setdefault(row.idx, row)
        if before is not row:
            place = f"idx {row.idx} of the paper {row.paper_id!r}"
            faults.add(number, f"{place} stands on line {before.line} already; keep one extraction of it")
    faults.finish()
    if not found:
        raise InputError(f"{path} holds no paper; expected a sentence a line. {SOURCE}")
    return {paper_id: dict(sorted(rows.items())) for paper_id, rows in found.items()}


def parse_row(number: int, line: str) -> PaperRow:
    """ValueError for what is no such row."""
    record = parse(line, ("paper_id", "idx", "pidx", "sidx", "type", "content"))
    idx, pidx, sidx = (whole_number(record[field], field) for field in ("idx", "pidx", "sidx"))
    kind, content = (checked_text(record[field], field) for field in ("type", "content"))
    return PaperRow(number, identifier(record, "paper_id"), idx, pidx, sidx, kind, content)


def read_questions(path: Path) -> list[PeerQAQuestion]:
    """The questions with evidence that was found in the text.

    Raises:
        InputError: naming the lines that are cut short, lack a field or repeat a ``question_id``, ids with whitespace
            and evidence of another form; or the file is missing.
    """
    faults = Faults(path)
    found: dict[str, PeerQAQuestion] = {}
    for number, line in lines(path, faults):
        try:
            question = parse_question(number, line)
        except ValueError as error:
            faults.add(number, str(error))
            continue
        before = found.setdefault(question.id, question) if question.evidence else question
        if before is not question:
            faults.add(number, f"the question_id {question.id!r} stands on line {before.line} already; rename one")
    faults.finish()
    return list(found.values())


def parse_question(number: int, line: str) -> PeerQAQuestion:
    """ValueError for what is no such question."""
    record = parse(line, ("paper_id", "question_id", "question", "answer_evidence_mapped"))
    question_id, question = identifier(record, "question_id"), checked_text(record["question"], "question")
    if not question.strip():
        raise ValueError(f"the question {question_id!r} is empty")
    found = evidence(record["answer_evidence_mapped"])
    return PeerQAQuestion(number, question_id, question, identifier(record, "paper_id"), found)


def evidence(mapped: Any) -> list[int]:
    """The ``idx`` of all evidence, in order; a null stands for what was not found in the text.

    The hub's loader turns the list of objects into an object of lists; either will do.

    Raises:
        ValueError: another form.

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
    """A line's JSON object; ValueError if it is none or lacks a field."""
    record = json_object(line)
    if lacking := [field for field in fields if field not in record]:
        found = ", ".join(record) or "no fields"
        raise ValueError(f"no {', '.join(lacking)}, only {found}; take the release's own file")
    return record


def whole_number(value: object, field: str) -> int:
    """ValueError for what is no whole number; 12.0, as pandas writes columns with gaps, is 12."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"expected a whole number as {field}, found {value!r}")
    return value


def identifier(record: dict[str, Any], field: str) -> str:
    """ValueError for what can't stand in a TREC run file."""
    value = checked_text(record[field], field)
    if value.split() != [value]:
        raise ValueError(f"the {field} {value!r} is empty or holds whitespace; rename it in both files")
    return value
