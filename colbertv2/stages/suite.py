"""Stage: bring the evaluations of systems on the collections of a suite together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.node import Node
from colbertv2.artifacts.stage import stage
from colbertv2.data.queries import Queries
from colbertv2.evaluation.measurement import measures_of, write_values
from colbertv2.runtime import Runtime
from colbertv2.schema import Seed

if TYPE_CHECKING:
    from colbertv2.reporting.system_table import System


def measures(arguments: Mapping[str, Any]) -> list[str]:
    """The measures of the last row that all its collections have."""
    return common([measures_of(evaluation) for evaluation in last(arguments["evaluations"]).values()])


def last(rows: Mapping[str, Any]) -> Any:
    """The last row, which is that of the target."""
    return list(rows.values())[-1]


def common(names: Sequence[Sequence[str]]) -> list[str]:
    """The names that are in every list, in the order of the first."""
    return [name for name in names[0] if all(name in others for others in names)]


@stage(version=2)
def run(
    evaluations: dict[str, dict[str, Artifact]],
    *,
    measures: dict[str, str],
    missing: dict[str, str],
    baseline: str,
    title: str,
    notes: list[str],
    seed: Seed,
    out: Path,
    runtime: Runtime,
) -> None:
    """Make the tables of a suite.

    Writes ``table.md``, ``table.csv`` (one line per system and collection) and ``table.tex``; and, of the last row,
    ``per_query.csv`` (``query_id`` is collection, colon, id) and ``metrics.json`` with the means over collections of
    their means, which are null if one of them is unknown, and of the costs.

    Args:
        evaluations: name of each row → collection → its evaluation: an artifact of ``evaluate`` or of another stage
            that declares ``measures``. The last row is that of the target.
        measures: collection → the measure that leads there.
        missing: collection → why it was not evaluated.
        baseline: the row that the others are compared with.
        title: heading of the table.
        notes: sentences to print below the table.
        seed: the seed of the resampling.
    """
    from colbertv2.data.leakage import leakage_warnings
    from colbertv2.reporting.suite_table import SuiteResult, costs_table, find, quality_table
    from colbertv2.reporting.system_table import read_system

    systems = {
        row: {name: read_system(row, evaluation) for name, evaluation in held.items()}
        for row, held in evaluations.items()
    }
    result = SuiteResult(systems, measures, missing, baseline)
    found = leakage_warnings(*trained_and_evaluated(last(evaluations)))
    table = quality_table(result, find(result, seed), title, [*found, *notes])
    (out / "table.md").write_text(f"{table.markdown(level=1)}\n{costs_table(result).markdown()}", encoding="utf-8")
    (out / "table.csv").write_text(table.csv(), encoding="utf-8")
    (out / "table.tex").write_text(table.latex(), encoding="utf-8")
    write_means(last(systems), list(missing), out)


def trained_and_evaluated(evaluations: Mapping[str, Artifact]) -> tuple[dict[str, Queries], dict[str, Queries]]:
    """The queries of the trainings that evaluations rest on, by address, and those of the evaluations."""
    steps = {step.address: step for evaluation in evaluations.values() for step in evaluation.lineage()}
    trained = {
        address: step.component("queries")
        for address, step in steps.items()
        if step.record["parents"].get("examples") and step.arguments.get("queries")
    }
    return trained, {name: one.component("queries") for name, one in evaluations.items() if "queries" in one.arguments}


def write_means(systems: Mapping[str, System], missing: Sequence[str], out: Path) -> None:
    """Write ``per_query.csv`` and ``metrics.json`` of one system; see :func:`run`.

    Args:
        systems: collection → its data on that collection.
        missing: collections that were not evaluated.
        out: the directory.
    """
    import pandas as pd

    from colbertv2.reporting.suite_table import costs_of

    names = common([list(system.values) for system in systems.values()])
    tables = {name: system.values[names] for name, system in systems.items()}
    values = pd.concat([table.rename(index=lambda one, name=name: f"{name}:{one}") for name, table in tables.items()])
    means = pd.DataFrame([table.mean(skipna=False) for table in tables.values()]).mean(skipna=False)
    costs = pd.DataFrame([costs_of(system) for system in systems.values()]).dropna(axis=1).mean()
    unknown = {
        measure: f"{reason} (on {name})" for name, one in systems.items() for measure, reason in one.unknown.items()
    }
    notes = [f"Means over {len(systems)} collections, each with the same weight: {', '.join(systems)}."]
    notes += [f"Missing: {', '.join(missing)}."] if missing else []
    write_values(values.rename_axis("query_id"), out, unknown, notes, {**means.to_dict(), **costs.to_dict()})


def check(
    evaluations: dict[str, dict[str, Node]], measures: dict[str, str], baseline: str, **_: object
) -> Iterator[str]:
    """Check that the rows have the measures that lead, that the baseline is a row, and that collections differ."""
    if baseline not in evaluations:
        yield f"baseline {baseline!r} is not a row; expected one of {', '.join(evaluations)}."
    for row, held in evaluations.items():
        for name, evaluation in held.items():
            if (measure := measures[name]) not in (known := measures_of(evaluation)):
                yield f"{row!r} is not evaluated by {measure} on {name}, only by {', '.join(known) or 'nothing'}."
    seen: dict[object, str] = {}
    for name, evaluation in last(evaluations).items():
        if isinstance(queries := evaluation.bound.get("queries"), Queries):
            first = seen.setdefault(queries.content["sha256"], name)
            if first != name:
                yield (
                    f"the collections {first!r} and {name!r} have the same queries, so they would count twice in the "
                    "mean; remove one of them."
                )
