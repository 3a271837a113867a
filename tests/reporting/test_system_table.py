import numpy as np
import pandas as pd
import pytest

from colbertv2.errors import InputError
from colbertv2.evaluation.measures import fraction
from colbertv2.reporting.system_table import System, make_table, to_markdown

MEASURES = ["RR@10", "nDCG@10", "R@10", "R@100"]
QUERIES = pd.Index([f"q{i}" for i in range(60)], name="query_id")


def system(name, level, order=1, **statistics):
    rng = np.random.default_rng(0)
    base = rng.random((60, 4)) * 0.5
    values = pd.DataFrame(np.clip(base + level, 0, 1), index=QUERIES, columns=MEASURES)
    return System(name, values[::order], "Exhaustive", 2.5 if statistics else None, statistics)


INDEX = {"codec": "residual", "bytes_per_token": 36.0, "bytes_per_document": 4000.0, "num_documents": 10}


@pytest.fixture(scope="module")
def table():
    systems = [
        system("BM25", 0.0),
        system("base", 0.2, **INDEX),
        system("same | twin", 0.2, -1, **INDEX),
        system("best", 0.4, **INDEX),
    ]
    return make_table(systems, "base", MEASURES, seed=0)


def test_columns_come_in_the_order_that_readers_rely_on(table):
    assert list(table.columns[:9]) == [
        *["system", "codec", "RR@10", "nDCG@10", "R@10", "R@100"],
        *["bytes_per_token", "ms_per_query", "bytes_per_document"],
    ]
    assert list(table.columns[9:]) == [
        *[f"{measure}_{end}" for measure in MEASURES for end in ("low", "high")],
        *[f"p_{measure}" for measure in MEASURES],
        *["engine", "queries"],
    ]


def test_values_intervals_and_tests(table):
    rows = table.set_index("system")
    assert rows.loc["BM25", "codec"] == "–" and np.isnan(rows.loc["BM25", "bytes_per_token"])
    assert rows.loc["base", "bytes_per_token"] == 36 and rows.loc["base", "ms_per_query"] == 2.5
    assert (rows["RR@10_low"] < rows["RR@10"]).all() and (rows["RR@10"] < rows["RR@10_high"]).all()
    assert np.isnan(rows.loc["base", "p_RR@10"])
    assert rows.loc["same | twin", "p_RR@10"] == 1.0  # its queries come in another order
    assert rows.loc["best", "p_RR@10"] == pytest.approx(3 * 2 / 10_000)  # Holm over three
    assert (rows["queries"] == 60).all()


def test_csv_round_trip(table, tmp_path):
    table.to_csv(tmp_path / "table.csv", index=False)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "table.csv"), table, check_dtype=False)


def test_markdown(table):
    text = to_markdown(table, "A title", "base", MEASURES, {"documents": 5301}, ["First note.", "Second note."])
    lines = text.splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 2 + 4 and len({line.replace("\\|", "").count("|") for line in rows}) == 1
    best = next(row for row in rows if "best" in row)
    value = fraction(table.set_index("system").loc["best", "RR@10"])
    assert f"{value} [" in best and best.count("†") == 4
    assert "†" not in next(row for row in rows if "twin" in row)
    assert "†" not in next(row for row in rows if "| base" in row)
    for words in ("60 queries", "5,301 documents", "randomisation test", "Holm", "bootstrap", "base", "- Second note."):
        assert words in text


def test_refused_tables():
    base = system("base", 0.2)
    with pytest.raises(InputError, match="baseline 'bse' is not a row"):
        make_table([base], "bse", MEASURES, 0)
    with pytest.raises(InputError, match="not evaluated with P@5"):
        make_table([base], "base", ["RR@10", "P@5"], 0)
    shorter = System("short", base.values.iloc[1:], "x")
    with pytest.raises(InputError, match=r"'short' was evaluated on 59 queries"):
        make_table([base, shorter], "base", MEASURES, 0)


def test_a_single_row_and_a_single_query():
    lone = System("lone", system("lone", 0.1).values.iloc[:1], "x")
    row = make_table([lone], "lone", MEASURES, 0).iloc[0]
    assert row["RR@10_low"] == row["RR@10"] == row["RR@10_high"]
