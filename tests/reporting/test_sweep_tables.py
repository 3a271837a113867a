import io
import re
from dataclasses import replace

import pandas as pd
import pytest
from support import COLLECTION, made_cells

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
    assert "Detectable: the smallest true difference that † finds with probability .8 if queries are" in table.notes[0]
    assert re.fullmatch(r"\.\d{3}", row[5])


@pytest.mark.parametrize("seeds", [(1, 1), (2, 1), (1, 2), (2, 3)])
def test_what_the_printed_test_detects_does_not_depend_on_the_number_of_seeds(seeds):
    tables = make_tables(find(made_cells(AXES, one_bit, seeds=seeds), 0))
    for name, place in (("cells", 4), ("main_effects", 5), ("interactions", 4)):
        told = [row[place] for row in tables[name].body if row[place - 1] != "–"]
        assert told and all(re.fullmatch(r"\.0[012]\d", one) for one in told)  # of two seeds it was .04 to .1
        assert "‡" not in tables[name].notes[0]


@pytest.mark.parametrize(("seeds", "shown"), [((2, 1), "few seeds"), ((3, 2), "few seeds"), ((3, 1), r"\.\d{3}")])
def test_recipes_have_a_mark_and_a_detectable_difference_of_their_own(seeds, shown):
    found = find(made_cells(AXES, one_bit, seeds=seeds, noise=(0.001, 0.0, 0.02), trained="codec.nbits"), 0)
    tables = make_tables(found)
    for name in ("cells", "main_effects", "interactions"):
        assert (
            "detectable ‡" in tables[name].header and "‡ p < .05 for other training seeds too" in tables[name].notes[0]
        )
    body, place = tables["cells"].body, tables["cells"].header.index("detectable ‡")
    same, apart = body[1], body[2]
    assert same[place] == "–"  # n_way is no factor of training here
    assert re.fullmatch(shown, apart[place])
    rows = pd.read_csv(io.StringIO(tables["cells"].csv()))
    contrasts = found.comparisons["RR@10"]
    for cell, row, shown_row in zip(found.cells.cells, rows.to_dict("records"), body, strict=True):
        if cell.name in contrasts:
            contrast = contrasts[cell.name]
            assert pd.isna(row["RR@10_difference_p_recipes"]) == (cell.factors["codec.nbits"] == "2")
            assert row["RR@10_difference_differing"] == 50
            assert shown_row[3].endswith("‡") == contrast.significant_recipes
    assert any(contrast.significant_recipes for contrast in contrasts.values()) == (seeds[0] == 3)


def test_one_training_seed_says_nothing_of_recipes():
    tables = make_tables(find(made_cells(AXES, one_bit, trained="codec.nbits"), 0))
    assert "detectable ‡" not in tables["cells"].header
    assert "with one training seed nothing is known of other trainings" in tables["cells"].notes[0]


def test_where_few_queries_differ_the_interval_is_marked():
    cells = made_cells({"codec.nbits": ["2", "1"]}, noise=(0.0, 0.0, 0.0))
    cells.others[0].values["RR@10"][COLLECTION][..., :7] += 0.1
    table = make_tables(find(cells, 0))["cells"]
    assert table.body[1][2].endswith("] § †") and "§ Fewer than 20 queries differ" in table.notes[0]
    assert "§" not in make_tables(find(made_cells(AXES), 0))["cells"].notes[0]


def test_k_means_seeds_that_moved_are_in_the_caption():
    cells = replace(made_cells(AXES, one_bit, seeds=(3, 1)), kmeans_follows=True)
    tables = make_tables(find(cells, 0))
    assert "50 queries, 3 training seeds (each with a k-means seed of its own). In" in tables["cells"].notes[0]
    assert not any("1 k-means" in note or "1 here" in note for table in tables.values() for note in table.notes)


def test_several_collections_are_in_the_caption():
    tables = make_tables(find(made_cells(AXES, one_bit, queries={"a": 30, "b": 40}), 0))
    assert "Means over 2 collections (a: 30 queries, b: 40 queries), 1 training seed" in tables["cells"].notes[0]


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
