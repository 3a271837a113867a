"""A measure beyond the depth of a ranking is a dash with its reason, in every file, table and report."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from support import shrunk, tiny_folder

from colbertv2 import tracking
from colbertv2.ablation.conclusions import conclude
from colbertv2.ablation.findings import find
from colbertv2.ablation.sweep import Sweep
from colbertv2.artifacts.reader import parse
from colbertv2.artifacts.validate import validate
from colbertv2.commands.checks import check_objectives
from colbertv2.commands.run import objectives, print_points, results
from colbertv2.configuration.composition import build, compose, target_node
from colbertv2.errors import InputError
from colbertv2.evaluation.intervals import bootstrap_intervals
from colbertv2.evaluation.measurement import depth_of, per_query, remarks, summary, unknown_measures, write_values
from colbertv2.evaluation.statistics import compare, contrasts, holm, paired_test
from colbertv2.reporting.sweep_tables import make_tables
from colbertv2.reproduction.measure import quantities

REASON = "the ranking keeps 5 documents per query"
MEASURES = "measures=[RR@10,R@5,nDCG@10,R@1000]"


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> list[str]:
    directory = tmp_path_factory.mktemp("depth")
    kept = [one for one in shrunk(tiny_folder(directory / "folder"), directory / "artifacts") if one[:6] != "depth="]
    return [*kept, "runtime.device=cpu", "pipeline=untrained", "search=exhaustive", MEASURES]


@pytest.fixture(scope="module")
def built(small):
    config = compose([*small, "depth=5"])
    return target_node(config), build(config)


def test_files_hold_no_number_for_what_is_not_known(built):
    node, artifact = built
    held = json.loads((artifact.path / "metrics.json").read_text())
    lacking = ["RR@10", "nDCG@10", "R@1000"]
    assert [held[name] for name in lacking] == [None] * 3 and 0 <= held["R@5"] <= 1
    assert held["unknown"] == unknown_measures(node) == dict.fromkeys(lacking, REASON)
    assert [line.split(",")[1] for line in (artifact.path / "per_query.csv").read_text().splitlines()[1:]] == [""] * 10
    table = per_query(artifact)
    assert table[lacking].isna().all(axis=None) and table["R@5"].notna().all()
    assert summary(artifact)["R@1000"] is None and remarks(artifact)[0] == f"RR@10, nDCG@10, R@1000 –: {REASON}."


def test_what_is_printed_and_logged(built, small, monkeypatch):
    node, artifact = built
    printed = results(node, artifact)
    assert printed["R@1000"] == printed["nDCG@10"] == "–" and printed["R@5"] != "–"
    assert quantities(node, artifact).keys() & {"R@5", "R@1000"} == {"R@5"}
    logged = {}
    run = SimpleNamespace(summary=logged, finish=lambda: None)
    monkeypatch.setattr("wandb.init", lambda **_: run)
    config = compose([*small, "depth=5", "runtime.wandb=offline"])
    tracking.log(config, "name", node, artifact, SimpleNamespace(wandb="offline", loggers=None, root="."))
    assert logged["R@1000"] is None and REASON in logged["remarks"][0]


def test_a_search_for_what_is_not_known_is_refused_before_any_work(built):
    node, artifact = built
    check_objectives(node, ["R@5"])
    with pytest.raises(InputError, match=f"R@1000 –: {REASON}"):
        check_objectives(node, ["R@5", "R@1000"])
    with pytest.raises(InputError, match="has no R@1000"):
        objectives(artifact, ["R@1000"])


def test_where_nothing_would_be_known_nothing_is_run(small):
    with pytest.raises(InputError, match=r"keeps 4 documents per query, fewer than .* \(RR@10, R@5, nDCG@10, R@1000\)"):
        validate(target_node(compose([*small, "depth=4"])))
    validate(target_node(compose([*small, "depth=4", "measures=[RR,R@1000]"])))


def test_a_sweep_over_the_depth(small, capsys):
    arguments = ["-m", "depth=5,20", *small]
    sweep = Sweep.collect(arguments)
    for point in sweep.points:
        build(point.config)
    sweep = Sweep.collect(arguments)
    cells = sweep.cells()
    assert cells.measures[0] == "R@5"  # the first that is known at every point
    assert any(one == f"RR@10 –: {REASON} (depth=5)." for one in cells.warnings)
    findings = find(cells, seed=0)
    text = make_tables(findings)["cells"].markdown()
    row = next(line for line in text.splitlines() if line.startswith("| 5 "))
    assert row.count("–") >= 3 and "nan" not in text + " ".join(conclude(findings))
    with pytest.raises(InputError, match=rf"report\.measure is 'R@1000'.*{REASON}"):
        Sweep.collect([*arguments, "report.measure=R@1000"]).cells()
    print_points(sweep.points)
    assert f"RR@10, nDCG@10, R@1000 –: {REASON}. (depth=5)" in capsys.readouterr().out


def test_a_table_has_dashes_and_says_why(small):
    values = {"_target_": "colbertv2.stages.bm25.run", "documents": None, "queries": None, "bm25": None}
    for given, depth in (({"depth": 7}, 7), ({}, None)):
        assert depth_of(parse({**values, **given})) == depth
    rerank = {"_target_": "colbertv2.stages.rerank.run", "candidates": {**values, "depth": 100}, "depth": 50}
    assert depth_of(parse({**rerank, "candidate_depth": 20})) == 20
    score = {"_target_": "colbertv2.stages.score.run", "candidates": {**values, "depth": 100}, "depth": 16}
    assert depth_of(parse(score)) == 100


def test_statistics_of_what_is_not_known():
    values = np.array([0.5, 0.25, 1.0, 0.0])
    lacking = np.full(4, np.nan)
    assert np.isnan(paired_test(values, lacking, seed=0))
    np.testing.assert_array_equal(holm([0.01, np.nan, 0.04]), [0.02, np.nan, 0.04])
    np.testing.assert_array_equal(np.isnan(compare([values, lacking], values / 2, seed=0)), [False, True])
    alone, both = (bootstrap_intervals(one, seed=0) for one in (values[:, None], np.stack([lacking, values], axis=1)))
    assert np.isnan(both[0]).all() and np.array_equal(both[1], alone[0])
    first, second = contrasts([[values[None, None]], [lacking[None, None]]], seed=0)
    assert not second.significant and second.detectable is None and np.isnan(second.difference.mean)
    assert first == contrasts([[values[None, None]]], seed=0)[0]  # no test is none of the family


def test_a_query_named_like_nothing_is_read_as_it_is(tmp_path):
    table = pd.DataFrame({"R@5": [np.nan, 1.0]}, index=pd.Index(["NA", "null"], name="query_id"))
    write_values(table, tmp_path, {"R@5": "why"})
    assert list(per_query(SimpleNamespace(file=lambda name: tmp_path / name)).index) == ["NA", "null"]
