"""Stage: the table and the figure of an experiment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.stage import stage
from colbertv2.runtime import Runtime

if TYPE_CHECKING:
    import pandas as pd

    from colbertv2.reporting.system_table import System

COSTS = ("bytes_per_token", "bytes_per_document", "ms_per_query", "build_seconds")


def check(
    systems: dict[str, object], title: str, baseline: str, measures: list[str], notes: list[str], seed: int
) -> list[str]:
    """A baseline that is no row and unknown measures, before the first second of work."""
    from colbertv2.evaluation.measures import parse

    parse(measures)
    return [] if baseline in systems else [f"baseline {baseline!r} is no row; expected one of {', '.join(systems)}."]


@stage(version=1)
def run(
    systems: dict[str, Artifact],
    *,
    title: str,
    baseline: str,
    measures: list[str],
    notes: list[str],
    seed: int,
    out: Path,
    runtime: Runtime,
) -> None:
    """Compare systems that were evaluated on the same queries.

    Writes ``table.csv`` (columns: ``colbertv2.reporting.system_table.make_table``), ``table.md`` and
    ``quality_bytes.png`` (of the first measure).

    Args:
        systems: row name → artifact of the stage ``evaluate``.
        baseline: the row that the others are tested against.
        notes: sentences for below the table.
    """
    from colbertv2.reporting.quality_figure import draw
    from colbertv2.reporting.system_table import make_table, to_markdown

    rows = [read_system(name, metrics) for name, metrics in systems.items()]
    table = make_table(rows, baseline, measures, seed)
    table.to_csv(out / "table.csv", index=False, lineterminator="\n")
    sizes = {
        name: max((float(row.statistics[f"num_{name}"]) for row in rows if f"num_{name}" in row.statistics), default=0)
        for name in ("documents", "vectors")
    }
    markdown = to_markdown(
        table, title, baseline, measures, {name: size for name, size in sizes.items() if size}, notes
    )
    (out / "table.md").write_text(markdown, encoding="utf-8")
    draw(table, measures[0], title, out / "quality_bytes.png")


def read_system(name: str, metrics: Artifact) -> System:
    """One row from an artifact of ``evaluate``: its values, and what its ranking and the index behind it cost."""
    from colbertv2.reporting.system_table import System

    ranking = metrics.parents["ranking"]
    index = ranking.parents.get("index", ranking)  # what searches without an index may describe itself
    return System(
        name=name,
        values=per_query(metrics),
        engine=engine(ranking),
        ms_per_query=read_json(ranking.path / "timing.json").get("ms_per_query"),
        statistics=read_json(index.path / "statistics.json"),
    )


def write_values(values: pd.DataFrame, out: Path) -> None:
    """Write ``per_query.csv``, which ``per_query`` reads, and ``metrics.json``: means and the number of queries."""
    values.to_csv(out / "per_query.csv", lineterminator="\n")
    means = {**values.mean().to_dict(), "queries": len(values)}
    (out / "metrics.json").write_text(json.dumps(means, indent=2) + "\n")


def measures_of(stage: str, arguments: Mapping[str, Any]) -> list[str]:
    """The measures that a stage takes of a ranking, query by query; none where it is another kind of stage.

    >>> measures_of("evaluate", {"measures": ["RR@10"]}), measures_of("search", {})
    (['RR@10'], [])
    """
    from colbertv2.evaluation.agreement import measures_at

    if stage == "agreement":
        return measures_at(arguments["depths"])
    return list(arguments["measures"]) if stage == "evaluate" else []


def per_query(metrics: Artifact) -> pd.DataFrame:
    """Per-query values of an artifact of ``evaluate`` or ``agreement``: index query id, one column a measure."""
    import pandas as pd

    table = pd.read_csv(metrics.path / "per_query.csv", dtype={"query_id": str}, keep_default_na=False)
    return table.set_index("query_id")


def engine(ranking: Artifact) -> str:
    """What searched: the class of the search engine where the ranking has one, else the stage."""
    target = ranking.arguments.get("engine", {}).get("_target_", ranking.stage)
    return target.rpartition(".")[2]


def read_json(path: Path) -> dict:
    """The content of a JSON file; nothing where there is none."""
    return json.loads(path.read_text()) if path.is_file() else {}


def costs(metrics: Artifact) -> dict[str, float]:
    """What a point's index and search take; of ``COSTS`` what is known."""
    ranking = metrics.parents["ranking"]
    index = ranking.parents.get("index", ranking)
    found = {**read_json(ranking.path / "timing.json"), **read_json(index.path / "statistics.json")}
    if index is not ranking:
        own = [index, *(parent for role, parent in index.parents.items() if role == "centroids")]
        found["build_seconds"] = sum(one.record["seconds"] for one in own)
    return {name: float(found[name]) for name in COSTS if found.get(name) is not None}
