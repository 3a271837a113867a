"""The figure of a decomposition: what each step from exact MaxSim to an engine's answer costs."""

from pathlib import Path
from textwrap import wrap

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from colbertv2.analysis.decomposition import STEPS
from colbertv2.reporting.quality_figure import COLOURS, GREY, LABEL_SIZE, save

NAME_WIDTH = 16  # characters of a step's name in a line


def draw_decomposition(values: pd.DataFrame, table: pd.DataFrame, measure: str, path: Path) -> None:
    """What is lost and gained from the first step's mean on, a bar each step; below it every query's change, sorted.

    The first mean is a level and no bar, as the axis does not start at zero.

    Args:
        values: ``[queries, steps]``. table: of ``colbertv2.analysis.decomposition.changes``.
        path: without suffix; ``.png`` and ``.svg`` are written.
    """
    figure = Figure(figsize=(8.4, 6.4), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    means = table["mean"].tolist()
    for place, row in enumerate(table.to_dict("records")):
        last = place == len(means) - 1
        above.plot([place - 0.3, place + (0.3 if last else 1.3)], [means[place]] * 2, color=GREY, linewidth=0.8)
        label, top = f"{means[place]:.3f}", means[place]
        if place:
            before, change = means[place - 1], row["change"]
            above.bar(place, change, bottom=before, color=COLOURS[2 if change > 0 else 1], width=0.6, zorder=2)
            above.plot(
                [place] * 2, [before + row["low"], before + row["high"]], "_-", color="black", linewidth=1, zorder=3
            )
            moved = np.sort((values.iloc[:, place] - values.iloc[:, place - 1]).to_numpy())
            spread = place + np.linspace(-0.3, 0.3, len(moved))
            below.vlines(spread, 0, moved, color=np.where(moved < 0, COLOURS[1], COLOURS[2]), linewidth=0.6)
            label, top = f"{label}\n{change:+.3f}".replace("-", "−"), max(means[place], before, before + row["high"])
        above.annotate(label, (place, top), xytext=(0, 4), textcoords="offset points", ha="center", fontsize=LABEL_SIZE)
    above.plot([-0.3, 0.3], means[:1] * 2, color=COLOURS[0], linewidth=3, zorder=2)
    above.use_sticky_edges = False  # of bars, which would leave no room for labels
    above.margins(y=0.15)
    above.set_ylabel(f"{measure} (changes with 95 % intervals)")
    below.axhline(0, color=GREY, linewidth=0.8)
    below.set_ylabel("change, by query")
    names = ["\n".join(wrap(STEPS[str(step)], NAME_WIDTH)) for step in table.index]
    below.set_xticks(range(len(names)), names, fontsize=LABEL_SIZE)
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#e6e6e6", linewidth=0.8, zorder=0)
    save(figure, path)
