"""The figure of an experiment: quality against bytes per token. Also colours and labels that all figures share."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe and Ito
MARKERS = ("o", "s", "^", "v", "P", "X", "D")  # with the colours, so that points differ without colour too
DASHES = ("-", "--", "-.", ":")  # likewise for lines
GREY = "#8a8a8a"
LABEL_SIZE = 8.5  # points
LINE_HEIGHT = 1.35 * LABEL_SIZE
SAME_COLUMN = 1.25  # sizes within this ratio share one column of labels


class PlottedSystem(NamedTuple):
    """A system with an index, as a point of the figure."""

    size: float
    place: float  # the size, moved a little to the side if several are the same
    value: float
    low: float
    high: float
    label: str
    series: tuple[str, str]  # a line joins the points of one series
    colour: str
    marker: str


def draw(table: pd.DataFrame, measure: str, title: str, path: Path) -> None:
    """Write a PNG: a point with its 95 % interval for every system with an index, a dashed line for every other system.

    Systems whose names are the same up to the first comma (``ColBERT, 2 bits``, ``ColBERT, 1 bit, PLAID``) are labelled
    by what follows it; only the largest has its full name. A line joins those that use the same engine.

    Args:
        table: the result of ``colbertv2.reporting.system_table.make_table``.
        measure: the column for the vertical axis.
        title: the title of the figure.
        path: the file to write; an existing file is replaced.
    """
    rows = table.to_dict("records")
    points = arrange([row for row in rows if not np.isnan(row["bytes_per_token"])], measure)
    lines = {str(row["system"]): float(row[measure]) for row in rows if np.isnan(row["bytes_per_token"])}
    figure = Figure(figsize=(9, 5.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set_ylabel(f"mean {measure} (95 % interval over queries)")
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.8, zorder=0)
    axes.spines[["top", "right"]].set_visible(False)
    for value in lines.values():
        axes.axhline(value, color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    draw_points(axes, points)
    low, high = axes.get_ylim()
    axes.set_ylim(low - 0.1 * (high - low), high + 0.1 * (high - low))  # room for labels
    figure.canvas.draw()  # lays out the axes, so that labels can be placed in points
    label_lines(axes, lines)
    figure.canvas.draw()
    label_points(axes, points)
    figure.savefig(path, dpi=160)


def save(figure: Figure, path: Path) -> None:
    """Write ``path.png`` and ``path.svg``; existing files are replaced. The same figure gives the same bytes.

    The text of the SVG stays text, so that it can be searched and read aloud.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path.with_name(f"{path.name}.png"), dpi=160)
    with rc_context({"svg.hashsalt": path.name, "svg.fonttype": "none"}):
        figure.savefig(path.with_name(f"{path.name}.svg"), metadata={"Date": None})


def arrange(rows: Sequence[dict], measure: str) -> list[PlottedSystem]:
    """Make a point of every row; all rows must have ``bytes_per_token``."""
    series = [(row["system"].partition(",")[0], row["engine"]) for row in rows]
    places = {name: i for i, name in enumerate(dict.fromkeys(series))}
    by_size = sorted(rows, key=lambda row: row["bytes_per_token"])
    largest = {row["system"].partition(",")[0]: row["system"] for row in by_size}.values()
    return [
        PlottedSystem(
            size=row["bytes_per_token"],
            place=place,
            value=row[measure],
            low=row[f"{measure}_low"],
            high=row[f"{measure}_high"],
            label=row["system"] if row["system"] in largest else row["system"].partition(",")[2].strip(),
            series=name,
            colour=COLOURS[places[name] % len(COLOURS)],
            marker=MARKERS[places[name] % len(MARKERS)],
        )
        for row, place, name in zip(rows, side_by_side([row["bytes_per_token"] for row in rows]), series, strict=True)
    ]


def side_by_side(sizes: Sequence[float]) -> list[float]:
    """Move equal sizes a little apart, so that their error bars do not cover each other.

    >>> [round(place) for place in side_by_side([20.0, 256.0, 256.0])]
    [20, 247, 265]
    """
    places: list[float] = []
    for i, size in enumerate(sizes):
        peers = [j for j, other in enumerate(sizes) if abs(np.log(other / size)) < 0.02]
        places.append(size * 1.07 ** (peers.index(i) - (len(peers) - 1) / 2))
    return places


def draw_points(axes: Axes, points: Sequence[PlottedSystem]) -> None:
    """Draw the points with error bars, on a logarithmic axis whose ticks are the sizes that occur."""
    if not points:
        axes.set_xticks([])
        return
    axes.set_xscale("log")
    axes.set_xlabel("bytes per token (log scale)")
    for name in dict.fromkeys(point.series for point in points):
        joined = sorted(point for point in points if point.series == name)
        places, values = [point.place for point in joined], [point.value for point in joined]
        axes.plot(places, values, color=joined[0].colour, linewidth=1.2, alpha=0.45, zorder=2)
    for point in points:
        axes.plot([point.place] * 2, [point.low, point.high], "_-", color=point.colour, linewidth=1.2, zorder=3)
        axes.plot(point.place, point.value, point.marker, color=point.colour, markersize=6, zorder=3)
    axes.minorticks_off()
    sizes = sorted({round(point.size, 1) for point in points})
    axes.set_xticks([size for i, size in enumerate(sizes) if i == 0 or size / sizes[i - 1] > SAME_COLUMN])
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")


def label_points(axes: Axes, points: Sequence[PlottedSystem]) -> None:
    """Label every point: to the right of the last column, and in turn above and below the others, without overlaps."""
    if not points:
        return
    columns: list[list[PlottedSystem]] = []
    for point in sorted(points):
        if columns and point.size / columns[-1][-1].size < SAME_COLUMN:
            columns[-1].append(point)
        else:
            columns.append([point])
    widen(axes, columns)
    for number, column in enumerate(columns[:-1]):
        label_column(axes, column, above=number % 2 == 0)
    label_beside(axes, columns[-1])


def widen(axes: Axes, columns: Sequence[Sequence[PlottedSystem]]) -> None:
    """Leave room in the axes for the labels to the left and right of the outer columns."""
    width = in_points(axes, axes.bbox.width)
    longest = max(len(point.label) for point in columns[-1])
    right = min(0.6, 0.58 * LABEL_SIZE * longest / width + 0.05)
    left = 0.1
    first, last = np.log(columns[0][0].place), np.log(columns[-1][-1].place)
    span = max(last - first, 0.5) / (1 - left - right)
    axes.set_xlim(np.exp(first - left * span), np.exp(last + right * span))


def label_column(axes: Axes, column: Sequence[PlottedSystem], above: bool) -> None:
    """Write the labels of a column above (or below) its intervals, one per line, in the order of the values."""
    place = float(np.exp(np.mean(np.log([point.place for point in column]))))
    edge = max(point.high for point in column) if above else min(point.low for point in column)
    ordered = sorted(column, key=lambda point: point.value, reverse=not above)
    for number, point in enumerate(ordered):
        offset = (0, (5 + number * LINE_HEIGHT) * (1 if above else -1))
        side = "bottom" if above else "top"
        axes.annotate(point.label, (place, edge), xytext=offset, ha="center", va=side, color=point.colour, **style())


def label_beside(axes: Axes, column: Sequence[PlottedSystem]) -> None:
    """Write the labels to the right of a column, with thin lines to the points of those that had to move."""
    anchors = heights(axes, [point.value for point in column])
    right = max(column_x(axes, point) for point in column)
    for place, anchor, point in zip(spread(anchors, LINE_HEIGHT), anchors, column, strict=True):
        aside = right - column_x(axes, point)
        moved = abs(place - anchor) > 1 or aside > 1
        position, offset = (point.place, point.value), (aside + 12, place - anchor)
        axes.annotate(
            point.label,
            position,
            xytext=offset,
            va="center",
            color=point.colour,
            arrowprops=thread() if moved else None,
            **style(),
        )


def label_lines(axes: Axes, lines: dict[str, float]) -> None:
    """Write the names of the dashed lines to the right of the axes, moved apart if they would overlap."""
    anchors = heights(axes, list(lines.values()))
    for place, anchor, (name, value) in zip(spread(anchors, LINE_HEIGHT), anchors, lines.items(), strict=True):
        axes.annotate(
            f"{name} {value:.3f}",
            (1, value),
            xycoords=("axes fraction", "data"),
            xytext=(10, place - anchor),
            textcoords="offset points",
            va="center",
            fontsize=LABEL_SIZE,
            color="#555555",
            annotation_clip=False,
            arrowprops=thread() if abs(place - anchor) > 1 else None,
        )


def style() -> dict:
    """The style of labels of points: small, on white, above everything else."""
    box = {"boxstyle": "round,pad=0.12", "facecolor": "white", "edgecolor": "none", "alpha": 0.8}
    return {"textcoords": "offset points", "fontsize": LABEL_SIZE, "bbox": box, "zorder": 4}


def thread() -> dict:
    """The style of a thin line from a label to its point."""
    return {"arrowstyle": "-", "color": GREY, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 3}


def in_points(axes: Axes, pixels: float) -> float:
    return pixels * 72 / axes.figure.dpi


def column_x(axes: Axes, point: PlottedSystem) -> float:
    """The horizontal position of a point, in points (the unit) from the left of the figure."""
    return in_points(axes, axes.transData.transform((point.place, point.value))[0])


def heights(axes: Axes, values: Sequence[float]) -> list[float]:
    """The vertical positions of values, in points from the bottom of the figure."""
    left = axes.get_xlim()[0]
    return [in_points(axes, axes.transData.transform((left, value))[1]) for value in values]


def spread(places: Sequence[float], distance: float) -> list[float]:
    """Move places as little as possible so that neighbours are at least ``distance`` apart; their order stays.

    >>> spread([0.0, 1.0, 50.0], 10.0)
    [-4.5, 5.5, 50.0]
    """
    groups: list[tuple[float, list[int]]] = []  # mean place, members from the bottom up
    for index in sorted(range(len(places)), key=lambda index: places[index]):
        groups.append((places[index], [index]))
        while len(groups) > 1:
            (low, lower), (high, upper) = groups[-2:]
            count = len(lower) + len(upper)
            if high - low >= distance * count / 2:
                break
            groups[-2:] = [((low * len(lower) + high * len(upper)) / count, lower + upper)]
    moved = [0.0] * len(places)
    for mean, members in groups:
        for position, index in enumerate(members):
            moved[index] = mean + distance * (position - (len(members) - 1) / 2)
    return moved
