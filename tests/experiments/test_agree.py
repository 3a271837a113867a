"""The scaffold of ``make agree``; the comparisons themselves need the peers and do not run here."""

import importlib
import math
import re
from dataclasses import replace

import pandas
import pytest

from colbertv2.configuration.composition import CONF

agree = importlib.import_module("experiments.agree.__main__")
report = importlib.import_module("experiments.agree.report")
HERE = CONF.parent / "experiments" / "agree"


def row(difference: float, tolerance: float = 1e-5):
    return report.Row("codec", "colbert-ai 0.2.22", "weights", difference, tolerance)


def test_agreement_is_within_tolerance_and_nan_is_not():
    assert row(1e-5).agrees and row(0, 0).agrees
    assert not row(2e-5).agrees and not row(1, 0).agrees and not row(math.nan).agrees


def test_table_says_what_disagrees(tmp_path):
    report.write([row(0.0), row(1.0)], tmp_path)
    assert (tmp_path / "agree.md").read_text().count("**no**") == 1
    assert list(pandas.read_csv(tmp_path / "agree.csv")["agrees"]) == [True, False]


def test_a_part_replaces_its_own_rows_only(tmp_path, monkeypatch):
    older = [replace(row(0.5), part=part, measured="2026-01-01") for part in ("metrics", "warp", "codec")]
    report.write(older, tmp_path)
    assert report.read(tmp_path) == older
    monkeypatch.setattr(agree, "RESULTS", tmp_path)
    monkeypatch.setattr(agree, "ROOT", tmp_path)
    monkeypatch.setattr(
        importlib.import_module("experiments.agree.warp"), "run", lambda *_: [replace(row(0.0), part="warp")]
    )
    assert agree.main(["warp"]) == 0
    assert [(one.part, one.difference) for one in report.read(tmp_path)] == [
        ("codec", 0.5), ("warp", 0.0), ("metrics", 0.5),
    ]  # fmt: skip


@pytest.mark.parametrize("part", agree.PARTS)
def test_every_part_runs_scripts_that_are_there(part):
    assert callable(importlib.import_module(f"experiments.agree.{part}").run)
    for script in re.findall(r'\b(?:colbert_ai|pylate|xtr_warp)\.run\(\s*"(\w+)"', (HERE / f"{part}.py").read_text()):
        compile((HERE / "peers" / f"{script}.py").read_text(), script, "exec")


def test_unknown_part_is_refused():
    with pytest.raises(SystemExit, match="Unknown part 'nothing'"):
        agree.main(["nothing"])
