"""``python -m colbertv2 report <arguments of a sweep>``: report on a sweep, from those of its points that are built.

Writes to ``report.out``: ``report.md``, each table as CSV and LaTeX, the figures as PNG and SVG, and ``report.html``,
which contains all of them. Prints the main table and the conclusions. If wandb is on, it gets the page and the tables.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from colbertv2 import tracking
from colbertv2.ablation.cells import Cell
from colbertv2.ablation.linter import check_axes
from colbertv2.ablation.sweep import Sweep
from colbertv2.configuration.composition import runtime_of

if TYPE_CHECKING:
    from colbertv2.ablation.findings import Findings
    from colbertv2.reporting.page import Section

RESAMPLING_SEED = 0
QUERIES = "Queries of "  # and the name of a collection: the title of a table
ALONE = "Its tests are a family of their own, so p can differ from those of all collections together."
FIGURES = ("pareto_*", "collections", "forest", "effects", "differences", "training")  # names without suffix


def main(arguments: Sequence[str]) -> None:
    """Make the report, and print its main table and conclusions.

    Raises:
        InputError: the sweep can't be composed or varies a value that no stage reads, none of its points is built (the
            message says how to build them), or the built points can't be compared.
    """
    from colbertv2.ablation.conclusions import conclude
    from colbertv2.ablation.findings import find
    from colbertv2.reporting import sweep_figures as figures
    from colbertv2.reporting.collection_tables import collection_tables
    from colbertv2.reporting.page import Section, write_page
    from colbertv2.reporting.sweep_tables import make_tables, sweep_report

    sweep = Sweep.collect(arguments)
    check_axes(sweep.points)
    findings = find(sweep.cells(), RESAMPLING_SEED)
    tables, sentences = {**collection_tables(findings), **make_tables(findings)}, conclude(findings)
    out = Path(sweep.points[0].config.report.out)
    out.mkdir(parents=True, exist_ok=True)
    pictures = draw(findings, sweep, out)
    views = views_of(findings, sweep)
    for one in views:
        if one.table and one.title.startswith(QUERIES):
            name = file_name(one.title.removeprefix(QUERIES))
            (out / f"queries_{name}.csv").write_text(one.table.csv(), encoding="utf-8")
    for name, table in tables.items():
        (out / f"{name}.csv").write_text(table.csv(), encoding="utf-8")
        (out / f"{name}.tex").write_text(table.latex(), encoding="utf-8")
    text = sweep_report(findings, tables, sentences, pictures)
    (out / "report.md").write_text(text, encoding="utf-8")
    write_page(
        out / "report.html",
        title=findings.cells.title,
        sentences=sentences,
        sections=[
            *(Section(title, figure=out / f"{name}.svg") for name, title in pictures.items()),
            *(Section(table.title, table=table) for table in tables.values()),
            *views,
        ],
        warnings=findings.cells.warnings,
        commands=findings.cells.commands,
        hovers={
            figures.POINT.format(i): hover(cell, findings)
            for i, cell in enumerate(findings.cells.cells)
            if cell.covers(findings.cells.collections)
        },
    )
    print(tables["collections" if "collections" in tables else "cells"].markdown())
    print("\n".join(["", *(f"- {sentence}" for sentence in sentences)]))
    print("\n".join(f"Warning: {warning}" for warning in findings.cells.warnings))
    print(f"\nreport: {out / 'report.html'}")
    runtime = runtime_of(sweep.points[0].config)
    tracking.log_report(out / "report.html", findings.cells.title, sweep.points, tables, runtime)


def views_of(findings: Findings, sweep: Sweep) -> list[Section]:
    """The sections on single queries; of several collections a reader chooses one, with its cells and conclusions."""
    from colbertv2.ablation.conclusions import conclude
    from colbertv2.ablation.findings import find
    from colbertv2.reporting.collection_tables import queries_table
    from colbertv2.reporting.page import Section
    from colbertv2.reporting.sweep_tables import cells_table

    sections, texts = [], sweep.texts()
    several = len(findings.cells.collections) > 1
    for name in findings.cells.collections:
        cells = findings.cells.of(name)
        if several:
            alone = find(replace(cells, measures=cells.measures[:1]), RESAMPLING_SEED)
            title = f"{name} alone"
            sections.append(Section(title, ALONE, table=cells_table(alone), view=name, sentences=conclude(alone)))
        table = queries_table(cells, name, texts.get(name, {}))
        sections.append(Section(table.title, table=table, view=name if several else ""))
    return sections


def file_name(name: str) -> str:
    """The name of a collection as part of a file's name."""
    return re.sub(r"[^\w.-]+", "_", name)


def draw(findings: Findings, sweep: Sweep, out: Path) -> dict[str, str]:
    """Draw the figures that apply to this sweep, and return their titles by file name (without suffix).

    Figures of an earlier report in ``out`` are removed, as not every sweep has every figure.
    """
    from colbertv2.ablation.conclusions import traded
    from colbertv2.evaluation.measurement import COSTS
    from colbertv2.reporting import collection_figures as maps
    from colbertv2.reporting import sweep_figures as figures

    for name in FIGURES:
        for earlier in out.glob(f"{name}.*"):
            earlier.unlink()
    measure = findings.cells.measures[0]
    drawn: dict[str, str] = {}
    if maps.draw_map(findings, out / "collections"):
        drawn["collections"] = f"{measure} by collection, minus that of {findings.cells.baseline.name}"
    if maps.draw_forest(findings, out / "forest"):
        drawn["forest"] = "The difference on each collection"
    drawn |= {
        f"pareto_{cost}": f"{measure} against {COSTS[cost].words}"
        for cost in traded(findings.cells)
        if figures.draw_pareto(findings, cost, out / f"pareto_{cost}")
    }
    if figures.draw_effects(findings, out / "effects"):
        drawn["effects"] = "The effect of each factor"
    if figures.draw_differences(findings, out / "differences"):
        drawn["differences"] = f"{measure} per query, minus that of {findings.cells.baseline.name}"
    if figures.draw_training(sweep.training_logs(), out / "training"):
        drawn["training"] = "Training"
    return drawn


def hover(cell: Cell, findings: Findings) -> str:
    """The name, measures and costs of a cell, one per line, as shown when pointing at it in a figure."""
    from colbertv2.ablation.conclusions import traded
    from colbertv2.evaluation.measurement import COSTS
    from colbertv2.evaluation.measures import fraction, plain

    lines = [cell.name]
    for measure in findings.cells.measures:
        found = findings.estimates[measure][cell.name]
        lines.append(
            f"{measure} {fraction(found.mean)} [{fraction(found.queries.low)}, {fraction(found.queries.high)}]"
        )
    costs = [
        f"{plain(cell.costs[cost], 1)} {COSTS[cost].words}" for cost in traded(findings.cells) if cost in cell.costs
    ]
    return "\n".join([*lines, *costs])
