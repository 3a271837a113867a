"""Figures of analyses: the decomposition of a search, the supervision of a round, and the map of one MaxSim score.

The figures of centroids are in ``centroids_figure``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from colbertv2.analysis.decomposition import STEPS
from colbertv2.reporting.quality_figure import COLOURS, DASHES, GREY, LABEL_SIZE, save

if TYPE_CHECKING:
    from colbertv2.analysis.explain import MaxSimMap

NAME_WIDTH = 16  # characters per line in the name of a step
BINS = 40  # in the histogram of margins
MOST_COLUMNS = 60  # in the map; of a longer document only the matched tokens and their neighbours are shown
CELL = 0.21  # inches, the size of a cell of the map
FONT_SIZE = 8  # points, in the map


def draw_decomposition(values: pd.DataFrame, table: pd.DataFrame, measure: str, path: Path) -> None:
    """Draw the mean change at each step as a bar, and below it the change of every query, sorted.

    The mean of the first step is drawn as a line, not as a bar, because the axis does not start at zero.

    Args:
        values: the measure per query after each step, ``[queries, steps]``.
        table: the result of ``analysis.decomposition.changes``.
        measure: the name of the measure, for the axis.
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
    above.use_sticky_edges = False  # the sticky edges of bars would leave no room for labels
    above.margins(y=0.15)
    above.set_title(f"{measure} after each step of the search", loc="left", fontsize=11, fontweight="bold")
    above.set_ylabel(f"mean {measure} (95 % intervals of the changes)")
    below.axhline(0, color=GREY, linewidth=0.8)
    below.set_ylabel(f"change in {measure}, per query")
    names = ["\n".join(wrap(STEPS[str(step)], NAME_WIDTH)) for step in table.index]
    below.set_xticks(range(len(names)), names, fontsize=LABEL_SIZE)
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#e6e6e6", linewidth=0.8, zorder=0)
    save(figure, path)


def draw_supervision(
    ranks: pd.DataFrame,
    candidates: pd.DataFrame,
    filters: Mapping[str, int],
    agreement: Mapping[str, pd.DataFrame],
    title: str,
    path: Path,
) -> None:
    """Write a PNG with four panels: ranks, margins, filters, and the agreement of the students with the teacher.

    Args:
        ranks: the result of ``analysis.supervision.by_rank``.
        candidates: the result of ``candidate_table``, with a column ``kept``.
        filters: outcome → number of candidates.
        agreement: student → the result of ``analysis.supervision.agreement``.
        title: the title of the figure.
        path: the file to write; an existing file is replaced.
    """
    figure = Figure(figsize=(10, 7), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    (first, second), (third, fourth) = figure.subplots(2, 2)
    for axes in (first, second, third, fourth):
        axes.spines[["top", "right"]].set_visible(False)
    draw_ranks(first, ranks)
    draw_margins(second, candidates)
    draw_filters(third, filters)
    draw_agreement(fourth, agreement)
    figure.savefig(path, dpi=130)


def draw_ranks(axes: Axes, ranks: pd.DataFrame) -> None:
    """Draw the share of candidates that the teacher scores above the positive, by retrieval rank."""
    axes.plot(ranks.index, 100 * ranks["share_above_positive"], "o-", color=COLOURS[1], markersize=3, linewidth=1.2)
    axes.set_title("Suspected false negatives by retrieval rank", loc="left", fontsize=10)
    axes.set_xlabel("retrieval rank of the candidate")
    axes.set_ylabel("% of candidates that the teacher\nscores above the positive")
    axes.set_ylim(bottom=0)


def draw_margins(axes: Axes, candidates: pd.DataFrame) -> None:
    """Draw a histogram of margins: of the candidates that became negatives, and of those that were left out."""
    margins = candidates["margin"].to_numpy()
    low, high = np.percentile(margins, [0.5, 99.5]) if len(margins) else (0.0, 1.0)
    edges = np.linspace(low, high, BINS + 1)
    kept = candidates["kept"].to_numpy(dtype=bool)
    axes.hist(
        [margins[kept], margins[~kept]], edges.tolist(), stacked=True, color=[COLOURS[0], COLOURS[4]],
        label=["kept as negatives", "left out"],
    )  # fmt: skip
    axes.axvline(0, color=GREY, linewidth=1, linestyle=(0, (4, 3)))
    axes.set_title("Teacher's margin: positive's score minus candidate's", loc="left", fontsize=10)
    axes.set_xlabel("margin (below 0: the candidate scores higher)")
    axes.set_ylabel("number of unlabelled candidates")
    axes.legend(frameon=False, fontsize=8)


def draw_filters(axes: Axes, filters: Mapping[str, int]) -> None:
    """Draw the number of candidates with each outcome as bars."""
    names = list(filters)
    bars = axes.barh(names[::-1], [filters[name] for name in names[::-1]], color=COLOURS[0], height=0.6)
    axes.bar_label(bars, fmt="{:,.0f}", padding=3, fontsize=8)
    axes.set_title("Outcome for the candidates", loc="left", fontsize=10)
    axes.set_xlabel("number of candidates")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.margins(x=0.18)


def draw_agreement(axes: Axes, agreement: Mapping[str, pd.DataFrame]) -> None:
    """Draw the cumulative distribution of Kendall's τ between the teacher and each student."""
    for place, (name, rows) in enumerate(agreement.items()):
        tau = np.sort(rows["tau"].dropna())
        share = 100 * np.arange(1, len(tau) + 1) / max(1, len(tau))
        axes.step(
            tau, share, DASHES[place % len(DASHES)], where="post", color=COLOURS[place % len(COLOURS)], linewidth=1.4,
            label=f"{name}: mean τ {tau.mean():.2f}",
        )  # fmt: skip
    axes.set_title("Agreement of the student's order with the teacher's", loc="left", fontsize=10)
    axes.set_xlabel("Kendall's τ over the candidates of a query")
    axes.set_ylabel("% of queries with at most this τ")
    axes.legend(frameon=False, fontsize=8, loc="upper left")


def draw_map(map: MaxSimMap, path: Path | None = None) -> Figure:
    """Draw the similarities behind a MaxSim score: one row per query token, one column per document token.

    The most similar document token of each query token is outlined; its contribution to the score is a bar at the
    right. Of a document with more than 60 tokens, only the outlined tokens and their neighbours are shown, with gaps
    between them.

    Args:
        map: the similarities of a query and a document.
        path: without suffix; ``.png`` and ``.svg`` are written and replace existing files. If None, nothing is written.
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
    label_tokens(axes, map, columns, places)
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
    """The positions of the document tokens that are shown, in ascending order."""
    number = len(map.document_tokens)
    if number <= MOST_COLUMNS:
        return list(range(number))
    near = {int(best) + step for best in map.best for step in (-1, 0, 1)}
    return sorted(column for column in near if 0 <= column < number)


def gapped(columns: list[int]) -> list[int]:
    """Where each of the ascending ``columns`` is drawn; missing columns leave a gap of one place.

    >>> gapped([0, 1, 5, 6])
    [0, 1, 3, 4]
    """
    gaps = np.cumsum(np.diff(columns, prepend=columns[0] - 1) > 1)
    return (np.arange(len(columns)) + gaps).tolist()


def label_tokens(axes: Axes, map: MaxSimMap, columns: list[int], places: list[int]) -> None:
    """Write the tokens along the axes, the matched ones bold and in colour, and dots in the gaps."""
    taken = set(map.best.tolist())
    axes.set_yticks(
        range(len(map.query_tokens)), [escape_formula(token) for token in map.query_tokens], fontsize=FONT_SIZE
    )
    axes.set_xticks(
        places, [escape_formula(map.document_tokens[column]) for column in columns], rotation=90, fontsize=FONT_SIZE
    )
    for tick, column in zip(axes.get_xticklabels(), columns, strict=True):
        tick.set_color(COLOURS[1] if column in taken else "#555555")
        tick.set_fontweight("bold" if column in taken else "normal")
    for place in sorted(set(range(places[-1])) - set(places)):
        axes.annotate("…", (place, len(map.query_tokens) / 2 - 0.5), ha="center", va="center", color=GREY)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    number = len(map.document_tokens)
    shown = f"{number} tokens" if len(columns) == number else f"{len(columns)} of {number} tokens"
    axes.set_xlabel(f"document ({shown})", fontsize=FONT_SIZE)
    axes.set_ylabel("query tokens", fontsize=FONT_SIZE)


def draw_contributions(axes: Axes, map: MaxSimMap) -> None:
    """Draw the contribution of each query token as a bar."""
    bars = axes.barh(range(len(map.contributions)), map.contributions, color=COLOURS[0], height=0.62)
    axes.bar_label(bars, fmt="{:.2f}", padding=2, fontsize=FONT_SIZE)
    axes.set_title(f"contribution to the score (sum {map.score:.2f})", fontsize=FONT_SIZE, loc="left")
    axes.set_xticks([])
    axes.margins(x=0.3)
    axes.tick_params(length=0, labelleft=False)
    axes.spines[["top", "right", "bottom"]].set_visible(False)


def escape_formula(token: str) -> str:
    """Escape the dollar signs of a token, so that matplotlib does not read it as a formula."""
    return token.replace("$", r"\$")
