"""Rows of tuples in the columns of PyLate and sentence-transformers; needs no package of Hugging Face."""

import sys

import pytest

from colbertv2.data.collection import Collection
from colbertv2.data.tuples import Columns, parse_tuples
from colbertv2.errors import InputError

BY_ID = [
    ({"query_id": 7, "document_ids": [1, 2], "scores": [2.0, 0.5]}, ("7", ["1", "2"], [2.0, 0.5])),
    ({"query_id": "7", "document_ids": '["1", "2"]', "scores": "[2, 0.5]"}, ("7", ["1", "2"], [2.0, 0.5])),  # PyLate's
    ({"query_id": "q", "positive_id": "a", "negative_id": "b"}, ("q", ["a", "b"], [None, None])),
    ({"query_id": "q", "positive_id": 1, "negative_ids": [2, 3]}, ("q", ["1", "2", "3"], [None] * 3)),
    ({"query_id": "q", "positive_id": "a", "negative_id": "b", "score": 3.5}, ("q", ["a", "b"], [0.0, -3.5])),
    ({"query_id": "q", "doc_ids": ["a", "b", "c"], "labels": [0, 2, 1]}, ("q", ["b", "a", "c"], [2.0, 0.0, 1.0])),
]
TEXTS = [
    ({"anchor": "q", "positive": "a"}, ("q", ["a"], [None])),
    ({"question": "q", "answer": "a"}, ("q", ["a"], [None])),
    ({"query": "q", "positive": "[a]", "negative": "[]"}, ("q", ["[a]", "[]"], [None, None])),  # texts, not JSON
    ({"anchor": "q", "negative_10": "c", "positive": "a", "negative_2": "b"}, ("q", ["a", "b", "c"], [None] * 3)),
    ({"query": "q", "positive": "a", "negatives": ["b", "c"], "scores": [3, 2, 1]}, ("q", ["a", "b", "c"], [3, 2, 1])),
    ({"query": "q", "positive": "a", "negatives": ["b", "c"], "label": [3, 2]}, ("q", ["a", "b", "c"], [0, -3, -2])),
    ({"query": "q", "documents": ["a", "b"], "scores": [1, 5]}, ("q", ["a", "b"], [1, 5])),  # the first is the positive
]


@pytest.mark.parametrize(("record", "expected"), [*BY_ID, *TEXTS])
def test_layouts(record, expected):
    columns = Columns.among(list(record))
    assert columns is not None and columns.by_id == ((record, expected) in BY_ID)
    assert parse_tuples(record, columns) == [expected]


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"query": "q", "pos": ["a", "b"], "neg": ["c"]}, [(["a", "c"], [None, None]), (["b", "c"], [None, None])]),
        ({"query": "q", "pos": ["a", "b"], "neg": []}, [(["a"], [None]), (["b"], [None])]),
        ({"query": "q", "pos": ["a", "b"], "scores": [3, 2]}, [(["a"], [3]), (["b"], [2])]),
        ({"query": "q", "pos": ["a", "b"], "neg": "c", "label": [3,2,1]}, [(["a", "c"], [3, 1]), (["b", "c"], [2, 1])]),
        ({"qid": 1, "pos_id": "[2, 3]", "neg_id": 4}, [(["2", "4"], [None, None]), (["3", "4"], [None, None])]),
    ],
)  # fmt: skip
def test_each_of_several_positives_is_a_tuple(record, expected):
    columns = Columns.among(list(record))
    assert columns is not None
    assert [(one.documents, one.scores) for one in parse_tuples(record, columns)] == expected


@pytest.mark.parametrize(
    ("record", "positives"),
    [
        ({"question": "q", "answer": "a", "label": 0}, []),
        ({"question": "q", "answer": "a", "label": 1}, ["a"]),
        ({"question": "q", "answer": "a", "score": -1.5}, []),
        ({"query_id": "q", "positive_id": "a", "label": 0}, []),
        ({"query": "q", "documents": ["a", "b"], "labels": [0, 0]}, []),
        ({"query": "q", "documents": ["a", "b"], "labels": [0, 1]}, ["b"]),
        ({"query": "q", "documents": ["a", "b"], "scores": [-3, -2]}, ["a"]),  # a teacher's
        ({"query": "q", "positive": "a", "negative": "b", "label": 0}, ["a"]),  # a margin
        ({"query": "q", "positive": "a", "negative": "b", "label": [-3, -2]}, ["a"]),  # a teacher's
    ],
)
def test_a_label_of_0_is_no_positive(record, positives):
    columns = Columns.among(list(record))
    assert columns is not None
    assert [one.documents[0] for one in parse_tuples(record, columns)] == positives


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"query": "q", "pos": [], "neg": ["c"]}, "no documents as pos"),
        ({"query": "q", "positive": None, "negative": "c"}, "no documents as positive"),
        ({"query": "q", "pos": ["a", "b"], "neg": ["c"], "scores": [3, 2]}, "3 documents and 2 scores"),
        ({"query": "q", "pos": ["a", "b"], "scores": [1, 0]}, "scores of 0 or less for one of several"),
        ({"query": "q", "answer": "a", "label": None}, "1 documents and 0 label"),
    ],
)
def test_rows_that_name_no_positive_are_refused(record, message):
    columns = Columns.among(list(record))
    assert columns is not None
    with pytest.raises(ValueError, match=message):
        parse_tuples(record, columns)


def test_without_datasets_the_message_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "corpus.jsonl").write_text('{"_id": "a", "text": "x"}\n')
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match=r"needs the package datasets .*pip install 'colbertv2\[datasets\]'"):
        Collection(f"hf:{tmp_path}")
    (tmp_path / "datasets").mkdir()  # a folder of that name is importable, too
    monkeypatch.delitem(sys.modules, "datasets")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(InputError, match=r"datasets is not Hugging Face's package but \['.*datasets'\]"):
        Collection(f"hf:{tmp_path}")
    monkeypatch.delitem(sys.modules, "datasets")


def test_ids_win_over_texts_in_the_same_table():
    columns = Columns.among(["query", "query_id", "positive", "positive_id", "negative", "negative_id"])
    assert columns is not None
    assert (columns.query, columns.positive, columns.negatives) == ("query_id", "positive_id", ("negative_id",))


@pytest.mark.parametrize(
    "names", [["_id", "text"], ["query-id", "corpus-id", "score"], ["query_id", "text"], ["anchor"]]
)
def test_other_tables_are_no_tuples(names):
    assert Columns.among(names) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"document_ids": []}, "no documents"),
        ({"document_ids": None}, "no documents"),
        ({"scores": [1.0]}, "2 documents and 1 scores"),
        ({"scores": [1.0, float("nan")]}, "not all finite"),
        ({"scores": [1.0, "high"]}, "could not convert"),
        ({"scores": None}, "2 documents and 0 scores"),
        ({"query_id": None}, "expected a string as query_id, found None"),
        ({"query_id": True}, "expected a string as query_id, found True"),
        ({"document_ids": ["a", 1.5]}, "expected a string as document_ids, found 1.5"),
        ({"document_ids": ["a", " "]}, "document_ids is empty"),
    ],
)
def test_malformed_rows_are_refused(change, message):
    record = {"query_id": "q", "document_ids": ["a", "b"], "scores": [2.0, 1.0], **change}
    columns = Columns.among(list(record))
    assert columns is not None
    with pytest.raises((ValueError, TypeError), match=message):
        parse_tuples(record, columns)
