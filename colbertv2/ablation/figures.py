"""The pictures of a sweep: what is worth its cost, what each factor does, and which queries say so."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from colbertv2.ablation.cells import Cell, Cells
from colbertv2.ablation.comparison import Estimate
from colbertv2.ablation.conclusions import COSTS, pareto
from colbertv2.ablation.findings import Findings
from colbertv2.evaluation.figure import COLOURS, GREY, LABEL_SIZE

BASELINE, BETTER, WORSE = COLOURS[1], COLOURS[2], COLOURS[3]
LABELLED = 12  # points at most that get a label
PANELS = 6  # cells at most whose queries are drawn
POINT = "point-{}"  # the id of a cell's point in the SVG, by its place in the sweep


def draw_pareto(findings: Findings, cost: str, path: Path) -> bool:
    """The first measure against a cost on a logarithmic axis; what no other cell dominates is joined and labelled.

    Args:
        cost: a key of ``Cell.costs``.
        path: without suffix; ``.png`` and ``.svg`` are written.

    Returns:
        False where fewer than two cells have this cost, or all the same; then nothing is written.
    """
    cells, measure = findings.cells, findings.cells.measures[0]
    known = [cell for cell in cells.complete if cell.costs.get(cost, 0) > 0]
    if len({cell.costs[cost] for cell in known}) < 2:
        return False
    front = pareto(known, measure, cost)
    figure, (axes,) = panels(1, width=8.4, height=5.2)
    for cell in known:
        found = findings.estimates[measure][cell.name]
        best = cell in front
        colour = BASELINE if cell is cells.baseline else COLOURS[0] if best else GREY
        place = cell.costs[cost]
        axes.plot([place] * 2, found.queries, "_-", color=colour, linewidth=1, alpha=1 if best else 0.5, zorder=2)
        (point,) = axes.plot(place, found.mean, "o", color=colour, markersize=7 if best else 5, zorder=3)
        point.set_gid(POINT.format(list(cells.cells).index(cell)))
    costs, means = [cell.costs[cost] for cell in front], [cell.mean(measure) for cell in front]
    axes.step([*costs, max(cell.costs[cost] for cell in known)], [*means, means[-1]], where="post", color=COLOURS[0],
              linewidth=1, alpha=0.5, zorder=1)  # fmt: skip
    for cell in front[:: max(1, -(-len(front) // LABELLED))]:
        # Left above a point of the front there is none by definition.
        axes.annotate(short(cell, cells), (cell.costs[cost], cell.mean(measure)), xytext=(-6, 6), ha="right",
                      textcoords="offset points", fontsize=LABEL_SIZE, zorder=4)  # fmt: skip
    axes.set_xscale("log")
    axes.margins(x=0.18, y=0.12)
    plain_ticks(axes)
    axes.set_xlabel(f"{COSTS.get(cost, cost)} (log scale)")
    axes.set_ylabel(f"{measure} (95 % interval over queries)")
    axes.set_title(f"{cells.title}: {', '.join(cells.factors)}", loc="left", fontsize=11, fontweight="bold")
    handles = [("baseline", BASELINE), ("not dominated", COLOURS[0]), ("dominated", GREY)]
    for label, colour in handles:
        axes.plot([], [], "o", color=colour, label=label)
    axes.legend(frameon=False, fontsize=LABEL_SIZE, loc="best")
    save(figure, path)
    return True


def plain_ticks(axes: Axes) -> None:
    """Numbers rather than powers of ten along a logarithmic axis, as many as have room."""
    low, high = axes.get_xlim()
    steps = (1, 2, 5) if high / low < 300 else (1,)
    first, last = int(np.floor(np.log10(low))), int(np.ceil(np.log10(high)))
    ticks = [step * 10.0**power for power in range(first, last + 1) for step in steps]
    if high / low < 4:
        ticks = [float(value) for value in np.geomspace(low, high, 6)[1:-1].round(1 - first if first < 1 else 0)]
    axes.set_xticks([tick for tick in ticks if low <= tick <= high])
    axes.minorticks_off()
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")


def draw_effects(findings: Findings, path: Path) -> bool:
    """A panel for each factor: the mean of each level, averaged over all other factors, with its interval.

    With two factors each panel has a line for every level of the other one besides: where these are not parallel, the
    factors interact.

    Returns:
        False where the design is not complete; then nothing is written.
    """
    cells, measure = findings.cells, findings.cells.measures[0]
    means = marginal_means(findings)
    if not means:
        return False
    figure, all_axes = panels(len(cells.factors), width=max(4.2, 2.4 + 2.6 * len(cells.factors)), height=3.9)
    for axes, (factor, levels) in zip(all_axes, means.items(), strict=True):
        others = [name for name in cells.factors if name != factor]
        if len(others) == 1:
            draw_lines(axes, cells, measure, factor, others[0])
        places = np.arange(len(levels))
        axes.plot(places, [found.mean for found in levels.values()], "-", color=COLOURS[0], linewidth=1.4, zorder=2)
        for place, (level, found) in enumerate(levels.items()):
            colour = BASELINE if level == cells.baseline.factors[factor] else COLOURS[0]
            axes.plot([place] * 2, found.queries, "_-", color=colour, linewidth=1.2, zorder=3)
            axes.plot(place, found.mean, "o", color=colour, markersize=6, zorder=3)
        axes.set_xticks(places, list(levels), fontsize=LABEL_SIZE, rotation=30 if longest(levels) > 8 else 0,
                        ha="right" if longest(levels) > 8 else "center")  # fmt: skip
        axes.set_xlabel(factor)
        axes.margins(x=0.12)
    all_axes[0].set_ylabel(f"{measure} (95 % interval over queries)")
    all_axes[0].set_title(cells.title, loc="left", fontsize=11, fontweight="bold")
    save(figure, path)
    return True


def marginal_means(findings: Findings) -> dict[str, dict[str, Estimate]]:
    """Factor → level → the mean of all its cells; empty where the design is not complete."""
    means: dict[str, dict[str, Estimate]] = {}
    for effect in findings.effects[findings.cells.measures[0]].main:
        means.setdefault(effect.factor, {})[effect.level] = effect.mean
    return means


def draw_lines(axes: Axes, cells: Cells, measure: str, factor: str, other: str) -> None:
    """The cells' means along ``factor``, one line a level of ``other``."""
    for number, level in enumerate(cells.factors[other]):
        line = [cell for cell in cells.complete if cell.factors[other] == level]
        places = [list(cells.factors[factor]).index(cell.factors[factor]) for cell in line]
        shade = GREY if len(cells.factors[other]) > len(COLOURS) - 2 else COLOURS[2 + number]
        axes.plot(places, [cell.mean(measure) for cell in line], "--", color=shade, linewidth=1, zorder=1,
                  label=f"{other}={level}")  # fmt: skip
    axes.legend(frameon=False, fontsize=LABEL_SIZE - 1)


def draw_differences(findings: Findings, path: Path) -> bool:
    """For up to six cells: every query's difference from the baseline, sorted; and how many queries win, tie and lose.

    Returns:
        False where there is no other cell; then nothing is written.
    """
    cells, measure = findings.cells, findings.cells.measures[0]
    chosen = cells.others[:PANELS]
    if not chosen:
        return False
    figure, all_axes = panels(len(chosen), width=max(4.2, 2.4 * len(chosen)), height=3.4)
    for axes, cell in zip(all_axes, chosen, strict=True):
        differences = np.sort(np.round(cell.per_query(measure) - cells.baseline.per_query(measure), 12))[::-1]
        colours = np.where(differences > 0, BETTER, np.where(differences < 0, WORSE, GREY))
        axes.bar(np.arange(len(differences)), differences, width=1.0, color=colours, linewidth=0)
        axes.axhline(0, color=GREY, linewidth=0.8)
        wins, losses = int((differences > 0).sum()), int((differences < 0).sum())
        axes.set_title(short(cell, cells), fontsize=LABEL_SIZE + 1)
        axes.set_xlabel(
            f"{wins} better, {len(differences) - wins - losses} equal,\n{losses} worse", fontsize=LABEL_SIZE
        )
        axes.set_xticks([])
    reach = 1.05 * max(abs(limit) for axes in all_axes for limit in axes.dataLim.intervaly)
    all_axes[0].set_ylim(-reach or -1, reach or 1)
    all_axes[0].set_ylabel(f"Δ {measure} to {short(cells.baseline, cells)}, by query")
    figure.suptitle(f"{cells.title}: {', '.join(cells.factors)}", x=0.01, ha="left", fontsize=11, fontweight="bold")
    save(figure, path)
    return True


def draw_training(logs: Mapping[str, Path], path: Path) -> bool:
    """Loss and dev RR@10 by step, a colour for each training.

    Args:
        logs: name → Lightning's ``metrics.csv``.

    Returns:
        False where there are no logs; then nothing is written.
    """
    if not logs:
        return False
    figure, (loss, dev) = panels(2, width=9, height=3.9, share=False)
    for number, (name, log) in enumerate(logs.items()):
        table = pd.read_csv(log)
        colour = COLOURS[number % len(COLOURS)]
        style = ("-", "--", ":", "-.")[number // len(COLOURS) % 4]
        for axes, column in ((loss, "train/loss"), (dev, "dev/RR@10")):
            if column in table and len(known := table[["step", column]].dropna()):
                axes.plot(known["step"] + 1, known[column], style, color=colour, linewidth=1.2, label=name,
                          marker="o" if len(known) < 4 else None, markersize=4)  # fmt: skip
    loss.set_ylabel("training loss")
    dev.set_ylabel("dev RR@10")
    for axes in (loss, dev):
        axes.set_xlabel("optimizer step")
    figure.legend(*loss.get_legend_handles_labels(), loc="outside lower center", frameon=False, fontsize=LABEL_SIZE,
                  ncols=min(3, len(logs)))  # fmt: skip
    save(figure, path)
    return True


def panels(number: int, *, width: float, height: float, share: bool = True) -> tuple[Figure, Sequence[Axes]]:
    """A figure with panels side by side, in the style of all of them."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    all_axes = figure.subplots(1, number, sharey=share, squeeze=False)[0]
    for axes in all_axes:
        axes.grid(axis="y", color="#e6e6e6", linewidth=0.8, zorder=0)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, list(all_axes)


def short(cell: Cell, cells: Cells) -> str:
    """A cell in a few words, its values: the names of the factors stand above the picture."""
    return ", ".join(cell.factors[factor] for factor in cells.factors)


def longest(levels: Mapping[str, object]) -> int:
    return max(map(len, levels))


def save(figure: Figure, path: Path) -> None:
    """Write ``path.png`` and ``path.svg``; the same picture gives the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path.with_suffix(".png"), dpi=160)
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": path.name}):
        figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
