"""A sweep over a suite, from the points to the files of its report."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support import shrunk, tiny_folder

from colbertv2.ablation.findings import find
from colbertv2.ablation.sweep import Sweep
from colbertv2.commands import report
from colbertv2.configuration.composition import build
from colbertv2.errors import InputError
from colbertv2.evaluation.measurement import per_query


@pytest.fixture(scope="module")
def words(tmp_path_factory) -> list[str]:
    directory = tmp_path_factory.mktemp("collections")
    folders = {name: tiny_folder(directory / name, size) for name, size in (("one", 30), ("two", 24))}
    listed = ", ".join(f"{name}: 'folder:{folder}'" for name, folder in folders.items())
    overrides = shrunk(folders["one"], tmp_path_factory.mktemp("artifacts"))
    return [*overrides, "pipeline=untrained", f"suite.collections={{{listed}}}", "measures=[nDCG@10]"]


@pytest.fixture(scope="module")
def built(words) -> Sweep:
    sweep = Sweep.collect(["-m", "codec.nbits=1,2", "seed=1,2", *words])
    for point in sweep.points:
        build(point.config)
    return Sweep.collect(sweep.arguments)


def test_cells_hold_the_values_of_each_collection(built):
    cells = built.cells()
    assert cells.collections == ["one", "two"] and len(cells.complete) == 2
    for point, found in zip(built.points, built.results, strict=True):
        cell = next(cell for cell in cells.cells if cell.factors["codec.nbits"] == point.overrides["codec.nbits"])
        for name, evaluation in found.items():
            values = cell.values["nDCG@10"][name][int(point.overrides["seed"]) - 1, 0]
            expected = per_query(evaluation).loc[cells.queries[name], "nDCG@10"]
            np.testing.assert_array_equal(values, expected)
    assert cells.cells[0].costs_on["one"]["bytes_per_token"] == cells.of("one").cells[0].costs["bytes_per_token"]


def test_the_report_has_a_part_for_each_collection(built, tmp_path, capsys):
    report.main([*built.arguments, f"report.out={tmp_path}", "notes=[A remark.]"])
    names = {file.name for file in tmp_path.iterdir()}
    assert {"collections.csv", "collections.tex", "across_collections.csv", "collections.png", "forest.svg"} <= names
    assert {"queries_one.csv", "queries_two.csv"} <= names
    html = (tmp_path / "report.html").read_text()
    assert "<option>one</option><option>two</option>" in html and "one alone" in html
    assert "> A remark." in (tmp_path / "report.md").read_text()
    assert "the the list file" in (tmp_path / "queries_one.csv").read_text()  # the text of a query
    assert "collection by collection" in capsys.readouterr().out


def test_a_point_that_lacks_one_collection_keeps_the_others(words, tmp_path):
    sweep = Sweep.collect(["-m", "codec.nbits=1,4", *words, f"runtime.root={tmp_path}"])
    build(sweep.points[0].config)
    alone = sweep.points[1].config.copy()
    alone.suite.listed = {"one": alone.suite.listed["one"]}
    build(alone)
    cells = Sweep.collect(sweep.arguments).cells()
    assert [cell.covers(["one"]) for cell in cells.cells] == [True, True]
    assert [cell.covers(["one", "two"]) for cell in cells.cells] == [True, False]
    assert cells.cells[1].problem == "on two: not run"


def test_collections_without_any_result_are_named_and_the_mean_is_marked(built, tmp_path):
    """As in the table of a run: one has no files, and one was not run at any point."""
    late = tiny_folder(tmp_path / "late", 18)
    [listed] = [word for word in built.arguments if word.startswith("suite.")]
    more = f"{listed[:-1]}, gone: 'folder:/no/where', late: 'folder:{late}'}}"
    arguments = [more if word == listed else word for word in built.arguments]
    cells = Sweep.collect(arguments).cells()
    assert cells.collections == ["one", "two"] and len(cells.complete) == 2
    assert set(cells.missing) == {"late", "gone"} and cells.missing["late"] == "not run"
    assert "/no/where" in cells.missing["gone"] and "The collection late is missing: not run." in cells.warnings
    report.main([*arguments, f"report.out={tmp_path / 'report'}"])
    text, latex = ((tmp_path / "report" / name).read_text() for name in ("report.md", "collections.tex"))
    assert "one & two & late & gone & mean of 2*" in latex and "* The mean is over one, two; don't compare" in latex
    assert "— late is missing: not run." in text and "the mean nDCG@10 of 2 of 4 collections" in text


def led_by(words, one: str, two: str) -> list[str]:
    """The suite with a measure of its own for each collection."""
    [listed] = [word for word in words if word.startswith("suite.")]
    paths = dict(zip(("one", "two"), (part.strip(" '}") for part in listed.split("'folder:")[1:]), strict=True))
    folders = {name: path.partition("'")[0] for name, path in paths.items()}
    entries = ", ".join(
        f"{name}: {{collection: 'folder:{folders[name]}', measure: {measure}}}"
        for name, measure in (("one", one), ("two", two))
    )
    return [f"suite.collections={{{entries}}}" if word == listed else word for word in words]


def test_each_collection_is_led_by_its_own_measure_as_in_a_run(words, tmp_path, capsys):
    """Their means are those of the table of a run, also if the collections have no measure in common."""
    changed = [word for word in led_by(words, "Success@5", "RR@5") if not word.startswith("measures")]
    sweep = Sweep.collect(["-m", "codec.nbits=1,2", *changed, "measures=[Success@5]"])
    tables = [pd.read_csv(build(point.config).file("table.csv")).set_index("collection") for point in sweep.points]
    cells = Sweep.collect(sweep.arguments).cells()
    together = "Success@5 / RR@5"
    assert list(cells.measures) == [together, "Success@5"] and cells.leading == {"one": "Success@5", "two": "RR@5"}
    findings = find(cells, 0)
    for cell, table in zip(cells.cells, tables, strict=True):
        for name in ("one", "two"):
            assert cell.values[together][name].mean() == pytest.approx(table.loc[name, "value"])
            assert cells.leading[name] == table.loc[name, "measure"]
        assert findings.estimates[together][cell.name].mean == pytest.approx(table.loc["mean", "value"])
    assert cells.of("two").measures == ["RR@5", "Success@5"] and cells.of("one").measures == ["Success@5"]
    np.testing.assert_array_equal(
        cells.of("two").cells[1].values["RR@5"]["two"], cells.cells[1].values[together]["two"]
    )
    report.main([*sweep.arguments, f"report.out={tmp_path}"])
    said, latex = capsys.readouterr().out, (tmp_path / "collections.tex").read_text()
    assert "one (Success@5) & two (RR@5) & mean" in latex and "The mean is over different measures." in latex
    assert f"{together} is the measure of each collection: Success@5 on one, RR@5 on two." in said
    assert "RR@5, means over seeds: the" in (tmp_path / "report.html").read_text()
    wanted = Sweep.collect([*sweep.arguments, "report.measure=Success@5"]).cells()
    assert list(wanted.measures) == ["Success@5"] and wanted.leading == {}
    with pytest.raises(InputError, match=r"report\.measure is 'RR@5'; expected one of Success@5"):
        Sweep.collect([*sweep.arguments, "report.measure=RR@5"]).cells()


def test_points_on_different_collections_need_a_suite(words, tmp_path):
    folders = [tiny_folder(tmp_path / name, size) for name, size in (("a", 30), ("b", 24))]
    rest = [word for word in words if not word.startswith(("suite.", "collection.path"))]
    sweep = Sweep.collect(["-m", f"collection.path={folders[0]},{folders[1]}", *rest])
    for point in sweep.points:
        build(point.config)
    with pytest.raises(InputError, match="evaluate all of them on the same collections with a suite"):
        Sweep.collect(sweep.arguments).cells()


def test_a_table_is_no_point_of_a_report(words):
    demo = [word for word in words if not word.startswith("pipeline")]
    sweep = Sweep.collect(["-m", "codec.nbits=1,2", *demo, "pipeline=demo", "target=table"])
    with pytest.raises(InputError, match="is a table with several systems"):
        sweep.cells()


def test_what_is_trained_on_is_an_axis(words, tmp_path):
    """A transfer matrix: the axis is ``collection``, the columns are the suite; one trains on the suite's queries."""
    other = Path(tiny_folder(tmp_path / "other", 27, splits=("test", "dev", "train")))
    first = next(word for word in words if word.startswith("collection.path="))
    rest = [word for word in words if word not in (first, "pipeline=untrained")]
    axis = f"{first},{other}"
    sweep = Sweep.collect(["-m", axis, *rest, "pipeline=round1", f"runtime.root={tmp_path / 'artifacts'}"])
    for point in sweep.points:
        build(point.config)
    cells = Sweep.collect(sweep.arguments).cells()
    assert cells.collections == ["one", "two"] and len(cells.complete) == 2
    assert cells.cells[0].trained != cells.cells[1].trained
    leaks = [warning for warning in cells.warnings if warning.startswith("Leakage")]
    assert [warning.partition(" test queries of ")[0] for warning in leaks] == ["Leakage: 9 of 10", "Leakage: 8 of 8"]
    assert all(warning.endswith(f"(collection.path={other})") for warning in leaks), "which was trained on them"
    report.main([*sweep.arguments, f"report.out={tmp_path / 'report'}"])
    assert f"> {leaks[0]}" in (tmp_path / "report" / "report.md").read_text()
