"""Labels in a figure that do not overlap: of points, ends of lines, ticks, and long names.

Labels are placed in pixels, so the figure must have been drawn once (``canvas.draw()``), which lays out its axes.
"""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.text import Annotation, Text
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox

from colbertv2.reporting.quality_figure import GREY, LABEL_SIZE, LINE_HEIGHT, heights, spread, style, thread

CHARACTER = 0.55 * LABEL_SIZE  # points, the mean width of a character
STEPS = 8  # the most lines that a label moves up
MARK = 4.0  # points (the unit) around a point of the figure that stay free


class Labelled(NamedTuple):
    """A named point in data coordinates, and the colour of its label."""

    name: str
    x: float
    y: float
    colour: str


def label_points(axes: Axes, labelled: Iterable[Labelled], points: Sequence[tuple[float, float]]) -> None:
    """Put a label above and to the left of each point; if something is in the way, move it up and draw a thin line.

    A label is left out if there is no room for it, so the most important points must come first.

    Args:
        axes: the axes to draw in.
        labelled: the points with labels.
        points: ``(x, y)`` of all points; no label covers one of them.
    """
    scale = axes.figure.dpi / 72
    frame = axes.get_window_extent()
    centres = axes.transData.transform(np.array(points))
    taken = [Bbox.from_extents(*(centre - MARK * scale), *(centre + MARK * scale)) for centre in centres]
    for point in labelled:
        for step in range(STEPS):
            label = axes.annotate(
                point.name, (point.x, point.y), xytext=(-6, 6 + step * LINE_HEIGHT), ha="right", va="bottom",
                color=point.colour, arrowprops=thread() if step else None, **style(),
            )  # fmt: skip
            beyond = max(0, frame.x0 + 4 * scale - extent(label).x0)
            label.xyann = (beyond / scale - 6, label.xyann[1])
            box = extent(label)
            if box.y1 <= frame.y1 and box.x1 <= frame.x1 and not box.count_overlaps(taken):
                taken.append(box)
                break
            label.remove()


def extent(label: Annotation) -> Bbox:
    """The box of an annotation's text without its line, in pixels."""
    label.get_window_extent()  # the box with the line; moves the text to its place
    return Text.get_window_extent(label)


def label_ends(axes: Axes, ends: Mapping[str, float], colours: Sequence[str], x: float) -> None:
    """Write the names of lines to the right of their last points, moved apart if they would overlap.

    Args:
        axes: the axes to draw in.
        ends: name → y of the line's last point.
        colours: the colours of the lines.
        x: the x of all last points.
    """
    anchors = heights(axes, list(ends.values()))
    lines = max(name.count("\n") + 1 for name in ends)
    places = spread(anchors, lines * LINE_HEIGHT)
    for (name, value), anchor, place, colour in zip(ends.items(), anchors, places, colours, strict=True):
        axes.annotate(
            name, (x, value), xytext=(14, place - anchor), va="center", color=colour, annotation_clip=False,
            arrowprops=thread() if abs(place - anchor) > 1 else None, **style(),
        )  # fmt: skip


def wrap(text: str, width: int) -> str:
    """Break a text into lines of at most ``width`` characters.

    >>> wrap("hard negatives, 64-way, no teacher", 18)
    'hard negatives,\\n64-way, no teacher'
    """
    return "\n".join(textwrap.wrap(text, width)) or text


def name_levels(axes: Axes, levels: Sequence[str], width: float) -> None:
    """Write the levels of a factor below the axis, at 0, 1, …; slanted if they would overlap.

    Args:
        axes: the axes to draw in.
        levels: the names of the levels.
        width: the width of the axes, in points.
    """
    names = [wrap(level, 18) for level in levels]
    longest = max(len(line) for name in names for line in name.split("\n"))
    aslant = (longest + 1) * CHARACTER > width / len(names)
    axes.set_xticks(np.arange(len(names)), names, fontsize=LABEL_SIZE)
    if aslant:
        for label in axes.get_xticklabels():
            label.set(rotation=30, ha="right", rotation_mode="anchor")


def plain_ticks(axes: Axes) -> None:
    """Label a logarithmic axis with round numbers instead of powers of ten."""
    low, high = axes.get_xlim()
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))))
    steps = (1, 2, 5) if high / low < 300 else (1,)
    ticks = [step * 10.0**power for power in powers for step in steps]
    if high / low < 4:
        ticks = [float(tick) for tick in MaxNLocator(6).tick_values(low, high)]
    axes.set_xticks([tick for tick in ticks if low <= tick <= high])
    axes.minorticks_off()
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")


def shade(number: int, count: int, colours: Sequence[str]) -> str:
    """The colour of line ``number`` of ``count``; grey if there are more lines than colours."""
    return colours[number] if count <= len(colours) else GREY
