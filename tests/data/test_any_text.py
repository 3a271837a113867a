"""Whatever an external text file contains, a reader returns a result or raises an ``InputError`` with the file name."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from colbertv2.data.queries import read_ids
from colbertv2.data.readers import read_judgements, read_texts
from colbertv2.data.sources import peerqa, questions
from colbertv2.errors import InputError
from colbertv2.evaluation.ranking import Ranking
from colbertv2.files import read_json_value
from colbertv2.interchange.foreign_index import read_doc_ids
from colbertv2.interchange.pylate_training import read_pylate_examples
from colbertv2.interchange.training_files import enumerated, read_ranking
from colbertv2.training.examples import Examples, read_examples

ROW = {"paper_id": "p", "idx": 0, "pidx": 0, "sidx": 0, "type": "title", "content": "t"}
QUESTION = {"paper_id": "p", "question_id": "q", "question": "?", "answer_evidence_mapped": [{"idx": [0, None]}]}
TRAIN = {"query_id": "q", "document_ids": ["a", "b"], "scores": [1.5, 0.5]}
READERS: dict[str, tuple[str, Callable[[Path], Any], str]] = {  # name → file name, reader, valid content
    "TSV": ("c.tsv", lambda path: list(read_texts(path, "document")), "a\tone\nb\ttwo\ttitle\n"),
    "JSONL": (
        "c.jsonl",
        lambda path: list(read_texts(path, "document", keep_empty=True)),
        '{"_id": "a", "title": "", "text": "one"}\n{"_id": 7, "text": ""}\n',
    ),
    "qrels": ("qrels.tsv", read_judgements, "query-id\tcorpus-id\tscore\nq\ta\t1\nq\tb\t-2\n"),
    "TREC's qrels": ("qrels", read_judgements, "q 0 a 1\nq 0 b 0\n"),
    "run": ("run.trec", lambda path: dict(Ranking.read(path)), "q Q0 a 1 2.5 t\nq Q0 b 2 -1e3 t\n"),
    "official ranking": ("r.tsv", lambda path: dict(read_ranking(path)), "q\ta\t1\t2.5\nq\tb\t2\t1.5\nr\ta\t1\t0\n"),
    "examples": ("e.json", lambda path: list(read_examples(path)), '["q", ["a", 1.5], ["b", 0]]\n[1, 2, 3]\n'),
    "examples by place": (
        "e.json",
        lambda path: [Examples(path)[place] for place in range(len(Examples(path)))],
        '["q", ["a", 1.5], ["b", null]]\n["q", [[1.5, "a"], [0.5, "b"]]]\n',
    ),
    "triples": ("t.tsv", lambda path: list(read_examples(path)), "q\ta\tb\nq\ta\tc\n"),
    "PyLate's": ("train.jsonl", lambda path: list(read_pylate_examples(path.parent)), json.dumps(TRAIN) + "\n"),
    "PeerQA's papers": ("papers.jsonl", peerqa.read_papers, json.dumps(ROW) + "\n"),
    "PeerQA's questions": ("qa.jsonl", peerqa.read_questions, json.dumps(QUESTION) + "\n"),
    "DPR's questions": ("nq.csv", questions.read_questions, 'who\t[\'a\', "b"]\n"how ""many"""\t[\'7\']\n'),
    "ids of queries": ("ids.txt", lambda path: read_ids(path, {"a", "b"}, "x"), "a\nb\n"),
    "ids of documents": ("doc_ids.txt", lambda path: read_doc_ids(path, 2), "a\nb\n"),
    "numbered ids": ("query_ids.txt", lambda path: list(enumerated(path)), "a\nb\n"),
    "JSON": ("plan.json", read_json_value, '{"nbits":\n2}\n'),
}
BY_LINE = sorted(READERS.keys() - {"JSON"})
TOKENS = [
    *("q", "a", "b", "Q0", "t", "0", "1", "7", "-2", "1.5", "1e999", "NaN", "-inf", "1" * 31, "9" * 5000, "1_0", "٣"),
    *("\t", "\t\t", " ", "\n", "\r\n", "\r", "\0", "\ufeff", "\u2028", "\x85", "é", "query-id\tcorpus-id\tscore\n"),
    *(
        "[",
        "]",
        "{",
        "}",
        ",",
        ":",
        '"',
        "'",
        '"q"',
        '"\\ud800"',
        '"\\u0000"',
        "null",
        "true",
        "[]",
        "{}",
        "[" * 20_000,
    ),
    *(
        '{"_id": "a", "text": ',
        '{"a":' * 20_000,
        '"_id"',
        '"text"',
        '"scores"',
        '"idx"',
        "q Q0 a 1 1.0 t\n",
        "x" * 140_000,
    ),
    *(content for _, _, content in READERS.values()),
]
CONTENTS = (
    st.binary(max_size=60)
    | st.lists(st.sampled_from(TOKENS), max_size=9).map(lambda tokens: "".join(tokens).encode())
    | st.tuples(st.lists(st.sampled_from(TOKENS), max_size=5), st.binary(max_size=4), st.sampled_from(TOKENS)).map(
        lambda parts: "".join(parts[0]).encode() + parts[1] + parts[2].encode()
    )
)


def outcome(name: str, folder: Path, content: bytes) -> Any:
    """Return what the reader makes of a file, or None if it refuses the file."""
    file, read, _ = READERS[name]
    (folder / file).write_bytes(content)
    try:
        return read(folder / file)
    except InputError as error:
        assert str(folder) in str(error) and len(str(error)) < 3000
        return None


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=60)
@given(content=CONTENTS)
@example(b"")
@example(b"\xef\xbb\xbf")
@example(b'["q", ["a", 1e999], ["b", NaN]]')
@example(b'["q", ["a", ' + b"9" * 400 + b"]]")
@example(b'{"query_id": "q", "document_ids": ["a"], "scores": [' + b"9" * 400 + b"]}")
@example(b'{"query_id": "q", "document_ids": "' + b"[" * 50_000 + b'", "scores": [1]}')
@example(b'{"_id": ' + b"[" * 900 + b"]" * 900 + b', "text": "one"}')
@example(b"q\ta\t" + b"9" * 400)
@example(b"q a 1000000000000000000000000000000")
@example(b"who\t" + b"[" * 5000)
@example(b"who\t['a']\t" + b"x" * 140_000)
def test_anything_is_read_or_refused(tmp_path_factory, name, content):
    outcome(name, tmp_path_factory.mktemp("any"), content)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize(
    "change",
    [
        lambda content: b"\xef\xbb\xbf" + content,
        lambda content: content.replace(b"\n", b"\r\n"),
        lambda content: content.removesuffix(b"\n"),
        lambda content: content + b"\n\n",
    ],
    ids=["byte order mark", "CR LF", "no last newline", "blank lines"],
)
def test_how_a_file_was_saved_does_not_matter(tmp_path, name, change):
    content = READERS[name][2].encode()
    plain = outcome(name, tmp_path, content)
    assert plain and outcome(name, tmp_path, change(content)) == plain


def test_files_with_byte_order_marks_may_be_put_together(tmp_path):
    (tmp_path / "run.trec").write_bytes(b"\xef\xbb\xbfq Q0 a 1 2 t\n\xef\xbb\xbfr Q0 a 1 2 t\n")
    assert set(Ranking.read(tmp_path / "run.trec")) == {"q", "r"}


@pytest.mark.parametrize("name", BY_LINE)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.encode("utf-16"), "is in UTF-16 by its byte order mark; save it as UTF-8"),
        (lambda text: text.encode("utf-16-le"), "line 1: contains NUL bytes, so the file is not UTF-8 text"),
        (lambda text: gzip.compress(text.encode()), "is compressed by gzip; unpack it"),
        (lambda text: b"\x1f\x8b no gzip", "is compressed by gzip; unpack it"),
        (lambda text: b"PK\x03\x04\x14", "is a zip archive; unpack it"),
        (lambda text: "é\n".encode("latin-1") + text.encode(), "line 1: not UTF-8"),
        (lambda text: (2 * text).replace("\n", "\r").encode(), "ends its lines by CR alone"),
    ],
    ids=["UTF-16", "UTF-16 without a mark", "gzip", "no gzip", "zip", "Latin-1", "CR"],
)
def test_what_is_no_text_is_named(tmp_path, name, change, message):
    file, read, content = READERS[name]
    if name == "examples by place":
        pytest.skip("written by a stage, and read line by line")
    (tmp_path / file).write_bytes(change(content))
    with pytest.raises(InputError, match=message):
        read(tmp_path / file)


@pytest.mark.parametrize("name", sorted(READERS.keys() - {"examples by place", "PyLate's"}))
def test_what_is_no_file_or_can_not_be_opened(tmp_path, name, monkeypatch):
    file, read, content = READERS[name]
    path = tmp_path / file
    with pytest.raises(InputError, match=file):
        read(path)
    path.mkdir()
    with pytest.raises(InputError, match=f"{file} .*directory"):
        read(path)
    path.rmdir()
    path.write_text(content)

    def refuse(self: Path, *_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied", str(self))  # simulated, as root may read every file

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match=f"{file} .*Permission denied"):
        read(path)
