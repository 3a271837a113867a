import io
import re

import pandas as pd
import pytest
from support import made_cells

from colbertv2.ablation.conclusions import conclude
from colbertv2.ablation.findings import find
from colbertv2.reporting.rendering import ReportTable, escape
from colbertv2.reporting.sweep_tables import make_tables

AXES = {"codec.nbits": ["2", "1", "4"], "n_way": ["64", "128"]}


def one_bit(setting):
    return -0.05 * (setting["codec.nbits"] == "1")


@pytest.fixture(scope="module")
def findings():
    cells = made_cells(AXES, one_bit, seeds=(3, 3), measures=("RR@10", "R@50"), noise=(0.001, 0.001, 0.02))
    return find(cells, 0)


@pytest.fixture(scope="module")
def tables(findings):
    return make_tables(findings)


def test_a_row_a_cell_with_differences_marks_and_costs(findings, tables):
    table = tables["cells"]
    assert table.header == [
        *["codec.nbits", "n_way", "RR@10", "R@50", "Δ RR@10", "detectable", "B/token", "B/document", "ms/query"]
    ]
    assert [row[:2] for row in table.body] == [[a, b] for a in AXES["codec.nbits"] for b in AXES["n_way"]]
    assert table.body[0][4:6] == ["–", "–"]
    row = table.body[2]  # 1 bit
    assert re.fullmatch(r"\.\d{3} \[\.\d{3}, \.\d{3}\] †", row[2])
    assert re.fullmatch(r"−\.0(4|5)\d \[−\.0\d\d, −\.0\d\d\] †", row[4])
    assert row[6:] == ["22.0", "960.0", "7.0"]
    marked = [row[4].endswith("†") for row in table.body]
    contrasts = findings.comparisons["RR@10"]
    assert marked == [contrasts[c.name].significant if c.name in contrasts else False for c in findings.cells.cells]
    assert "Holm-adjusted over the 5 comparisons" in table.notes[0]
    assert "50 queries, 3 training seeds and 3 k-means seeds" in table.notes[0]
    assert (
        "Detectable: the smallest true difference that is found with probability .8 if queries and seeds are"
        in (table.notes[0])
    )
    assert re.fullmatch(r"\.\d{3}", row[5])


@pytest.mark.parametrize("seeds", [(2, 1), (1, 2), (2, 3)])
def test_two_seeds_give_no_detectable_difference(seeds):
    found = find(made_cells(AXES, one_bit, seeds=seeds), 0)
    tables = make_tables(found)
    for name, place in (("cells", 4), ("main_effects", 5), ("interactions", 4)):
        told = [row[place] for row in tables[name].body if row[place - 1] != "–"]
        assert told and set(told) == {"few seeds"}
        assert "Few seeds: two seeds are too few to tell" in tables[name].notes[0]
    assert pd.read_csv(io.StringIO(tables["cells"].csv()))["RR@10_difference_detectable"].isna().all()
    assert not any("probability .8" in sentence for sentence in conclude(found))
    assert any("two seeds are too few to tell" in sentence for sentence in conclude(found))


def test_one_seed_gives_a_detectable_difference_over_queries_only():
    tables = make_tables(find(made_cells(AXES, one_bit), 0))
    assert "with probability .8 if queries are drawn again" in tables["cells"].notes[0]
    assert all(re.fullmatch(r"\.\d{3}", row[4]) for row in tables["cells"].body[1:])


def test_csv_holds_what_was_computed(findings, tables):
    rows = pd.read_csv(io.StringIO(tables["cells"].csv()))
    for cell, (_, row) in zip(findings.cells.cells, rows.iterrows(), strict=True):
        for measure in findings.cells.measures:
            found = findings.estimates[measure][cell.name]
            assert row[measure] == pytest.approx(found.mean) == pytest.approx(cell.mean(measure))
            assert row[f"{measure}_high"] == pytest.approx(found.queries.high)
            assert row[f"{measure}_kmeans_low"] == pytest.approx(found.kmeans.low)
            contrast = findings.comparisons[measure].get(cell.name)
            if contrast is None:
                assert pd.isna(row[f"{measure}_difference_p"])
            else:
                assert row[f"{measure}_difference_p"] == pytest.approx(contrast.p)
                assert row[f"{measure}_difference_detectable"] == pytest.approx(contrast.detectable)
                assert contrast.detectable > 0
        assert row["command"] == cell.command


def test_cells_without_values_show_dashes_and_below_why_and_how_to_run_them():
    cells = made_cells(AXES, fails=lambda s: s["codec.nbits"] == "4")
    tables = make_tables(find(cells, 0))
    assert list(tables) == ["cells"]  # no complete grid, one seed
    text = tables["cells"].markdown()
    assert tables["cells"].body[4][2:] == ["—"] * 6
    assert (
        "- — codec.nbits=4, n_way=64: InputError: no such codec; expected one of residual, fp16. "
        "Run: `python -m colbertv2 codec.nbits=4 n_way=64`" in text
    )
    none = make_tables(find(made_cells(AXES, fails=lambda s: True, seeds=(2, 1)), 0))
    assert list(none) == ["cells"] and none["cells"].markdown().count("- — ") == 6


def test_factorial_designs_have_tables_of_effects(findings, tables):
    assert list(tables) == ["cells", "main_effects", "interactions", "shares", "seeds"]
    assert len(tables["main_effects"].body) == 2 * (3 + 2) and len(tables["interactions"].body) == 2 * 2
    assert tables["main_effects"].body[1][:3] == ["RR@10", "codec.nbits", "1"]
    assert tables["main_effects"].body[1][4].endswith("†")
    numbers = tables["interactions"].numbers
    found = findings.effects["R@50"].interactions
    assert numbers[numbers.measure == "R@50"].beyond.tolist() == [one.contrast.difference.mean for one in found]
    assert tables["shares"].numbers["RR@10"].sum() == pytest.approx(1)
    assert sum(float(row[1]) for row in tables["shares"].body) == pytest.approx(100, abs=0.2)
    one_factor = make_tables(find(made_cells({"codec.nbits": ["2", "1"]}, one_bit), 0))
    assert list(one_factor) == ["cells"]


def test_seeds_have_intervals_of_their_own(findings, tables):
    rows = tables["seeds"].numbers.set_index(["measure", "cell"])
    name = findings.cells.others[0].name
    found = findings.comparisons["RR@10"][name].difference
    assert tuple(rows.loc[("RR@10", name), ["value_training_low", "value_training_high"]]) == found.training
    one_kind = make_tables(find(made_cells({"codec.nbits": ["2", "1"]}, seeds=(1, 2)), 0))["seeds"]
    assert [row[5] for row in one_kind.body] == ["–", "–"] and one_kind.body[0][6].startswith("[")


def test_markdown_has_as_many_columns_in_every_line_and_numbers_stand_right(tables):
    for table in tables.values():
        lines = [line for line in table.markdown().splitlines() if line.startswith("|")]
        assert len(lines) == len(table.body) + 2
        assert {line.count("|") for line in lines} == {len(table.header) + 1}
        rule = lines[1].strip("| ").split(" | ")
        assert [cell.endswith(":") for cell in rule] == [i >= table.left for i in range(len(table.header))]


def test_latex_is_escaped_and_has_the_rules_of_booktabs(tables):
    for table in tables.values():
        text = table.latex()
        assert all(rule in text for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"\caption{"))
        rows = text.split(r"\midrule")[1].split(r"\bottomrule")[0].strip().splitlines()
        assert len(rows) == len(table.body)
        for row in rows:
            assert len(re.findall(r"(?<!\\)&", row)) == len(table.header) - 1 and row.endswith(r" \\")
        assert not re.search(r"(?<!\\)[_%#]", text)
        assert text.isascii()
        assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")


def test_hostile_values_stay_in_their_cells():
    table = ReportTable(
        "A & B", pd.DataFrame(), ["x_1", "|"], [["[1,2]", "a|b"], [r"\input{x}", "50 % #1 ~ ^ $ < —"]], 1
    )
    assert r"a\|b" in table.markdown()
    body = table.latex().split(r"\midrule")[1]
    assert "{[}1,2{]} & a|b" in body and r"\textbackslash{}input\{x\}" in body
    assert r"50 \% \#1 \textasciitilde{} \textasciicircum{} \$ \textless{} ---" in body
    assert escape(r"\_") == r"\textbackslash{}\_"
