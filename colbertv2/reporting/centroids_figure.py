"""Figures of centroids, compared with random vectors: the tokens of clusters, the clusters of tokens, and residuals.

After ColBERTv2, appendix A.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from colbertv2.analysis.centroids import EDGES, Residuals
from colbertv2.reporting.quality_figure import COLOURS, DASHES, GREY, save

BINS = 80
BELOW: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (0, -0.16), "frameon": False, "fontsize": 8}
PAPER_TOKENS = 16  # the number of distinct tokens at which the paper gives its shares
RUG = 0.05  # the height of a row of marks for cut-offs, as a share of the axes' height


class Style(NamedTuple):
    """The look of one curve."""

    colour: str
    dashes: str


class ClusterTables(NamedTuple):
    """The data of one curve.

    Args:
        centroids: the result of ``centroid_table``.
        tokens: the result of ``token_table``.
        residuals: the residuals of the vectors, or None.
    """

    centroids: pd.DataFrame
    tokens: pd.DataFrame
    residuals: Residuals | None


def draw_centroids(clusters: Mapping[str, ClusterTables], title: str, path: Path | None = None) -> Figure:
    """Draw the shares of clusters by distinct tokens, and of tokens by clusters, cumulatively (ColBERTv2, Fig. 2).

    Args:
        clusters: name → the data of its curve.
        title: the title of the figure.
        path: without suffix; ``.png`` and ``.svg`` are written and replace existing files. If None, nothing is written.
    """
    figure, (held, spread) = panels(title, 2, 9.5)
    distinct = {name: one.centroids["distinct_tokens"].to_numpy() for name, one in clusters.items()}
    draw_shares(held, distinct, styles(clusters), "clusters")
    held.set_title("(a) Distinct tokens per cluster", loc="left", fontsize=10)
    held.set_xlabel("distinct tokens (log scale)")
    of_tokens = {name: one.tokens["clusters"].to_numpy() for name, one in clusters.items()}
    draw_shares(spread, of_tokens, styles(clusters), "tokens")
    spread.set_title("(b) Clusters per token", loc="left", fontsize=10)
    spread.set_xlabel("clusters (log scale)")
    if path is not None:
        save(figure, path)
    return figure


def draw_residuals(clusters: Mapping[str, ClusterTables], title: str, path: Path | None = None) -> Figure:
    """Draw the norms of residuals, their values with the cut-offs of the buckets, and their spread per dimension.

    Args:
        clusters: name → the data of its curve; those without residuals are left out.
        title: the title of the figure.
        path: as for ``draw_centroids``.
    """
    figure, (norms, values, dimensions) = panels(title, 3, 13.5)
    residuals = {name: one.residuals for name, one in clusters.items() if one.residuals is not None}
    draw_norms(norms, {name: one.norms for name, one in residuals.items()}, styles(clusters))
    draw_values(values, residuals, styles(clusters))
    draw_dimensions(dimensions, residuals, styles(clusters))
    if path is not None:
        save(figure, path)
    return figure


def styles(names: Iterable[str]) -> dict[str, Style]:
    """Name → the colour and the dashes of its curve."""
    return {name: Style(COLOURS[place % len(COLOURS)], DASHES[place % len(DASHES)]) for place, name in enumerate(names)}


def panels(title: str, number: int, width: float) -> tuple[Figure, NDArray[Any]]:
    """Make a figure, ``width`` inches wide, with ``number`` axes side by side."""
    figure = Figure(figsize=(width, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    found = figure.subplots(1, number)
    for axes in found:
        axes.spines[["top", "right"]].set_visible(False)
    return figure, found


def draw_shares(axes: Axes, numbers: Mapping[str, NDArray[Any]], looks: Mapping[str, Style], what: str) -> None:
    """Draw cumulative shares with a step at every number that occurs; the legend has the shares at 16."""
    most = max(int(values.max(initial=1)) for values in numbers.values())
    for name, values in numbers.items():
        held = np.sort(values[values > 0])
        share = 100 * np.arange(1, len(held) + 1) / max(1, len(held))
        at = float((held <= PAPER_TOKENS).mean()) if len(held) else np.nan
        axes.step(
            [*held, most], [*share, 100], looks[name].dashes, where="post", color=looks[name].colour, linewidth=1.6,
            label=f"{name}: {at:.1%} with at most {PAPER_TOKENS}",
        )  # fmt: skip
    axes.axvline(PAPER_TOKENS, color=GREY, linewidth=1, linestyle=(0, (4, 3)))
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_ylim(0, 102)
    axes.set_ylabel(f"% of {what} with at most this many")
    axes.legend(**BELOW)


def draw_norms(axes: Axes, norms: Mapping[str, NDArray[np.float32]], looks: Mapping[str, Style]) -> None:
    """Draw histograms of the norms of residuals, all with the same bins."""
    most = max((float(values.max(initial=0)) for values in norms.values()), default=1)
    edges = np.linspace(0, 1.02 * most, BINS + 1)
    for name, values in norms.items():
        weights = np.full(len(values), 100 / max(1, len(values)))
        axes.hist(values, edges.tolist(), weights=weights, histtype="stepfilled", alpha=0.2, color=looks[name].colour)
        axes.hist(
            values, edges.tolist(), weights=weights, histtype="step", linewidth=1.4, color=looks[name].colour,
            linestyle=looks[name].dashes, label=f"{name}: mean {values.mean():.2f}",
        )  # fmt: skip
    axes.set_title("(a) Distance of vectors from their centroids", loc="left", fontsize=10)
    axes.set_xlabel("norm of the residual")
    axes.set_ylabel(f"% of vectors per bin of {edges[1]:.2g}")
    axes.legend(**BELOW)


def draw_values(axes: Axes, residuals: Mapping[str, Residuals], looks: Mapping[str, Style]) -> None:
    """Draw histograms of the values of all dimensions; above them, a row of marks for the cut-offs of each codec."""
    reach = 0.0
    for row, (name, one) in enumerate(residuals.items()):
        axes.stairs(100 * one.histogram, EDGES, color=looks[name].colour, linestyle=looks[name].dashes, linewidth=1.4,
                    label=f"{name} (row {row + 1} of the marks)")  # fmt: skip
        top = 1 - row * RUG
        axes.vlines(one.cutoffs, top - 0.8 * RUG, top, color=looks[name].colour, linewidth=1,
                    transform=axes.get_xaxis_transform())  # fmt: skip
        reach = max(reach, 4 * float(np.sqrt((one.dimensions["deviation"] ** 2).mean())))
    axes.set_xlim(-reach, reach)
    axes.margins(y=0.2)
    axes.set_title("(b) Values of residuals; marks at the top: cut-offs", loc="left", fontsize=10)
    axes.set_xlabel("value in one dimension")
    axes.set_ylabel(f"% of values per bin of {EDGES[1] - EDGES[0]:.2g}")
    axes.legend(**BELOW)


def draw_dimensions(axes: Axes, residuals: Mapping[str, Residuals], looks: Mapping[str, Style]) -> None:
    """Draw the middle 90 % of the values of each dimension, sorted by width; the legend has the bits used."""
    for name, one in residuals.items():
        by_width = one.dimensions.assign(width=one.dimensions["p95"] - one.dimensions["p5"]).sort_values("width")
        places = np.arange(len(by_width))
        colour, dashes = looks[name]
        axes.fill_between(places, by_width["p5"], by_width["p95"], color=colour, alpha=0.12, linewidth=0)
        for edge in ("p5", "p95"):
            axes.plot(places, by_width[edge], dashes, color=colour, linewidth=1.2)
        used = f"{one.bits_used.mean():.2f} of {np.log2(len(one.cutoffs) + 1):.0f} bits used"
        axes.plot([], [], dashes, color=colour, linewidth=1.4, label=f"{name}: {used}")
    axes.axhline(0, color=GREY, linewidth=0.8)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title("(c) Middle 90 % of the values in each dimension", loc="left", fontsize=10)
    axes.set_xlabel("dimensions, sorted from the narrowest to the widest")
    axes.set_ylabel("value of the residual")
    axes.legend(**BELOW)
