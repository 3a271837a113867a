"""The figures of a sweep: quality against cost, the effect of every factor, differences per query, and training."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from colbertv2.ablation.cells import Cell, Cells
from colbertv2.ablation.conclusions import SAME_COST, pareto
from colbertv2.ablation.findings import Findings
from colbertv2.evaluation.measurement import COSTS
from colbertv2.evaluation.statistics import Estimate
from colbertv2.reporting.labels import (
    CHARACTER,
    Labelled,
    label_ends,
    label_points,
    name_levels,
    plain_ticks,
    shade,
    wrap,
)
from colbertv2.reporting.quality_figure import COLOURS, DASHES, GREY, LABEL_SIZE, save

BASELINE, FRONT, BETTER, WORSE = COLOURS[1], COLOURS[0], COLOURS[2], COLOURS[3]
MARKS = {BASELINE: "D", FRONT: "o", GREY: "X"}  # so that points differ without colour too
KINDS = {BASELINE: "baseline", FRONT: "Pareto front: no other is both better and cheaper", GREY: "other settings"}
LINES = COLOURS[2:]  # for lines that are neither the baseline nor a mean
THIN = DASHES[1:]  # for the same lines
LONG_LEVEL = 14  # characters; the names of longer levels are slanted and take room below the axes
LABELLED = 12  # the most points of a Pareto front that get a label
PANELS = 6  # the most cells whose queries are drawn
COLUMNS = 3  # the most panels in a row
POINT = "point-{}"  # the id of a cell's point in the SVG, with the cell's position in the sweep


def draw_pareto(findings: Findings, cost: str, path: Path) -> bool:
    """Draw the first measure against a cost on a logarithmic axis; the Pareto front is joined and labelled.

    Args:
        findings: the results of a sweep.
        cost: a key of ``Cell.costs``.
        path: without suffix; ``.png`` and ``.svg`` are written.

    Returns:
        False, and nothing is written, if fewer than two cells have this cost, or if all costs are within 1 %.
    """
    cells, measure = findings.cells, findings.cells.measures[0]
    known = [cell for cell in cells.complete if cell.costs.get(cost, 0) > 0]
    costs = [cell.costs[cost] for cell in known]
    if len(known) < 2 or max(costs) < SAME_COST * min(costs):
        return False
    front = pareto(known, measure, cost)
    figure, (axes,) = panels(1, width=8.4, height=5.4)
    kinds: set[str] = set()
    for cell in known:
        found = findings.estimates[measure][cell.name]
        best = cell in front
        colour = BASELINE if cell is cells.baseline else FRONT if best else GREY
        axes.plot([cell.costs[cost]] * 2, found.queries, "_-", color=colour, linewidth=1, alpha=1 if best else 0.35,
                  zorder=2)  # fmt: skip
        (point,) = axes.plot(cell.costs[cost], found.mean, MARKS[colour], color=colour, markersize=7 if best else 5,
                             zorder=3)  # fmt: skip
        point.set_gid(POINT.format(list(cells.cells).index(cell)))
        kinds.add(colour)
    means = [cell.mean(measure) for cell in front]
    axes.step([*(cell.costs[cost] for cell in front), max(costs)], [*means, means[-1]], where="post", color=FRONT,
              linewidth=1, alpha=0.5, zorder=1)  # fmt: skip
    axes.set_xscale("log")
    axes.margins(x=0.16, y=0.12)
    plain_ticks(axes)
    axes.set_xlabel(f"{COSTS[cost].words} (log scale)")
    axes.set_ylabel(f"mean {measure} (95 % interval over queries)")
    for colour, label in KINDS.items():
        if colour in kinds:
            axes.plot([], [], MARKS[colour], color=colour, label=label)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=LABEL_SIZE)
    head(figure, f"{cells.title}: {', '.join(cells.factors)}", 8.4)
    chosen = [front[i] for i in np.unique(np.linspace(0, len(front) - 1, LABELLED).round().astype(int))]
    baseline = [cells.baseline] if cells.baseline in known else []
    ordered = [*baseline, chosen[-1], *(cell for cell in chosen[:-1])]
    figure.canvas.draw()
    label_points(
        axes,
        [
            Labelled(wrap(short(cell, cells), 30), cell.costs[cost], cell.mean(measure),
                     BASELINE if cell is cells.baseline else FRONT)
            for cell in dict(zip(map(id, ordered), ordered, strict=True)).values()
        ],
        [(cell.costs[cost], cell.mean(measure)) for cell in known],
    )  # fmt: skip
    save(figure, path)
    return True


def draw_effects(findings: Findings, path: Path) -> bool:
    """Draw a panel for every factor: the mean of each level over all other factors, with its interval.

    With two factors, each panel also has a line for every level of the other factor; if these lines are not parallel,
    the factors interact.

    Args:
        findings: the results of a sweep.
        path: without suffix; ``.png`` and ``.svg`` are written.

    Returns:
        False, and nothing is written, if the factorial design is incomplete.
    """
    cells, measure = findings.cells, findings.cells.measures[0]
    means = marginal_means(findings)
    if not means:
        return False
    two = len(cells.factors) == 2
    each = 4.2 if two or len(means) == 1 else 2.9
    longest = max(len(level) for levels in means.values() for level in levels)
    figure, all_axes = panels(len(means), width=each, height=4.6 if longest > LONG_LEVEL else 3.7, all_ticks=two)
    for axes, (factor, levels) in zip(all_axes, means.items(), strict=True):
        places = np.arange(len(levels))
        axes.plot(places, [found.mean for found in levels.values()], "-", color=FRONT, linewidth=1.6, zorder=2)
        for place, (level, found) in enumerate(levels.items()):
            colour = BASELINE if level == cells.baseline.factors[factor] else FRONT
            axes.plot([place] * 2, found.queries, "_-", color=colour, linewidth=1.2, zorder=3)
            axes.plot(place, found.mean, MARKS[colour], color=colour, markersize=6, zorder=3)
        name_levels(axes, list(levels), 72 * 0.75 * each)
        axes.set_xlabel(factor)
        axes.margins(x=0.12)
    head(figure, f"{cells.title} (orange diamond: the baseline)", each * columns_of(len(means)))
    if two:
        figure.canvas.draw()
        for axes, factor, other in zip(all_axes, means, reversed(list(means)), strict=True):
            draw_lines(axes, cells, measure, factor, other)
    label_left(all_axes, f"mean {measure}\n(95 % interval over queries)")
    save(figure, path)
    return True


def marginal_means(findings: Findings) -> dict[str, dict[str, Estimate]]:
    """Factor → level → the mean of all its cells; empty if the factorial design is incomplete."""
    means: dict[str, dict[str, Estimate]] = {}
    for effect in findings.effects[findings.cells.measures[0]].main:
        means.setdefault(effect.factor, {})[effect.level] = effect.mean
    return means


def draw_lines(axes: Axes, cells: Cells, measure: str, factor: str, other: str) -> None:
    """Draw the cells' means along ``factor``, one line per level of ``other``, with its name at the end."""
    found = {(cell.factors[factor], cell.factors[other]): cell.mean(measure) for cell in cells.complete}
    ends, levels = {}, cells.factors[other]
    colours = [shade(number, len(levels), LINES) for number in range(len(levels))]
    for number, (level, colour) in enumerate(zip(levels, colours, strict=True)):
        line = [found[value, level] for value in cells.factors[factor]]
        axes.plot(line, THIN[number % len(THIN)], color=colour, linewidth=1, zorder=1)
        ends[wrap(level, 24)] = line[-1]
    axes.set_title(f"thin lines: one per {other}", loc="left", fontsize=LABEL_SIZE)
    label_ends(axes, ends, colours, len(cells.factors[factor]) - 1)


def draw_differences(findings: Findings, path: Path) -> bool:
    """Draw every query's difference from the baseline, sorted, and count the queries that are better, equal and worse.

    If there are more than six cells, the six whose means differ most are drawn, in the order of the sweep; the title
    says so.

    Args:
        findings: the results of a sweep.
        path: without suffix; ``.png`` and ``.svg`` are written.

    Returns:
        False, and nothing is written, if there is no cell besides the baseline.
    """
    cells, measure = findings.cells, findings.cells.measures[0]
    if not cells.others or not cells.baseline.covers(cells.collections):
        return False
    chosen = sorted(cells.others, key=lambda cell: -abs(cell.mean(measure) - cells.baseline.mean(measure)))[:PANELS]
    chosen = [cell for cell in cells.others if cell in chosen]
    figure, all_axes = panels(len(chosen), width=2.9, height=2.9)
    for axes, cell in zip(all_axes, chosen, strict=True):
        pairs = [(cell.per_query(measure, one), cells.baseline.per_query(measure, one)) for one in cells.collections]
        draw_sorted(axes, np.concatenate([values - base for values, base in pairs]))
        axes.set_title(wrap(short(cell, cells), 32), fontsize=LABEL_SIZE + 1)
    reach = 1.05 * max(abs(limit) for axes in all_axes for limit in axes.dataLim.intervaly)
    all_axes[0].set_ylim(-reach or -1, reach or 1)
    label_left(all_axes, f"difference in {measure},\none bar per query")
    most = f" (the {len(chosen)} of {len(cells.others)} that differ most)" if len(chosen) < len(cells.others) else ""
    width = 2.9 * columns_of(len(chosen))
    against = f"compared with the baseline {short(cells.baseline, cells)}"
    head(figure, f"{cells.title}: {', '.join(cells.factors)}, {against}{most}", width)
    save(figure, path)
    return True


def draw_sorted(axes: Axes, differences: NDArray[np.float64]) -> None:
    """Draw differences ``[queries]`` as bars in descending order, equal ones as one bar, with their counts below."""
    differences = np.sort(np.round(differences, 12))[::-1]
    drawn = np.round(differences, 3)  # more digits can't be seen, and would make the file large
    edges = np.concatenate([[0], np.flatnonzero(np.diff(drawn)) + 1, [len(drawn)]])
    for sign, colour in ((1, BETTER), (-1, WORSE)):
        axes.stairs(sign * np.maximum(sign * drawn[edges[:-1]], 0), edges, fill=True, color=colour, linewidth=0)
    axes.axhline(0, color=GREY, linewidth=0.8)
    wins, losses = int((differences > 0).sum()), int((differences < 0).sum())
    counts = f"{wins} better, {len(differences) - wins - losses} equal,\n{losses} worse"
    axes.set_xlabel(counts, fontsize=LABEL_SIZE)
    axes.set_xticks([])


def draw_training(logs: Mapping[str, Path], path: Path) -> bool:
    """Draw the loss, every objective if there are several, and dev metrics by step, with a colour for each training.

    Dev metrics are RR@10 over candidates and, if there is a search validation, its mean over the collections.

    Args:
        logs: name of a training → Lightning's ``metrics.csv``.
        path: without suffix; ``.png`` and ``.svg`` are written.

    Returns:
        False, and nothing is written, if there are no logs.
    """
    if not logs:
        return False
    tables = {name: pd.read_csv(log) for name, log in logs.items()}
    objectives = [
        [column for column in table if str(column).startswith("train/") and column != "train/loss"]
        for table in tables.values()
    ]
    several = dict.fromkeys(column for columns in objectives if len(columns) > 1 for column in columns)
    searched = dict.fromkeys(str(column) for table in tables.values() for column in table if is_mean(str(column)))
    drawn = {
        "train/loss": "training loss",
        **{name: f"objective: {str(name)[6:]}" for name in several},
        "dev/RR@10": "RR@10 on the dev queries",
        **{name: f"{name[7:]} by search" for name in searched},
    }
    each = 4.4 if len(drawn) == 2 else 2.9
    figure, all_axes = panels(len(drawn), width=each, height=3.5, share=False)
    for number, (name, table) in enumerate(tables.items()):
        colour = COLOURS[number % len(COLOURS)]
        line = DASHES[number % len(DASHES)]
        for axes, column in zip(all_axes, drawn, strict=True):
            known = table[["step", column]].dropna() if column in table else table[:0]
            axes.plot(known["step"] + 1, known[column] if len(known) else [], line, color=colour, linewidth=1.2,
                      label=name, marker="o" if len(known) < 4 else None, markersize=4)  # fmt: skip
    last = max(table["step"].max() + 1 for table in tables.values())
    for axes, title in zip(all_axes, drawn.values(), strict=True):
        axes.set_title(title, loc="left", fontsize=LABEL_SIZE + 1)
        axes.set_xlabel("optimizer step")
        axes.set_xlim(0, 1.04 * last)
    room = 72 * each * columns_of(len(drawn)) / (CHARACTER * max(map(len, logs)) + 50)
    figure.legend(*all_axes[0].get_legend_handles_labels(), loc="outside lower center", frameon=False,
                  fontsize=LABEL_SIZE, ncols=max(1, min(3, len(logs), int(room))))  # fmt: skip
    save(figure, path)
    return True


def is_mean(column: str) -> bool:
    """Whether a column of a training's log is the mean over all collections of a search validation.

    >>> is_mean("search/nDCG@10"), is_mean("search/scifact/nDCG@10"), is_mean("dev/RR@10")
    (True, False, False)
    """
    return column.startswith("search/") and column.count("/") == 1


def panels(
    number: int, *, width: float, height: float, share: bool = True, all_ticks: bool = False
) -> tuple[Figure, list[Axes]]:
    """Make a figure with panels in rows of ``columns_of``.

    Args:
        number: the number of panels.
        width: of a panel, in inches.
        height: of a panel, in inches.
        share: whether all panels have the same vertical axis.
        all_ticks: whether every panel labels its vertical axis, not only the first of each row.
    """
    columns = columns_of(number)
    rows = -(-number // columns)
    figure = Figure(figsize=(columns * width, rows * height), layout="constrained")
    FigureCanvasAgg(figure)
    all_axes: list[Axes] = []
    for place in range(number):
        axes = figure.add_subplot(rows, columns, place + 1, sharey=all_axes[0] if share and all_axes else None)
        axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelleft=all_ticks or not share or place % columns == 0)
        all_axes.append(axes)
    return figure, all_axes


def columns_of(number: int) -> int:
    """How many panels are in a row; four panels are two rows of two.

    >>> [columns_of(number) for number in (1, 3, 4, 5)]
    [1, 3, 2, 3]
    """
    return 2 if number == 4 else min(number, COLUMNS)


def label_left(all_axes: Sequence[Axes], text: str) -> None:
    """Name the vertical axis of the first panel in each row."""
    for axes in all_axes[:: columns_of(len(all_axes))]:
        axes.set_ylabel(text)


def head(figure: Figure, text: str, width: float) -> None:
    """Write the title of a figure that is ``width`` inches wide."""
    figure.suptitle(wrap(text, int(72 * width / 7)), x=0.01, ha="left", fontsize=11, fontweight="bold")


def short(cell: Cell, cells: Cells) -> str:
    """The values of a cell's factors; the names of the factors are in the title of the figure."""
    return ", ".join(cell.factors[factor] for factor in cells.factors)
