"""Three papers and their questions in PeerQA's schema, small enough to check by hand."""

import json
from pathlib import Path

ONE, TWO, TINY = "nlpeer/ARR-22/one", "egu/ESurf/two", "egu/ESD/tiny"

ROWS = [  # idx, pidx, sidx, type, content, paper
    (0, 0, 0, "title", "Late {Interaction}", ONE),
    (1, 1, 0, "heading", "Abstract", ONE),
    (2, 2, 0, "sentence", "We read\ttext.", ONE),
    (3, 2, 1, "sentence", "A list\nof values.", ONE),
    (0, 0, 0, "title", "Two", TWO),  # the papers alternate in the file
    (4, 3, 0, "heading", "Method", ONE),
    (6, 4, 1, "sentence", "Two numbers do.", ONE),  # and the lines are out of order
    (5, 4, 0, "sentence", "Sort the keys.", ONE),
    (7, 5, 0, "list_item", "Open a file.", ONE),
    (8, 6, 0, "formula", "s = q * d", ONE),  # has the position of the following caption, as a last formula can
    (9, 6, 0, "figure", "Figure 1: a map.", ONE),
    (10, 6, 1, "figure", "Values of keys.", ONE),
    (11, 7, 0, "table", "Table 1: bytes.", ONE),
    (12, 9, 0, "sentence", "The same words.", ONE),
    (13, 10, 0, "sentence", "The same words.", ONE),
    (1, 1, 0, "sentence", "Parse the string.", TWO),
    (2, 2, 0, "sentence", "Write it.", TWO),
    (0, 0, 0, "title", "A", TINY),
]
PAPERS = [
    {"idx": idx, "pidx": pidx, "sidx": sidx, "type": kind, "content": content, "last_heading": None, "paper_id": paper}
    for idx, pidx, sidx, kind, content, paper in ROWS
]


def question(name: str, paper: str, text: str, mapped: object, answerable: bool = True) -> dict:
    """One line of ``qa.jsonl``."""
    return {
        "paper_id": paper,
        "question_id": name,
        "question": text,
        "raw_answer_evidence": None,
        "answer_evidence_sent": None,
        "answer_evidence_mapped": mapped,
        "answer_free_form": None,
        "answerable": answerable,
        "answerable_mapped": answerable,
    }


def said(*idx: int | None) -> dict:
    """One evidence sentence."""
    return {"sentence": "as annotated", "idx": list(idx)}


QUESTIONS = [
    question("spans", ONE, "How many\tnumbers in the list?", [said(3, 5), said(6), said(None)]),
    question("two", TWO, "What is parsed?", [said(1)]),
    question("unanswerable", ONE, "Who paid?", None, answerable=False),
    question("unfound", TWO, "What is lost?", [said(None), said(None)]),
    question("tied", ONE, "The same words?", [said(12)]),
    question("tiny", TINY, "A?", [said(0)]),
    question("empty", TINY, "The key?", []),
]


def write_jsonl(path: Path, records: list[dict]) -> None:
    """Write one object per line."""
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")


def write_sample(directory: Path, papers: list[dict] = PAPERS, questions: list[dict] = QUESTIONS) -> Path:
    """Write both files; returns ``directory``."""
    directory.mkdir(parents=True, exist_ok=True)
    write_jsonl(directory / "papers.jsonl", papers)
    write_jsonl(directory / "qa.jsonl", questions)
    return directory
