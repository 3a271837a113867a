import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colbertv2.data.readers import is_id, read_judgements, read_texts
from colbertv2.errors import InputError

LETTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
IDS = st.text(LETTERS, min_size=1).filter(is_id)
TEXTS = st.text(LETTERS).filter(str.strip)


@given(st.dictionaries(IDS, TEXTS, min_size=1), st.sampled_from(["_id", "id", "doc_id", "query_id"]))
def test_jsonl_round_trip_with_tabs_newlines_and_unicode(tmp_path_factory, texts, key):
    path = tmp_path_factory.mktemp("texts") / "collection.jsonl"
    lines = [json.dumps({key: name, "text": text}, ensure_ascii=len(text) % 2 == 0) for name, text in texts.items()]
    path.write_bytes("\n".join(lines).encode())
    assert {record.id: record.text for record in read_texts(path, "document")} == texts


@given(st.dictionaries(IDS, TEXTS.filter(lambda text: not set("\t\n") & set(text)), min_size=1))
def test_tsv_round_trip(tmp_path_factory, texts):
    path = tmp_path_factory.mktemp("texts") / "collection.tsv"
    texts = {name: text.rstrip("\r") or "x" for name, text in texts.items()}
    path.write_bytes("".join(f"{name}\t{text}\n" for name, text in texts.items()).encode())
    assert {record.id: record.text for record in read_texts(path, "document")} == {
        name: text for name, text in texts.items()
    }


def test_a_third_column_is_the_title(tmp_path):
    (tmp_path / "collection.tsv").write_text("d1\tthe text\tThe Title\nd2\tno title\n")
    first, second = read_texts(tmp_path / "collection.tsv", "document")
    assert (first.title, first.text, second.title) == ("The Title", "the text", "")


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_with_the_file_named(tmp_path_factory, content):
    for name in ("collection.tsv", "collection.jsonl", "qrels.tsv"):
        path = tmp_path_factory.mktemp("texts") / name
        path.write_bytes(content)
        try:
            records = read_judgements(path) if name == "qrels.tsv" else list(read_texts(path, "document"))
            assert records
        except InputError as error:
            assert name in str(error)


@pytest.mark.parametrize(
    ("name", "lines", "fault"),
    [
        ("c.tsv", ["a\tone", "b"], "line 2: expected 2 or 3 columns .* found 1"),
        ("c.tsv", ["a\tone\ttwo\tthree"], "line 1: expected 2 or 3 columns .* found 4.*jsonl"),
        ("c.tsv", ["a\tone", "b\ttwo", "a\tthree"], "line 3: the id 'a' is already on line 1"),
        ("c.tsv", ["\tone"], "line 1: the id '' is empty"),
        ("c.tsv", ["a b\tone"], "line 1: the id 'a b' is empty or contains whitespace"),
        ("c.tsv", ["a\tone", "b\t  "], "line 2: the document 'b' is empty"),
        ("c.jsonl", ['{"_id": "a", "text": "one"}', "{"], "line 2: not JSON"),
        ("c.jsonl", ["[1]"], "line 1: expected a JSON object, found list"),
        ("c.jsonl", ['{"text": "one"}'], "line 1: no _id, id, doc_id or query_id, only 'text'"),
        ("c.jsonl", ['{"_id": null, "text": "one"}'], "line 1: expected a string as _id, found None"),
        ("c.jsonl", ['{"_id": "a"}'], "line 1: expected a string as text, found None"),
        ("c.jsonl", ['{"_id": "a", "title": 3, "text": "one"}'], "line 1: expected a string as title"),
        ("c.jsonl", ['{"_id": "a", "title": "", "text": ""}'], "line 1: the document 'a' is empty"),
        ("c.jsonl", ['{"_id": "a", "text": "\\ud800"}'], "line 1: an unpaired surrogate"),
        ("c.tsv", [""], "contains no document"),
    ],
)
def test_faults_name_file_and_line(tmp_path, name, lines, fault):
    path = tmp_path / name
    path.write_text("\n".join(lines))
    with pytest.raises(InputError, match=fault) as raised:
        list(read_texts(path, "document"))
    assert str(path) in str(raised.value)


def test_faults_are_listed_together_up_to_ten(tmp_path):
    path = tmp_path / "c.tsv"
    path.write_text("a\tone\nb\n\ta\nc\t \n")
    with pytest.raises(InputError) as raised:
        list(read_texts(path, "document"))
    assert re.findall(r"line (\d+)", str(raised.value)) == ["2", "3", "4"]
    path.write_text("x\n" * 50)
    with pytest.raises(InputError) as raised:
        list(read_texts(path, "document"))
    assert str(raised.value).count("line ") == 10 and "and more" in str(raised.value)


def test_windows_files_byte_order_marks_and_blank_lines(tmp_path):
    path = tmp_path / "c.tsv"
    path.write_bytes("\ufeffa\tone\r\n\r\nb\ttwo\u2028three\r\n".encode())
    assert [(record.id, record.text) for record in read_texts(path, "document")] == [
        ("a", "one"),
        ("b", "two\u2028three"),
    ]


def test_not_utf8(tmp_path):
    path = tmp_path / "c.tsv"
    path.write_bytes(b"a\tone\nb\t\xff\n")
    with pytest.raises(InputError, match="line 2: not UTF-8"):
        list(read_texts(path, "document"))


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.tsv can't be read: No such file"):
        list(read_texts(tmp_path / "nowhere.tsv", "query"))


@pytest.mark.parametrize("content", ["q1 0 d1 2\nq2 0 d2 -1\n", "query-id\tcorpus-id\tscore\nq1\td1\t2\nq2\td2\t-1\n"])
def test_judgements_in_both_forms(tmp_path, content):
    path = tmp_path / "qrels.tsv"
    path.write_text(content)
    found = [(judgement.query_id, judgement.doc_id, judgement.grade) for judgement in read_judgements(path)]
    assert found == [("q1", "d1", 2), ("q2", "d2", -1)]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("q1 d1\n", "line 1: expected 3 columns .* found 2"),
        ("q1 0 d1 1\nq1 0 d2 yes\n", "line 2: expected a whole number of at most four digits as grade, found 'yes'"),
        ("q1 0 d1 1\nq1 0 d1 2\n", "line 2: query 'q1' and document 'd1' are already judged on line 1"),
        ("query-id\tcorpus-id\tscore\n", "contains no judgement"),
    ],
)
def test_faulty_judgements(tmp_path, content, fault):
    path = tmp_path / "qrels.tsv"
    path.write_text(content)
    with pytest.raises(InputError, match=fault):
        read_judgements(path)
