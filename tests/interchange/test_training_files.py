"""Training files of colbert-ai and PyLate: round trips of any ids and texts, and refused files."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colbertv2.commands import convert
from colbertv2.errors import InputError
from colbertv2.evaluation.ranking import Ranking
from colbertv2.interchange.pylate_training import read_pylate_examples, write_pylate_examples
from colbertv2.interchange.training_files import (
    read_official_examples,
    read_ranking,
    write_official_examples,
    write_ranking,
    write_triples,
)
from colbertv2.training.examples import Example, Examples, read_examples, write_examples

IDS = st.text(st.characters(exclude_categories=["Cs", "Z", "C"]), min_size=1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
SCORES = st.floats(-1e6, 1e6)


@st.composite
def collections(draw):
    """Queries, documents, and scored examples with their ids."""
    documents = draw(st.dictionaries(IDS, TEXTS, min_size=2, max_size=6))
    queries = draw(st.dictionaries(IDS, TEXTS, min_size=1, max_size=4))
    examples = [
        Example(query_id, chosen, [draw(SCORES) for _ in chosen])
        for query_id in queries
        for chosen in [draw(st.lists(st.sampled_from(list(documents)), min_size=1, unique=True))]
    ]
    return queries, documents, examples


@given(collections())
def test_official_directory_gives_the_same_examples_back(tmp_path_factory, drawn):
    queries, documents, examples = drawn
    out = tmp_path_factory.mktemp("official")
    assert write_official_examples(out, examples, queries.items(), documents.items()) == len(examples)
    assert list(read_official_examples(out)) == examples
    lines = (out / "collection.tsv").read_bytes().decode().split("\n")
    assert [line.split("\t")[0] for line in lines[:-1]] == [str(number) for number in range(len(documents))]
    assert [line.split("\t")[1].split() for line in lines[:-1]] == [text.split() for text in documents.values()]
    numbers = [json.loads(line) for line in (out / "examples.json").read_text().splitlines()]
    assert all(isinstance(query, int) and isinstance(doc, int) for query, *pairs in numbers for doc, _ in pairs)


@given(collections())
def test_pylate_tables_give_the_same_examples_back(tmp_path_factory, drawn):
    queries, documents, examples = drawn
    out = tmp_path_factory.mktemp("pylate")
    assert write_pylate_examples(out, examples, queries.items(), documents.items()) == len(examples)
    assert list(read_pylate_examples(out)) == examples


@given(st.dictionaries(IDS, st.dictionaries(IDS, SCORES, min_size=1), min_size=1))
def test_ranking_keeps_its_order(tmp_path_factory, results):
    path = tmp_path_factory.mktemp("ranking") / "ranking.tsv"
    ranking = Ranking({query_id: list(found.items()) for query_id, found in results.items()})
    write_ranking(path, ranking)
    again = read_ranking(path)
    assert {q: [doc for doc, _ in found] for q, found in again.items()} == {
        q: [doc for doc, _ in found] for q, found in ranking.items()
    }


def test_columns_of_a_ranking(tmp_path):
    path = tmp_path / "ranking.tsv"
    path.write_text("q\tb\t2\nq\ta\t1\n")
    assert read_ranking(path)["q"] == [("a", -1.0), ("b", -2.0)]
    path.write_text("q\ta\t1\t0\nq\tb\t2\t1\n")  # labels without scores do not decide the order
    assert [doc for doc, _ in read_ranking(path)["q"]] == ["a", "b"]
    path.write_text("q\ta\t1\t9.5\t0\nq\tb\t2\t3.5\t1\n")
    assert read_ranking(path)["q"] == [("a", 9.5), ("b", 3.5)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("q\ta\n", "line 1: expected query, document, rank"),
        ("q\ta\tfirst\n", "line 1: expected query, document, rank"),
        ("q\ta\t1\nq\tb\t1\n", "line 2: query 'q' already has rank 1"),
        ("q\ta\t1\nq\ta\t2\n", "line 2: query 'q' already has rank 2 or document 'a'"),
        ("q\ta\t1\t2\t3\t4\n", "line 1: expected 3 to 5 columns"),
    ],
)
def test_wrong_rankings(tmp_path, content, message):
    (tmp_path / "ranking.tsv").write_text(content)
    with pytest.raises(InputError, match=message):
        read_ranking(tmp_path / "ranking.tsv")


@pytest.mark.parametrize("name", ["triples.tsv", "triples.jsonl"])
def test_triples_are_examples_of_two(tmp_path, name):
    count = write_triples(
        tmp_path / name, [Example("q 1", ["a", "b", "c"], [3.0, 2.0, 1.0]), Example("r", ["d"], [0.0])]
    )
    found = list(Examples(tmp_path / name))
    assert count == 2 and [(e.query_id, e.documents) for e in found] == [("q 1", ["a", "b"]), ("q 1", ["a", "c"])]
    assert all(score is None for example in found for score in example.scores)


def test_pylate_lists_written_as_text_and_numbers_as_ids(tmp_path):
    row = {"query_id": 7, "document_ids": "[3, 4]", "scores": "[0.5, 0.25]"}
    (tmp_path / "train.jsonl").write_text(json.dumps(row) + "\n")
    assert list(read_pylate_examples(tmp_path)) == [Example("7", ["3", "4"], [0.5, 0.25])]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"query_id": "q", "document_ids": ["a"], "scores": [1.0, 2.0]}, "row 1: .*1 document_ids and 2 scores"),
        ({"query_id": "q", "scores": [1.0]}, "row 1: .*document_ids"),
        ({"query_id": "q", "document_ids": [], "scores": []}, "row 1: .*0 document_ids"),
        ({"query_id": "q", "document_ids": "__import__('os')", "scores": [1.0]}, "row 1"),
    ],
)
def test_wrong_pylate_rows(tmp_path, row, message):
    (tmp_path / "train.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(InputError, match=message):
        list(read_pylate_examples(tmp_path))


def test_damaged_tables(tmp_path):
    with pytest.raises(InputError, match=r"neither train\.parquet nor train\.jsonl"):
        list(read_pylate_examples(tmp_path))
    (tmp_path / "train.jsonl").write_text("{\n")
    with pytest.raises(InputError, match="line 1: not JSON"):
        list(read_pylate_examples(tmp_path))
    (tmp_path / "train.parquet").write_bytes(b"PAR1 cut short")
    with pytest.raises(InputError, match="damaged or not a Parquet"):
        list(read_pylate_examples(tmp_path))


@pytest.fixture
def folder(tmp_path):
    """A folder with a collection of three documents and one query, and an example file."""
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "collection.tsv").write_text("d1\tone\nd2\ttwo\nd3\tthree\n")
    (tmp_path / "c" / "queries.train.tsv").write_text("q1\twhich\n")
    (tmp_path / "c" / "qrels.train.tsv").write_text("q1\t0\td1\t1\n")
    write_examples(tmp_path / "examples.jsonl", [Example("q1", ["d2", "d1"], [2.0, 1.0])])
    return tmp_path


def test_every_layout_by_the_command_line(folder, capsys):
    texts = ["--documents", f"folder:{folder}/c", "--queries", f"folder:{folder}/c/train"]
    for layout in ("official", "pylate"):
        convert.main(["examples", str(folder / "examples.jsonl"), str(folder / layout), "--to", layout, *texts])
        convert.main(["examples", str(folder / layout), str(folder / f"{layout}.jsonl"), "--to", "colbertv2"])
        assert list(read_examples(folder / f"{layout}.jsonl")) == list(read_examples(folder / "examples.jsonl"))
    convert.main(["examples", str(folder / "official"), str(folder / "t.tsv"), "--to", "triples"])
    assert (folder / "t.tsv").read_text() == "q1\td2\td1\n"
    assert "1 examples written" in capsys.readouterr().out
    assert sorted(path.name for path in folder.iterdir() if path.name.startswith(".")) == []


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ('["q1", ["d9", 1.0]]\n', ["texts"], "d9"),
        ('["q9", ["d1", 1.0]]\n', ["texts"], "q9"),
        ('["q1", "d1"]\n', ["texts"], "no teacher scores"),
        ("", ["texts"], "contains no examples"),
        ('["q1", "d1"]\n', [], "--to pylate writes the texts"),
        ("{}\n", ["texts"], "example 1: expected"),
    ],
)
def test_nothing_is_left_of_a_failure(folder, capsys, content, options, message):
    (folder / "examples.jsonl").write_text(content)
    texts = ["--documents", f"folder:{folder}/c", "--queries", f"folder:{folder}/c/train"] if options else []
    before = sorted(folder.iterdir())
    with pytest.raises(SystemExit):
        convert.main(["examples", str(folder / "examples.jsonl"), str(folder / "out"), "--to", "pylate", *texts])
    assert message in capsys.readouterr().err and sorted(folder.iterdir()) == before


@pytest.mark.parametrize("line", ["q\t\t1", "\ta\t1", "q\ta b\t1"])
def test_an_id_that_a_run_cannot_hold_is_named_with_its_line(tmp_path, line):
    """The file and the line were missing from the message; a property test found it."""
    (tmp_path / "ranking.tsv").write_text(f"q\ta\t2\n{line}\n")
    with pytest.raises(InputError, match=r"ranking\.tsv.*\n?.*line 2.*is empty or contains whitespace"):
        read_ranking(tmp_path / "ranking.tsv")
