"""The figures of a report on several collections: a forest plot, and a map of the differences from the baseline."""

from pathlib import Path

import numpy as np

from colbertv2.ablation.findings import Findings
from colbertv2.evaluation.measures import signed
from colbertv2.reporting.collection_tables import MEAN, row_of, title_of
from colbertv2.reporting.labels import wrap
from colbertv2.reporting.quality_figure import COLOURS, GREY, LABEL_SIZE, save
from colbertv2.reporting.sweep_figures import PANELS, columns_of, head, panels, short

LINE, DIAMOND = COLOURS[0], COLOURS[1]  # a collection, the mean
MAP = "RdBu"  # red is worse, blue is better, also for the colour-blind
STRONG = 0.6  # share of the largest difference above which the text of a field is white


def draw_forest(findings: Findings, path: Path) -> bool:
    """Draw a forest plot of every cell: its difference from the baseline on each collection, and in the mean.

    If there are more than six cells, the six whose means differ most are drawn; the title says so.

    Args:
        findings: the results of a sweep.
        path: without suffix; ``.png`` and ``.svg`` are written.

    Returns:
        False, and nothing is written, if there is one collection, or no cell besides the baseline.
    """
    cells, measure = findings.cells, findings.cells.measures[0]
    compared = findings.comparisons[measure]
    others = [cell for cell in cells.others if cell.name in compared]
    if len(cells.collections) < 2 or not others:
        return False
    kept = sorted(others, key=lambda cell: -abs(compared[cell.name].difference.mean))[:PANELS]
    chosen = [cell for cell in others if cell in kept]
    width, height = 3.3, 1.2 + 0.26 * (len(cells.collections) + 2)
    figure, all_axes = panels(len(chosen), width=width, height=height)
    places = [*range(len(cells.collections) + 1, 1, -1), 0.6]
    for axes, cell in zip(all_axes, chosen, strict=True):
        found = [findings.by_collection[name][measure][cell.name] for name in cells.collections]
        for place, contrast in zip(places, [*found, compared[cell.name]], strict=True):
            difference = contrast.difference
            colour, shape = (DIAMOND, "D") if place < 1 else (LINE, "o")
            axes.plot(difference.queries, [place] * 2, "-", color=colour, linewidth=1.4)
            filled = colour if contrast.significant else "white"
            axes.plot(difference.mean, place, shape, color=colour, markerfacecolor=filled, markersize=6)
        axes.axvline(0, color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
        axes.grid(axis="x", color="#e6e6e6", linewidth=0.8)
        axes.grid(False, axis="y")
        axes.set_yticks(places, [title_of(name, cells) for name in (*cells.collections, MEAN)], fontsize=LABEL_SIZE)
        axes.set_title(wrap(short(cell, cells), 36), fontsize=LABEL_SIZE + 1)
        axes.set_xlabel(f"difference in {measure}", fontsize=LABEL_SIZE)
    most = f" (the {len(chosen)} of {len(others)} that differ most)" if len(chosen) < len(others) else ""
    against = f"compared with {short(cells.baseline, cells)}{most}"
    text = f"{cells.title}: {against}; 95 % intervals over queries; filled: p < .05"
    head(figure, text, width * columns_of(len(chosen)))
    save(figure, path)
    return True


def draw_map(findings: Findings, path: Path) -> bool:
    """Draw cells × collections as a map of the differences from the baseline, in colours and numbers.

    Args:
        findings: the results of a sweep.
        path: without suffix; ``.png`` and ``.svg`` are written.

    Returns:
        False, and nothing is written, if there is one collection, or no cell besides the baseline.
    """
    cells, measure = findings.cells, findings.cells.measures[0]
    names = [*cells.collections, *cells.missing]
    rows = [cell for cell in cells.cells if any(cell.covers([name]) for name in names)]
    if len(cells.collections) < 2 or len(rows) < 2:
        return False
    means = np.array([[*row_of(cell, cells, measure).values()] for cell in rows])  # NaN where there are no values
    gaps = means - [*row_of(cells.baseline, cells, measure).values()]
    reach = float(np.nanmax(np.abs(gaps))) or 1.0
    width, height = 2.4 + 0.95 * gaps.shape[1], 1.6 + 0.3 * len(rows)
    figure, (axes,) = panels(1, width=width, height=height)
    axes.imshow(gaps, cmap=MAP, vmin=-reach, vmax=reach, aspect="auto")
    axes.grid(False)
    for place, column in np.ndindex(*gaps.shape):
        value = float(gaps[place, column])
        colour = "white" if abs(value) > STRONG * reach else "black"
        text = "–" if np.isnan(value) else signed(value)
        axes.text(column, place, text, ha="center", va="center", color=colour, fontsize=LABEL_SIZE)
    axes.axvline(len(names) - 0.5, color="black", linewidth=1.2)
    axes.set_xticks(
        range(len(names) + 1), [wrap(title_of(name, cells), 13) for name in (*names, MEAN)], fontsize=LABEL_SIZE
    )
    axes.set_yticks(range(len(rows)), [short(cell, cells) for cell in rows], fontsize=LABEL_SIZE)
    axes.tick_params(length=0)
    head(figure, f"{cells.title}: {measure} minus that of {short(cells.baseline, cells)}", width)
    save(figure, path)
    return True
