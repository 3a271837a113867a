"""A suite from end to end: its table, its means, and what happens if a collection fails."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support import shrunk, tiny_folder

from colbertv2.__main__ import main
from colbertv2.artifacts.artifact import location
from colbertv2.configuration.composition import build, compose, runtime_of
from colbertv2.configuration.targets import members, target_node
from colbertv2.evaluation.measurement import measures_of, per_query, summary


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    directory = tmp_path_factory.mktemp("collections")
    return {name: tiny_folder(directory / name, size) for name, size in (("one", 30), ("two", 24))}


@pytest.fixture(scope="module")
def small(folders, tmp_path_factory) -> list[str]:
    overrides = shrunk(folders["one"], tmp_path_factory.mktemp("artifacts"))
    listed = ",".join(f"{name}: 'folder:{folder}'" for name, folder in folders.items())
    return [*overrides, "pipeline=untrained", f"suite.collections={{{listed}}}", "measures=[nDCG@10,R@10]"]


def test_means_are_macro_means_of_the_evaluations(small):
    config = compose(small)
    built, node = build(config), target_node(config)
    values = [per_query(built.parents[f"evaluations.ColBERT.{name}"]) for name in ("one", "two")]
    for measure in measures_of(node):
        assert summary(built)[measure] == pytest.approx(np.mean([table[measure].mean() for table in values]))
    table = per_query(built)
    assert len(table) == sum(map(len, values)) and table.index[0].startswith("one:")
    assert summary(built)["queries"] == len(table) and summary(built)["bytes_per_token"] > 0


def test_the_table_has_baselines_collections_the_mean_and_costs(small):
    built = build(compose([*small, "suite.baselines=true", "suite.name=mine"]))
    text = built.file("table.md").read_text()
    header = next(line for line in text.splitlines() if line.startswith("| System"))
    assert [cell.strip() for cell in header.strip("|").split("|")] == ["System", "one", "two", "mean"]
    assert [line.split("|")[1].strip() for line in text.splitlines()[4:7]] == ["BM25", "single vector", "ColBERT"]
    assert (
        "ms/query" in text and "B/document" in text and text.startswith(f"# {'/'.join(str(small[1]).split('=')[1:])}")
    )
    numbers = pd.read_csv(built.file("table.csv")).set_index(["system", "collection"])
    mean = numbers.loc[("BM25", "mean"), "value"]
    assert mean == pytest.approx(numbers.loc["BM25"].loc[["one", "two"], "value"].mean())
    latex = built.file("table.tex").read_text()
    best = numbers["value"].groupby(level="collection").max()  # its cells are in bold, and the caption says so
    rows = latex.partition(r"\midrule")[2].splitlines()[1:4]
    for line, system in zip(rows, ("BM25", "single vector", "ColBERT"), strict=True):
        bold = [cell.strip().startswith(r"\textbf{") for cell in line.split("&")[1:]]
        values = {name: (numbers.loc[(system, name), "value"], best[name]) for name in ("one", "two", "mean")}
        assert line.startswith(system) and bold == [f"{one:.3f}" == f"{most:.3f}" for one, most in values.values()]
    assert "Bold: the largest of a column." in latex and "Bold" not in text


def test_a_table_becomes_rows(small):
    """The systems of a demo's table, on every collection."""
    overrides = [one for one in small if not one.startswith("pipeline")]
    config = compose([*overrides, "pipeline=demo", "target=table", "codecs.bits1.nbits=2"])
    rows = next(iter(members(target_node(config)).values()))
    assert list(rows)[:3] == ["BM25", "single vector", "MaxSim, untrained"] and len(rows) == 11
    assert target_node(config).values["baseline"] == "MaxSim, untrained"


def test_other_systems_of_the_pipeline_are_rows_too(small):
    config = compose([*small, "+suite.systems.lexical=bm25_metrics"])
    assert list(members(target_node(config))["two"]) == ["lexical", "ColBERT"]


def test_a_collection_that_fails_does_not_stop_the_others(small, folders, tmp_path, capsys, monkeypatch):
    """The others are brought together, the mean is marked, and the command ends with code 2."""
    empty = tiny_folder(tmp_path / "broken", 12)
    words = [one for one in small if not one.startswith("suite.")]
    listed = f"suite.collections={{one: 'folder:{folders['one']}', broken: 'folder:{empty}'}}"
    node = members(target_node(compose([*words, listed])))["broken"]["ColBERT"]
    place = location(runtime_of(compose(words)).root, node.ancestor("embeddings").address)
    place.mkdir(parents=True)  # an unfinished directory, which is not taken for a finished artifact
    with pytest.raises(SystemExit) as ended:
        main([*words, listed, "hydra.run.dir=."])
    said = capsys.readouterr()
    assert ended.value.code == 2 and "1 of 2 collections failed" in said.err
    assert "mean of 1*" in said.out and "— broken is missing:" in said.out


def test_a_missing_collection_is_a_warning_and_a_dash(small, folders, capsys):
    words = [one for one in small if not one.startswith("suite.")]
    main([*words, f"suite.collections=[folder:{folders['two']},folder:/no/where]"])
    said = capsys.readouterr()
    assert "the collection /no/where is missing" in said.err and "mean of 1*" in said.out
    main(["plan", "-m", "codec.nbits=1,2", *words, f"suite.collections=[folder:{folders['two']},folder:/no/where]"])
    assert capsys.readouterr().err.count("the collection /no/where is missing") == 1, "once for both points"


def test_leakage_is_said_before_any_work_and_in_the_table(small, folders, tmp_path, capsys):
    """The test queries of the other folder are training queries of the one that is trained on."""
    words = [one for one in small if not one.startswith(("suite.", "pipeline"))]
    other = tiny_folder(tmp_path / "leaking", 30, splits=("test",))
    with (other / "corpus.jsonl").open("a") as corpus:
        corpus.write(json.dumps({"_id": "more", "title": "", "text": "sort"}) + "\n")
    words_after = ["pipeline=round1", f"suite.collections=[folder:{other}]"]
    main(["plan", *words, "-m", "codec.nbits=1,2", *words_after])  # -m may stand anywhere
    assert capsys.readouterr().err.count("Leakage: 10 of 30 test queries") == 1, "once for both points"
    main([*words, "pipeline=round1", f"suite.collections=[folder:{other}]"])
    said = capsys.readouterr()
    assert "Leakage: 10 of 30 test queries" in said.err and "Leakage: 10 of 30 test queries" in said.out


def test_every_key_of_a_suite_changes_the_table(small):
    plain = build(compose(small)).file("table.md").read_text()
    for key in ("suite.name=named", "suite.measure=R@10", "suite.baselines=true", "+suite.systems.second=bm25_metrics"):
        assert build(compose([*small, key])).file("table.md").read_text() != plain, key
    assert "R@10; queries" in build(compose([*small, "suite.measure=R@10"])).file("table.md").read_text()
