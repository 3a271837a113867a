"""Collections of Hugging Face datasets, from local files in the layouts of BEIR, MTEB, PyLate and tuples of texts."""

import json
import logging
import tracemalloc
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from colbertv2.data import collection
from colbertv2.data.collection import Collection
from colbertv2.data.queries import Queries
from colbertv2.data.sources.huggingface import grade_of
from colbertv2.data.tables import Address
from colbertv2.data.tuples import text_id
from colbertv2.errors import InputError

datasets = pytest.importorskip("datasets", reason="needs the extra datasets: pip install 'colbertv2[datasets]'")


def parquet(path: Path, **columns: list) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.table(columns), path)


def jsonl(path: Path, *rows: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def mteb(tmp_path) -> Path:
    """As MTEB's data sets lie on the hub, with the header of their README.md."""
    parquet(tmp_path / "corpus" / "corpus-00000-of-00002.parquet", _id=["d1"], title=["A title"], text=["one\ntwo"])
    parquet(tmp_path / "corpus" / "corpus-00001-of-00002.parquet", _id=["7"], title=[""], text=["no title 🙂"])
    parquet(tmp_path / "queries" / "queries.parquet", _id=["q1", "q2", "q3"], text=["first", "second", "third"])
    columns = ("query-id", "corpus-id", "score")
    parquet(tmp_path / "test.parquet", **dict(zip(columns, (["q1", "q1"], ["d1", "7"], [2.0, 0.0]), strict=True)))
    parquet(tmp_path / "train.parquet", **dict(zip(columns, (["q2"], ["7"], [1.0]), strict=True)))
    (tmp_path / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files:\n"
        "  - {split: train, path: train.parquet}\n  - {split: test, path: test.parquet}\n"
        "- config_name: corpus\n  data_files:\n  - {split: corpus, path: corpus/*}\n"
        "- config_name: queries\n  data_files:\n  - {split: queries, path: queries/*}\n---\n# A data set\n"
    )
    return tmp_path


@pytest.fixture
def plain(tmp_path) -> Path:
    """The same as plain files."""
    jsonl(
        tmp_path / "corpus.jsonl",
        {"_id": "d1", "title": "A title", "text": "one\ntwo"},
        {"_id": "7", "text": "no title 🙂"},
    )
    jsonl(
        tmp_path / "queries.jsonl",
        *({"_id": f"q{n}", "text": word} for n, word in enumerate(["first", "second", "third"], 1)),
    )
    jsonl(
        tmp_path / "qrels.test.jsonl",
        *({"query-id": "q1", "corpus-id": one, "score": n} for one, n in (("d1", 2), ("7", 0))),
    )
    parquet(tmp_path / "qrels" / "train.parquet", **{"query-id": ["q2"], "corpus-id": ["7"]})
    return tmp_path


@pytest.mark.parametrize("layout", ["mteb", "plain"])
def test_documents_queries_and_judgements(layout, request):
    where = f"hf:{request.getfixturevalue(layout)}"
    documents = Collection(f"{where}/test")
    assert list(documents) == [("d1", "A title one\ntwo"), ("7", "no title 🙂")] and len(documents) == 2
    assert documents.texts(["7", "d1"]) == ["no title 🙂", "A title one\ntwo"]
    assert documents.identity() == Collection(where).identity()
    test, train = Queries(f"{where}/test"), Queries(f"{where}/train")
    assert dict(test) == {"q1": "first"} and dict(test.qrels["q1"]) == {"d1": 2, "7": 0}
    assert dict(train) == {"q2": "second"} and dict(train.qrels["q2"]) == {"7": 1}
    assert dict(Queries(where)) == {"q1": "first", "q2": "second", "q3": "third"}
    with pytest.raises(InputError, match=r"no split dev; name one of them as /split: (train, test|test, train)"):
        Queries(f"{where}/dev")


def test_a_sample_of_it(plain):
    assert len(Collection(f"sample:1:1:hf:{plain}/test")) == 1 and len(Queries(f"sample:1:1:hf:{plain}/test")) == 1


def test_the_same_content_has_one_identity(mteb, tmp_path_factory):
    other = tmp_path_factory.mktemp("beir")
    jsonl(
        other / "corpus.jsonl",
        {"_id": "d1", "title": "A title", "text": "one\ntwo"},
        {"_id": "7", "text": "no title 🙂"},
    )
    assert Collection(f"folder:{other}").identity() == Collection(f"hf:{mteb}").identity()


def test_changed_files_are_read_again(mteb):
    """Also where a README.md names files in deeper folders."""
    deep = mteb / "corpus" / "deep" / "part.parquet"
    parquet(deep, _id=["d1", "7"], title=["", ""], text=["before", "other"])
    (mteb / "README.md").write_text((mteb / "README.md").read_text().replace("corpus/*", "corpus/deep/*"))
    first = Collection(f"hf:{mteb}")
    assert dict(first)["d1"] == "before"
    identity = first.identity()
    parquet(deep, _id=["d1", "7"], title=["", ""], text=["afterwards", "other"])
    again = Collection(f"hf:{mteb}")
    assert dict(again)["d1"] == "afterwards" and again.identity() != identity


def test_the_subsets_of_a_multilingual_set(tmp_path):
    for language, word in (("de", "Baum"), ("en", "tree")):
        parquet(tmp_path / f"{language}-corpus.parquet", id=[1, 2], text=[word, word + word])
        parquet(tmp_path / f"{language}-queries.parquet", id=["q"], text=[f"{word}?"])
        judged = {"query-id": ["q"], "corpus-id": [2], "score": [1]}
        parquet(tmp_path / f"{language}-qrels-dev.parquet", **judged)
    assert dict(Collection(f"hf:{tmp_path}+de")) == {"1": "Baum", "2": "BaumBaum"}
    queries = Queries(f"hf:{tmp_path}+en/dev")
    assert dict(queries) == {"q": "tree?"} and queries.qrels.relevant("q") == ["2"]
    with pytest.raises(InputError, match=r"no table fr, nor fr-corpus; name one of its tables as \+subset: de-corpus"):
        Collection(f"hf:{tmp_path}+fr")


def test_pylate_s_tables(tmp_path):
    parquet(tmp_path / "documents.parquet", document_id=[10, 11], text=["ten", "eleven"])
    parquet(tmp_path / "queries.parquet", query_id=[1], text=["how many"])
    parquet(tmp_path / "train.parquet", query_id=[1], document_ids=[["10", "11"]], scores=[[2.0, 1.0]])
    assert dict(Collection(f"hf:{tmp_path}")) == {"10": "ten", "11": "eleven"}
    assert dict(Queries(f"hf:{tmp_path}/train")) == {"1": "how many"}
    with pytest.raises(InputError, match="has no relevance judgements"):
        _ = Queries(f"hf:{tmp_path}").qrels


def test_tuples_of_texts_are_a_collection(tmp_path):
    rows = {
        "anchor": ["q", "q", "r"],
        "positive": ["a", "b", "a"],
        "negative_1": ["c", "c", "c"],
        "negative_2": ["d"] * 3,
    }
    parquet(tmp_path / "train.parquet", **rows)
    documents, queries = Collection(f"hf:{tmp_path}/train"), Queries(f"hf:{tmp_path}/train")
    assert list(documents) == [(text_id(text), text) for text in "acdb"]
    assert dict(queries) == {text_id(text): text for text in "qr"}
    assert dict(queries.qrels[text_id("q")]) == {text_id("a"): 1, text_id("b"): 1}
    assert queries.qrels.unknown(documents) == []


def test_all_positives_of_a_row_are_relevant(tmp_path):
    """The format of FlagEmbedding."""
    jsonl(
        tmp_path / "train.jsonl",
        {"query": "q", "pos": ["a", "b"], "neg": ["c"]},
        {"query": "r", "pos": ["b"], "neg": []},
    )
    documents, queries = Collection(f"hf:{tmp_path}"), Queries(f"hf:{tmp_path}/train")
    assert {text for _, text in documents} == set("abc")
    assert dict(queries.qrels[text_id("q")]) == {text_id("a"): 1, text_id("b"): 1}
    assert dict(queries.qrels[text_id("r")]) == {text_id("b"): 1}


def test_pairs_with_label_0_are_left_out_and_counted(tmp_path, caplog):
    rows = {"question": ["q", "q", "r"], "answer": ["a", "b", "a"], "label": [1, 0, 0]}
    parquet(tmp_path / "train.parquet", **rows)
    with caplog.at_level(logging.WARNING):
        queries = Queries(f"hf:{tmp_path}/train")
        assert dict(queries) == {text_id("q"): "q"} and dict(queries.qrels[text_id("q")]) == {text_id("a"): 1}
    (warning,) = [record.getMessage() for record in caplog.records if "no positive" in record.getMessage()]
    assert "2 of 3 rows have no positive, as their label is 0 or less" in warning
    parquet(tmp_path / "none" / "train.parquet", question=["q"], answer=["a"], label=[0])
    with pytest.raises(InputError, match=r"has no positive: label is 0 or less in all 1 rows"):
        Queries(f"hf:{tmp_path}/none/train").identity()


@pytest.mark.parametrize("layout", ["corpus", "tuples", "sample"])
def test_above_the_limit_the_files_are_part_of_the_identity(layout, tmp_path, monkeypatch):
    monkeypatch.setattr(collection, "HASHED_DOCUMENTS", 2)

    def identity(*texts: str) -> dict:
        folder = tmp_path / "-".join(texts)
        if layout == "tuples":
            parquet(folder / "train.parquet", query=["q"] * len(texts), positive=list(texts))
        else:
            parquet(folder / "corpus.parquet", _id=[f"d{place}" for place in range(len(texts))], text=list(texts))
            parquet(folder / "queries.parquet", _id=["q"], text=["?"])
            parquet(folder / "qrels-test.parquet", **{"query-id": ["q"], "corpus-id": ["d0"]})
        return Collection(f"sample:9:1:hf:{folder}/test" if layout == "sample" else f"hf:{folder}").identity()

    if layout == "sample":
        assert set(identity("a", "b", "c")) == {"documents", "sha256", "source"}
    assert identity("a", "b", "c") != identity("a", "b", "d")
    assert identity("a", "b").keys() == {"documents", "sha256"}  # the address of a smaller collection stays


def test_what_save_to_disk_wrote(tmp_path):
    splits = {split: datasets.Dataset.from_dict({"anchor": [split], "positive": ["a"]}) for split in ("train", "test")}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "tuples")
    assert dict(Queries(f"hf:{tmp_path}/tuples/test")) == {text_id("test"): "test"}
    assert dict(Collection(f"hf:{tmp_path}/tuples")) == {text_id("a"): "a"}
    datasets.Dataset.from_dict({"_id": ["007"], "text": ["x"]}).save_to_disk(tmp_path / "tables" / "corpus")
    datasets.Dataset.from_dict({"_id": ["q"], "text": ["?"]}).save_to_disk(tmp_path / "tables" / "queries")
    assert dict(Collection(f"hf:{tmp_path}/tables")) == {"007": "x"} and dict(Queries(f"hf:{tmp_path}/tables"))


def test_a_single_file(tmp_path):
    jsonl(tmp_path / "pairs.jsonl", {"query": "q", "answer": "a"})
    assert dict(Collection(f"hf:{tmp_path}/pairs.jsonl")) == {text_id("a"): "a"}


FAULTS = {
    "a missing column": (
        dict(_id=["a"], body=["x"]),
        "column with the text: expected one of text, .*, found _id, body",
    ),
    "no id": (dict(key=["a"], text=["x"]), "no column with the id: expected one of _id, id, document_id"),
    "a text that is a number": (dict(_id=["a", "b"], text=[1, 2]), "row 1: expected a string as text, found 1"),
    "a text that is null": (dict(_id=["a", "b"], text=["x", None]), "row 2: expected a string as text, found None"),
    "a float as id": (dict(_id=[1.5], text=["x"]), "row 1: expected a string as _id, found 1.5"),
    "an id with a space": (dict(_id=["a b"], text=["x"]), "row 1: the _id 'a b' is empty or contains whitespace"),
    "a repeated id": (dict(_id=["a", "b", "a"], text=["x"] * 3), "row 3: the id 'a' is already in row 1"),
    "a title that is a list": (
        dict(_id=["a"], text=["x"], title=[["t"]]),
        r"row 1: expected a string as title, found \[",
    ),
    "no rows": (dict(_id=[], text=[]), "has no rows; expected at least one"),
    "no text": (dict(_id=["a"], text=[" "]), r"1 documents have no text: 'a'.*collection\.empty=keep"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_wrong_documents_are_refused(name, tmp_path):
    columns, message = FAULTS[name]
    parquet(tmp_path / "corpus.parquet", **columns)
    with pytest.raises(InputError, match=message):
        list(Collection(f"hf:{tmp_path}"))


def test_several_faults_are_named_together(tmp_path):
    parquet(tmp_path / "corpus.parquet", _id=["a", "", "c"], text=["x", "y", None])
    with pytest.raises(InputError) as error:
        Collection(f"hf:{tmp_path}").identity()
    assert "row 2: the _id ''" in str(error.value) and "row 3: expected a string" in str(error.value)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"query-id": "q9", "corpus-id": "a", "score": 1}, "row 2: no query 'q9' in .*, table queries"),
        ({"query-id": "q", "corpus-id": "z", "score": 1}, "row 2: no document 'z' in .*, table corpus"),
        ({"query-id": "q", "corpus-id": "a", "score": 1}, "row 2: query 'q' and document 'a' are judged already"),
        ({"query-id": "q", "corpus-id": "b", "score": 0.5}, "row 2: expected a whole number of at most four digits"),
        ({"query-id": "q", "corpus-id": "b", "score": None}, "row 2: expected a whole number"),
    ],
)
def test_wrong_judgements_are_refused(row, message, tmp_path):
    parquet(tmp_path / "corpus.parquet", _id=["a", "b"], text=["x", "y"])
    parquet(tmp_path / "queries.parquet", _id=["q"], text=["?"])
    jsonl(
        tmp_path / "qrels.jsonl", {"query-id": "q", "corpus-id": "a", "score": 1.0 if row["score"] == 0.5 else 1}, row
    )
    with pytest.raises(InputError, match=message):
        Queries(f"hf:{tmp_path}").identity()


def test_wrong_queries_are_refused(tmp_path):
    parquet(tmp_path / "corpus.parquet", _id=["a"], text=["x"])
    parquet(tmp_path / "queries.parquet", _id=["q", "q", "r"], text=["?", "?", ""])
    with pytest.raises(InputError, match=r"(?s)row 2: the query 'q' is repeated.*row 3: the query 'r' is empty"):
        Queries(f"hf:{tmp_path}").identity()


def test_what_is_no_data_set(tmp_path):
    (tmp_path / "corpus.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(InputError, match=r"corpus.*can't be read"):
        list(Collection(f"hf:{tmp_path}"))
    with pytest.raises(InputError, match=r"is no data set: expected a folder with files of \.parquet"):
        Collection(f"hf:{tmp_path}/nothing/here/at/all")
    parquet(tmp_path / "one" / "a.parquet", key=[1])
    parquet(tmp_path / "one" / "b.jsonl", key=[1])
    with pytest.raises(InputError, match=r"split a has no tuples.*found key"):
        Collection(f"hf:{tmp_path}/one")


def test_addresses(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    jsonl(tmp_path / "owner" / "corpus.jsonl", {"_id": "a", "text": "x"})
    assert Address.parse("owner/name@v1") == ("owner/name", "v1", None, None, False)
    assert Address.parse("owner/name") == (str(tmp_path / "owner"), None, None, "name", True)  # as datasets has it
    assert Address.parse("other/name/test") == ("other/name", None, None, "test", False)
    assert Address.parse(f"{tmp_path}/owner+x/test")[2:] == ("x", "test", True)
    for wrong in ("name", "a/b/c/d", "a/b@", "a/b+c+d"):
        with pytest.raises(InputError, match="is no data set"):
            Address.parse(wrong)


def test_grades():
    assert grade_of(3, "score") == 3 and grade_of(-1.0, "score") == -1
    for wrong in (True, "1", 1.5, 10_000, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="whole number"):
            grade_of(wrong, "score")


def test_documents_are_streamed(tmp_path):
    """Ten times the text needs little more memory."""
    text = "word " * 2000

    def peak(number: int) -> int:
        path = tmp_path / str(number) / "corpus.parquet"
        ids = [f"d{place}" for place in range(number)]
        parquet(path, _id=ids, text=[f"{one} {text}" for one in ids])
        documents = Collection(f"hf:{path.parent}")
        tracemalloc.start()
        try:
            assert len(documents) == number
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(100)  # the first use imports
    assert peak(2500) < peak(500) + 10_000_000  # the text has 25 MB
