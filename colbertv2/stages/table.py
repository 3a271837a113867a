"""Stage: make the table and the figure of an experiment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.node import Node
from colbertv2.artifacts.stage import stage
from colbertv2.evaluation.measurement import measures_of
from colbertv2.runtime import Runtime
from colbertv2.schema import Seed


def check(
    systems: dict[str, Node], title: str, baseline: str, measures: list[str], notes: list[str], seed: int
) -> Iterator[str]:
    """Check that the baseline is a row, and that all rows are evaluated by all measures."""
    if baseline not in systems:
        yield f"baseline {baseline!r} is not a row; expected one of {', '.join(systems)}."
    if not measures or len(set(measures)) < len(measures):
        yield f"measures are {measures}; expected at least one, and none twice."
    for name, evaluation in systems.items():
        known = measures_of(evaluation)
        if lacking := [measure for measure in measures if measure not in known]:
            yield f"{name!r} is not evaluated by {', '.join(lacking)}, only by {', '.join(known) or 'nothing'}."


@stage(version=2)
def run(
    systems: dict[str, Artifact],
    *,
    title: str,
    baseline: str,
    measures: list[str],
    notes: list[str],
    seed: Seed,
    out: Path,
    runtime: Runtime,
) -> None:
    """Compare systems that were evaluated on the same queries.

    Writes ``table.csv`` (columns: :func:`colbertv2.reporting.system_table.make_table`), ``table.md`` and
    ``quality_bytes.png`` (for the first measure that is known for all systems). If a ranking is not deep enough for a
    measure, the value is a dash in ``table.md`` and empty in ``table.csv``, and a note says why.

    Args:
        systems: name of the row → evaluation: an artifact of ``evaluate`` or of another stage that declares
            ``measures``.
        title: heading of the table.
        baseline: the row that the others are tested against.
        measures: the columns.
        notes: sentences to print below the table.
        seed: the seed of the resampling.
    """
    from colbertv2.reporting.quality_figure import draw
    from colbertv2.reporting.system_table import make_table, read_system, to_markdown, unknown_notes

    rows = [read_system(name, metrics) for name, metrics in systems.items()]
    table = make_table(rows, baseline, measures, seed)
    table.to_csv(out / "table.csv", index=False, lineterminator="\n")
    sizes = {
        name: max((float(row.statistics[f"num_{name}"]) for row in rows if f"num_{name}" in row.statistics), default=0)
        for name in ("documents", "vectors")
    }
    markdown = to_markdown(
        table,
        title,
        baseline,
        measures,
        {name: size for name, size in sizes.items() if size},
        [*unknown_notes(rows, measures), *notes],
    )
    (out / "table.md").write_text(markdown, encoding="utf-8")
    known = [measure for measure in measures if table[measure].notna().all()]
    draw(table, [*known, *measures][0], title, out / "quality_bytes.png")
