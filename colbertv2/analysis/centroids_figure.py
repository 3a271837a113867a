"""The figure of centroids: distinct tokens in clusters and lengths of residuals, against random vectors (App. A)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from colbertv2.evaluation.figure import COLOURS, GREY, save

BINS = 80
BELOW: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (0, -0.16), "frameon": False, "fontsize": 8}
PAPER_TOKENS = 16  # the paper gives its shares at so many distinct tokens


class Clusters(NamedTuple):
    """What one curve is drawn of: the table of ``token_table``, and residual norms ``[n]`` or None."""

    table: pd.DataFrame
    norms: NDArray[np.float32] | None


def draw_centroids(clusters: Mapping[str, Clusters], title: str, path: Path | None = None) -> Figure:
    """Cumulative share of clusters over distinct tokens (the paper's Figure 2), and histograms of residual norms.

    Args:
        clusters: name → what is known of them.
        path: without a suffix; ``.png`` and ``.svg`` are written, replaced if they are there. None writes nothing.
    """
    figure = Figure(figsize=(9.5, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    tokens, residuals = figure.subplots(1, 2)
    for axes in (tokens, residuals):
        axes.spines[["top", "right"]].set_visible(False)
    colours = dict(zip(clusters, COLOURS, strict=False))
    draw_shares(tokens, {name: one.table["distinct_tokens"].to_numpy() for name, one in clusters.items()}, colours)
    norms = {name: one.norms for name, one in clusters.items() if one.norms is not None}
    draw_norms(residuals, norms, colours)
    if path is not None:
        save(figure, path)
    return figure


def draw_shares(axes: Axes, distinct: Mapping[str, NDArray[Any]], colours: Mapping[str, str]) -> None:
    """A step for every number of distinct tokens, and the shares at 16 in the legend."""
    most = max(int(numbers.max(initial=1)) for numbers in distinct.values())
    for name, numbers in distinct.items():
        values = np.sort(numbers[numbers > 0])
        share = 100 * np.arange(1, len(values) + 1) / max(1, len(values))
        at = float((values <= PAPER_TOKENS).mean()) if len(values) else np.nan
        axes.step(
            [*values, most], [*share, 100], where="post", color=colours[name], linewidth=1.6,
            label=f"{name}: {at:.1%} at most {PAPER_TOKENS}",
        )  # fmt: skip
    axes.axvline(PAPER_TOKENS, color=GREY, linewidth=1, linestyle=(0, (4, 3)))
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_ylim(0, 102)
    axes.set_title("Distinct tokens in a cluster", loc="left", fontsize=10)
    axes.set_xlabel("distinct tokens (log scale)")
    axes.set_ylabel("% of clusters with at most so many")
    axes.legend(**BELOW)


def draw_norms(axes: Axes, norms: Mapping[str, NDArray[np.float32]], colours: Mapping[str, str]) -> None:
    """Histograms on common bins."""
    most = max((float(values.max(initial=0)) for values in norms.values()), default=1)
    edges = np.linspace(0, 1.02 * most, BINS + 1)
    for name, values in norms.items():
        weights = np.full(len(values), 100 / max(1, len(values)))
        axes.hist(values, edges.tolist(), weights=weights, histtype="stepfilled", alpha=0.35, color=colours[name])
        axes.hist(
            values, edges.tolist(), weights=weights, histtype="step", linewidth=1.4, color=colours[name],
            label=f"{name}: mean {values.mean():.2f}",
        )  # fmt: skip
    axes.set_title("Distance of vectors from their centroids", loc="left", fontsize=10)
    axes.set_xlabel("norm of the residual")
    axes.set_ylabel(f"% of vectors, in bins of {edges[1]:.2g}")
    axes.legend(**BELOW)
