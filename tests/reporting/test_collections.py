"""The report on several collections: its tables, its figures, and the choice of a collection in its page."""

from dataclasses import replace

import numpy as np
import pytest
from support import made_cells

from colbertv2.ablation.cells import Cell
from colbertv2.ablation.findings import find
from colbertv2.reporting import collection_figures as figures
from colbertv2.reporting.collection_tables import MEAN, collection_tables, queries_table
from colbertv2.reporting.page import Section, write_page
from colbertv2.reporting.rendering import ReportTable

QUERIES = {"small": 40, "large": 120, "third": 60}


@pytest.fixture(scope="module")
def findings():
    return find(
        made_cells({"codec.nbits": ["1", "2", "4"]}, lambda s: 0.02 * int(s["codec.nbits"]), queries=QUERIES), 0
    )


def test_values_are_means_of_the_cells_and_the_mean_is_macro(findings):
    table = collection_tables(findings)["collections"]
    assert list(table.header) == ["codec.nbits", *QUERIES, MEAN]
    for row, cell in zip(table.numbers.to_dict("records"), findings.cells.cells, strict=True):
        for name in QUERIES:
            assert row[name] == pytest.approx(cell.values["RR@10"][name].mean())
        assert row[MEAN] == pytest.approx(np.mean([row[name] for name in QUERIES]))


def test_marks_are_those_of_the_tests_and_the_best_are_bold(findings):
    table = collection_tables(findings)["collections"]
    for place, cell in enumerate(findings.cells.cells):
        for column, name in enumerate([*QUERIES, MEAN], start=1):
            tested = (findings.comparisons["RR@10"] if name == MEAN else findings.by_collection[name]["RR@10"]).get(
                cell.name
            )
            assert ("†" in table.body[place][column]) == bool(tested and tested.significant)
    latex = table.latex()
    assert table.best == {(2, column) for column in range(1, 5)}  # the largest effect on all of them
    assert latex.count(r"\textbf{") == 4 and r"\textdagger" in latex


def test_a_cell_that_lacks_a_collection_has_no_mean(findings):
    cells = findings.cells
    lacking = {name: found for name, found in cells.cells[2].values["RR@10"].items() if name != "third"}
    changed = [*cells.cells[:2], Cell({"codec.nbits": "4"}, {"RR@10": lacking}, {}, "on third: not run", "run it")]
    found = find(made_cells({"codec.nbits": ["1", "2"]}, queries=QUERIES), 0)
    partial = find(type(cells)(**{**vars(found.cells), "cells": changed, "baseline": changed[0]}), 0)
    row = collection_tables(partial)["collections"].body[2]
    assert row[3] == row[4] == "—" and row[1] != "—"
    assert "codec.nbits=4" in partial.by_collection["small"]["RR@10"]


def test_a_missing_collection_is_a_column_of_dashes_and_marks_the_mean(findings, tmp_path):
    cells = replace(findings.cells, missing={"gone": "no files."})
    found = find(cells, 0)
    table = collection_tables(found)["collections"]
    assert list(table.header) == ["codec.nbits", *QUERIES, "gone", "mean of 3*"]
    assert [row[4] for row in table.body] == ["—"] * 3 and table.best == {(2, column) for column in (1, 2, 3, 5)}
    assert (
        "* The mean is over small, large, third;" in table.notes[0] and table.notes[1] == "— gone is missing: no files."
    )
    assert any("mean of 3*" in row for row in collection_tables(found)["collection_differences"].body)
    assert figures.draw_forest(found, tmp_path / "forest") and figures.draw_map(found, tmp_path / "map")
    for name in ("forest", "map"):
        assert "mean of 3*" in (tmp_path / f"{name}.svg").read_text()


def test_one_collection_has_none_of_this(tmp_path):
    alone = find(made_cells({"codec.nbits": ["1", "2"]}), 0)
    assert collection_tables(alone) == {}
    assert not figures.draw_forest(alone, tmp_path / "forest") and not figures.draw_map(alone, tmp_path / "map")


def test_the_figures_name_every_collection(findings, tmp_path):
    assert figures.draw_forest(findings, tmp_path / "forest") and figures.draw_map(findings, tmp_path / "map")
    for name in ("forest", "map"):
        text = (tmp_path / f"{name}.svg").read_text()
        assert all(collection in text for collection in [*QUERIES, MEAN])


def test_queries_are_those_that_differ_most(findings):
    texts = {f"q{number}": f"text  of\n{number} " * 20 for number in range(200)}
    table = queries_table(findings.cells, "large", texts)
    assert len(table.numbers) == 120 and len(table.body) == 30
    values = table.numbers[[cell.name for cell in findings.cells.cells]].to_numpy()
    apart = dict(zip(table.numbers["query_id"], values.max(axis=1) - values.min(axis=1), strict=True))
    shown = [apart[row[0]] for row in table.body]
    assert shown == sorted(apart.values(), reverse=True)[:30]
    assert len(table.body[0][1]) <= 90 and table.body[0][1].endswith("…")


def test_a_page_shows_the_sections_of_one_view(tmp_path):
    table = ReportTable("T", None, ["a"], [["1"], ["2"]], 0, best=frozenset({(1, 0)}))  # pyright: ignore[reportArgumentType]
    sections = [Section("All", table=table), Section("A", view="one", sentences=["So."]), Section("B", view="two")]
    write_page(tmp_path / "page.html", title="Views", sentences=[], sections=sections)
    html = (tmp_path / "page.html").read_text()
    assert '<select id="view"><option>one</option><option>two</option></select>' in html
    assert html.count("data-view=") == 2 and '<td class=" best">2</td>' in html
    write_page(tmp_path / "plain.html", title="Views", sentences=[], sections=sections[:1])
    assert '<select id="view"' not in (tmp_path / "plain.html").read_text()
