"""An evaluation outside the package, this module: plans, sweeps, reports and the final table need no line about it."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from omegaconf import DictConfig
from support import shrunk, tiny_folder

from colbertv2.ablation.sweep import Sweep
from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.node import Node
from colbertv2.artifacts.stage import stage
from colbertv2.commands import plan, report
from colbertv2.commands.checks import check_objectives
from colbertv2.commands.run import build_node, objectives, print_points
from colbertv2.configuration.composition import CONF, build, compose, runtime_of, target_node
from colbertv2.data.queries import Queries
from colbertv2.errors import InputError
from colbertv2.evaluation.measurement import measures_of, per_query, write_values
from colbertv2.evaluation.ranking import Ranking
from colbertv2.runtime import Runtime

# A pipeline of one's own, in a directory of one's own. The second evaluation looks at the first document alone.
PIPELINE = f"""
defaults:
  - reference
  - _self_
hits: &hits
  _target_: {__name__}.run
  ranking: ${{pipeline.bm25_ranking}}
  queries: ${{collection.eval}}
  depths: [1, 5]
first_hits:
  <<: *hits
  depths: [1]
hits_table:
  _target_: colbertv2.stages.table.run
  systems:
    deep: ${{pipeline.hits}}
    first: ${{pipeline.first_hits}}
  title: Hits
  baseline: deep
  measures: [hit@1]
  notes: []
  seed: 0
"""


def measures(arguments: Mapping[str, Any]) -> list[str]:
    return [f"hit@{depth}" for depth in arguments["depths"]]


def check(ranking: Node, queries: Queries, depths: list[int]) -> Iterator[str]:
    if not depths:
        yield "depths are empty; expected at least one."


@stage(version=1)
def run(ranking: Artifact, queries: Queries, *, depths: list[int], out: Path, runtime: Runtime) -> None:
    """Whether one of a query's labelled documents is among its first k."""
    found = Ranking.read(ranking.path / "run.trec")
    values = {
        query_id: [
            float(any(document in queries.qrels.relevant(query_id) for document, _ in found.get(query_id, ())[:depth]))
            for depth in depths
        ]
        for query_id, _ in queries
    }
    table = pd.DataFrame.from_dict(values, orient="index", columns=measures({"depths": depths}))
    write_values(table.rename_axis("query_id"), out)


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> Path:
    """The directory of that pipeline."""
    directory = tmp_path_factory.mktemp("own")
    (directory / "pipeline").mkdir()
    (directory / "pipeline" / "hits.yaml").write_text(PIPELINE)
    return directory


@pytest.fixture(scope="module")
def words(tmp_path_factory) -> list[str]:
    directory = tmp_path_factory.mktemp("evaluation")
    overrides = shrunk(tiny_folder(directory / "folder", documents=60), directory / "artifacts")
    return [*overrides, "runtime.device=cpu", "pipeline=hits", "target=hits"]


@pytest.fixture(scope="module")
def composed(own, words) -> Callable[..., DictConfig]:
    return lambda *overrides: compose([*words, *overrides], directories=(CONF, own))


@pytest.fixture(scope="module")
def sweep(own, words) -> Sweep:
    """Two points, built."""
    arguments = ["--config-dir", str(own), "-m", "bm25.b=0,1", *words]
    for point in Sweep.collect(arguments).points:
        build_node(point.node, runtime_of(point.config))
    return Sweep.collect(arguments)


def test_it_is_planned_built_and_may_be_an_objective(own, words, composed, capsys):
    config = composed()
    plan.main(["--config-dir", str(own), *words])
    assert "pipeline.hits" in capsys.readouterr().out
    check_objectives(target_node(config), ["hit@1", "ms_per_query"])
    with pytest.raises(InputError, match=r"has no RR@10; known: hit@1, hit@5"):
        check_objectives(target_node(config), ["RR@10"])
    assert measures_of(target_node(config)) == ["hit@1", "hit@5"]
    built = build(config)
    values = per_query(built)
    assert list(values.columns) == ["hit@1", "hit@5"] and len(values) == 20
    hit, milliseconds = objectives(built, ["hit@5", "ms_per_query"])
    assert hit == values["hit@5"].mean() > 0 and milliseconds > 0


def test_its_problems_are_told_before_any_work(composed):
    with pytest.raises(InputError, match="depths are empty"):
        build(composed("pipeline.hits.depths=[]"))


def test_a_sweep_of_it_is_printed_and_reported(sweep, tmp_path, capsys):
    print_points(sweep.points)
    assert capsys.readouterr().out.split()[:3] == ["bm25.b", "hit@1", "hit@5"]
    cells = sweep.cells()
    assert list(cells.measures) == ["hit@1", "hit@5"] and "ms_per_query" in cells.cells[0].costs
    report.main([*sweep.arguments, f"report.out={tmp_path}"])
    assert "bm25.b=1 against 0" in capsys.readouterr().out
    assert "hit@1" in (tmp_path / "report.md").read_text()


def test_the_final_table_shows_it_and_refuses_measures_that_it_does_not_take(composed):
    made = build(composed("target=hits_table"))
    rows = pd.read_csv(made.path / "table.csv", index_col="system")
    assert rows.loc["deep", "hit@1"] == rows.loc["first", "hit@1"] > 0 and rows.loc["first", "p_hit@1"] == 1
    with pytest.raises(InputError, match=r"'first' is not evaluated by hit@5, only by hit@1"):
        build(composed("target=hits_table", "pipeline.hits_table.measures=[hit@1,hit@5]"))
