"""The heat map of a MaxSim: what each query token sees in a document and what it takes."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from colbertv2.analysis.explain import MaxSimMap
from colbertv2.reporting.quality_figure import COLOURS, GREY, save

MOST_COLUMNS = 60  # a longer document is shown only where it is taken
CELL = 0.21  # inches
FONT_SIZE = 8


def draw_map(map: MaxSimMap, path: Path | None = None) -> Figure:
    """Query tokens down, document tokens across, each row's taken cell outlined, its contribution at the right.

    Of a document of more than 60 tokens, only those that a query token takes and their neighbours are shown; where
    some are left out there is a gap.

    Args:
        path: without a suffix; ``.png`` and ``.svg`` are written, replaced if they are there. None writes nothing.
    """
    columns = shown_columns(map)
    places = gapped(columns)
    rows, width = len(map.query_tokens), places[-1] + 1
    longest = max(len(token) for token in map.query_tokens), max(len(map.document_tokens[column]) for column in columns)
    left, bottom = (0.075 * length + 0.2 for length in longest)
    figure = Figure(figsize=(left + CELL * width + 2.6, bottom + CELL * rows + 1.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes, bars = figure.subplots(1, 2, sharey=True, width_ratios=[CELL * width, 1.4])
    cells = np.full((rows, width), np.nan)
    cells[:, places] = map.similarities[:, columns]
    image = axes.imshow(cells, cmap="Blues", aspect="auto", interpolation="nearest")
    label(axes, map, columns, places)
    for row, best in enumerate(map.best):
        corner = (places[columns.index(int(best))] - 0.5, row - 0.5)
        axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=COLOURS[1], linewidth=1.6, clip_on=False))
    draw_contributions(bars, map)
    colours = figure.colorbar(image, ax=bars, location="right", fraction=0.08, aspect=max(8, rows))
    colours.set_label("similarity", fontsize=FONT_SIZE)
    colours.ax.tick_params(labelsize=FONT_SIZE)
    colours.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    if path is not None:
        save(figure, path)
    return figure


def shown_columns(map: MaxSimMap) -> list[int]:
    """The document tokens to show, ascending."""
    number = len(map.document_tokens)
    if number <= MOST_COLUMNS:
        return list(range(number))
    near = {int(best) + step for best in map.best for step in (-1, 0, 1)}
    return sorted(column for column in near if 0 <= column < number)


def gapped(columns: list[int]) -> list[int]:
    """Where ascending ``columns`` stand, with a place left free for what is missing between them.

    >>> gapped([0, 1, 5, 6])
    [0, 1, 3, 4]
    """
    gaps = np.cumsum(np.diff(columns, prepend=columns[0] - 1) > 1)
    return (np.arange(len(columns)) + gaps).tolist()


def label(axes: Axes, map: MaxSimMap, columns: list[int], places: list[int]) -> None:
    """Tokens at the axes; those of the document that are taken stand out, gaps are dots."""
    taken = set(map.best.tolist())
    axes.set_yticks(range(len(map.query_tokens)), [plain(token) for token in map.query_tokens], fontsize=FONT_SIZE)
    axes.set_xticks(places, [plain(map.document_tokens[column]) for column in columns], rotation=90, fontsize=FONT_SIZE)
    for tick, column in zip(axes.get_xticklabels(), columns, strict=True):
        tick.set_color(COLOURS[1] if column in taken else "#555555")
        tick.set_fontweight("bold" if column in taken else "normal")
    for place in sorted(set(range(places[-1])) - set(places)):
        axes.annotate("…", (place, len(map.query_tokens) / 2 - 0.5), ha="center", va="center", color=GREY)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    number = len(map.document_tokens)
    shown = f"{number} tokens" if len(columns) == number else f"{len(columns)} of {number} tokens"
    axes.set_xlabel(f"document, {shown}", fontsize=FONT_SIZE)
    axes.set_ylabel("query", fontsize=FONT_SIZE)


def draw_contributions(axes: Axes, map: MaxSimMap) -> None:
    """Bars of what each query token adds."""
    bars = axes.barh(range(len(map.contributions)), map.contributions, color=COLOURS[0], height=0.62)
    axes.bar_label(bars, fmt="{:.2f}", padding=2, fontsize=FONT_SIZE)
    axes.set_title(f"contributions, sum {map.score:.2f}", fontsize=FONT_SIZE, loc="left")
    axes.set_xticks([])
    axes.margins(x=0.3)
    axes.tick_params(length=0, labelleft=False)
    axes.spines[["top", "right", "bottom"]].set_visible(False)


def plain(token: str) -> str:
    """A token as text that matplotlib does not take for a formula."""
    return token.replace("$", r"\$")
