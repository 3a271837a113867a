"""Training on tables of tuples: PyLate's and sentence-transformers', from local Parquet and JSON files."""

import json
import logging

import pyarrow
import pyarrow.parquet
import pytest
from support import shrunk, tiny_folder

from colbertv2.configuration.composition import build, compose, plan
from colbertv2.data.collection import Collection
from colbertv2.data.tuples import text_id
from colbertv2.errors import InputError
from colbertv2.files import read_json
from colbertv2.interchange.tuple_tables import TupleTable
from colbertv2.training.examples import Example, Examples

pytest.importorskip("datasets", reason="needs the extra datasets: pip install 'colbertv2[datasets]'")


def parquet(path, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


def test_ids_and_texts(tmp_path):
    ids = parquet(tmp_path / "ids.parquet", query_id=[1, 2], document_ids=[[10, 11], [11]], scores=[[2.0, 1.0], [0.5]])
    assert list(TupleTable(str(ids))) == [Example("1", ["10", "11"], [2.0, 1.0]), Example("2", ["11"], [0.5])]
    texts = parquet(tmp_path / "texts.parquet", anchor=["q"], positive=["a"], negative=["b"], label=[4.0])
    (example,) = TupleTable(str(texts))
    assert example == Example(text_id("q"), [text_id("a"), text_id("b")], [0.0, -4.0])
    assert set(example.documents) == {doc_id for doc_id, _ in Collection(f"hf:{texts}")}


def test_identity_is_the_content(tmp_path):
    first = parquet(tmp_path / "a" / "train.parquet", query=["q"], positive=["a"])
    other = parquet(tmp_path / "b" / "train.parquet", query=["q"], positive=["b"])
    assert TupleTable(str(first)).identity() == TupleTable(f"{first.parent}/train").identity()
    assert TupleTable(str(first)).identity() != TupleTable(str(other)).identity()


def test_what_is_wrong_is_said_before_any_work(tmp_path):
    small = shrunk(tiny_folder(tmp_path / "folder"), tmp_path / "artifacts")

    def planned(path):
        return plan(compose(["pipeline=dataset_examples", f"pipeline.examples.file.path={path}", *small]))

    no_scores = parquet(tmp_path / "one" / "train.parquet", query_id=["q"], documents=["a"])
    with pytest.raises(
        InputError, match=r"has no tuples: expected query_id with document_ids, .*found query_id, documents"
    ):
        planned(no_scores)
    parquet(tmp_path / "two" / "train.parquet", query=["q"], positive=["a"])
    parquet(tmp_path / "two" / "test.parquet", query=["q"], positive=["a"])
    with pytest.raises(InputError, match="table default, has several splits; name one of them as /split: test, train"):
        planned(tmp_path / "two")
    with pytest.raises(InputError, match="is no data set"):
        planned(tmp_path / "no" / "where")
    assert planned(f"{tmp_path}/two/train")[-1].key == "pipeline.metrics"


def test_a_malformed_row_has_its_number(tmp_path):
    table = parquet(tmp_path / "train.parquet", query_id=["q", "r"], document_ids=[["a"], []], scores=[[1.0], []])
    with pytest.raises(InputError, match=r"table default, split train, row 2: no documents"):
        list(TupleTable(str(table)))


def test_training_on_pylate_s_columns(tmp_path, caplog):
    """What a table names in vain is left out, as it is from a file."""
    folder = tiny_folder(tmp_path / "folder")
    queries = [f"q{number}" for number in range(0, 30, 3)]
    documents = [[f"d{number}", f"d{number + 1}", f"d{number + 2}"] for number in range(0, 30, 3)]
    scores = [[3.0, 1.0, 0.0]] * 10
    parquet(
        tmp_path / "kd" / "train-00000-of-00002.parquet",
        query_id=queries[:9],
        document_ids=documents[:9],
        scores=scores[:9],
    )
    parquet(
        tmp_path / "kd" / "train-00001-of-00002.parquet",
        **{"query_id": [queries[9], "q999"], "document_ids": [["d27", "nothing", "d28"], ["d1", "d2", "d3"]]},
        scores=scores[:2],
    )
    overrides = ["pipeline=dataset_examples", f"pipeline.examples.file.path={tmp_path}/kd", "target=trained"]
    overrides += shrunk(folder, tmp_path / "artifacts")
    with caplog.at_level(logging.WARNING):
        trained = build(compose(overrides))
    assert (trained.path / "colbert.json").is_file()
    examples = trained.parents["examples"]
    assert [example.query_id for example in Examples(examples.path / "examples.jsonl")] == queries
    cleaning = read_json(examples.path / "cleaning.json")
    assert cleaning == {"examples": 11, "unknown negatives": 1, "examples of unknown queries": 1, "kept": 10}


def test_training_on_texts_needs_no_other_collection(tmp_path):
    folder = tiny_folder(tmp_path / "folder")
    texts = [json.loads(line)["text"] for line in (folder / "corpus.jsonl").read_text().splitlines()]
    rows = [
        {
            **{"anchor": f"the {text[:9]}", "positive": text, "label": [2.0, 3.0]},  # margins, as for MarginMSELoss
            **{"negative_1": texts[place - 1], "negative_2": texts[place - 2]},
        }
        for place, text in enumerate(texts)
    ]
    (tmp_path / "st").mkdir()
    for split in ("train", "test"):
        lines = rows[:20] if split == "train" else rows[20:]
        (tmp_path / "st" / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    overrides = ["pipeline=dataset_examples", "collection=huggingface", f"collection.path={tmp_path}/st"]
    overrides += [f"pipeline.examples.file.path={tmp_path}/st/train"]
    small = [one for one in shrunk(folder, tmp_path / "artifacts") if not one.startswith("collection")]
    config = compose([*overrides, *small])
    metrics = read_json(build(config).path / "metrics.json")
    assert metrics["queries"] == 10 and 0 < metrics["R@10"] <= 1  # the test split, among the texts of both splits
    assert len(Collection(f"hf:{tmp_path}/st")) == 30 > len(Collection(f"hf:{tmp_path}/st/test"))
